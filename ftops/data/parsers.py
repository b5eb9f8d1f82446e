"""One strict parser a format: bytes in, batches of plain values out; what is ambiguous is refused, with its place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ftops.checks.rows import BATCH
from ftops.errors import ChecksFailed, Diagnostic, Where
from ftops.values import Json

SHOWN: Final = 20
"""Faults that are told one by one."""
DECODED_RATIO: Final = 10
"""A compressed file may decode to this many times its size limit, in bytes."""
ROW_BYTES: Final = 64
"""What a row costs beside its texts, so that a file of a billion empty rows meets that limit too."""
BOM: Final = b"\xef\xbb\xbf"


class Batch(NamedTuple):
    """Some rows as their parser gave them: a list of values for each wanted column, and where each row starts."""

    values: list[list[Any]]
    lines: list[int | None]
    starts: list[int | None]


@dataclass(slots=True)
class Parse:
    """One file on its way through a parser: what is wanted of it, and what was learned of it beside the rows."""

    path: str
    size_limit: int
    wanted: Sequence[str]
    names: dict[str, None] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)

    def problem(self, summary: str, line: int | None = None, byte: int | None = None, hint: str = "") -> None:
        """Keep what makes the file unreadable; raises ChecksFailed as soon as there is enough to show."""
        place = "" if byte is None else f"at byte {byte:,}"
        self.problems.append(Diagnostic(summary, place, hint, where=Where(self.path, line)))
        if len(self.problems) >= SHOWN:
            self.close()

    def refuse(self, summary: str, line: int | None = None, byte: int | None = None, hint: str = "") -> ChecksFailed:
        """The error for what can't be read any further."""
        place = "" if byte is None else f"at byte {byte:,}"
        return ChecksFailed(*self.problems, Diagnostic(summary, place, hint, where=Where(self.path, line)))

    def close(self) -> None:
        """Raises ChecksFailed when there was a problem."""
        if self.problems:
            raise ChecksFailed(*self.problems)


class _Lines:
    """The lines of a CSV file as text, and the byte that the next one starts at, which csv.reader doesn't count."""

    def __init__(self, raw: bytes) -> None:
        self._file = io.BytesIO(raw)
        self.byte = self._file.seek(len(BOM) if raw.startswith(BOM) else 0)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        text = line.decode("utf-8")
        self.byte += len(line)
        return text


def _csv(raw: bytes, parse: Parse) -> Iterator[Batch]:
    """Every column as text, in the form of RFC 4180: a quote inside of an unquoted field stands for itself."""
    # The limit is the interpreter's; it is raised to what the file's size allows, and never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), len(raw)))
    lines = _Lines(raw)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    rows: list[list[str]] = []
    places: list[int | None] = []
    starts: list[int | None] = []
    while True:
        line, byte = reader.line_num + 1, lines.byte
        try:
            row = next(reader)
        except StopIteration:
            break
        except UnicodeDecodeError as error:
            raise parse.refuse("not UTF-8 text", line, lines.byte + error.start, "save the file as UTF-8") from error
        except csv.Error as error:
            raise parse.refuse(f"not readable as CSV: {error}", line, byte) from error
        if not row:
            continue
        if header is None:
            header = _header(row, parse)
            indices = [header.index(name) if name in header else None for name in parse.wanted]
        elif len(row) != len(header):
            parse.problem(f"expected {len(header)} fields as in the header, found {len(row)}", line, byte)
        else:
            rows.append(row)
            places.append(line)
            starts.append(byte)
        if len(rows) == BATCH:
            yield Batch(_transposed(rows, indices), places, starts)
            rows, places, starts = [], [], []
    if header is None:
        raise parse.refuse("the file is empty", hint="expected a header with the names of the columns")
    yield Batch(_transposed(rows, indices), places, starts)


def _header(row: list[str], parse: Parse) -> list[str]:
    for number, name in enumerate(row, 1):
        if not name:
            raise parse.refuse(f"column {number} has no name in the header", 1, hint="give every column a name")
        if name in parse.names:
            raise parse.refuse(f"two columns are called {name[:80]!r}", 1, hint="give every column its own name")
        parse.names[name] = None
    return row


def _transposed(rows: list[list[str]], indices: Sequence[int | None]) -> list[list[Any]]:
    return [[None] * len(rows) if index is None else [row[index] for row in rows] for index in indices]


def _jsonl(raw: bytes, parse: Parse) -> Iterator[Batch]:
    """One object a line; a line of spaces is none."""
    rows: list[dict[str, Json]] = []
    places: list[int | None] = []
    starts: list[int | None] = []
    byte = len(BOM) if raw.startswith(BOM) else 0
    for number, line in enumerate(io.BytesIO(raw[byte:] if byte else raw), 1):
        if not line.isspace():
            try:
                rows.append(_object(loads(line)))
                places.append(number)
                starts.append(byte)
            except ValueError as error:
                parse.problem(f"not a JSON object: {error}", number, byte)
        byte += len(line)
        if len(rows) == BATCH:
            yield Batch(_picked(rows, parse), places, starts)
            rows, places, starts = [], [], []
    yield Batch(_picked(rows, parse), places, starts)


