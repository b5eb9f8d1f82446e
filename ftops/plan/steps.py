"""The steps of a change. Each says itself in words; who does it stands in one table of `reconcile.apply`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ftops.plan.address import Address

STEPS: Final[dict[str, type[Step]]] = {}
"""Every class of step by its name: how saved plans name it."""


class Step:
    """One thing to do, as a frozen dataclass whose fields are text, numbers, addresses, or tuples of text."""

    __slots__ = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        STEPS[cls.__name__] = cls  # a dataclass with slots is made twice: the second one is it

    @property
    def words(self) -> str:
        """What is done, in words."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class FetchData(Step):
    """Bring files that DVC tracks into the work tree."""

    paths: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"fetch {', '.join(self.paths)} from the DVC remote"


@dataclass(frozen=True, slots=True)
class PrepareData(Step):
    """Read, check, split and write a data set. Its content address in the store is `digest`."""

    dataset: str
    digest: str

    @property
    def words(self) -> str:
        return f"prepare {self.dataset}: read, check, split, write"


@dataclass(frozen=True, slots=True)
class MixData(Step):
    """Put several prepared data sets together, as a training weighs them."""

    run: str
    digest: str

    @property
    def words(self) -> str:
        return f"put the data sets of {self.run} together"


@dataclass(frozen=True, slots=True)
class MakeBaseModel(Step):
    """Make the small random model and its tokenizer that an `{init: …}` base model stands for."""

    run: str
    digest: str

    @property
    def words(self) -> str:
        return f"make the base model of {self.run} and its tokenizer"


@dataclass(frozen=True, slots=True)
class Train(Step):
    """Train a run: attach to it, collect it, resume it or start it, by what its folder in the store holds.

    `resume_run` names an earlier run whose last whole checkpoint this one goes on from (`onChange: resume`). A person asked to
    train it again after attempt `rerun_after`: what those up to it left counts for nothing; 0 where nobody did."""

    run: str
    run_id: str
    digest: str
    resume_run: str | None = None
    rerun_after: int = 0

    @property
    def words(self) -> str:
        if self.resume_run is not None:
            return f"train {self.run_id}, from the last checkpoint of {self.resume_run}"
        return f"train {self.run_id}{' again' if self.rerun_after else ''}"


@dataclass(frozen=True, slots=True)
class MergeWeights(Step):
    """Merge the adapter that a run ended with into its base model.

    The run is `run_id`, of the training `run`; the adapter that in the folder `output` of the store, where that is said."""

    run: str
    run_id: str
    output: str | None = None

    @property
    def words(self) -> str:
        return f"merge the adapter of {self.run_id} into its base model"


@dataclass(frozen=True, slots=True)
class Choose(Step):
    """Choose the best member of a sweep by what the records of all members measured."""

    sweep: str
    metric: str
    mode: str

    @property
    def words(self) -> str:
        return f"choose the best of {self.sweep}: the {'lowest' if self.mode == 'min' else 'highest'} {self.metric}"


@dataclass(frozen=True, slots=True)
class RegisterVersion(Step):
    """Make a version of a model from the result of a run."""

    model: str
    version: str
    run_id: str

    @property
    def words(self) -> str:
        return f"register {self.model} {self.version} from {self.run_id}"


@dataclass(frozen=True, slots=True)
class AddMerged(Step):
    """Add the merged weights of its adapter to a version of a model."""

    model: str
    version: str

    @property
    def words(self) -> str:
        return f"add its merged weights to {self.model} {self.version}"


@dataclass(frozen=True, slots=True)
class LabelVersion(Step):
    """Give a version of a model these aliases and tags, and no others."""

    model: str
    version: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"label {self.model} {self.version}: aliases {_listed(self.aliases)}, tags {_listed(self.tags)}"


@dataclass(frozen=True, slots=True)
class Analyze(Step):
    """Look at the logs of an experiment as they are now. `opens` where its phase `phase` begins with that."""

    experiment: str
    phase: str
    opens: bool = False

    @property
    def words(self) -> str:
        begins = f", phase {self.phase}, which begins" if self.opens else ""
        return f"look at the data of {self.experiment}{begins}"


@dataclass(frozen=True, slots=True)
class CommitRecords(Step):
    """Commit what came out for a resource, under `registry/`."""

    address: Address

    @property
    def words(self) -> str:
        return f"commit the record of {self.address}"


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the next attempt begins: the folder of a whole checkpoint, or None for the start."""

    checkpoint: Path | None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
