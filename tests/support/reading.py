"""Files of rows for tests, and what is read of them."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet as pq

from ftops.datasets.read import DataFile, Form, Reading, read_rows
from ftops.datasets.spec import DatasetSpec


def form_of(extension: str = "jsonl", *, shape: str = "instruction", split: dict | None = None, **source) -> Form:
    """The form that a spec with these fields of `source` asks for."""
    tree = {"source": {"path": f"rows.{extension}", **source}, "shape": shape, "split": split or {}}
    return Form.of(DatasetSpec.model_validate(tree))


def read_content(folder: Path, content: bytes | str, extension: str = "jsonl", **options) -> Reading:
    """What is read of a file with `content`; see `form_of` for `options`."""
    return read_contents(folder, [content], extension, **options)


def read_contents(folder: Path, contents: list[bytes | str], extension: str = "jsonl", **options) -> Reading:
    """What is read of several files, one after the other."""
    number = len(list(folder.iterdir()))
    source, target = folder / f"source-{number}", folder / f"rows-{number}"
    source.mkdir()
    target.mkdir()
    files = []
    for index, content in enumerate(contents):
        path = source / (f"rows.{extension}" if len(contents) == 1 else f"rows-{index}.{extension}")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        files.append(DataFile(source, path.name))
    return read_rows(files, form_of(extension, **options), target, lambda done, total: None)


def rows_of(reading: Reading) -> list[dict]:
    """Every row as the checks see it."""
    return [row for batch in reading.rows.batches() for row in batch.to_pylist()]


def told(reading: Reading) -> list[tuple[int, str, str | None]]:
    """Row, field and name of every fault."""
    return [(each.row, each.field, each.entity) for each in reading.faults]


def parquet(table, **options) -> bytes:
    """The bytes of a Parquet file."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()
