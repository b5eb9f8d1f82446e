"""What lies behind a mean: the shares of each value, or of each range of values, in every arm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ftops.display.axes import value_axis
from ftops.display.numbers import listed, percent, shortened, trimmed
from ftops.display.svg import Picture, Point, Scale, areas, curve, drawing, label, line, spread, tag, ticks
from ftops.experiments.analysis.interim_result import Distribution, InterimResult
from ftops.experiments.report.chart_data import arms_of, colour

_WIDTH = 360
_LEFT, _TOP, _BOTTOM, _RIGHT = 46, 30, 30, 18
_PLOT = 150
"""Height of the bars."""
_MOST_BARS = 7
"""Of more values a histogram is drawn."""
_ROW = 24
_POINTS = ("p50", "p90", "p95")


def distribution_pictures(look: InterimResult) -> tuple[Picture, ...]:
    """A picture of each metric whose distribution is known."""
    return tuple(_picture(each, arms_of(look)) for each in look.distributions if any(map(any, each.shares.values())))


def distribution_caption(distribution: Distribution, arms: Sequence[str]) -> str:
    """Of ratings and the like the share of the lowest value; of durations the median and the slow end."""
    quantiles = distribution.quantiles
    known = [arm for arm in arms if arm in (quantiles or distribution.shares)]
    if quantiles:
        words = [
            f"{arm} {listed(f'{trimmed(quantiles[arm][point][0], 3)} ({point})' for point in _POINTS if point in quantiles[arm])}"
            for arm in known
        ]
        marks = f"{listed(_POINTS)} of each arm with their intervals stand below the bars"
        marks += "; what lies beyond the ends is in the first and the last bar"
        return f"In {distribution.metric}: {'; '.join(words)}. {marks}."
    shares = {arm: distribution.shares[arm] for arm in known}
    lowest = listed(f"{percent(each[0])} in {arm}" for arm, each in shares.items())
    highest = listed(f"{percent(each[-1])} in {arm}" for arm, each in shares.items())
    first, last = distribution.labels[0], distribution.labels[-1]
    outside = "; what lies beyond the ends is in the first and the last" if _is_histogram(distribution) else ""
    return f"The share of {first} is {lowest}; that of {last} is {highest} (of the rows that have a value{outside})."


def _picture(distribution: Distribution, arms: Sequence[str]) -> Picture:
    known = [(arm, colour(position)) for position, arm in enumerate(arms) if arm in distribution.shares]
    title = f"How {distribution.metric} is distributed"
    caption = distribution_caption(distribution, arms)
    draw = _histogram if _is_histogram(distribution) else _bars
    return Picture(title, caption, draw(distribution, known, (title, caption)))


def _is_histogram(distribution: Distribution) -> bool:
    return len(distribution.labels) > _MOST_BARS or bool(distribution.quantiles)


def _bars(distribution: Distribution, arms: Sequence[tuple[str, str]], said: tuple[str, str]) -> str:
    x, y = _scales(distribution)
    group = (x.end - x.start) / len(distribution.labels)
    bar = group * 0.8 / len(arms)
    parts = _shares_axis(x, y)
    for index, text in enumerate(distribution.labels):
        left = x.start + group * (index + 0.1)
        parts.append(label((left + group * 0.4, y.start + 17), text, "", "middle"))
        for position, (arm, style) in enumerate(arms):
            share = distribution.shares[arm][index]
            place = left + bar * position
            box = {"x": place + 0.75, "y": y(share), "width": bar - 1.5, "height": y.start - y(share)}
            parts.append(tag("rect", class_=f"bar {style}", **box))
            if bar >= 18:
                parts.append(label((place + bar / 2, y(share) - 4), f"{share * 100:.0f}", "small", "middle"))
    return drawing((_WIDTH, _TOP + _PLOT + _BOTTOM), *said, *_legend(arms), *parts)


def _histogram(distribution: Distribution, arms: Sequence[tuple[str, str]], said: tuple[str, str]) -> str:
    x, y = _scales(distribution)
    width = (x.end - x.start) / len(distribution.labels)
    parts = _shares_axis(x, y)
    for arm, style in arms:
        steps: list[Point] = [(x.start, y.start)]
        for index, share in enumerate(distribution.shares[arm]):
            steps += [(x.start + width * index, y(share)), (x.start + width * (index + 1), y(share))]
        steps.append((x.end, y.start))
        if len(arms) < 3:  # more areas over each other hide what they show
            parts.append(areas(steps, [(each, y.start) for each, _ in steps], f"band {style}"))
        parts.append(curve(steps, f"line {style}"))
    parts += _edges(distribution, x, y.start)
    below = y.start + _BOTTOM + 8
    rows = [(arm, style) for arm, style in arms if arm in distribution.quantiles]
    for index, (arm, style) in enumerate(rows):
        parts += _quantiles(distribution, arm, style, x, below + _ROW * (index + 0.5))
    if rows:
        parts += _quantile_names(distribution, rows[0][0], x, below + 2)
    height = int(below + _ROW * len(rows)) + 8 if rows else _TOP + _PLOT + _BOTTOM
    return drawing((_WIDTH, height), *said, *_legend(arms), *parts)


def _quantiles(distribution: Distribution, arm: str, style: str, x: Scale, middle: float) -> list[str]:
    """A row below the histogram: a mark with its interval for each quantile."""
    parts = [label((x.start - 6, middle + 8), shortened(arm, 5), f"value {style}", "end")]
    for point, values in distribution.quantiles[arm].items():
        if point in _POINTS:
            at, low, high = (x(_place(distribution, value)) for value in values)
            parts.append(line((low, middle + 4), (high, middle + 4), f"whisker {style}"))
            parts.append(tag("circle", cx=at, cy=middle + 4, r=4, class_=f"last dot {style}"))
    return parts


def _quantile_names(distribution: Distribution, arm: str, x: Scale, height: float) -> list[str]:
    """`p50`, `p90`, `p95` above their marks, moved apart where they would overlap."""
    found = {point: values[0] for point, values in distribution.quantiles[arm].items() if point in _POINTS}
    places = spread([x(_place(distribution, value)) for value in found.values()], 26, x.start, x.end)
    return [label((place, height), point, "small", "middle") for point, place in zip(found, places, strict=True)]


def _place(distribution: Distribution, value: float) -> float:
    """Where `value` lies along the bins, from 0 to 1; within a bin by its logarithm where it has one."""
    edges = distribution.edges
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        if value <= high or index == len(edges) - 2:
            inside = (
                math.log(value / low) / math.log(high / low) if 0 < low < value else (value - low) / ((high - low) or 1)
            )
            return (index + min(max(inside, 0.0), 1.0)) / (len(edges) - 1)
    return 0.0


def _edges(distribution: Distribution, x: Scale, bottom: float) -> list[str]:
    """The ends of the bins in numbers, as many as there is room for."""
    edges = distribution.edges
    step = max(math.ceil(len(edges) / 6), 1)
    width = (x.end - x.start) / max(len(edges) - 1, 1)
    return [
        part
        for index in range(0, len(edges), step)
        for part in (
            line((x.start + width * index, bottom), (x.start + width * index, bottom + 4), "axis"),
            label((x.start + width * index, bottom + 17), trimmed(edges[index], 3), "", "middle"),
        )
    ]


def _legend(arms: Sequence[tuple[str, str]]) -> list[str]:
    """The arms by name above the bars, each beside a patch of its colour."""
    parts, left = [], float(_LEFT)
    most = max(int(((_WIDTH - _LEFT) / len(arms) - 32) / 7.2), 3)
    for arm, style in arms:
        parts.append(tag("rect", x=left, y=4, width=10, height=10, class_=f"bar {style}"))
        name = shortened(arm, most)
        parts.append(label((left + 14, 13), name, f"value {style}"))
        left += 32 + 7.2 * len(name)
    return parts


def _shares_axis(x: Scale, y: Scale) -> list[str]:
    return value_axis(x, y, ticks(0, y.high, 4), lambda value: percent(value, 0 if y.high >= 0.04 else 1))


def _scales(distribution: Distribution) -> tuple[Scale, Scale]:
    top = max(max(each, default=0.0) for each in distribution.shares.values())
    return Scale(0, 1, _LEFT, _WIDTH - _RIGHT), Scale(0, top * 1.05, _TOP + _PLOT, _TOP)
