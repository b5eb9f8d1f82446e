"""How two accounts of one thing become one record, so that nothing that others wrote is lost."""

from __future__ import annotations

from ftops.datasets.record import DatasetRecord, merge_datasets
from ftops.errors import Diagnostic, RecordConflict, Where
from ftops.experiments.record import ExperimentRecord, merge_looks
from ftops.models.record import ModelRecord, merge_versions
from ftops.resources.record import Record
from ftops.training.record import RunRecord, merge_runs
from ftops.training.sweep.record import SweepRecord


def merge(tip: Record | None, mine: Record) -> Record:
    """`mine` on top of what stands at the newest tip, by key, so that nothing that others wrote is lost.

    Raises RecordConflict where both claim another result for the same thing.
    """
    match tip, mine:
        case None, _:
            return mine
        case DatasetRecord(), DatasetRecord():
            return merge_datasets(tip, mine)
        case RunRecord(), RunRecord():
            return merge_runs(tip, mine)
        case SweepRecord(), SweepRecord():
            return tip if tip.choice == mine.choice else mine
        case ModelRecord(), ModelRecord():
            return merge_versions(tip, mine)
        case ExperimentRecord(), ExperimentRecord():
            return merge_looks(tip, mine)
        case _:
            raise RecordConflict(
                Diagnostic(f"{mine.path}: another kind of record stands there", where=Where(mine.path))
            )


def instead(tip: Record | None, mine: Record) -> Record:
    """What would stand if `mine` won where the two are in conflict, for a person to choose in a pull request."""
    if isinstance(tip, RunRecord) and isinstance(mine, RunRecord):
        runs = {**tip.status.runs, **mine.status.runs}
        return mine.model_copy(update={"status": mine.status.model_copy(update={"runs": runs})})
    return mine
