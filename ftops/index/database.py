"""The database of the index: where it is, and how it becomes a copy of the records.

Import this module only where an index is configured: SQLAlchemy, which it stands on, takes a while to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from ftops.digests import digest
from ftops.errors import Diagnostic, ExternalError, SpecError
from ftops.index.rows import copies, rows_of
from ftops.resources.index_table import OURS, key
from ftops.resources.project import INDEX_URL, INDEX_URL_FORM
from ftops.resources.record import Record

MARK: Final = sa.Table("ftops_index", OURS, key("shape"))
"""Says that the tables are ours to replace, and by which definition they were made."""

Counts = dict[str, int]
"""Rows by table."""

_WAIT: Final = 60
"""Seconds that one rebuild waits for another."""
_CONNECT: Final = 10
"""Seconds that a server has to answer."""
_LOCK: Final = 0x66746F7073
"""The advisory lock that every rebuild in a PostgreSQL database takes: "ftops" in ASCII."""


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
        rows = rows_of(records)
        if (file := _sqlite_file(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        with _connected(url) as connection:
            _make_tables(connection)
            for table in reversed(copies()):
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
        there = sa.inspect(connection).has_table(MARK.name)
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
    shape = digest([str(sa.schema.CreateTable(table).compile(dialect=connection.dialect)) for table in copies()])
    inspector, ours = sa.inspect(connection), [MARK, *copies()]
    there = [table for table in ours if inspector.has_table(table.name)]
    if there and MARK not in there:
        raise ExternalError(
            Diagnostic(
                f"the database has tables that ftops did not make: {', '.join(table.name for table in there)}",
                hint="give the index a database of its own: spec.index in ftops.yaml",
            )
        )
    names = {table: [column["name"] for column in inspector.get_columns(table.name)] for table in there}
    whole = all(names.get(table) == [column.name for column in table.columns] for table in ours)
    if not whole or connection.scalar(sa.select(MARK.c.shape)) != shape:
        OURS.drop_all(connection, ours)
        OURS.create_all(connection, ours)
        connection.execute(MARK.insert(), {"shape": shape})


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
