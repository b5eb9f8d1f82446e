"""The kind Dataset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.datasets.spec import Dataset
from ftops.plan.standing import Standing
from ftops.resources.kind import IndexTables, Kind, Outcome, Records, Surveyed

if TYPE_CHECKING:
    from ftops.datasets.record import DatasetRecord
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.resources.work import Work


@cache
def _records() -> Records[DatasetRecord]:
    from ftops.datasets.record import DatasetRecord, fold, kept, merge_datasets

    return Records(DatasetRecord, fold, merge_datasets, documents=_documents, kept=kept)


def _documents(record: DatasetRecord) -> Mapping[str, bytes]:
    from ftops.datasets.report.page import dataset_documents  # Jinja

    return dataset_documents(record)


def _index() -> IndexTables[DatasetRecord]:
    from ftops.datasets.index_tables import INDEX

    return INDEX


def _outcome(work: Work, change: Change) -> Outcome:
    from ftops.datasets.results import dataset_record

    return Outcome([dataset_record(change, work.workspace, work.observed)], "prepared")


def _standing(address: Address, surveyed: Surveyed) -> Standing:
    recorded = surveyed.observed.datasets.get(address.name)
    return Standing(address, "pending" if recorded is None else "pruned" if recorded.pruned else "prepared")


DATASET: Final = Kind(Dataset, "datasets", _records, _index, _outcome, _standing)
