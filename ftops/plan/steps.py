"""The steps of a change: a closed union, worded by `step_text` and done by `reconcile.apply`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ftops.plan.address import Address


@dataclass(frozen=True, slots=True)
class Choose:
    """Choose the best member of the sweep `sweep` by what their records measured."""

    sweep: str
    metric: str
    mode: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the next attempt begins: the folder of a whole checkpoint, or None for the start."""

    checkpoint: Path | None


@dataclass(frozen=True, slots=True)
class FetchData:
    """Bring the files of `paths` (tracked by DVC) into the work tree."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrepareData:
    """Read, check, split and write a data set; its content address in the store is `digest`."""

    dataset: str
    digest: str


@dataclass(frozen=True, slots=True)
class MixData:
    """Put several prepared data sets together, as `run` weighs them."""

    run: str
    digest: str


@dataclass(frozen=True, slots=True)
class MakeBaseModel:
    """Make the small random model and its tokenizer that an `{init: …}` base model stands for."""

    run: str
    digest: str


@dataclass(frozen=True, slots=True)
class Train:
    """Train run `run_id`: attach to it, collect it, resume it, or start it, by what its folder in the store holds.

    `resume_run` names an earlier run whose last whole checkpoint this one goes on from (`onChange: resume`). A person asked to
    train it again after attempt `rerun_after`: what those up to it left counts for nothing; 0 where nobody did."""

    run: str
    run_id: str
    digest: str
    resume_run: str | None = None
    rerun_after: int = 0


@dataclass(frozen=True, slots=True)
class MergeWeights:
    """Merge the adapter that `run_id`, a run of `run`, ended with into its base model; the one in the folder `output` of the
    store, where that is said."""

    run: str
    run_id: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterVersion:
    """Make version `version` of `model` from the result of run `run_id`."""

    model: str
    version: str
    run_id: str


@dataclass(frozen=True, slots=True)
class AddMerged:
    """Add the merged weights of its adapter to version `version` of `model`."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """Give version `version` of `model` these aliases and tags, and no others."""

    model: str
    version: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Analyze:
    """Look at the logs of `experiment` as they are now, in its phase `phase`; `opens` when that phase begins."""

    experiment: str
    phase: str
    opens: bool = False


@dataclass(frozen=True, slots=True)
class CommitRecords:
    """Write what came out for `address` as a commit under registry/."""

    address: Address


Step = (
    FetchData
    | PrepareData
    | MixData
    | MakeBaseModel
    | Train
    | MergeWeights
    | RegisterVersion
    | AddMerged
    | LabelVersion
    | Analyze
    | Choose
    | CommitRecords
)
"""One thing to do. A closed union: only apply.py acts on it, render.py words it."""
