"""From a file to an Arrow table of the fields that are asked for, with every row that breaks its shape named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ftops.checks.format import messages_fault, text_fault
from ftops.data.parsers import PARSERS, Batch, Parse
from ftops.data.source import DataFile, content_digest, read_bytes
from ftops.errors import ChecksFailed, Diagnostic, Where, nearest
from ftops.values import Finding

if TYPE_CHECKING:
    import pyarrow as pa

MESSAGES: Final = "messages"
"""The field that holds a chat; every other field holds text."""
NAMES_SHOWN: Final = 40
SAY_WHICH: Final = "say which column it is in source.columns of the data set, as `field: column`"


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the prepared rows, and the column of the file that it is read from.

    `required`: each row must have it. `mapped`: the spec names the column, so the file must have it.
    """

    field: str
    source: str
    required: bool
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of one file.

    `table`: columns `row`, `line`, `byte` (where the row starts; null where the format can't tell), and one for each
    `Column`: text, null in a faulty row, empty where an optional one is absent; `messages` is list<struct<role,
    content>>. `faults` say which rows break the shape, and how. `unused` are the file's other columns.
    """

    table: pa.Table
    faults: tuple[Finding, ...]
    unused: tuple[str, ...]
    sha256: str
    size: int


def read(file: DataFile, columns: Sequence[Column], first_row: int = 1) -> Contents:
    """What `file` holds for `columns`, its rows numbered from `first_row`. A function of the file alone.

    Raises ExternalError when the file can't be opened or is not the one that was planned with, ChecksFailed when it is
    too large, can't be parsed, or lacks a column that must be there.
    """
    raw = read_bytes(file)
    sha256 = content_digest(file, raw)
    parse = Parse(file.path, file.size_limit, tuple(column.source for column in columns))
    table, faults = _table(PARSERS[file.format](raw, parse), columns, first_row)
    parse.close()
    _require(columns, parse, empty=not table.num_rows)
    unused = tuple(name for name in parse.names if name not in parse.wanted)
    return Contents(table, faults, unused, sha256, len(raw))


def _table(batches: Iterable[Batch], columns: Sequence[Column], row: int) -> tuple[pa.Table, tuple[Finding, ...]]:
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.large_string())])
    kinds = [pa.large_list(message) if column.field == MESSAGES else pa.large_string() for column in columns]
    schema = pa.schema([
        ("row", pa.int64()), ("line", pa.int64()), ("byte", pa.int64()),
        *((column.field, kind) for column, kind in zip(columns, kinds, strict=True)),
    ])  # fmt: skip
    faults: list[Finding] = []
    parts = []
    for batch in batches:
        rows = range(row, row + len(batch.lines))
        row = rows.stop
        arrays = [pa.array(rows, pa.int64()), pa.array(batch.lines, pa.int64()), pa.array(batch.starts, pa.int64())]
        for column, kind, values in zip(columns, kinds, batch.values, strict=True):
            arrays.append(_array(values, column, kind, rows, faults))
        parts.append(pa.record_batch(arrays, schema))
    return pa.Table.from_batches(parts, schema), tuple(sorted(faults, key=lambda each: each.row))


def _array(values: list[Any], column: Column, kind: Any, rows: range, faults: list[Finding]) -> Any:
    """The values of one field as Arrow, null where they are faulty; each fault is added to `faults`."""
    import pyarrow as pa

    sound: list[Any] = []
    for row, value in zip(rows, values, strict=True):
        chat = column.field == MESSAGES
        fault = messages_fault(value) if chat else text_fault(value, required=column.required)
        if fault is not None:
            faults.append(Finding("format", row, column.field, fault))
            sound.append(None)
        elif chat:
            sound.append([{"role": each["role"], "content": each["content"]} for each in value])
        else:
            sound.append("" if value is None else value)
    return pa.array(sound, kind)


def _require(columns: Sequence[Column], parse: Parse, *, empty: bool) -> None:
    """Raises ChecksFailed, naming each column that must be in the file and is not."""
    present = list(parse.names)
    if empty and not present:
        return
    more = f", and {len(present) - NAMES_SHOWN} more" if len(present) > NAMES_SHOWN else ""
    missing = [
        Diagnostic(
            f"no column {column.source!r} for the field {column.field!r}",
            f"the file has {', '.join(name[:80] for name in present[:NAMES_SHOWN])}{more}",
            f"did you mean {match!r}?" if (match := nearest(column.source, present)) else SAY_WHICH,
            where=Where(parse.path),
        )
        for column in columns
        if (column.required or column.mapped) and column.source not in parse.names
    ]
    if missing:
        raise ChecksFailed(*missing)
