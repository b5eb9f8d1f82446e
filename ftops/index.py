"""The SQL index: a copy of the records for those who query in SQL. Rebuilt whole at any time, and never the truth.

SQLAlchemy takes a while to import: import this module only where an index is configured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ftops.errors import Diagnostic, ExternalError, SpecError
from ftops.kinds.project import INDEX_URL, FromEnvironment
from ftops.records import DatasetRecord, ModelRecord, Record, RunEntry, RunRecord
from ftops.values import Json, digest, run_id

Counts = dict[str, int]
"""Rows by table."""
_Rows = dict[sa.Table, list[dict[str, Any]]]

_WAIT: Final = 60
"""Seconds that one rebuild waits for another."""
_CONNECT: Final = 10
_LOCK: Final = 0x66746F7073
"""PostgreSQL's advisory lock of all rebuilds in a database: "ftops" in ASCII."""

# ---------------------------------------------------------------------------------------------------- tables

_OURS: Final = sa.MetaData()
_JSON: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_TIME: Final = sa.DateTime(timezone=True)


def _of_job(*, primary_key: bool) -> sa.Column[str]:
    return sa.Column(
        "job", sa.Text, sa.ForeignKey("finetuning_jobs.id", ondelete="CASCADE"), primary_key=primary_key, index=True
    )


_MARK: Final = sa.Table("ftops_index", _OURS, sa.Column("shape", sa.Text, primary_key=True))
"""Says that the tables are ours to drop, and by which definition they were made."""

_DATASETS: Final = sa.Table(
    "training_datasets", _OURS,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("train_rows", sa.BigInteger),
    sa.Column("validation_rows", sa.BigInteger),
    sa.Column("test_rows", sa.BigInteger),
    sa.Column("splits", _JSON),
    sa.Column("statistics", _JSON),
    sa.Column("findings", _JSON),
    sa.Column("sources", _JSON),
    sa.Column("inputs", _JSON),
    sa.Column("prepared_at", _TIME),
    sa.Column("input_commit", sa.Text),
    sa.Column("record", sa.Text, nullable=False),
)  # fmt: skip

_JOBS: Final = sa.Table(
    "finetuning_jobs", _OURS,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("method", sa.Text),
    sa.Column("dataset_digest", sa.Text, index=True),
    sa.Column("base_model", _JSON),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("config_digest", sa.Text, nullable=False),
    sa.Column("inputs", _JSON),
    sa.Column("steps", sa.BigInteger),
    sa.Column("max_steps", sa.BigInteger),
    sa.Column("first_loss", sa.Double),
    sa.Column("loss", sa.Double),
    sa.Column("eval_loss", sa.Double),
    sa.Column("tokens_per_second", sa.Double),
    sa.Column("metrics", _JSON),
    sa.Column("output", sa.Text),
    sa.Column("weights", _JSON),
    sa.Column("started_at", _TIME),
    sa.Column("ended_at", _TIME),
    sa.Column("input_commit", sa.Text),
    sa.Column("record", sa.Text, nullable=False),
)  # fmt: skip

_ATTEMPTS: Final = sa.Table(
    "training_attempts", _OURS,
    _of_job(primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("step", sa.BigInteger),
    sa.Column("resumed_from", sa.Text),
    sa.Column("exit_code", sa.BigInteger),
    sa.Column("signal", sa.BigInteger),
    sa.Column("reason", sa.Text),
    sa.Column("started_at", _TIME),
    sa.Column("ended_at", _TIME),
)  # fmt: skip

_VERSIONS: Final = sa.Table(
    "model_registry", _OURS,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    _of_job(primary_key=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("run_digest", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("base_model", _JSON),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("data_digest", sa.Text, nullable=False),
    sa.Column("config_digest", sa.Text, nullable=False),
    sa.Column("weights", _JSON),
    sa.Column("output", sa.Text, nullable=False),
    sa.Column("mlflow", sa.Text, nullable=False),
    sa.Column("aliases", _JSON),
    sa.Column("tags", _JSON),
    sa.Column("registered_at", _TIME),
    sa.Column("input_commit", sa.Text),
    sa.Column("record", sa.Text, nullable=False),
)  # fmt: skip

_COPIES: Final = (_DATASETS, _JOBS, _ATTEMPTS, _VERSIONS)
"""Parents before their children."""

# ------------------------------------------------------------------------------------------------------ rows


def _rows(records: Mapping[str, Record]) -> _Rows:
    """What the tables hold; the same records, the same rows in the same order. Raises ValueError for a wrong time."""
    rows: _Rows = {table: [] for table in _COPIES}
    for _, record in sorted(records.items()):
        match record:
            case DatasetRecord():
                rows[_DATASETS].append(_dataset(record))
            case RunRecord():
                for key, entry in sorted(record.status.runs.items()):
                    _job(record, key, entry, rows)
            case ModelRecord():
                rows[_VERSIONS].append(_version(record))
    jobs = {row["id"] for row in rows[_JOBS]}
    for row in rows[_VERSIONS]:
        row["job"] = row["job"] if row["job"] in jobs else None
    return rows


def _dataset(record: DatasetRecord) -> dict[str, Any]:
    status = record.status
    tree = status.model_dump(mode="json", include={"digest", "phase", "splits", "statistics", "findings", "inputs"})
    counted = {f"{split}_rows": _field(status.splits.get(split), "rows") for split in ("train", "validation", "test")}
    sources = {path: entry.model_dump(mode="json", exclude_none=True) for path, entry in status.sources.items()}
    return {**tree, **counted, **_origin(record, status.input_commit), "sources": sources,
            "prepared_at": _time(status.prepared_at)}  # fmt: skip


def _job(record: RunRecord, key: str, entry: RunEntry, rows: _Rows) -> None:
    """Adds the row of a run, and those of its attempts."""
    identity, metrics = run_id(record.metadata.name, key), entry.metrics
    attempts = sorted((int(number), attempt) for number, attempt in entry.attempts.items())
    copied = {"phase", "engine", "config_digest", "inputs", "steps", "max_steps", "metrics", "output", "weights"}
    times = [_times(attempt) for _, attempt in attempts]
    rows[_JOBS].append({
        **entry.model_dump(mode="json", include=copied),
        **_origin(record, entry.input_commit),
        "id": identity, "digest": key, "is_current": key == record.status.current,
        "method": _field(entry.inputs, "method"), "dataset_digest": _field(entry.inputs, "dataset"),
        "base_model": _field(entry.inputs, "baseModel"),
        "first_loss": metrics.get("firstLoss"), "loss": metrics.get("loss"), "eval_loss": metrics.get("evalLoss"),
        "tokens_per_second": metrics.get("tokensPerSecond"),
        "started_at": next((each["started_at"] for each in times if each["started_at"]), None),
        "ended_at": times[-1]["ended_at"] if times else None,
    })  # fmt: skip
    for (number, attempt), at in zip(attempts, times, strict=True):
        rows[_ATTEMPTS].append({**attempt.model_dump(mode="json"), **at, "job": identity, "number": number})
