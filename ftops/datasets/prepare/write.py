"""Writes a prepared folder: the rows of each split, which rows there were, what was found and done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from ftops.datasets import formats
from ftops.datasets.checks.rows import MESSAGES, TOOLS
from ftops.datasets.prepare.check_rows import CheckedRows, Progress
from ftops.datasets.prepare.findings import first_of_each
from ftops.datasets.prepare.manifest import INDEX, NOWHERE, SIDES
from ftops.datasets.prepare.moved_rows import row_numbers
from ftops.datasets.prepare.split import SPLITS, Sides, assign
from ftops.datasets.prepare.split import VERSION as SPLIT_VERSION
from ftops.datasets.prepare.stages import Stages
from ftops.datasets.read import JsonlWriter, Reading, StoredRows
from ftops.datasets.read.row_index import row_index
from ftops.datasets.record import FindingReport
from ftops.datasets.spec import PIPELINE_VERSION, DatasetSpec, OutputFormat
from ftops.digests import Json, digest
from ftops.errors import ChecksFailed, Diagnostic, Where
from ftops.files import copy, open_new, open_regular, read_bytes, write_new

SPLIT_FILES: Final = "splits.json"
FINDINGS: Final = "findings.jsonl"
AUDIT: Final = "audit.jsonl"
"""A line for each row and reason why it was left out, dropped or masked. It holds no text of a row."""
TRAINED_ON: Final = ("train", "validation")
"""The splits that Axolotl loads."""
_AUDITED: Final = {"left out", "dropped", "masked"}


@dataclass(frozen=True, slots=True)
class Written:
    """The folder with the file of each split and the index of rows; `splits` has of each file `rows`, `bytes`, `sha256`.

    `key` names all that the sides depend on.
    """

    folder: Path
    sides: Sides
    splits: Mapping[str, Json]
    key: str


def split_and_write(spec: DatasetSpec, checked: CheckedRows, stages: Stages, progress: Progress) -> Written:
    """Every row on its side, in the form that the trainer reads. Raises ChecksFailed when none is left to train on."""
    options = spec.split.model_dump(mode="json")

    def split(folder: Path) -> None:
        progress("split", 0, 1)
        assign(checked.rows, spec.split, alike(spec, checked)).save(folder)
        progress("split", 1, 1)

    key = digest([checked.key, "split", SPLIT_VERSION, options])
    sides = Sides.load(stages.get(key, split))
    _refuse_empty(checked, sides)

    def write(folder: Path) -> dict[str, str]:
        splits = write_splits(folder, checked.rows, sides, spec.output_format, progress)
        _refuse_times(folder, checked)
        write_index(folder, checked.reading, sides)
        write_new(folder / SPLIT_FILES, json.dumps(splits).encode())
        return {f"{name}.jsonl": split["sha256"] for name, split in splits.items()}

    folder = stages.get([key, "write", PIPELINE_VERSION, spec.output_format], write)
    return Written(folder, sides, json.loads(read_bytes(folder / SPLIT_FILES)), key)


def alike(spec: DatasetSpec, checked: CheckedRows) -> Mapping[int, int] | None:
    """What a check knows of rows that are alike, where it looked at least as widely as the split asks for.

    And at the rows as they are: once something is masked, rows are alike that were not.
    """
    found: Mapping[int, int] | None = {} if spec.split.near is None else None
    for check, result in checked.results:
        if spec.split.near is not None and check.parameters.finds_alike(spec.split.near):
            found = result.clusters
        elif result.changed is not None and spec.split.near is not None:
            found = None
    return found


def _refuse_empty(checked: CheckedRows, sides: Sides) -> None:
    if not (sides.sides == SPLITS.index("train")).any():
        none = not len(sides.sides)
        raise ChecksFailed(
            Diagnostic(
                "no rows are left to train on" if none else "the train split has no rows",
                where=Where(checked.reading.files[0].path),
                hint="add rows" if none else "add rows, or give train a larger ratio",
            )
        )


def _refuse_times(folder: Path, checked: CheckedRows) -> None:
    """Axolotl makes times of a field that holds nothing but dates, and trains on other texts than were checked."""
    for name in TRAINED_ON:
        with os.fdopen(open_regular(folder / f"{name}.jsonl"), "rb") as file:
            fields = formats.read_as_times(file)
        if fields:
            raise ChecksFailed(
                Diagnostic(
                    f"every text of {', '.join(fields)} in the {name} split is a date, which Axolotl would read as a time",
                    "2026-01-02 would become 2026-01-02 00:00:00",
                    "write the dates in words, or add rows that say something else",
                    where=Where(checked.reading.files[0].path),
                )
            )


def write_splits(
    folder: Path, rows: StoredRows, sides: Sides, form: OutputFormat, progress: Progress
) -> dict[str, Json]:
    """A file for each split, the rows in their order; gives `rows`, `bytes` and `sha256` of each."""
    import pyarrow as pa

    declared: frozenset[str] = frozenset()
    if {MESSAGES, TOOLS} & set(rows.fields):
        declared = declared.union(*rows.each(formats.optional_fields))
    done = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(JsonlWriter(folder / f"{name}.jsonl")) for name in SPLITS]
        for lines in rows.each(partial(formats.lines, form=form, declared=declared)):
            progress("write", done, rows.count)
            here = sides.sides[done : done + len(lines)]
            for side, writer in enumerate(writers):
                writer.write(lines.filter(pa.array(here == side)))
            done += len(lines)
        progress("write", done, rows.count)
        return {
            name: {"rows": writer.rows, "bytes": writer.bytes, "sha256": writer.sha256}
            for name, writer in zip(SPLITS, writers, strict=True)
        }


def write_index(folder: Path, reading: Reading, sides: Sides) -> None:
    """Which rows were read, and the side of each of them."""
    import numpy as np

    write_new(folder / INDEX, row_index(reading.rows))
    rows = row_numbers(reading)
    found = np.full(len(rows), NOWHERE, np.uint8)
    found[np.searchsorted(rows, sides.rows)] = sides.sides
    write_new(folder / SIDES, found.tobytes())


def write_findings(folder: Path, found: Iterable[FindingReport]) -> tuple[FindingReport, ...]:
    """All that was found, and what became of rows, a line each; gives the first ones."""
    with (
        os.fdopen(open_new(folder / FINDINGS), "w", encoding="utf-8") as findings,
        os.fdopen(open_new(folder / AUDIT), "wb") as audit,
    ):
        import orjson

        def told() -> Iterator[FindingReport]:
            for finding in found:
                findings.write(finding.model_dump_json(by_alias=True, exclude_none=True) + "\n")
                if finding.action in _AUDITED:
                    audit.write(orjson.dumps(_audited(finding), option=orjson.OPT_APPEND_NEWLINE))
                yield finding

        return first_of_each(told())


def _audited(finding: FindingReport) -> Json:
    line = {
        "row": finding.row, "file": finding.file, "line": finding.line, "check": finding.check, "action": finding.action,
        "reason": finding.detail, "entity": finding.entity, "field": finding.field or None,
    }  # fmt: skip
    return {name: value for name, value in line.items() if value is not None}


def take(source: Path, target: Path) -> None:
    """`source` under another name, on the same disk without a copy."""
    try:
        os.link(source, target)
    except OSError:
        copy(source, target)
