"""The axes that several pictures have: days below, values at the left, and labels at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date

from ftops.display.numbers import day_text
from ftops.display.svg import Scale, label, line, spread


def ordinals(days: Sequence[str]) -> tuple[int, ...]:
    """ISO dates as days since the year 1, so that a day without a figure keeps its place."""
    return tuple(date.fromisoformat(each[:10]).toordinal() for each in days)


def ordinal_text(day: int) -> str:
    """`24 Oct`."""
    return day_text(date.fromordinal(day).isoformat())


def day_axis(x: Scale, days: Sequence[int], bottom: float) -> list[str]:
    """The first day, the last day, and as many between them as there is room for."""
    first, last = days[0], days[-1]
    room = max(int((x.end - x.start) // 75), 1)
    step = max(math.ceil((last - first) / room), 1)
    shown = [first, *(day for day in range(first + step, last, step) if last - day >= step * 0.7)]
    if last != first:
        shown.append(last)
    drawn = []
    for day in shown:
        drawn.append(line((x(day), bottom), (x(day), bottom + 4), "axis"))
        drawn.append(label((x(day), bottom + 17), ordinal_text(day), "", "middle"))
    return drawn


def value_axis(x: Scale, y: Scale, values: Sequence[float], text: Callable[[float], str]) -> list[str]:
    """A line across the picture at each value, and its label at the left; the line at 0 stands out."""
    drawn = []
    for value in values:
        zero = value == 0
        drawn.append(line((x.start, y(value)), (x.end, y(value)), "zero" if zero else "grid"))
        drawn.append(label((x.start - 6, y(value) + 4), "0" if zero else text(value), "strong" if zero else "", "end"))
    return drawn


def end_labels(ends: Sequence[tuple[str, float, str]], start: float, y: Scale) -> list[str]:
    """Labels (text, height, class) at the ends of lines, moved apart where they would overlap."""
    heights = spread([height + 4 for _, height, _ in ends], 15, y.end + 6, y.start)
    return [
        label((start, height), text, f"value {style}") for (text, _, style), height in zip(ends, heights, strict=True)
    ]
