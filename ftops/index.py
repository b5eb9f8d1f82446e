"""The SQL index: a copy of the records for those who query in SQL. Rebuilt whole at any time, and never the truth.

Import this module only where an index is configured: SQLAlchemy, which it stands on, takes a while to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ftops.errors import Diagnostic, ExternalError, SpecError
from ftops.kinds.project import INDEX_URL, INDEX_URL_FORM
from ftops.records import Attempt, DatasetRecord, ExperimentRecord, ModelRecord, Record, RunRecord
from ftops.values import Json, digest, run_id

Counts = dict[str, int]
"""Rows by table."""
_Row = dict[str, Any]
_Rows = dict[sa.Table, list[_Row]]

_WAIT: Final = 60
"""Seconds that one rebuild waits for another."""
_CONNECT: Final = 10
"""Seconds that a server has to answer."""
_LOCK: Final = 0x66746F7073
"""The advisory lock that every rebuild in a PostgreSQL database takes: "ftops" in ASCII."""

# ---------------------------------------------------------------------------------------------------- tables

_OURS: Final = sa.MetaData()
_JSON: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_TIME: Final = sa.DateTime(timezone=True)


def _columns(kind: Any, *names: str, needed: bool = False) -> Iterator[sa.Column[Any]]:
    return (sa.Column(name, kind, nullable=not needed) for name in names)


def _key(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _job_column(*, primary_key: bool) -> sa.Column[Any]:
    parent = sa.ForeignKey("finetuning_jobs.id", ondelete="CASCADE")
    return sa.Column("job", sa.Text, parent, primary_key=primary_key, index=True)


_MARK: Final = sa.Table("ftops_index", _OURS, _key("shape"))
"""Says that the tables are ours to replace, and by which definition they were made."""

_DATASETS: Final = sa.Table(
    "training_datasets",
    _OURS,
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
_JOBS: Final = sa.Table(
    "finetuning_jobs",
    _OURS,
    _key("id"),
    *_columns(sa.Text, "name", "digest", "phase", "engine", "config_digest", "record", needed=True),
    *_columns(sa.Boolean, "is_current", needed=True),
    *_columns(sa.Text, "method", "dataset_digest", "output", "input_commit"),
    *_columns(sa.BigInteger, "steps", "max_steps"),
    *_columns(sa.Double, "first_loss", "loss", "eval_loss", "tokens_per_second"),
    *_columns(_TIME, "started_at", "ended_at"),
    *_columns(_JSON, "base_model", "metrics", "weights", "inputs"),
)
_ATTEMPTS: Final = sa.Table(
    "training_attempts",
    _OURS,
    _job_column(primary_key=True),
    _key("number", sa.BigInteger),
    *_columns(sa.Text, "phase", needed=True),
    *_columns(sa.BigInteger, "step", "exit_code", "signal"),
    *_columns(sa.Text, "reason", "resumed_from"),
    *_columns(_TIME, "started_at", "ended_at"),
)
_VERSIONS: Final = sa.Table(
    "model_registry",
    _OURS,
    _key("name"),
    _key("version"),
    _job_column(primary_key=False),
    *_columns(sa.Text, "phase", "run", "run_digest", "method", "output", "mlflow", "record", needed=True),
    *_columns(sa.Text, "data_digest", "config_digest", needed=True),
    *_columns(sa.BigInteger, "size", needed=True),
    *_columns(_JSON, "aliases", "tags", "base_model", "weights"),
    *_columns(_TIME, "registered_at"),
    *_columns(sa.Text, "input_commit"),
)
_EXPERIMENTS: Final = sa.Table(
    "ab_experiments",
    _OURS,
    _key("name"),
    *_columns(sa.Text, "digest", "phase", "current", "record", needed=True),
    *_columns(sa.Text, "verdict", "winner", "model", "reason", "input_commit"),
    *_columns(sa.Double, "traffic"),
    *_columns(_JSON, "inputs", "conclusion"),
    *_columns(_TIME, "ended_at"),
)
_LOOKS: Final = sa.Table(
    "ab_test_results",
    _OURS,
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
_COPIES: Final = (_DATASETS, _JOBS, _ATTEMPTS, _VERSIONS, _EXPERIMENTS, _LOOKS)
"""Parents before their children."""

# ------------------------------------------------------------------------------------------------------ rows


def _rows(records: Mapping[str, Record]) -> _Rows:
    """What the tables hold: the same records, the same rows in the same order. Raises ValueError for what is no time."""
    rows: _Rows = {table: [] for table in _COPIES}
    for _, record in sorted(records.items()):
        match record:
            case DatasetRecord():
                rows[_DATASETS].append(_dataset(record))
            case RunRecord():
                for key in sorted(record.status.runs):
                    job, attempts = _job(record, key)
                    rows[_JOBS].append(job)
                    rows[_ATTEMPTS] += attempts
            case ModelRecord():
                rows[_VERSIONS].append(_version(record))
            case ExperimentRecord():
                experiment, looks = _experiment(record)
                rows[_EXPERIMENTS].append(experiment)
                rows[_LOOKS] += looks
    known = {job["id"] for job in rows[_JOBS]}
    for version in rows[_VERSIONS]:
        if version["job"] not in known:
            version["job"] = None
    return rows


def _same(table: sa.Table, tree: _Row) -> _Row:
    """Of a record's tree, what its table has under the same name."""
    return {name: value for name, value in tree.items() if name in table.columns}


