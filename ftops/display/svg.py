"""What a picture is drawn with: shapes of SVG as text, coloured by classes that the page gives its colours.

Text is as wide as its letters are many: close enough to place a label, and no font is measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with the sentences that say what it shows, all made from the same figures.

    `narrow` is the same picture for phones, where `wide` would be too small to read.
    """

    title: str
    caption: str
    wide: str
    narrow: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` → places from `start` to `end`, in pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether `value` is inside of the picture."""
        return self.low <= value <= self.high


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values between `low` and `high`: 1, 2 or 5 times a power of ten apart, at most so many."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * power) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tag(name: str, *inside: str, **attributes: str | float | None) -> str:
    """An element; `inside` is SVG already. `_` in the name of an attribute is a hyphen; None leaves it out."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value not in (None, "")
    )
    return f"<{name}{given}>{''.join(inside)}</{name}>" if inside else f"<{name}{given}/>"


def label(at: Point, text: str, style: str = "", anchor: str | None = None) -> str:
    """Text that starts at a point, or has its `middle` or `end` there."""
    return tag("text", escape(text), x=at[0], y=at[1], class_=style, text_anchor=anchor)


def line(start: Point, end: Point, style: str) -> str:
    """A straight line."""
    return tag("path", d=f"M{_pair(start)}L{_pair(end)}", class_=style)


def curve(points: Iterable[Point | None], style: str) -> str:
    """A line through points, broken where one is None."""
    parts, command = [], "M"
    for point in points:
        if point is not None:
            parts.append(f"{command}{_pair(point)}")
        command = "M" if point is None else "L"
    return tag("path", d="".join(parts), class_=style)


def areas(upper: Sequence[Point | None], lower: Sequence[Point | None], style: str) -> str:
    """What lies between two lines, in pieces where they are broken."""
    pieces: list[list[tuple[Point, Point]]] = [[]]
    for above, below in zip(upper, lower, strict=True):
        if above is None or below is None:
            pieces.append([])
        else:
            pieces[-1].append((above, below))
    outlines = ([above for above, _ in each] + [below for _, below in reversed(each)] for each in pieces if each)
    path = "".join("M" + "L".join(_pair(point) for point in outline) + "Z" for outline in outlines)
    return tag("path", d=path, class_=style)


def cut(box: tuple[float, float, float, float], *inside: str) -> str:
    """What is drawn inside of a box (x, y, width, height), in the coordinates of the picture; the rest is cut off."""
    x, y, width, height = (_short(each) for each in box)
    return tag("svg", *inside, x=x, y=y, width=width, height=height, viewBox=f"{x} {y} {width} {height}")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places moved apart to be at least `gap` from each other, within `low` and `high`, in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = [min(max(places[index], low), high) for index in order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    for index in reversed(range(len(moved))):
        limit = high if index == len(moved) - 1 else moved[index + 1] - gap
        moved[index] = min(moved[index], limit)
    result = [0.0] * len(places)
    for index, place in zip(order, moved, strict=True):
        result[index] = place
    return result


def drawing(size: tuple[int, int], title: str, description: str, *inside: str, style: str = "") -> str:
    """The whole picture, which says in words what it shows."""
    width, height = size
    said = tag("title", escape(title)), tag("desc", escape(description))
    return tag("svg", *said, *inside, class_=style, role="img", viewBox=f"0 0 {width} {height}")


def _pair(point: Point) -> str:
    return f"{_short(point[0])} {_short(point[1])}"


def _short(value: str | float | None) -> str:
    """A number with one decimal, which is a tenth of a pixel."""
    if not isinstance(value, float | int):
        return str(value)
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
