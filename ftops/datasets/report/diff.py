"""What differs between two sets of rows, as text for terminals and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeVar

from ftops.digests import Json
from ftops.display.text import clean
from ftops.plan.address import FORMAT_VERSION
from ftops.plan.json import as_json

SHOWN: Final = 10
LONGEST: Final = 300
"""Characters of a text that are shown; the JSON has all."""

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """A row: its number, the file it stands in, the line where that is known, its split when it was prepared.

    `texts` has its fields, only where they are to be shown.
    """

    row: int
    file: str
    line: int | None = None
    split: str | None = None
    texts: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DiffedSide:
    """One of the two: what it was called, how many rows it has, and how many more were left out, for they break its shape."""

    name: str
    rows: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class RowDiff:
    """What is in one set of rows and not in the other; a changed row has the same prompt and another answer.

    `moved` rows are equal and lie in another split. Pairs are the row before and the row after.
    """

    before: DiffedSide
    after: DiffedSide
    unchanged: int
    added: Sequence[PlacedRow]
    removed: Sequence[PlacedRow]
    changed: Sequence[tuple[PlacedRow, PlacedRow]]
    moved: Sequence[tuple[PlacedRow, PlacedRow]]


def diff_text(diff: RowDiff) -> str:
    """The counts in a line, then the first rows of each kind."""
    lines = [f"{_side(diff.before)} → {_side(diff.after)}"]
    counts = f"{len(diff.added):,} added, {len(diff.removed):,} removed, {len(diff.changed):,} changed"
    moved = f", {len(diff.moved):,} in another split" if diff.moved else ""
    lines += [f"{counts}{moved}, {diff.unchanged:,} the same."]
    lines += _kind("Added", "+", diff.added, _row)
    lines += _kind("Removed", "-", diff.removed, _row)
    lines += _kind("Changed", "~", diff.changed, _pair)
    lines += _kind("In another split", "→", diff.moved, _pair)
    return "\n".join(lines)


def diff_json(diff: RowDiff) -> str:
    """The counts, and every row."""
    tree = {
        "formatVersion": FORMAT_VERSION,
        "before": _side_json(diff.before),
        "after": _side_json(diff.after),
        "added": len(diff.added),
        "removed": len(diff.removed),
        "changed": len(diff.changed),
        "moved": len(diff.moved),
        "unchanged": diff.unchanged,
        "rows": {
            "added": [_row_json(each) for each in diff.added],
            "removed": [_row_json(each) for each in diff.removed],
            "changed": [{"before": _row_json(before), "after": _row_json(after)} for before, after in diff.changed],
            "moved": [{"before": _row_json(before), "after": _row_json(after)} for before, after in diff.moved],
        },
    }
    return as_json(tree)


def _side(side: DiffedSide) -> str:
    left_out = f", {side.left_out:,} more break its shape" if side.left_out else ""
    return f"{clean(side.name)} ({side.rows:,} row{'' if side.rows == 1 else 's'}{left_out})"


def _kind(title: str, symbol: str, entries: Sequence[Entry], words: Callable[[Entry], Iterator[str]]) -> Iterator[str]:
    if not entries:
        return
    yield ""
    yield title
    for entry in islice(entries, SHOWN):
        first, *more = words(entry)
        yield f"  {symbol} {first}"
        yield from (f"      {each}" for each in more)
    if len(entries) > SHOWN:
        yield f"  and {len(entries) - SHOWN:,} more; --format json has all"


def _row(row: PlacedRow) -> Iterator[str]:
    yield _place(row)
    yield from (f"{clean(field)}: {_cut(text)}" for field, text in (row.texts or {}).items() if text)


def _pair(pair: tuple[PlacedRow, PlacedRow]) -> Iterator[str]:
    before, after = pair
    yield f"{_place(before)} → {_place(after)}"
    old, new = before.texts or {}, after.texts or {}
    for field in dict.fromkeys((*old, *new)):
        was, now = old.get(field, ""), new.get(field, "")
        if was != now:
            yield f"{clean(field)} - {_cut(was)}"
            yield f"{clean(field)} + {_cut(now)}"
        elif was:
            yield f"{clean(field)}: {_cut(was)}"


def _place(row: PlacedRow) -> str:
    split = f", {row.split}" if row.split is not None else ""
    line = "" if row.line is None else f":{row.line}"
    return f"row {row.row:,} ({clean(row.file)}{line}{split})"


def _cut(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"


def _side_json(side: DiffedSide) -> Json:
    return {"name": side.name, "rows": side.rows, "leftOut": side.left_out}


def _row_json(row: PlacedRow) -> Json:
    tree = {"row": row.row, "file": row.file, "line": row.line, "split": row.split, "texts": row.texts}
    return {key: value for key, value in tree.items() if value is not None}
