"""The tables of the index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

OURS: Final = sa.MetaData()
_JSON: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_TIME: Final = sa.DateTime(timezone=True)


def _columns(kind: Any, *names: str, needed: bool = False) -> Iterator[sa.Column[Any]]:
    return (sa.Column(name, kind, nullable=not needed) for name in names)


def _key(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _job_column(*, primary_key: bool) -> sa.Column[Any]:
    parent = sa.ForeignKey("finetuning_jobs.id", ondelete="CASCADE")
    return sa.Column("job", sa.Text, parent, primary_key=primary_key, index=True)


MARK: Final = sa.Table("ftops_index", OURS, _key("shape"))
"""Says that the tables are ours to replace, and by which definition they were made."""

DATASETS: Final = sa.Table(
    "training_datasets",
    OURS,
    _key("name"),
    *_columns(sa.Text, "digest", "phase", "record", needed=True),
    *_columns(sa.BigInteger, "train_rows", "validation_rows", "test_rows"),
    *_columns(sa.BigInteger, "read_rows", "invalid_rows", "dropped_rows", "masked_rows", "kept_rows"),
    *_columns(sa.Boolean, "valid"),
    *_columns(sa.Double, "score"),
    *_columns(_JSON, "splits", "statistics", "checks", "found", "sources", "inputs"),
    *_columns(_TIME, "prepared_at"),
    *_columns(sa.Text, "input_commit"),
)
JOBS: Final = sa.Table(
    "finetuning_jobs",
    OURS,
    _key("id"),
    *_columns(sa.Text, "name", "digest", "phase", "engine", "config_digest", "record", needed=True),
    *_columns(sa.Boolean, "is_current", needed=True),
    *_columns(sa.Text, "method", "dataset_digest", "output", "input_commit"),
    *_columns(sa.BigInteger, "steps", "max_steps"),
    *_columns(sa.Double, "first_loss", "loss", "eval_loss", "tokens_per_second"),
    *_columns(_TIME, "started_at", "ended_at"),
    *_columns(_JSON, "base_model", "metrics", "weights", "inputs"),
)
ATTEMPTS: Final = sa.Table(
    "training_attempts",
    OURS,
    _job_column(primary_key=True),
    _key("number", sa.BigInteger),
    *_columns(sa.Text, "phase", needed=True),
    *_columns(sa.BigInteger, "step", "exit_code", "signal"),
    *_columns(sa.Text, "reason", "resumed_from"),
    *_columns(_TIME, "started_at", "ended_at"),
)
CHECKPOINTS: Final = sa.Table(
    "training_checkpoints",
    OURS,
    _job_column(primary_key=True),
    _key("attempt", sa.BigInteger),
    _key("step", sa.BigInteger),
    *_columns(sa.Text, "path", "state", needed=True),
    *_columns(sa.Text, "reason"),
    *_columns(sa.BigInteger, "size", needed=True),
    *_columns(sa.Boolean, "is_best", needed=True),
    *_columns(_JSON, "metrics"),
)
SWEEPS: Final = sa.Table(
    "training_sweeps",
    OURS,
    _key("name"),
    *_columns(sa.Text, "phase", "metric", "mode", "why", "record", needed=True),
    *_columns(sa.BigInteger, "may_fail", needed=True),
    *_columns(sa.Text, "chosen", "run_id", "input_commit"),
    *_columns(_JSON, "members"),
)
VERSIONS: Final = sa.Table(
    "model_registry",
    OURS,
    _key("name"),
    _key("version"),
    _job_column(primary_key=False),
    *_columns(sa.Text, "phase", "run", "run_digest", "method", "output", "mlflow", "record", needed=True),
    *_columns(sa.Text, "data_digest", "config_digest", needed=True),
    *_columns(sa.BigInteger, "size", needed=True),
    *_columns(sa.Text, "merged_output"),
    *_columns(sa.BigInteger, "merged_size"),
    *_columns(_JSON, "aliases", "tags", "base_model", "weights", "merged_weights"),
    *_columns(_TIME, "registered_at"),
    *_columns(sa.Text, "input_commit"),
)
EXPERIMENTS: Final = sa.Table(
    "ab_experiments",
    OURS,
    _key("name"),
    *_columns(sa.Text, "digest", "phase", "current", "record", needed=True),
    *_columns(sa.Text, "verdict", "winner", "model", "reason", "input_commit"),
    *_columns(sa.Double, "traffic"),
    *_columns(_JSON, "inputs", "conclusion"),
    *_columns(_TIME, "ended_at"),
)
LOOKS: Final = sa.Table(
    "ab_test_results",
    OURS,
    sa.Column(
        "experiment",
        sa.Text,
        sa.ForeignKey("ab_experiments.name", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    _key("phase", sa.BigInteger),
    _key("number", sa.BigInteger),
    *_columns(sa.Text, "data_digest", "verdict", needed=True),
    *_columns(sa.Text, "winner"),
    *_columns(sa.BigInteger, "decided_at"),
    *_columns(sa.Boolean, "simulated", needed=True),
    *_columns(sa.Double, "fraction", needed=True),
    *_columns(_JSON, "arms", "comparisons", "rows", "srm", "response", "reasons"),
    *_columns(_TIME, "taken_at", "first", "last"),
)
COPIES: Final = (DATASETS, JOBS, ATTEMPTS, CHECKPOINTS, SWEEPS, VERSIONS, EXPERIMENTS, LOOKS)
"""Parents before their children."""
