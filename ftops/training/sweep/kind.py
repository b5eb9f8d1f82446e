"""The kind Sweep: what a document of a TrainingRun with `sweep` makes beside its members."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.plan.run import run_id
from ftops.plan.standing import Standing
from ftops.resources.kind import IndexTables, Kind, Outcome, Records, Surveyed
from ftops.training.spec.references import check_runs
from ftops.training.sweep.members import Sweep

if TYPE_CHECKING:
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.resources.work import Work
    from ftops.training.sweep.record import SweepRecord


@cache
def _records() -> Records[SweepRecord]:
    from ftops.training.sweep.record import SweepRecord, fold, merge_choices

    return Records(SweepRecord, fold, merge_choices)


def _index() -> IndexTables[SweepRecord]:
    from ftops.training.sweep.index_tables import INDEX

    return INDEX


def _outcome(work: Work, change: Change) -> Outcome:
    from ftops.training.sweep.record import SweepRecord

    records = list(work.pending.values())
    best = next((each.choice.best for each in records if isinstance(each, SweepRecord)), None)
    trailers = {} if best is None else {"Ftops-Run": run_id(best.name, best.digest)}
    return Outcome(records, f"chose {'nothing' if best is None else best.name}", trailers)


def _standing(address: Address, surveyed: Surveyed) -> Standing:
    """It has chosen, could not, or has not begun to."""
    choice = surveyed.observed.sweeps.get(address.name)
    if choice is None or choice.best is None:
        return Standing(address, "pending" if choice is None else "failed")
    return Standing(address, "chosen", run_id(choice.best.name, choice.best.digest))


SWEEP: Final = Kind(Sweep, "sweeps", _records, _index, _outcome, _standing, check_runs, declared=False)
