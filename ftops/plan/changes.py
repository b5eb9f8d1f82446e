"""The values that several rooms share: addresses, changes, steps, runs, and what was observed.

Everything here is frozen and holds no behaviour but what follows from its own fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ftops.errors import Diagnostic
from ftops.plan.estimates import Cost, Estimate
from ftops.plan.observed import ExperimentState, VersionState
from ftops.plan.sweep_choice import Choice, Choose

Json = Any
"""A tree of dict, list, str, int, float, bool and None."""

API_VERSION: Final = "ftops/v1"
FORMAT_VERSION: Final = "1.0"


def canonical(value: Json) -> bytes:
    """The one encoding of a JSON tree that digests are taken of: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Json) -> str:
    """sha256 (64 hex digits) of the canonical encoding of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


class Address(NamedTuple):
    """`Kind/name`: how a resource is called everywhere."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """The address that `text` spells, or None."""
        kind, slash, name = text.partition("/")
        return cls(kind, name) if slash and kind and name and "/" not in name else None


# --------------------------------------------------------------------------------------------------- runs


class RunState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def run_id(name: str, run_digest: str) -> str:
    """The identity of one training of one digest; attempts count within it."""
    return f"{name}-{run_digest[:12]}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the store of this machine knows it: its last attempt, and where that one stands. `checkpoint` is the step of the
    last whole checkpoint, `detail` why it failed; `rerun_after` as in `Train`."""

    id: str
    name: str
    digest: str
    attempt: int
    state: RunState
    step: int | None = None
    max_steps: int | None = None
    checkpoint: int | None = None
    detail: str = ""
    rerun_after: int = 0


# ------------------------------------------------------------------------------------------------- changes


class Action(StrEnum):
    NOOP = "noop"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


class ChangeClass(StrEnum):
    """What a change costs, from nothing to a whole training."""

    NOOP = "noop"
    REGISTER = "register"
    ANALYZE = "analyze"
    PREPARE = "prepare"
    RESUME = "resume"
    RETRAIN = "retrain"


@dataclass(frozen=True, slots=True)
class Reason:
    """A field that differs, and how. For people: apply decides nothing by it."""

    field: str
    before: Json
    after: Json


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


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows of a source differ from those that were recorded; `changed` ones have the same prompt and another answer."""

    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one resource, and why.

    `inputs` is the meaning that `digest` was taken of; `needs` are the addresses that must be done before.
    A no-op has a reason too, in `note`; `advice` is what a person should decide although nothing has to be done.
    `rows` says how the rows of a data set differ from the recorded ones, or why they were not compared; None where there is
    nothing to compare. `same_rows` are digests that a data set had before, with the same rows and another report. `held`: it
    was stopped, or waits for what was. `chosen` is the member that a sweep stands for, with the digest of its run; empty where none
    is chosen yet, None for what is no sweep.
    """

    address: Address
    action: Action
    change_class: ChangeClass
    reasons: tuple[Reason, ...] = ()
    steps: tuple[Step, ...] = ()
    needs: tuple[Address, ...] = ()
    note: str = ""
    advice: tuple[str, ...] = ()
    estimate: Estimate | None = None
    cost: Cost | None = None
    digest: str | None = None
    inputs: Json = None
    rows: RowChanges | str | None = None
    same_rows: tuple[str, ...] = ()
    held: bool = False
    chosen: str | None = None

    @property
    def is_noop(self) -> bool:
        return self.action is Action.NOOP

    @property
    def run_id(self) -> str:
        """The run that a TrainingRun stands for; its name alone where that is not known yet."""
        name = self.chosen or self.address.name
        return run_id(name, self.digest) if self.digest else name


@dataclass(frozen=True, slots=True)
class Seal:
    """What a plan was made from; a saved plan is refused when any of it moved.

    Each mapping goes from a name that people know (an address, a path) to a digest.
    """

    commit: str | None
    specs: Mapping[str, str]
    data: Mapping[str, str]
    configs: Mapping[str, str]
    engine: str
    records: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of changes: what a change needs stands before it."""

    changes: tuple[Change, ...]
    seal: Seal | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_changes(self) -> bool:
        return any(not change.is_noop for change in self.changes)


# ------------------------------------------------------------------------------------------------ observed


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
    """What the record of a data set says. `pruned`: its prepared rows were removed on purpose. `same_rows`: see `Change`;
    `train_rows` are those of its train split."""

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

    `sources` by path, `datasets`, `runs`, `sweeps` and `experiments` by resource name, `versions` by model name and version; `live` holds the
    runs that the store of this machine knows, by run id; `templates` the text of each user's own template by its path;
    `prepared` and `made` what the store has at hand: data and base models by digest;
    `records` the digest of each record's text by its path; `changed` what to say of a source whose content is at hand
    and is not what its pointer says.
    """

    sources: Mapping[str, Source] = field(default_factory=dict)
    datasets: Mapping[str, DatasetState] = field(default_factory=dict)
    runs: Mapping[str, RunHistory] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, VersionState]] = field(default_factory=dict)
    experiments: Mapping[str, ExperimentState] = field(default_factory=dict)
    sweeps: Mapping[str, Choice] = field(default_factory=dict)
    live: Mapping[str, Run] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    prepared: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    commit: str | None = None
    dirty: bool = False
    records: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, Diagnostic] = field(default_factory=dict)
