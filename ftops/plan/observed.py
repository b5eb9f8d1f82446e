"""What the records of versions and experiments say, as planning needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ftops.digests import Json
from ftops.errors import Diagnostic
from ftops.plan.run import Run, RunState
from ftops.plan.sweep_choice import Choice


@dataclass(frozen=True, slots=True)
class VersionState:
    """What the record of a model version says. A version is immutable but for its aliases and tags, and that `merged` weights
    may be added. `output` is the folder in the store of what its run left."""

    run: str
    run_digest: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    output: str | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """What the record of an experiment says: what was declared, how far its current phase is, and what was found.

    `looks` counts those of the current phase, `fraction` is the part of the target that it reached, `traffic` new units
    a day, `mean` the mean of the primary metric in the baseline, `proposals` what a person was asked to decide.
    """

    state: str
    inputs: Any
    phase: str
    looks: int = 0
    fraction: float = 0.0
    traffic: float | None = None
    mean: float | None = None
    verdict: str | None = None
    decided: bool = False
    proposals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """The identity of a file or folder that a spec names.

    `digest` is what the content is (`sha256:…`, or `md5:…` where a DVC pointer says so), None where it can't be known.
    `pointer` is the digest of the DVC pointer that covers it. `present` says if the content is at hand.
    """

    path: str
    digest: str | None
    pointer: str | None = None
    present: bool = True


@dataclass(frozen=True, slots=True)
class DatasetState:
    """What the record of a data set says. `pruned`: its prepared rows were removed on purpose. `same_rows` are the digests that
    it had before with the same rows: see `DatasetDetails`. `train_rows` are those of its train split."""

    digest: str
    inputs: Json
    sources: Mapping[str, Source] = field(default_factory=dict)
    pruned: bool = False
    same_rows: tuple[str, ...] = ()
    train_rows: int | None = None


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """One run of a record: what it was made from, how it ended, how many seconds its last attempt took, the most memory (bytes of
    a GPU, or of the process where there was none), and the metrics of what it ends with."""

    digest: str
    inputs: Json
    phase: RunState
    attempts: int = 0
    detail: str = ""
    seconds: float | None = None
    memory: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunHistory:
    """The record of a TrainingRun: its runs by digest, and the one that its spec stood for last."""

    current: str
    runs: Mapping[str, TrainedRun]


@dataclass(frozen=True, slots=True)
class Observed:
    """What exists now, read once before planning.

    `sources` by path; `states` what the records say, by the folder of their kind and by the name of the resource (the properties
    have them typed); `live` holds the runs that the store of this machine knows, by run id; `templates` the text of each user's own template by its path;
    `prepared` and `made` what the store has at hand: data and base models by digest;
    `records` the digest of each record's text by its path; `changed` what to say of a source whose content is at hand
    and is not what its pointer says.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    live: Mapping[str, Run] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    commit: str | None = None
    dirty: bool = False
    records: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, Diagnostic] = field(default_factory=dict)

    @property
    def datasets(self) -> Mapping[str, DatasetState]:
        return self.states.get("datasets", {})

    @property
    def runs(self) -> Mapping[str, RunHistory]:
        return self.states.get("runs", {})

    @property
    def sweeps(self) -> Mapping[str, Choice]:
        return self.states.get("sweeps", {})

    @property
    def versions(self) -> Mapping[str, Mapping[str, VersionState]]:
        """By the name of the model, then by version."""
        return self.states.get("models", {})

    @property
    def experiments(self) -> Mapping[str, ExperimentState]:
        return self.states.get("experiments", {})