def _dataset(record: DatasetRecord) -> _Row:
    status, report = record.status, record.status.report
    written = {f"{side}_rows": split.rows for side, split in report.splits.items()}
    counted = {f"{what}_rows": count for what, count in report.rows.model_dump().items()}
    return {
        **_same(_DATASETS, report.model_dump(mode="json")),
        **_same(_DATASETS, status.model_dump(mode="json", exclude={"report"})),
        **written,
        **counted,
        "score": None if report.quality is None else report.quality.score,
        "name": record.metadata.name,
        "prepared_at": _time(status.prepared_at),
        "record": record.path,
    }


def _job(record: RunRecord, key: str) -> tuple[_Row, list[_Row]]:
    """The row of a run, and those of its attempts in their order."""
    entry, identity = record.status.runs[key], run_id(record.metadata.name, key)
    numbered = sorted((int(number), attempt) for number, attempt in entry.attempts.items())
    attempts = [_attempt(identity, number, attempt) for number, attempt in numbered]
    figures = {
        "first_loss": "firstLoss",
        "loss": "loss",
        "eval_loss": "evalLoss",
        "tokens_per_second": "tokensPerSecond",
    }
    job = {
        **_same(_JOBS, entry.model_dump(mode="json")),
        **{column: entry.metrics.get(name) for column, name in figures.items()},
        "id": identity,
        "name": record.metadata.name,
        "digest": key,
        "is_current": key == record.status.current,
        "method": _field(entry.inputs, "method"),
        "dataset_digest": _field(entry.inputs, "dataset"),
        "base_model": _field(entry.inputs, "baseModel"),
        "started_at": attempts[0]["started_at"] if attempts else None,
        "ended_at": attempts[-1]["ended_at"] if attempts else None,
        "record": record.path,
    }
    return job, attempts


def _attempt(job: str, number: int, attempt: Attempt) -> _Row:
    times = {"started_at": _time(attempt.started_at), "ended_at": _time(attempt.ended_at)}
    return {**_same(_ATTEMPTS, attempt.model_dump(mode="json")), **times, "job": job, "number": number}


def _version(record: ModelRecord) -> _Row:
    status = record.status
    tree = status.model_dump(mode="json")
    return {
        **_same(_VERSIONS, tree),
        "name": record.metadata.name,
        "version": record.metadata.version,
        "job": run_id(status.run, status.run_digest),
        "data_digest": status.digests.data,
        "config_digest": status.digests.config,
        "weights": tree["digests"]["weights"],
        "registered_at": _time(status.registered_at),
        "record": record.path,
    }


def _experiment(record: ExperimentRecord) -> tuple[_Row, list[_Row]]:
    """The row of an experiment, and those of its looks in the order in which they were taken."""
    status = record.status
    tree = status.model_dump(mode="json")
    ended = tree["conclusion"] or {}
    experiment = {
        **_same(_EXPERIMENTS, tree),
        **{name: ended.get(name) for name in ("model", "reason")},
        "name": record.metadata.name,
        "verdict": record.look.verdict if record.look else None,
        "winner": record.look.winner if record.look else None,
        "ended_at": _time(ended.get("ended_at")),
        "record": record.path,
    }
    looks = [
        {
            **_same(_LOOKS, look.model_dump(mode="json")),
            **{name: _time(getattr(look, name)) for name in ("taken_at", "first", "last")},
            "experiment": record.metadata.name,
            "phase": int(number),
        }
        for number, phase in sorted(status.phases.items(), key=lambda each: int(each[0]))
        for look in sorted(phase.looks.values(), key=lambda each: each.number)
    ]
    return experiment, looks


