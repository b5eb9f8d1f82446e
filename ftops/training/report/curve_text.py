"""A curve as lines of text, fitted to a terminal: in Braille, whose dots are fine, or in plain ASCII."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ftops.display.numbers import trimmed
from ftops.training.metrics import Point, Series

HEIGHT: Final = 9
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bits of the dots in a Braille character, by row and column: U+2800 and their sum (Unicode, chapter 21.1)."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a curve is drawn with."""

    columns: int
    """Dots in a character, side by side."""
    rows: int
    mark: str
    tick: str
    side: str
    corner: str
    floor: str


FINE: Final = Glyphs(2, 4, "●", "┤", "│", "└", "─")
PLAIN: Final = Glyphs(1, 1, "o", "+", "|", "+", "-")


def curve_lines(line: Series, marks: Series | None, width: int, glyphs: Glyphs = FINE) -> Iterator[str]:
    """`line` as a curve and each of `marks` as a mark, in HEIGHT rows and an axis, no wider than `width` characters.

    A column has the mean of the values that fall into it.
    """
    values = [*line.values, *(marks.values if marks else ())]
    low, high = min(values), max(values)
    labels = {0: trimmed(high), HEIGHT - 1: trimmed(low)}
    margin = max(map(len, labels.values()))
    cells = max(width - margin - 3, 10)
    last = max(line.last.at, marks.last.at if marks else line.last.at)
    first = min(line.first.at, marks.first.at if marks else line.first.at)

    def place(point: Point) -> tuple[int, int]:
        """Column and row, in dots."""
        across, down = cells * glyphs.columns - 1, HEIGHT * glyphs.rows - 1
        return (
            round((point.at - first) / ((last - first) or 1) * across),
            round((high - point.value) / ((high - low) or 1) * down),
        )

    rows = [[" "] * cells for _ in range(HEIGHT)]
    _draw(rows, [place(point) for point in _points(line.thinned(cells * glyphs.columns))], glyphs)
    for column, row in (place(point) for point in _points(marks)) if marks else ():
        rows[row // glyphs.rows][column // glyphs.columns] = glyphs.mark
    for index, cells_of in enumerate(rows):
        text = labels.get(index, "")
        yield f"{text:>{margin}} {glyphs.tick if text else glyphs.side}{''.join(cells_of)}".rstrip()
    ends = f"{first:,.0f}", f"{last:,.0f}"
    yield f"{'':>{margin}} {glyphs.corner}{glyphs.floor * cells}"
    yield f"{'':>{margin}}  {ends[0]}{ends[1]:>{max(cells - len(ends[0]), 1)}}"


def _points(series: Series) -> Iterator[Point]:
    return map(Point, series.at, series.values)


def _draw(rows: list[list[str]], places: list[tuple[int, int]], glyphs: Glyphs) -> None:
    """A line through places, unbroken: between two of them it is drawn straight."""
    dots = set(places)
    for (left, before), (right, after) in pairwise(places):
        length = max(right - left, abs(after - before), 1)
        for step in range(1, length):
            dots.add((left + (right - left) * step // length, before + (after - before) * step // length))
    found: dict[tuple[int, int], int] = {}
    for column, row in dots:
        cell = row // glyphs.rows, column // glyphs.columns
        found[cell] = found.get(cell, 0) | _DOTS[row % glyphs.rows][column % glyphs.columns]
    for (row, column), bits in found.items():
        rows[row][column] = chr(0x2800 + bits) if glyphs is FINE else "*"
