"""The steps that register versions and look at experiments, and the one that commits what came out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ftops import tracking
from ftops.errors import Diagnostic, ExternalError
from ftops.experiments.interim_analysis import take_look
from ftops.experiments.record import ExperimentRecord
from ftops.models.spec import ARCHIVED
from ftops.plan.apply_events import Notice
from ftops.plan.changes import AddMerged, Analyze, Change, LabelVersion, RegisterVersion, run_id
from ftops.registry.record_files import Record
from ftops.resources.work import Work
from ftops.training import results
from ftops.training.record import FOLDER, ModelRecord, RunRecord, RunStatus
from ftops.training.sweep.record import SweepRecord


def register(work: Work, step: RegisterVersion) -> str:
    source = work.model(step.model).spec.versions[step.version].run
    source, identity = work.stands_for(source, step.run_id)
    step = replace(step, run_id=identity)
    run = work.write_back.records.get(f"{FOLDER}runs/{source}.yaml")
    if not isinstance(run, RunRecord):
        raise ExternalError(Diagnostic(f"{step.run_id} has no record: nothing to register as {step.version}"))
    record = results.model_record(step, run, work.observed.commit)
    work.pending[record.path] = record
    return f"{step.model}@{step.version}, {record.status.size:,} bytes"


def add_merged(work: Work, step: AddMerged) -> str:
    record = results.with_merged(_version(work, step), work.store)
    work.pending[record.path] = record
    return "" if record.status.merged is None else f"{record.status.merged.size:,} bytes"


def label(work: Work, step: LabelVersion) -> str:
    record = results.labelled(_version(work, step), step)
    work.pending[record.path] = record
    return ", ".join(step.aliases) or "no alias"


def _version(work: Work, step: AddMerged | LabelVersion) -> ModelRecord:
    """The record of a version as it is written next, or as it is."""
    path = f"{FOLDER}models/{step.model}/{step.version}.yaml"
    record = work.pending.get(path) or work.write_back.records.get(path)
    if not isinstance(record, ModelRecord):
        raise ExternalError(Diagnostic(f"{path} is gone"))
    return record


def look(work: Work, change: Change, step: Analyze) -> str:
    """Looks at the data of an experiment as it is now; tells what a person should decide."""
    experiment = work.experiment(step.experiment)
    before = work.write_back.records.get(f"{FOLDER}experiments/{step.experiment}.yaml")
    if before is not None and not isinstance(before, ExperimentRecord):
        raise ExternalError(Diagnostic(f"{before.path} is no record of an experiment"))
    record = take_look(work.workspace, experiment, change, step, before, lambda text: work.tell(Notice(text)))
    status = record.status.model_copy(update={"input_commit": work.observed.commit})
    if before is not None and status.model_copy(update={"input_commit": before.status.input_commit}) == before.status:
        status = before.status  # the same found from the same: no commit that says only that it was looked for again
    record = record.model_copy(update={"status": status})
    work.pending[record.path] = record
    for proposal in record.status.proposals:
        work.tell(Notice("\n".join((f"proposed: {proposal.why}", *proposal.diff.splitlines()))))
    return ": ".join((_found(record), *(() if record.look is None else record.look.reasons[:1])))


def commit(work: Work, change: Change) -> str:
    """Writes what came out for a resource; its records are built from what the store holds."""
    address, trailers = change.address, {}
    match address.kind:
        case "Dataset":
            records: list[Record] = [results.dataset_record(change, work.workspace, work.observed)]
            subject = f"{address} prepared"
        case "TrainingRun" if change.chosen is not None:
            records = list(work.pending.values())
            best = next((each.choice.best for each in records if isinstance(each, SweepRecord)), None)
            trailers = {} if best is None else {"Ftops-Run": run_id(best.name, best.digest)}
            subject = f"{address} chose {'nothing' if best is None else best.name}"
        case "TrainingRun":
            records = [_run_record(work, change)]
            trailers = {"Ftops-Run": run_id(address.name, change.digest or "")}
            subject = f"{address} {records[0].status.phase}"
        case "Experiment":
            records = list(work.pending.values())
            subject = f"{address} {', '.join(_found(each) for each in records)}"
        case _:
            records = list(work.pending.values())
            subject = f"{address} registered: {', '.join(_version_of(each) for each in records)}"
    said = work.write_back.write(records, f"ftops: {subject}", trailers)
    if address.kind == "Model":
        _ask_for_versions(work, records)
    return said


def _run_record(work: Work, change: Change) -> RunRecord:
    """The run's record from the store; a run that only git remembers keeps its entry and becomes the current one."""
    name, identity = change.address.name, change.digest or ""
    if work.store.read_run(run_id(name, identity)) is not None:
        return results.run_record(name, identity, work.store)
    there = work.write_back.records.get(f"{FOLDER}runs/{name}.yaml")
    if not isinstance(there, RunRecord):
        raise ExternalError(Diagnostic(f"{run_id(name, identity)} is gone from the store"))
    entry = there.status.runs[identity]
    return RunRecord(
        metadata=there.metadata, status=RunStatus(phase=entry.phase, current=identity, runs={identity: entry})
    )


def _version_of(record: Record) -> str:
    return record.metadata.version if isinstance(record, ModelRecord) else record.metadata.name


def _found(record: Record) -> str:
    """What a commit's subject says of an experiment: its verdict, or that it began or ended."""
    if not isinstance(record, ExperimentRecord):
        raise TypeError(f"{record.path} is no record of an experiment")
    ended = record.status.conclusion
    verdict = "started" if record.look is None else f"look {record.look.number}: {record.look.verdict}"
    return verdict if ended is None else f"{record.status.phase}: {ended.verdict or 'no data'}"


def _ask_for_versions(work: Work, records: Iterable[Record]) -> None:
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
