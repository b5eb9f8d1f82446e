"""How a kind says which tables of the SQL index hold its records. Imported only where an index is: SQLAlchemy takes a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from ftops.digests import Json

OURS: Final = sa.MetaData()
"""All tables of the index."""

JSON: Final = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
TIME: Final = sa.DateTime(timezone=True)


def columns(kind: Any, *names: str, needed: bool = False) -> Iterator[sa.Column[Any]]:
    """A column of that type for each of `names`; NULL stands in none of them where they are `needed`."""
    return (sa.Column(name, kind, nullable=not needed) for name in names)


def key(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    """A column of the primary key."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def job_column(*, primary_key: bool) -> sa.Column[Any]:
    """The column that says of which training a row is."""
    parent = sa.ForeignKey("finetuning_jobs.id", ondelete="CASCADE")
    return sa.Column("job", sa.Text, parent, primary_key=primary_key, index=True)


def same(table: sa.Table, tree: dict[str, Any]) -> dict[str, Any]:
    """Of a record's tree, what its table has under the same name."""
    return {name: value for name, value in tree.items() if name in table.columns}


def member(tree: Json, name: str) -> Json:
    """What `tree` has under that name; None where it is no mapping, or has not."""
    return tree.get(name) if isinstance(tree, Mapping) else None


def time_of(text: str | None) -> datetime | None:
    """The time that a record says, in UTC. Raises ValueError for what is no time."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
