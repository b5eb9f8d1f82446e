"""The step that commits what came out for a resource."""

from __future__ import annotations

from collections.abc import Iterable

from ftops import tracking
from ftops.datasets.results import dataset_record
from ftops.errors import Diagnostic, ExternalError
from ftops.experiments.apply import outcome_text
from ftops.models.record import ModelRecord
from ftops.models.spec import ARCHIVED
from ftops.plan.changes import Change
from ftops.plan.run import run_id
from ftops.reconcile.write_back import WriteBack
from ftops.resources.record import Record
from ftops.resources.work import Work
from ftops.training import results
from ftops.training.record import RunRecord, RunStatus
from ftops.training.sweep.record import SweepRecord


def commit(write_back: WriteBack, work: Work, change: Change) -> str:
    """Writes what came out for a resource; its records are built from what the store holds."""
    address, trailers = change.address, {}
    match address.kind:
        case "Dataset":
            records: list[Record] = [dataset_record(change, work.workspace, work.observed)]
            subject = f"{address} prepared"
        case "TrainingRun" if change.selected_member is not None:
            records = list(work.pending.values())
            best = next((each.choice.best for each in records if isinstance(each, SweepRecord)), None)
            trailers = {} if best is None else {"Ftops-Run": run_id(best.name, best.digest)}
            subject = f"{address} chose {'nothing' if best is None else best.name}"
        case "TrainingRun":
            run = _run_record(work, change)
            records = [run]
            trailers = {"Ftops-Run": run_id(address.name, change.digest or "")}
            subject = f"{address} {run.status.phase}"
        case "Experiment":
            records = list(work.pending.values())
            subject = f"{address} {', '.join(outcome_text(each) for each in records)}"
        case _:
            records = list(work.pending.values())
            subject = f"{address} registered: {', '.join(_version_of(each) for each in records)}"
    said = write_back.write(records, f"ftops: {subject}", trailers)
    if address.kind == "Model":
        ask_for_versions(work, records)
    return said


def _run_record(work: Work, change: Change) -> RunRecord:
    """The run's record from the store; a run that only git remembers keeps its entry and becomes the current one."""
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


def _version_of(record: Record) -> str:
    return record.metadata.version if isinstance(record, ModelRecord) else record.metadata.name


def ask_for_versions(work: Work, records: Iterable[Record]) -> None:
    """Asks for the versions, as they are labelled now, to be seen in MLflow."""
    for record in records:
        if isinstance(record, ModelRecord):
            aliases = tuple(alias for alias in record.status.aliases if alias != ARCHIVED)
            tracking.request_version(
                work.store.root,
                tracking.ModelTracking(
                    name=record.metadata.name,
                    version=record.metadata.version,
                    run_id=record.status.run_id,
                    weights=record.status.output,
                    merged=None if (merged := record.status.merged) is None else merged.output,
                    aliases=aliases,
                    tags=record.status.tags,
                    archived=ARCHIVED in record.status.aliases,
                ),
            )
