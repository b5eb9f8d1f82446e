"""The kind TrainingRun."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.errors import Diagnostic, ExternalError
from ftops.plan.run import RunState, run_id
from ftops.plan.standing import Standing
from ftops.resources.kind import IndexTables, Kind, Outcome, Records, Surveyed
from ftops.training.spec.references import check_runs
from ftops.training.spec.training_run import TrainingRun

if TYPE_CHECKING:
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.resources.work import Work
    from ftops.training.record import RunRecord


@cache
def _records() -> Records[RunRecord]:
    from ftops.training.record import RunRecord, fold, instead, kept, merge_runs

    return Records(RunRecord, fold, merge_runs, instead, _documents, kept)


def _documents(record: RunRecord) -> Mapping[str, bytes]:
    from ftops.training.report.documents import run_documents  # Jinja

    return run_documents(record)


def _index() -> IndexTables[RunRecord]:
    from ftops.training.index_tables import INDEX

    return INDEX


def _outcome(work: Work, change: Change) -> Outcome:
    record = _run_record(work, change)
    trailers = {"Ftops-Run": run_id(change.address.name, change.digest or "")}
    return Outcome([record], record.status.phase, trailers)


def _run_record(work: Work, change: Change) -> RunRecord:
    """The run's record from the store; a run that only git remembers keeps its entry and becomes the current one."""
    from ftops.training import results
    from ftops.training.record import RunRecord, RunStatus

    name, identity = change.address.name, change.digest or ""
    if work.store.read_run(run_id(name, identity)) is not None:
        return results.run_record(name, identity, work.store)
    there = work.records.get(RunRecord.path_of(name))
    if not isinstance(there, RunRecord):
        raise ExternalError(Diagnostic(f"{run_id(name, identity)} is gone from the store"))
    entry = there.status.runs[identity]
    return RunRecord(
        metadata=there.metadata, status=RunStatus(phase=entry.phase, current=identity, runs={identity: entry})
    )


def _standing(address: Address, surveyed: Surveyed) -> Standing:
    run, history = surveyed.live.get(address.name), surveyed.observed.runs.get(address.name)
    if run is not None and (run.state is RunState.RUNNING or history is None):
        from ftops.training.follow import remaining_seconds

        eta = remaining_seconds(surveyed.store, run) if run.state is RunState.RUNNING else None
        return Standing(address, run.state.value, run.id, run.step, run.max_steps, eta)
    if history is None:
        return Standing(address, RunState.PENDING.value)
    return Standing(address, history.runs[history.current].phase.value, run_id(address.name, history.current))


TRAINING_RUN: Final = Kind(TrainingRun, "runs", _records, _index, _outcome, _standing, check_runs)
