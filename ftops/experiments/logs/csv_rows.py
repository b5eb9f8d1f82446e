"""CSV with a header. An empty cell is null, numbers are written as in JSON, true and false in any case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ftops.errors import did_you_mean
from ftops.experiments.logs.columns import Block, Part, judge_block, one_by_one
from ftops.experiments.logs.log_source import Source, in_order
from ftops.experiments.logs.row_schema import FLAG, KNOWN, REQUIRED, Rules

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BLOCK: Final = 4 << 20
_NUMBER: Final = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?"
_WORDS: Final = ("false", "true")


@dataclass(slots=True)
class _Ragged:
    """The rows that have more or fewer cells than the header, by their number from 1."""

    cells: dict[int, tuple[int, int]]

    def take(self, row: Any) -> str:
        self.cells[row.number - 1] = (row.actual_columns, row.expected_columns)
        return "skip"

    def fault(self, number: int) -> object:
        found, expected = self.cells[number]
        raise ValueError(f"expected {expected} cells, as the header has, found {found}")


def parts(source: Source) -> Iterator[tuple[int, Part]]:
    """What the rows are, batch by batch, each with the number of its first row; rows are counted without the header."""
    import pyarrow as pa

    if source.file.format[1] is None:
        _leave_last_line(source)
    source.hash_all()
    ragged = _Ragged({})
    if source.content.size:
        try:
            work = partial(_judged, rules=source.rules)
            yield from in_order(source.pool, work, _batches(source, ragged))
        except (pa.ArrowException, OSError) as error:
            raise source.refused("not readable as CSV", _without_cells(error)) from error
    yield 0, one_by_one(sorted(ragged.cells), ragged.fault, source.rules)
    source.tell(source.content.size)


def _leave_last_line(source: Source) -> None:
    """Reads no further than the last line end: whether a cell is complete can't be told without one."""
    tail, at = b"", source.content.size
    while at and b"\n" not in tail:
        at = max(0, at - (1 << 16))
        source.content.seek(at)
        tail = source.content.read(1 << 16)
    end = at + tail.rfind(b"\n") + 1
    if end < source.content.size:
        source.notes.append(f"{source.file.path}: the last line has no line end yet; it was left out")
        source.content.size = end


def _without_cells(error: Exception) -> str:
    """What the parser says, up to where it repeats what stands in the file."""
    return re.split(r"[:'\"]", str(error).removeprefix("CSV parse error: "), maxsplit=1)[0][:200]


def _batches(source: Source, ragged: _Ragged) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """The columns to read, as bytes, with the number of each row."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    def reader(ragged: _Ragged, names: list[str] | None = None) -> csv.CSVStreamingReader:
        return csv.open_csv(
            source.stream(),
            csv.ReadOptions(use_threads=False, block_size=BLOCK),
            csv.ParseOptions(newlines_in_values=True, invalid_row_handler=ragged.take),
            csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names or (), pa.binary()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    with reader(_Ragged({})) as first:
        names = _columns(source, first.schema.names)
    row = 1
    with reader(ragged, names) as batches:
        for batch in batches:
            left_out = [number for number in ragged.cells if number >= row]
            numbers = np.setdiff1d(np.arange(row, row + len(batch) + len(left_out)), left_out)[: len(batch)]
            yield numbers, batch
            row = int(numbers[-1]) + 1 if len(batch) else row


def _columns(source: Source, names: list[str]) -> list[str]:
    """The columns to read. Raises ChecksFailed where one is missing, or there twice."""
    wanted = [*REQUIRED, *source.rules.fields]
    for name in wanted:
        if name not in names:
            raise source.refused(
                f"no column {name!r}", "", did_you_mean(name, names) or "see docs/reference/log-rows.md"
            )
    known = [name for name in dict.fromkeys([*wanted, *KNOWN, FLAG]) if name in names]
    for name in known:
        if names.count(name) > 1:
            raise source.refused(f"the column {name!r} stands twice")
    return known


def _judged(numbered: tuple[NDArray[np.int64], pa.RecordBatch], rules: Rules) -> tuple[int, Part]:
    import pyarrow as pa

    numbers, batch = numbered
    cells = {name: batch[name].view(pa.string()) for name in batch.schema.names}
    kinds = dict.fromkeys(REQUIRED, "") | dict.fromkeys((*rules.fields, *KNOWN), "number")
    kinds |= {name: "boolean" for name, values in rules.fields.items() if values.booleans} | {FLAG: "flag"}
    columns = {name: _converted(column, kinds[name]) for name, column in cells.items()}

    def unsure(name: str, null: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return null & cells[name].is_valid().to_numpy(zero_copy_only=False) if name in cells else null & False

    def row(place: int) -> dict[str, Any]:
        return {name: _value(column[place].as_py(), kinds[name]) for name, column in cells.items()}

    part = judge_block(Block(len(batch), columns, row, unsure), rules)
    for each in (part, part.extra):
        if each is not None:
            each.faults = [(int(numbers[place]), fault) for place, fault in each.faults]
    return 0, part


def _converted(cells: pa.Array, kind: str) -> pa.Array:
    """The cells as text, numbers or booleans; null where they are no such."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not kind:
        return cells
    nothing = pa.scalar(None, pa.string())
    numbers = pc.if_else(pc.match_substring_regex(cells, f"^{_NUMBER}$"), cells, nothing).cast(pa.float64())
    if kind != "number":
        words = pc.index_in(pc.ascii_lower(cells), value_set=pa.array(_WORDS), skip_nulls=True)
        numbers = pc.coalesce(numbers, words.cast(pa.float64()))
    if kind == "flag":
        return pc.if_else(
            pc.is_in(numbers, value_set=pa.array([0.0, 1.0])), pc.equal(numbers, 1.0), pa.scalar(None, pa.bool_())
        )
    return numbers


def _value(cell: str | None, kind: str) -> object:
    """One cell as `_converted` has it; the text where it is no such."""
    if not kind or cell is None:
        return cell
    if kind != "number" and cell.lower() in _WORDS:
        return cell.lower() == "true"
    value = float(cell) if re.fullmatch(_NUMBER, cell, re.ASCII) else cell
    return bool(value) if kind == "flag" and value in (0.0, 1.0) else value
