"""The record of a training: its runs, and how two accounts of one become one."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from ftops.digests import Json
from ftops.errors import Diagnostic, RecordConflict, Where
from ftops.plan.observed import RunHistory, TrainedRun
from ftops.plan.run import TERMINAL, RunState
from ftops.resources.fields import Strict
from ftops.resources.kind import Kept
from ftops.resources.record import Digest, FileEntry, Record
from ftops.training.axolotl.failure_classes import Fault


class CheckpointEntry(Strict):
    """A checkpoint that an attempt left: its bytes, what was measured at its step, and why it must not be used, if so."""

    size: int
    metrics: dict[str, float] = Field(default_factory=dict)
    torn: str | None = None


class Attempt(Strict):
    """One process of a run: how far it came, how it ended, and the checkpoints that it left, by step."""

    phase: RunState
    started_at: str | None = None
    ended_at: str | None = None
    step: int | None = None
    resumed_from: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    fault: Fault | None = None
    reason: str | None = None
    checkpoints: dict[str, CheckpointEntry] | None = None


class Sample(Strict):
    """A prompt, what the data answer, and what the model answered before and after the training, as far as it did."""

    prompt: str
    reference: str
    before: str | None = None
    after: str | None = None


class Samples(Strict):
    """Rows of a split, and what a model made of them."""

    split: Literal["validation", "train"]
    rows: tuple[Sample, ...]


class RunEntry(Strict):
    """One training of one digest. A person asked to train it again after attempt `rerun_after`, if any."""

    id: str
    phase: RunState
    inputs: Json
    engine: str
    config_digest: Digest
    attempts: dict[str, Attempt]
    steps: int | None = None
    max_steps: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    output: str | None = None
    weights: dict[str, FileEntry] = Field(default_factory=dict)
    samples: Samples | None = None
    rerun_after: int | None = None
    input_commit: str | None = None

    @property
    def final_attempt(self) -> int:
        """The attempt whose result is the run's; 0 where it has none."""
        return 0 if self.output is None else int(self.output.split("/attempt-")[1].partition("/")[0])

    @property
    def measured(self) -> dict[str, float]:
        """The metrics of what the run ends with, as its evaluation names them: those of its best checkpoint, where the run ends
        with that, else the last ones. Empty where it has no result."""
        last = self.attempts.get(str(self.final_attempt))
        if last is None:
            return {}
        names = {"loss": "loss", "evalLoss": "eval_loss"}
        found = {names[name]: value for name, value in self.metrics.items() if name in names}
        saved = [
            each.metrics for _, each in sorted((int(step), each) for step, each in (last.checkpoints or {}).items())
        ]
        newest = {name: value for metrics in saved for name, value in metrics.items()} | found
        if (best := self.inputs.get("best")) is None:
            return newest
        name, way = best["metric"], min if best["mode"] == "min" else max
        known = [metrics for metrics in saved if name in metrics]
        return newest | (way(known, key=lambda metrics: metrics[name]) if known else {})


class RunStatus(Strict):
    phase: RunState
    current: Digest
    runs: dict[Digest, RunEntry]


class RunRecord(Record):
    folder: ClassVar = "runs"

    kind: Literal["RunRecord"] = "RunRecord"
    status: RunStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return tuple(entry.input_commit for entry in self.status.runs.values())


def merge_runs(tip: RunRecord, mine: RunRecord) -> RunRecord:
    runs = dict(tip.status.runs)
    for digest, entry in mine.status.runs.items():
        runs[digest] = _merge_entry(runs[digest], entry, mine.path) if digest in runs else entry
    current = mine.status.current
    return tip.model_copy(update={"status": RunStatus(phase=runs[current].phase, current=current, runs=runs)})


def _merge_entry(tip: RunEntry, mine: RunEntry, path: str) -> RunEntry:
    """The account that knows the later attempt, with the attempts of both; a success stands whatever comes later, but for
    another one that was asked for."""
    succeeded = tip.phase is mine.phase is RunState.SUCCEEDED
    if succeeded and mine.weights != tip.weights and not (_replaces(mine, tip) or _replaces(tip, mine)):
        raise RecordConflict(
            Diagnostic(
                f"{path}: {mine.id} was trained twice with different weights",
                hint="keep one: the committed record stands; the other result stays in the store of its machine",
                where=Where(path),
            )
        )
    attempts = dict(tip.attempts)
    for number, attempt in mine.attempts.items():
        there = attempts.get(number)
        attempts[number] = attempt if there is None or _says_more(_weight(attempt), _weight(there)) else there
    stands = succeeded and mine.output == tip.output  # whatever attempts came later
    entry = mine if not stands and _says_more(_weight(mine), _weight(tip)) else tip
    return entry.model_copy(update={"attempts": attempts})


def _replaces(newer: RunEntry, older: RunEntry) -> bool:
    """Whether `newer` was trained again on purpose, knowing the result of `older`."""
    return 0 < older.final_attempt <= (newer.rerun_after or 0) < newer.final_attempt


def _weight(account: RunEntry | Attempt) -> tuple[bool, int, bool]:
    """What of two accounts decides which stands: a success, the number of the last attempt, then whether it has ended."""
    attempts = account.attempts if isinstance(account, RunEntry) else {}
    last = max((int(number) for number in attempts), default=0)
    return account.phase is RunState.SUCCEEDED, last, account.phase in TERMINAL


def _says_more(mine: tuple[bool, int, bool], tip: tuple[bool, int, bool]) -> bool:
    """Between equals the newer account of what goes on, and the first one of an end: that is written once."""
    return mine > tip or (mine == tip and not tip[-1])


def history(record: RunRecord) -> RunHistory:
    """What planning needs of the record of a run."""
    return RunHistory(record.status.current, {key: _trained(key, entry) for key, entry in record.status.runs.items()})


def _trained(key: str, entry: RunEntry) -> TrainedRun:
    last = max((int(number) for number in entry.attempts), default=0)
    attempt = entry.attempts.get(str(last), Attempt(phase=entry.phase))
    seconds = None
    if attempt.started_at is not None and attempt.ended_at is not None:
        seconds = (
            datetime.fromisoformat(attempt.ended_at) - datetime.fromisoformat(attempt.started_at)
        ).total_seconds()
    memory = entry.metrics.get("memoryGib")
    used = None if memory is None else round(memory * 2**30)
    return TrainedRun(key, entry.inputs, entry.phase, last, attempt.reason or "", seconds, used, entry.measured)


def fold(known: dict[str, RunHistory], record: RunRecord) -> None:
    known[record.metadata.name] = history(record)


def instead(tip: RunRecord, mine: RunRecord) -> RunRecord:
    """`mine`, with the runs that only `tip` knows."""
    runs = {**tip.status.runs, **mine.status.runs}
    return mine.model_copy(update={"status": mine.status.model_copy(update={"runs": runs})})


def kept(record: RunRecord) -> Kept:
    """Its runs, and what those that succeeded left."""
    runs = record.status.runs.values()
    return Kept({each.id: each.inputs for each in runs}, frozenset(each.output for each in runs if each.output))
