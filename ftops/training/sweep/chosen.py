"""Which run a name stands for, where a sweep may have chosen it just now."""

from __future__ import annotations

from ftops.resources.work import Work
from ftops.training.spec.training_run import run_address
from ftops.training.sweep.record import SweepRecord


def stands_for(work: Work, run: str, run_id: str) -> tuple[str, str]:
    """The name and the id of the run that `run` stands for: of a sweep the member that it chose, perhaps just now."""
    change = work.changes.get(run_address(run))
    swept = work.records.get(SweepRecord.path_of(run))
    if change is None or change.selected_member is None or not isinstance(swept, SweepRecord):
        return run, run_id
    return swept.status.chosen or run, swept.status.run_id or run_id
