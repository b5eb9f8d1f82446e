"""A few rows to show what a data set is like, without the personal data that is found in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ftops.datasets.checks import masked
from ftops.datasets.checks.rows import MESSAGES
from ftops.datasets.read import StoredRows
from ftops.digests import Json

COUNT: Final = 5


def samples(rows: StoredRows) -> Iterator[Mapping[str, str]]:
    """The first rows, field by field, as texts; whatever the spec says, all personal data that is found is masked."""
    import pyarrow as pa

    first = next(rows.batches(), None)
    if first is None:
        return
    for row in masked(pa.Table.from_batches([first.slice(0, COUNT)])).to_pylist():
        yield {name: _text(name, row[name]) for name in rows.fields if row[name]}


def _text(name: str, value: Json) -> str:
    if name != MESSAGES:
        return str(value)
    return "\n".join(f"{each['role']}: {each['content'] or each['tool_calls'] or ''}" for each in value)
