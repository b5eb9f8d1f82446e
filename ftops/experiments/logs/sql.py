"""A table of log rows in SQLite or PostgreSQL → observations. Only reads, in one transaction."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from ftops.errors import ChecksFailed, Diagnostic, ExternalError, SpecError, did_you_mean
from ftops.experiments.analysis.observations import Observations, Wanted
from ftops.experiments.logs.collect import Gathered
from ftops.experiments.logs.columns import NAMED, one_by_one
from ftops.experiments.logs.row_schema import FLAG, KNOWN, REQUIRED, TEXTS, Rules
from ftops.store.arrow import leave_pandas_out

CHUNK: Final = 20_000
_CONNECT: Final = 10
"""Seconds that a server has to answer."""
_NO_ZONE: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)
_URL: Final = "sqlite:///PATH or postgresql://USER@HOST/DATABASE"


def read_sql(url: str, table: str, wanted: Wanted) -> Observations:
    """What the rows of `table` (or `schema.table`) say of the experiment; a path of SQLite counts from the current
    folder. Columns are called as the fields of a log row; a time without a zone is UTC.

    Raises SpecError for another database, ExternalError when it does not answer, ChecksFailed when the table or a
    column is missing, or when there are rows but no sound one of the experiment.
    """
    leave_pandas_out()
    parsed = _parsed(url)
    rules = Rules(wanted.experiment, wanted.allocation.arms, wanted.fields)
    gathered = Gathered(wanted, rules)
    hashed = bytearray()
    shown = f"{parsed.set(query={}).render_as_string(hide_password=True)} {table}"
    with _told(parsed), _connected(parsed) as connection:
        log = _Log.of(connection, table, rules)
        log.count_others(gathered, connection)
        first = 1
        for rows in log.rows(connection, wanted.experiment):
            gathered.add(shown, first, one_by_one(range(len(rows)), rows.__getitem__, rules))
            hashed += b"".join(_sha256(row) for row in rows)
            first += len(rows)
    digest = _digest(hashed)
    return gathered.observations({shown: digest}, digest, log.notes)


@dataclass(frozen=True, slots=True)
class _Log:
    """The table, and the columns of it that are read, by name: whether one holds a time without its zone."""

    table: sa.TableClause
    columns: Mapping[str, bool]
    notes: list[str]

    @classmethod
    def of(cls, connection: sa.Connection, table: str, rules: Rules) -> _Log:
        *schema, name = table.split(".")
        inspector = sa.inspect(connection)
        where = schema[0] if schema else None
        try:
            found = {column["name"]: column["type"] for column in inspector.get_columns(name, schema=where)}
        except sa.exc.NoSuchTableError:
            names = [*inspector.get_table_names(schema=where), *inspector.get_view_names(schema=where)]
            raise ChecksFailed(Diagnostic(f"no table {table!r}", hint=did_you_mean(name, names))) from None
        for each in (*REQUIRED, *rules.fields):
            if each not in found:
                raise ChecksFailed(
                    Diagnostic(f"the table {table!r} has no column {each!r}", hint=did_you_mean(each, list(found)))
                )
        read = [name for name in dict.fromkeys((*REQUIRED, *rules.fields, *KNOWN, FLAG, *TEXTS)) if name in found]
        columns = {each: _without_zone(found[each]) for each in read}
        notes = ["times without a zone were taken as UTC"] if columns["time"] else []
        return cls(sa.table(name, *map(sa.column, read), schema=where), columns, notes)

    def count_others(self, gathered: Gathered, connection: sa.Connection) -> None:
        """Adds how many rows of which other experiments there are."""
        experiment = self.table.c.experiment
        counted = sa.func.count()
        others = sa.select(experiment, counted).where(experiment != gathered.wanted.experiment).group_by(experiment)
        found = {str(name): int(rows) for name, rows in connection.execute(others)}
        gathered.foreign = gathered.read = sum(found.values())
        gathered.others = set(sorted(found)[:NAMED])

    def rows(self, connection: sa.Connection, experiment: str) -> Iterator[list[dict[str, Any]]]:
        """The rows of the experiment, and those that don't say of which they are, in the order of their ids."""
        column = self.table.c.experiment
        query = sa.select(*self.table.c).where((column == experiment) | column.is_(None)).order_by(self.table.c.id)
        result = connection.execution_options(stream_results=True, yield_per=CHUNK).execute(query)
        for rows in result.mappings().partitions():
            yield [{name: self._value(name, value) for name, value in row.items()} for row in rows]

    def _value(self, name: str, value: Any) -> Any:
        """What a driver gives, as JSON would have it."""
        match value:
            case Decimal():
                return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
            case UUID():
                return str(value)
            case int() if name in ("id", "unit"):
                return str(value)
            case int() if name == FLAG and value in (0, 1):
                return bool(value)
            case str() if self.columns[name] and _NO_ZONE.fullmatch(value):
                return f"{value}Z"
        return value


def _without_zone(kind: Any) -> bool:
    return isinstance(kind, sa.DateTime) and not kind.timezone


def _sha256(row: Mapping[str, Any]) -> bytes:
    import orjson

    text = orjson.dumps(row, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z)
    return hashlib.sha256(text).digest()


def _digest(hashed: bytearray) -> str:
    """The sha256 of what rows hash to, in an order that does not depend on theirs."""
    import numpy as np

    return hashlib.sha256(np.sort(np.frombuffer(bytes(hashed), "S32")).tobytes()).hexdigest()


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        parsed = None
    match parsed.get_backend_name() if parsed is not None else "":
        case "sqlite" if parsed is not None and parsed.database:
            return parsed
        case "postgresql" if parsed is not None:
            return parsed.set(drivername="postgresql+psycopg")
    # Not the URL itself: it may hold a password.
    raise SpecError(Diagnostic("the logs are not at a URL that ftops knows", f"expected {_URL}", "see logs.sql.url"))


@contextmanager
def _connected(url: sa.URL) -> Iterator[sa.Connection]:
    """A transaction that can't write, and sees the rows of one moment."""
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "").absolute()
        if not file.is_file():
            raise ExternalError(Diagnostic(f"{url.database}: no such file", hint="check logs.sql.url"))
        url = sa.URL.create("sqlite", database=file.as_uri(), query={"mode": "ro", "uri": "true"})
        database = sa.create_engine(url, poolclass=sa.NullPool)
        options: dict[str, Any] = {}
    else:
        database = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": _CONNECT})
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with database.connect() as begun:
        connection = begun.execution_options(**options)
        if url.get_backend_name() == "sqlite":
            connection.exec_driver_sql("BEGIN")  # the driver begins one only before it writes
        yield connection


@contextmanager
def _told(url: sa.URL) -> Iterator[None]:
    """What goes wrong with the database, as an ExternalError that doesn't tell the password."""
    shown = url.set(query={}).render_as_string(hide_password=True)
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExternalError(
            Diagnostic(f"{shown}: Python has no driver for it", str(error), "pip install 'ftops[postgres]'")
        ) from error
    except (sa.exc.SQLAlchemyError, OSError) as error:
        # Only the words of the database: SQLAlchemy adds the statement.
        detail = str(getattr(error, "orig", None) or error).strip()
        for secret in filter(None, (url.password, *_texts(url.query.values()))):
            detail = detail.replace(secret, "***")
        raise ExternalError(Diagnostic(f"can't read the logs at {shown}", detail, "see logs.sql")) from None


def _texts(values: Any) -> Sequence[str]:
    return [each for value in values for each in (value if isinstance(value, tuple) else (value,))]
