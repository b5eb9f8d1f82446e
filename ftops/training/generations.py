"""What a model answered before and after a training; `plugin/ftops_samples.py` writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from ftops.datasets import checks
from ftops.errors import ExternalError
from ftops.files import open_regular
from ftops.store.store import Store
from ftops.training.follow import resumed_from
from ftops.training.record import Sample, Samples

FILE: Final = "samples.json"
BYTES: Final = 1 << 20
"""More than the trainer writes of the most rows there may be."""
LONGEST: Final = 2000
"""Characters of a text that are kept, as the trainer cuts it."""
MOST_ATTEMPTS: Final = 100


def read_samples(store: Store, run_id: str, number: int) -> Samples | None:
    """What attempt `number` of a run left, with what the model answered before the first of the attempts that it goes on from;
    None where it left nothing that can be read."""
    found = _read(store.attempt(run_id, number))
    if found is None:
        return None
    first = found
    for folder in _sources(store.attempt(run_id, number)):
        first = _read(folder) or first
    before = {each.prompt: each.before for each in first.rows}
    rows = [each.model_copy(update={"before": before.get(each.prompt)}) for each in found.rows]
    return found.model_copy(update={"rows": tuple(rows)})


def masked(samples: Samples) -> Samples:
    """`samples` without the personal data that is found in them."""
    import pyarrow as pa  # as all columns of rows are

    texts = [{name: text or "" for name, text in each.model_dump().items()} for each in samples.rows]
    table = pa.Table.from_pylist([{"row": number, **each} for number, each in enumerate(texts, 1)])
    columns = [pa.field(each.name, pa.int64() if each.name == "row" else pa.large_string()) for each in table.schema]
    after = checks.masked(table.cast(pa.schema(columns))).drop_columns("row").to_pylist()
    rows = (
        each.model_copy(update={name: text for name, text in changed.items() if getattr(each, name)})
        for each, changed in zip(samples.rows, after, strict=True)
    )
    return samples.model_copy(update={"rows": tuple(rows)})


def _sources(folder: Path) -> Iterator[Path]:
    """The folder of the attempt that the one in `folder` went on from, that of the one before that, and so on."""
    for _ in range(MOST_ATTEMPTS):
        try:
            source = resumed_from(folder)
        except FileNotFoundError:
            return
        if source is None:
            return
        folder = source.parents[1]
        yield folder


def _read(folder: Path) -> Samples | None:
    try:
        with os.fdopen(open_regular(folder / FILE), "rb") as file:
            found = Samples.model_validate_json(file.read(BYTES))
    except (FileNotFoundError, ExternalError, ValidationError):
        return None
    rows = (
        Sample(**{name: text and text[:LONGEST] for name, text in each.model_dump().items()}) for each in found.rows
    )
    return found.model_copy(update={"rows": tuple(rows)})
