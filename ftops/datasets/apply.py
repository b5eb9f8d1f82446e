"""The step that prepares a data set."""

from __future__ import annotations

from ftops.datasets.prepare.prepare import Origin, prepare
from ftops.datasets.spec import Dataset, dataset_address
from ftops.git import dvc
from ftops.plan.apply_events import DataProgress, Notice
from ftops.plan.changes import Change
from ftops.plan.steps import FetchData, PrepareData
from ftops.resources.work import Work, refuse_changed


def fetch_data(work: Work, change: Change, step: FetchData) -> str:
    dvc.pull(work.workspace.root, step.paths, lambda line: work.emit(Notice(line)))
    return f"{len(step.paths)} fetched"


def prepare_data(work: Work, change: Change, step: PrepareData) -> str:
    dataset = work.specs.get(Dataset, step.dataset)
    refuse_changed(work, dataset.address)
    prepared = prepare(
        dataset.spec,
        step.digest,
        _origin(work, dataset),
        work.store,
        lambda stage, done, total: work.emit(DataProgress(change.address, stage, done, total)),
        keep=_current(work),
    )
    for warning in prepared.report.warnings:
        work.emit(Notice(f"{dataset.address}: {warning}"))
    return ", ".join(f"{name} {split.rows:,}" for name, split in prepared.splits.items())


def _origin(work: Work, dataset: Dataset) -> Origin:
    """What the rows are made from, as it was planned, and the version of the record to compare them with."""
    recorded = work.observed.datasets.get(dataset.metadata.name)
    before = {} if recorded is None else recorded.sources
    return Origin(
        work.workspace.root,
        {path: work.observed.sources.get(path) for path in dataset.source_paths()},
        {name: work.store.data(work.changes[dataset_address(name)].digest or "") for name in dataset.spec.others},
        None if recorded is None else work.store.data(recorded.digest),
        {path: source.digest for path, source in before.items() if source.digest is not None and "://" in path},
    )


def _current(work: Work) -> set[str]:
    """The digests of the data sets as they are recorded, and as they are planned."""
    planned = {
        each.digest for address, each in work.changes.items() if address.kind == Dataset.kind_name and each.digest
    }
    return planned | {each.digest for each in work.observed.datasets.values()}
