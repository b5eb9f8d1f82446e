"""A few rows to show what a data set is like, without the personal data that is found in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from ftops.datasets.checks.pii import Pii
from ftops.datasets.checks.rows import MESSAGES, TableRows
from ftops.datasets.read import StoredRows
from ftops.digests import Json

COUNT: Final = 5


def samples(rows: StoredRows) -> Iterator[Mapping[str, str]]:
    """The first rows, field by field, as texts; whatever the spec says, all personal data that is found is masked."""
    import pyarrow as pa

    first = next(rows.batches(), None)
    if first is None:
        return
    few = pa.Table.from_batches([first.slice(0, COUNT)])
    found = Pii(others="mask").run(TableRows(few))
    masked = {} if found.changed is None else {row["row"]: row for row in found.changed.to_pylist()}
    for row in few.to_pylist():
        shown = masked.get(row["row"], row)
        yield {name: _text(name, shown[name]) for name in rows.fields if shown[name]}


def _text(name: str, value: Json) -> str:
    if name != MESSAGES:
        return str(value)
    return "\n".join(f"{each['role']}: {each['content'] or each['tool_calls'] or ''}" for each in value)
