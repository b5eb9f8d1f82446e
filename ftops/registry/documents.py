"""What people read of a record, beside it."""

from __future__ import annotations

from ftops.datasets.record import DatasetRecord
from ftops.datasets.report.page import dataset_documents
from ftops.experiments.record import ExperimentRecord
from ftops.experiments.report.page import experiment_documents
from ftops.resources.record import Record
from ftops.training.record import RunRecord
from ftops.training.report.documents import run_documents


def documents(record: Record) -> dict[str, bytes]:
    """What people read of a record, beside it, by path."""
    match record:
        case DatasetRecord():
            return dataset_documents(record)
        case ExperimentRecord():
            return experiment_documents(record)
        case RunRecord():
            return run_documents(record)
        case _:
            return {}
