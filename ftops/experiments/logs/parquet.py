"""Parquet, one row group after the other. What the file says of itself may be wrong, so it is not believed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ftops.errors import did_you_mean
from ftops.experiments.logs.columns import Block, Part, judge_block
from ftops.experiments.logs.log_source import Source, in_order
from ftops.experiments.logs.row_schema import FLAG, KNOWN, REQUIRED, TEXTS, Rules

if TYPE_CHECKING:
    import pyarrow as pa

BATCH: Final = 1 << 17
"""Rows that are decoded together."""
BATCH_BYTES: Final = 128 << 20
"""What the texts of those rows may take in one column, if the longest one stands in each of them."""
LONGEST: Final = 1 << 16
"""Bytes of a text; what is longer is no id and no unit."""
GROUP_BYTES: Final = 2 << 30
"""What the wanted columns of one row group may take when decompressed."""


def parts(source: Source) -> Iterator[tuple[int, Part]]:
    """What the rows are, batch by batch, each with the number of its first row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    hashing = source.pool.submit(source.hash_all)
    first = 1
    try:
        with pq.ParquetFile(source.content.again()) as file:
            metadata = file.metadata
            columns = _columns(source, file.schema_arrow)
            _check_size(source, metadata, columns)
        read = partial(_group, source, metadata, columns)
        for group in in_order(source.pool, read, range(metadata.num_row_groups), ahead=2):
            for rows, part in group:
                yield first, part
                first += rows
            source.tell(source.content.size // metadata.num_row_groups)
    except (pa.ArrowException, OSError) as error:
        raise source.refused("not readable as Parquet", str(error).splitlines()[0][:200]) from error
    finally:
        hashing.result()


def _group(source: Source, metadata: Any, columns: list[str], group: int) -> list[tuple[int, Part]]:
    import pyarrow.parquet as pq

    texts = ["experiment", "arm"]
    rows = _rows_at_once(source, metadata, group)
    with pq.ParquetFile(source.content.again(), metadata=metadata, read_dictionary=texts, buffer_size=1 << 20) as file:
        found = []
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
            named = {name: _plain(batch[name]) for name in columns}
            row = partial(_row, named)
            found.append((batch.num_rows, judge_block(Block(batch.num_rows, named, row), source.rules)))
    return found


def _rows_at_once(source: Source, metadata: Any, group: int) -> int:
    """How many rows of a row group are decoded together: few where a long text could be in each of them."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    chunks = [metadata.row_group(group).column(place) for place in range(metadata.num_columns)]
    coded = [
        chunk.path_in_schema
        for chunk in chunks
        if chunk.path_in_schema in REQUIRED and chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page
    ]
    if not coded or not metadata.row_group(group).num_rows:
        return BATCH
    with pq.ParquetFile(source.content.again(), metadata=metadata, read_dictionary=coded, buffer_size=1 << 16) as file:
        row = next(file.iter_batches(1, row_groups=[group], columns=coded, use_threads=False))
    longest = max(pc.max(pc.binary_length(column.dictionary)).as_py() or 1 for column in row.columns)
    if longest > LONGEST:
        raise source.refused(f"a text of {longest:,} bytes", f"texts of {', '.join(coded)} have {LONGEST:,} at most")
    return min(BATCH, BATCH_BYTES // longest)


def _plain(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def _row(columns: dict[str, pa.Array], place: int) -> dict[str, Any]:
    return {name: column[place].as_py() for name, column in columns.items()}


def _columns(source: Source, schema: pa.Schema) -> list[str]:
    """The columns to read. Raises ChecksFailed where one is missing, twice there, or of another type than it must be."""
    wanted = [*REQUIRED, *source.rules.fields]
    for name in wanted:
        if name not in schema.names:
            raise source.refused(
                f"no column {name!r}",
                f"the file has {', '.join(each[:40] for each in schema.names[:20])}",
                did_you_mean(name, schema.names) or "see the documented row",
            )
    known = [name for name in dict.fromkeys([*wanted, *KNOWN, FLAG]) if name in schema.names]
    for name in (*known, *(each for each in TEXTS if each in schema.names)):
        if schema.names.count(name) > 1:
            raise source.refused(f"the column {name!r} stands twice")
        expected = _expected(name, schema.field(name).type, source.rules)
        if expected:
            kind = str(schema.field(name).type)[:80]
            raise source.refused(f"column {name!r} holds {kind}, expected {expected}")
    time = schema.field("time").type
    if str(time).startswith("timestamp") and time.tz is None:
        source.notes.append(f"{source.file.path}: its times have no zone; they were taken as UTC")
    return known


def _expected(name: str, kind: pa.DataType, rules: Rules) -> str:
    """What the column `name` must hold, when `kind` is no such; else nothing."""
    import pyarrow.types as kinds

    inner = kind.value_type if kinds.is_dictionary(kind) else kind
    text = kinds.is_string(inner) or kinds.is_large_string(inner) or kinds.is_string_view(inner)
    plain = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_null(kind)
    if name in (*KNOWN, *rules.fields):
        values = rules.fields.get(name)
        booleans = values is not None and values.booleans
        fits, expected = plain or (booleans and kinds.is_boolean(kind)), f"numbers{' or booleans' if booleans else ''}"
    elif name == "time":
        fits, expected = text or kinds.is_timestamp(kind), "timestamps or text"
    elif name == FLAG:
        fits, expected = kinds.is_boolean(kind), "booleans"
    elif name in TEXTS:
        fits, expected = text or kinds.is_null(kind), "text"
    else:
        fits, expected = text, "text"
    return "" if fits else expected


def _check_size(source: Source, metadata: Any, columns: list[str]) -> None:
    """Raises ChecksFailed for a file that would take more memory than a log of its size does."""
    # A row takes more than a byte: its id alone can't be told by the others.
    if metadata.num_rows > source.content.size:
        raise source.refused(
            f"it says that it has {metadata.num_rows:,} rows, in {source.content.size:,} bytes",
            "rows with ids of their own take more than that",
        )
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    for group in groups:
        chunks = (group.column(place) for place in range(group.num_columns))
        if sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns) > GROUP_BYTES:
            raise source.refused(
                f"a row group takes more than {GROUP_BYTES:,} bytes", hint="write it with fewer rows in a group"
            )