def _json(raw: bytes, parse: Parse) -> Iterator[Batch]:
    """An array of objects."""
    try:
        document = loads(raw.removeprefix(BOM))
    except ValueError as error:
        line = getattr(error, "lineno", None)
        raise parse.refuse(f"not readable as JSON: {error}", line) from error
    if not isinstance(document, list):
        raise parse.refuse("expected an array of objects", hint="one object a line is `format: jsonl`")
    for start in range(0, len(document), BATCH):
        rows = []
        for number, row in enumerate(document[start : start + BATCH], start + 1):
            try:
                rows.append(_object(row))
            except ValueError as error:
                parse.problem(f"row {number}: {error}")
        nowhere: list[int | None] = [None] * len(rows)
        yield Batch(_picked(rows, parse), nowhere, nowhere)


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ValueError("expected an object")  # noqa: TRY004  (the data is wrong, not the call)
    return value


def _picked(rows: list[dict[str, Json]], parse: Parse) -> list[list[Any]]:
    for row in rows:
        parse.names.update(dict.fromkeys(row))
    return [[row.get(name) for row in rows] for name in parse.wanted]


def loads(raw: bytes) -> Json:
    """The JSON in `raw`; raises ValueError for NaN, half a surrogate pair, a key twice, or more than 254 levels."""
    import orjson

    value = orjson.loads(raw)
    try:
        again = orjson.dumps(value)
    except TypeError as error:
        raise ValueError("nested deeper than 254 levels") from error
    # orjson keeps the last of equal keys. Written again, such an object has fewer quotes than it came with; only an
    # escape that spells a quote in another way could hide that, so there the slow parser looks at every key.
    if again.count(b'"') != raw.count(b'"') or rb"\u0022" in raw:
        json.loads(raw, object_pairs_hook=_unique)
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        found[key] = value
    return found


def _parquet(raw: bytes, parse: Parse) -> Iterator[Batch]:
    """Text is kept as indices into its dictionary until its full size is known to be within the limit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    limit = DECODED_RATIO * parse.size_limit
    try:
        source = pq.ParquetFile(pa.BufferReader(raw))
        _header(source.schema_arrow.names, parse)
        wanted = [name for name in parse.wanted if name in parse.names]
        for name in wanted:
            _check_type(name, source.schema_arrow.field(name).type, parse)
        leaves = [source.schema.column(index).path for index in range(len(source.schema.names))]
        texts = [path for path in leaves if any(path == name or path.startswith(f"{name}.") for name in wanted)]
        if _stored_bytes(source.metadata, texts) > limit:
            raise _too_much(parse)
        source = pq.ParquetFile(pa.BufferReader(raw), read_dictionary=texts)
        for batch in source.iter_batches(BATCH, columns=wanted):
            limit -= batch.num_rows * ROW_BYTES + sum(_decoded_bytes(column) for column in batch.columns)
            if limit < 0:
                raise _too_much(parse)
            values = dict(zip(batch.schema.names, (column.to_pylist() for column in batch.columns), strict=True))
            nothing: list[Any] = [None] * batch.num_rows
            yield Batch([values.get(name, nothing) for name in parse.wanted], nothing, nothing)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise parse.refuse(f"not readable as Parquet: {str(error).splitlines()[0][:200]}") from error


def _too_much(parse: Parse) -> ChecksFailed:
    return parse.refuse(
        f"decodes to more than {DECODED_RATIO * parse.size_limit:,} bytes",
        hint=f"allowed is {DECODED_RATIO} times source.sizeLimit: raise that if this is meant",
    )


def _stored_bytes(metadata: Any, paths: Sequence[str]) -> int:
    """What the footer says that the columns take when decompressed. It can lie, so what is decoded is counted too."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    columns = (group.column(index) for group in groups for index in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in paths)


def _check_type(name: str, kind: Any, parse: Parse) -> None:
    import pyarrow.types as kinds

    inner = kind.value_type if kinds.is_dictionary(kind) else kind
    plain = (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_floating, kinds.is_boolean)
    chat = (kinds.is_list(inner) or kinds.is_large_list(inner)) and kinds.is_struct(inner.value_type)
    if not chat and not any(fits(inner) for fits in plain):
        raise parse.refuse(f"column {name[:80]!r} holds {str(kind)[:80]}, expected text or a list of messages")


def _decoded_bytes(array: Any) -> int:
    """How many bytes the texts of `array` take when each is written out."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    kind = array.type
    if kinds.is_dictionary(kind):
        if not len(array.dictionary):
            return 0
        return pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0
    if kinds.is_list(kind) or kinds.is_large_list(kind):
        return _decoded_bytes(array.flatten())
    if kinds.is_struct(kind):
        return sum(_decoded_bytes(inner) for inner in array.flatten()) + len(array) * ROW_BYTES
    return int(array.nbytes)


PARSERS: Final[dict[str, Callable[[bytes, Parse], Iterator[Batch]]]] = {
    "csv": _csv, "json": _json, "jsonl": _jsonl, "parquet": _parquet,
}  # fmt: skip
