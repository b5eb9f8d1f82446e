"""What every data check is given and gives back, and the one encoding that texts are compared and split by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from ftops.values import Finding

PLACES: Final = ("row", "line", "byte")
"""The columns that say where a row was read: its number (from 1), the line and the byte it starts at, or null."""
BATCH: Final = 8192
"""Rows that are Python objects at one time."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check leaves and what it found.

    `table` holds the rows that go on, in their order. `findings` name rows and fields and never hold the data itself,
    for they are shown and committed. `summary` counts what was found. `failed`: the spec wants this to stop everything.
    """

    table: pa.Table
    findings: tuple[Finding, ...] = ()
    summary: Mapping[str, int] = field(default_factory=dict)
    failed: bool = False


def text_fields(table: pa.Table) -> list[str]:
    """The columns that hold what a model learns from, sorted."""
    return sorted(set(table.column_names) - set(PLACES))


def row_digests(table: pa.Table, key: bytes = b"") -> Iterator[bytes]:
    """16 bytes for each row, equal just where all text fields are: BLAKE2b (RFC 7693), with `key` of at most 64 bytes.

    It is taken of the JSON object of the fields, so that texts that only look the same when joined, such as
    ("a,b", "c") and ("a", "b,c"), differ. An empty field counts as none: it makes no difference that one is asked for.
    """
    import orjson

    fields = text_fields(table)
    for batch in table.select(fields).to_batches(max_chunksize=BATCH):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            texts = {field: text for field, text in zip(fields, row, strict=True) if text}
            yield hashlib.blake2b(orjson.dumps(texts), digest_size=16, key=key).digest()


def row_numbers(table: pa.Table) -> Iterator[int]:
    """The number of each row in its source, from 1."""
    return chain.from_iterable(chunk.to_pylist() for chunk in table["row"].chunks)