def _field(tree: Json, name: str) -> Json:
    return tree.get(name) if isinstance(tree, Mapping) else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


# -------------------------------------------------------------------------------------------------- database


def locate(configured: str, root: Path) -> str:
    """The index's URL; a path of SQLite counts from `root`. Raises SpecError for a database that ftops can't use."""
    try:
        url = sa.make_url(configured) if re.match(INDEX_URL, configured) else None
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None:
        raise SpecError(
            Diagnostic(
                "the index is not at a URL that ftops knows", f"expected {INDEX_URL_FORM}", "see index in ftops.yaml"
            )
        )
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str((root / (url.database or "")).resolve()))
    else:
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def rebuild(url: str, records: Mapping[str, Record]) -> Counts:
    """Makes the index at `url` (see `locate`) a copy of `records`, in one transaction; returns the rows of each table.

    Other tables of the database are left as they are. Raises ExternalError where the database does not take it.
    """
    with _told(url, "rebuild"):
        rows = _rows(records)
        if (file := _sqlite_file(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with _connected(url) as connection:
            _make_tables(connection)
            for table in reversed(_COPIES):
                connection.execute(table.delete())
            for table, found in rows.items():
                if found:
                    connection.execute(table.insert(), found)
    return {table.name: len(found) for table, found in rows.items()}


def check(url: str) -> str:
    """How the index at `url` is, in words, without making or changing anything; raises ExternalError if it can't be opened."""
    shown = _shown(url)
    file = _sqlite_file(url)
    if file is not None and not file.exists():
        return f"{shown} is not there yet; apply makes it"
    with _told(url, "open"), _connected(url) as connection:
        there = sa.inspect(connection).has_table(_MARK.name)
    return f"{shown} has a copy of the records" if there else f"{shown} is empty yet; apply fills it"


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    """A transaction that no other rebuild is in at the same time."""
    sqlite = _sqlite_file(url) is not None
    waits = {"timeout": _WAIT} if sqlite else {"connect_timeout": _CONNECT}
    database = sa.create_engine(url, poolclass=sa.NullPool, connect_args=waits)
    if sqlite:
        # Python's driver would begin late, with a lock that two writers can both have, and commit before DDL.
        sa.event.listen(database, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
        sa.event.listen(database, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with database.begin() as connection:
        if not sqlite:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT}s'")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        yield connection


def _make_tables(connection: sa.Connection) -> None:
    """The tables as they are defined here. Those of another shape are made anew: they are a copy."""
    shape = digest([str(sa.schema.CreateTable(table).compile(dialect=connection.dialect)) for table in _COPIES])
    inspector = sa.inspect(connection)
    there = [table for table in _OURS.sorted_tables if inspector.has_table(table.name)]
    if there and _MARK not in there:
        raise ExternalError(
            Diagnostic(
                f"the database has tables that ftops did not make: {', '.join(table.name for table in there)}",
                hint="give the index a database of its own: spec.index in ftops.yaml",
            )
        )
    names = {table: [column["name"] for column in inspector.get_columns(table.name)] for table in there}
    whole = all(names.get(table) == [column.name for column in table.columns] for table in _OURS.sorted_tables)
    if not whole or connection.scalar(sa.select(_MARK.c.shape)) != shape:
        _OURS.drop_all(connection)
        _OURS.create_all(connection)
        connection.execute(_MARK.insert(), {"shape": shape})


@contextmanager
def _told(url: str, what: str) -> Iterator[None]:
    """What goes wrong with the database, as an ExternalError that doesn't tell the password."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExternalError(
            Diagnostic(f"{_shown(url)}: Python has no driver for it", str(error), "pip install 'ftops[postgres]'")
        ) from error
    except (sa.exc.SQLAlchemyError, OSError, ValueError, OverflowError) as error:
        # A statement and its rows, which SQLAlchemy adds to the words of the database, would fill the screen.
        detail = str(getattr(error, "orig", None) or error).strip()
        password = sa.make_url(url).password
        raise ExternalError(
            Diagnostic(
                f"can't {what} the index at {_shown(url)}",
                detail.replace(password, "***") if password else detail,
                "the records in git are whole; once the database answers: ftops index rebuild",
            )
        ) from None


def _sqlite_file(url: str) -> Path | None:
    parsed = sa.make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    return sa.make_url(url).set(query={}).render_as_string(hide_password=True)
