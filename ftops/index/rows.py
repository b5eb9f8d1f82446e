"""What the records say, as rows of the index: each kind says its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ftops.registry.record_files import kind_at
from ftops.resources.kind import Row
from ftops.resources.record import Record
from ftops.specs.kinds import KINDS

Rows = dict[sa.Table, list[Row]]


def copies() -> tuple[sa.Table, ...]:
    """The tables that hold the records, parents before their children."""
    return tuple(table for kind in KINDS for table in kind.index().tables)


def rows_of(records: Mapping[str, Record]) -> Rows:
    """What the tables hold: the same records, the same rows in the same order. Raises ValueError for what is no time."""
    rows: Rows = {table: [] for table in copies()}
    tables = {table.name: table for table in rows}
    for path, record in sorted(records.items()):
        if (kind := kind_at(path)) is not None:
            for name, found in kind.index().rows(record).items():
                rows[tables[name]] += found
    for table, found in rows.items():
        _forget_unknown(table, found, rows)
    return rows


def _forget_unknown(table: sa.Table, found: list[Row], rows: Rows) -> None:
    """What a row may lack is NULL where it names a row of another table that is not there."""
    for reference in table.foreign_keys:
        column: sa.Column[Any] = reference.parent
        if column.nullable:
            known = {row[reference.column.name] for row in rows[reference.column.table]}
            for row in found:
                if row[column.name] not in known:
                    row[column.name] = None
