"""The tables of the SQL index that hold the records of model versions, and the rows of a record."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ftops.models.record import ModelRecord
from ftops.plan.run import run_id
from ftops.resources.index_table import JSON, OURS, TIME, columns, job_column, key, same, time_of
from ftops.resources.kind import IndexTables, Row

VERSIONS: Final = sa.Table(
    "model_registry",
    OURS,
    key("name"),
    key("version"),
    job_column(primary_key=False),
    *columns(sa.Text, "phase", "run", "run_digest", "method", "output", "mlflow", "record", needed=True),
    *columns(sa.Text, "data_digest", "config_digest", needed=True),
    *columns(sa.BigInteger, "size", needed=True),
    *columns(sa.Text, "merged_output"),
    *columns(sa.BigInteger, "merged_size"),
    *columns(JSON, "aliases", "tags", "base_model", "weights", "merged_weights"),
    *columns(TIME, "registered_at"),
    *columns(sa.Text, "input_commit"),
)


def _row(record: ModelRecord) -> Row:
    status = record.status
    tree = status.model_dump(mode="json")
    return {
        **same(VERSIONS, tree),
        "name": record.metadata.name,
        "version": record.metadata.version,
        "job": run_id(status.run, status.run_digest),
        "data_digest": status.digests.data,
        "config_digest": status.digests.config,
        "weights": tree["digests"]["weights"],
        **{f"merged_{name}": each for name, each in (tree["merged"] or {}).items()},
        "registered_at": time_of(status.registered_at),
        "record": record.path,
    }


INDEX: Final[IndexTables[ModelRecord]] = IndexTables((VERSIONS,), lambda record: {VERSIONS.name: [_row(record)]})
