"""Rows of Parquet: some hundred bytes can decode to gigabytes, so what a column decodes to is known before it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ftops.datasets.read.decompress import RefusedError, too_much
from ftops.datasets.read.record_parser import Parse, Record

ROW_BYTES: Final = 64
"""What a row costs beside its texts, so that a file of a billion empty rows meets the limit too."""
ROWS: Final = 1024
"""Rows that are Python objects at one time."""


def parquet_rows(parse: Parse) -> Iterator[Record]:
    """Text is kept as indices into its dictionary until its full size is known to be within the limit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.py_buffer(parse.stream(text=False).read())
    left = parse.decoded_limit
    try:
        source = pq.ParquetFile(pa.BufferReader(raw))
        wanted = [name for name in parse.header(source.schema_arrow.names) if name in parse.columns]
        for name in wanted:
            _check_type(name, source.schema_arrow.field(name).type)
        leaves = [source.schema.column(index).path for index in range(len(source.schema.names))]
        texts = [path for path in leaves if any(path == name or path.startswith(f"{name}.") for name in wanted)]
        if _stored_bytes(source.metadata, texts) > left:
            raise too_much(parse.decoded_limit)
        source = pq.ParquetFile(pa.BufferReader(raw), read_dictionary=texts)
        for batch in source.iter_batches(ROWS, columns=wanted, use_threads=False):
            left -= batch.num_rows * ROW_BYTES + sum(_decoded_bytes(column) for column in batch.columns)
            if left < 0:
                raise too_much(parse.decoded_limit)
            for row in batch.to_pylist():
                yield None, None, row
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"not readable as Parquet: {(str(error).splitlines() or [''])[0][:200]}") from error


def _stored_bytes(metadata: Any, paths: Sequence[str]) -> int:
    """What the footer says that the columns take when decompressed. It can lie, so what is decoded is counted too."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    columns = (group.column(index) for group in groups for index in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema in paths)


def _check_type(name: str, kind: Any) -> None:
    if not _plain(kind):
        raise RefusedError(
            f"column {name[:80]!r} holds {str(kind)[:80]}", hint="expected text, numbers, or lists and structs of them"
        )


def _plain(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        return _plain(kind.value_type)
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return _plain(kind.value_type)
    if kinds.is_struct(kind):
        return all(_plain(kind.field(index).type) for index in range(kind.num_fields))
    known = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_integer,
        kinds.is_floating,
        kinds.is_boolean,
        kinds.is_null,
    )
    return any(fits(kind) for fits in known)


def _decoded_bytes(array: Any) -> int:
    """How many bytes the texts of `array` take when each is written out."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    kind = array.type
    if kinds.is_dictionary(kind):
        if not len(array.dictionary):
            return 0
        return pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0
    if kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        return _decoded_bytes(array.flatten())
    if kinds.is_struct(kind):
        return sum(_decoded_bytes(inner) for inner in array.flatten()) + len(array) * ROW_BYTES
    return int(array.nbytes)
