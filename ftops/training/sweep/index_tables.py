"""The table of the SQL index that holds the records of sweeps, and the row of a record."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ftops.resources.index_table import JSON, OURS, columns, key, same
from ftops.resources.kind import IndexTables, Row
from ftops.training.sweep.record import SweepRecord

SWEEPS: Final = sa.Table(
    "training_sweeps",
    OURS,
    key("name"),
    *columns(sa.Text, "phase", "metric", "mode", "why", "record", needed=True),
    *columns(sa.BigInteger, "may_fail", needed=True),
    *columns(sa.Text, "chosen", "run_id", "input_commit"),
    *columns(JSON, "members"),
)


def _row(record: SweepRecord) -> Row:
    return {
        **same(SWEEPS, record.status.model_dump(mode="json")),
        "name": record.metadata.name,
        "record": record.path,
    }


INDEX: Final[IndexTables[SweepRecord]] = IndexTables((SWEEPS,), lambda record: {SWEEPS.name: [_row(record)]})
