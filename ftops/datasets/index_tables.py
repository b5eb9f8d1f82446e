"""The tables of the SQL index that hold the records of data sets, and the rows of a record."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ftops.datasets.record import DatasetRecord
from ftops.resources.index_table import JSON, OURS, TIME, columns, key, same, time_of
from ftops.resources.kind import IndexTables, Row

DATASETS: Final = sa.Table(
    "training_datasets",
    OURS,
    key("name"),
    *columns(sa.Text, "digest", "phase", "record", needed=True),
    *columns(sa.BigInteger, "train_rows", "validation_rows", "test_rows"),
    *columns(sa.BigInteger, "read_rows", "invalid_rows", "dropped_rows", "masked_rows", "kept_rows"),
    *columns(sa.Boolean, "valid"),
    *columns(sa.Double, "score"),
    *columns(JSON, "splits", "statistics", "checks", "found", "sources", "inputs"),
    *columns(TIME, "prepared_at"),
    *columns(sa.Text, "input_commit"),
)


def _row(record: DatasetRecord) -> Row:
    status, report = record.status, record.status.report
    written = {f"{side}_rows": split.rows for side, split in report.splits.items()}
    counted = {f"{what}_rows": count for what, count in report.rows.model_dump().items()}
    return {
        **same(DATASETS, report.model_dump(mode="json")),
        **same(DATASETS, status.model_dump(mode="json", exclude={"report"})),
        **written,
        **counted,
        "score": report.score,
        "name": record.metadata.name,
        "prepared_at": time_of(status.prepared_at),
        "record": record.path,
    }


INDEX: Final[IndexTables[DatasetRecord]] = IndexTables((DATASETS,), lambda record: {DATASETS.name: [_row(record)]})
