"""The steps that register a version, add its merged weights, and label it."""

from __future__ import annotations

from dataclasses import replace

from ftops.errors import Diagnostic, ExternalError
from ftops.models.record import ModelRecord
from ftops.models.results import labelled, model_record, with_merged
from ftops.models.spec import Model
from ftops.plan.changes import Change
from ftops.plan.steps import AddMerged, LabelVersion, RegisterVersion
from ftops.resources.work import Work
from ftops.training.record import RunRecord
from ftops.training.sweep.chosen import stands_for


def register(work: Work, change: Change, step: RegisterVersion) -> str:
    source = work.specs.get(Model, step.model).spec.versions[step.version].run
    source, identity = stands_for(work, source, step.run_id)
    step = replace(step, run_id=identity)
    run = work.records.get(RunRecord.path_of(source))
    if not isinstance(run, RunRecord):
        raise ExternalError(Diagnostic(f"{step.run_id} has no record: nothing to register as {step.version}"))
    record = model_record(step, run, work.observed.commit)
    work.pending[record.path] = record
    return f"{step.model}@{step.version}, {record.status.size:,} bytes"


def add_merged(work: Work, change: Change, step: AddMerged) -> str:
    record = with_merged(_version(work, step), work.store)
    work.pending[record.path] = record
    return "" if record.status.merged is None else f"{record.status.merged.size:,} bytes"


def label(work: Work, change: Change, step: LabelVersion) -> str:
    record = labelled(_version(work, step), step)
    work.pending[record.path] = record
    return ", ".join(step.aliases) or "no alias"


def _version(work: Work, step: AddMerged | LabelVersion) -> ModelRecord:
    """The record of a version as it is written next, or as it is."""
    path = ModelRecord.path_of(step.model, step.version)
    record = work.pending.get(path) or work.records.get(path)
    if not isinstance(record, ModelRecord):
        raise ExternalError(Diagnostic(f"{path} is gone"))
    return record
