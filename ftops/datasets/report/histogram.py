"""Histograms of a data set: how long its rows are, and how large the groups that are alike."""

from __future__ import annotations

import itertools
import math

from ftops.datasets.record import ClusterReport, Distribution
from ftops.display.axes import value_axis
from ftops.display.numbers import counted, listed, percent, trimmed
from ftops.display.svg import Picture, Scale, drawing, label, line, spread, tag, ticks

_SIZE = (360, 236)
_LEFT, _TOP, _BOTTOM, _RIGHT = 52, 34, 44, 16
_GROUPS = 6
"""Sizes of groups that have a bar of their own."""


def histogram_picture(title: str, distribution: Distribution, unit: str, *, rows: str = "rows") -> Picture:
    """How many `rows` have how many of `unit` (plural); of a distribution that has edges."""
    caption = histogram_caption(distribution, unit, rows)
    x, y = _scales(distribution)
    parts = value_axis(x, y, [each for each in ticks(0, y.high, 4) if each == int(each)], short)
    bars = [
        tag("rect", class_="bar c1", x=x(place) + 0.5, y=y(count), width=max(x(place + 1) - x(place) - 1, 0.5), height=y.start - y(count))
        for place, count in enumerate(distribution.counts)
        if count
    ]  # fmt: skip
    marks = _marks(distribution, x, y)
    below = label(((x.start + x.end) / 2, y.start + 35), unit, "", "middle")
    return Picture(
        title, caption, drawing(_SIZE, title, caption, *parts, *bars, *_edges(distribution, x, y.start), *marks, below)
    )


def histogram_caption(distribution: Distribution, unit: str, rows: str = "rows") -> str:
    """The median, the 95 % point, the longest, and what the last bar holds where it is a tail."""
    words = (
        f"Half of the {rows} have at most {distribution.p50:,} {unit}, 95 % at most {distribution.p95:,}; "
        f"the longest has {distribution.max:,}, the mean is {trimmed(distribution.mean)}."
    )
    if not has_tail(distribution):
        return words
    start, count = distribution.edges[-2], distribution.counts[-1]
    share = percent(count / distribution.rows)
    return f"{words} The last bar holds all from {start:,} to {distribution.max:,}: {counted(count, rows.removesuffix('s'))}, {share}."


def has_tail(distribution: Distribution) -> bool:
    """Whether the last bin is wider than the others, and holds what lies far out."""
    edges = distribution.edges
    return len(edges) > 2 and edges[-1] - edges[-2] > edges[1] - edges[0]


def short(value: float) -> str:
    """`950`, `12k`, `1.5M`: a count where there is little room."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size * (10 if size == 10**3 else 1):
            return f"{trimmed(value / size, 3)}{letter}"
    return f"{value:,.0f}"


def _scales(distribution: Distribution) -> tuple[Scale, Scale]:
    width, height = _SIZE
    top = max(*distribution.counts, 1) * 1.05
    return Scale(0, len(distribution.counts), _LEFT, width - _RIGHT), Scale(0, top, height - _BOTTOM, _TOP)


def _edges(distribution: Distribution, x: Scale, bottom: float) -> list[str]:
    """The edges in numbers, as many as there is room for; where the tail begins is the last one."""
    edges = distribution.edges
    last = len(edges) - 2 if has_tail(distribution) else len(edges) - 1
    widest = 7.2 * max(len(short(each)) for each in edges[: last + 1]) + 14
    step = max(math.ceil(widest / (x(1) - x(0))), 1)
    parts = [line((x.start, bottom), (x.end, bottom), "axis")]
    for place in [*range(0, last - step // 2, step), last]:
        parts.append(line((x(place), bottom), (x(place), bottom + 4), "axis"))
        parts.append(label((x(place), bottom + 17), short(edges[place]), "", "middle"))
    if has_tail(distribution):
        parts.append(label((x(last + 1), bottom + 17), "…", "", "end"))
    return parts


def _marks(distribution: Distribution, x: Scale, y: Scale) -> list[str]:
    """Lines at the median and the 95 % point, named above the bars."""
    values = {"median": distribution.p50, "95 %": distribution.p95}
    places = [x(_place(distribution, value)) for value in values.values()]
    texts = [f"{name} {short(value)}" for name, value in values.items()]
    widths = [3.9 * len(text) for text in texts]
    labels = spread(places, sum(widths) + 12, x.start + widths[0], x.end - widths[1])
    parts = [line((place, _TOP - 6), (place, y.start), "boundary") for place in places]
    return parts + [
        label((place, _TOP - 12), text, "value small", "middle") for place, text in zip(labels, texts, strict=True)
    ]


def _place(distribution: Distribution, value: int) -> float:
    """Where `value` lies along the bins, counted from 0."""
    for place, (low, high) in enumerate(itertools.pairwise(distribution.edges)):
        if value < high or high == distribution.edges[-1]:
            return place + (value - low) / ((high - low) or 1)
    return 0.0


def cluster_picture(clusters: ClusterReport) -> Picture:
    """How many groups of rows that are alike have how many rows; large sizes together."""
    title = "Groups of rows that are alike"
    sizes = sorted((int(size), count) for size, count in clusters.sizes.items())
    bars = [(f"{size:,}", count) for size, count in sizes[:_GROUPS]]
    if rest := sizes[_GROUPS:]:
        bars.append((f"{rest[0][0]:,}–{rest[-1][0]:,}", sum(count for _, count in rest)))
    words = listed(f"{counted(count, 'group')} of {size} rows" for size, count in bars)
    caption = f"{words[:1].upper()}{words[1:]}."
    width, _ = _SIZE
    left = 24 + 7.2 * max(len(f"{size} rows") for size, _ in bars)
    x = Scale(0, max(count for _, count in bars), left, width - 20 - 7.8 * max(len(f"{count:,}") for _, count in bars))
    parts = []
    for place, (size, count) in enumerate(bars):
        top = 8 + 26 * place
        parts.append(label((left - 8, top + 14), f"{size} rows", "", "end"))
        parts.append(tag("rect", class_="bar c1", x=left, y=top, width=max(x(count) - left, 1), height=19))
        parts.append(label((x(count) + 6, top + 14), f"{count:,}", "value"))
    return Picture(title, caption, drawing((width, 8 + 26 * len(bars)), title, caption, *parts))
