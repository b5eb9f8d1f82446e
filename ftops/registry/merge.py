"""How two accounts of one thing become one record, so that nothing that others wrote is lost."""

from __future__ import annotations

from typing import Final

from ftops.errors import Diagnostic, ExternalError, Where
from ftops.experiments.record import ExperimentRecord
from ftops.plan.changes import RunState
from ftops.registry.record_files import Record
from ftops.training.record import Attempt, DatasetRecord, ModelRecord, RunEntry, RunRecord, RunStatus
from ftops.training.sweep.record import SweepRecord

_TERMINAL: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})


class RecordConflict(ExternalError):
    """Two records that can't both be true; caught where results are pushed, to make a branch of them."""


def merge(tip: Record | None, mine: Record) -> Record:
    """`mine` on top of what stands at the newest tip, by key, so that nothing that others wrote is lost.

    Raises RecordConflict where both claim another result for the same thing.
    """
    match tip, mine:
        case None, _:
            return mine
        case DatasetRecord(), DatasetRecord():
            return _merge_datasets(tip, mine)
        case RunRecord(), RunRecord():
            return _merge_runs(tip, mine)
        case SweepRecord(), SweepRecord():
            return tip if tip.choice == mine.choice else mine
        case ModelRecord(), ModelRecord():
            return _merge_versions(tip, mine)
        case ExperimentRecord(), ExperimentRecord():
            return _merge_looks(tip, mine)
        case _:
            raise RecordConflict(
                Diagnostic(f"{mine.path}: another kind of record stands there", where=Where(mine.path))
            )


def _merge_datasets(tip: DatasetRecord, mine: DatasetRecord) -> DatasetRecord:
    """`mine`, unless it says the same, or prunes what is not the current version any more."""
    same = tip.status.digest == mine.status.digest
    if mine.status.phase == "pruned":
        return mine if same else tip
    splits = tip.status.report.splits == mine.status.report.splits
    return tip if same and splits and tip.status.phase == mine.status.phase else mine


def instead(tip: Record | None, mine: Record) -> Record:
    """What would stand if `mine` won where the two are in conflict, for a person to choose in a pull request."""
    if isinstance(tip, RunRecord) and isinstance(mine, RunRecord):
        runs = {**tip.status.runs, **mine.status.runs}
        return mine.model_copy(update={"status": mine.status.model_copy(update={"runs": runs})})
    return mine


def _merge_runs(tip: RunRecord, mine: RunRecord) -> RunRecord:
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
    return account.phase is RunState.SUCCEEDED, last, account.phase in _TERMINAL


def _says_more(mine: tuple[bool, int, bool], tip: tuple[bool, int, bool]) -> bool:
    """Between equals the newer account of what goes on, and the first one of an end: that is written once."""
    return mine > tip or (mine == tip and not tip[-1])


def _merge_looks(tip: ExperimentRecord, mine: ExperimentRecord) -> ExperimentRecord:
    """Every look of both; two that were taken at different data under one number can't both be that look."""
    phases = dict(tip.status.phases)
    for number, phase in mine.status.phases.items():
        there = phases.get(number)
        for look, found in phase.looks.items():
            other = None if there is None else there.looks.get(look)
            if other is not None and other.data_digest != found.data_digest:
                raise RecordConflict(
                    Diagnostic(
                        f"{mine.path}: look {look} of phase {number} was taken twice, at different data",
                        hint="keep the committed one and run `ftops apply` again: it takes the next look",
                        where=Where(mine.path),
                    )
                )
        looks = {} if there is None else there.looks
        phases[number] = phase.model_copy(update={"looks": {**looks, **phase.looks}})
    return mine.model_copy(update={"status": mine.status.model_copy(update={"phases": phases})})


def _merge_versions(tip: ModelRecord, mine: ModelRecord) -> ModelRecord:
    if tip.status.run_digest != mine.status.run_digest or tip.status.digests != mine.status.digests:
        raise RecordConflict(
            Diagnostic(
                f"{mine.path}: version {mine.metadata.version} is registered already, from {tip.status.run_id}",
                hint="a version never changes: register the other result under a new version",
                where=Where(mine.path),
            )
        )
    # Merged weights are added once; merging the same again gives other bytes on another machine.
    after = {
        "aliases": mine.status.aliases,
        "tags": mine.status.tags,
        "merged": tip.status.merged or mine.status.merged,
    }
    return tip.model_copy(update={"status": tip.status.model_copy(update=after)})
