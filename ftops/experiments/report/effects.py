"""Draws the effect from day to day: its interval, the boundary of the stopping rule, and the looks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ftops.display.axes import day_axis, ordinal_text, ordinals, value_axis
from ftops.display.numbers import fixed, percent, places_for
from ftops.display.svg import Picture, Point, Scale, areas, curve, cut, drawing, label, spread, tag, ticks
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.report.chart_data import Declared, arms_of, baseline_of, colour, is_ratio, primary

WIDE = (720, 300)
SMALL = (360, 240)
_LEFT, _TOP, _BOTTOM = 52, 28, 30
_LETTER = 6.6
"""Pixels of one letter at most, in the size of labels."""
_MOST = 100
"""A ratio beyond this is not drawn: it says only that there are next to no units yet."""


@dataclass(frozen=True, slots=True)
class Course:
    """One arm's effect by day. `day` counts from 1 January of the year 1; of a duration all is on the scale of logarithms.

    `effects` and `boundaries` are None on days without a figure; `looked` are the days of the looks before the last one.
    """

    arm: str
    baseline: str
    metric: str
    style: str
    days: tuple[int, ...]
    effects: tuple[float | None, ...]
    boundaries: tuple[float | None, ...]
    looked: tuple[int, ...]
    logs: bool
    better: int
    """1 where more is better, −1 where less is."""

    @property
    def last(self) -> int:
        """The position of the last day with a figure."""
        return max(index for index, effect in enumerate(self.effects) if effect is not None)

    @property
    def end(self) -> tuple[float, float]:
        """The effect and the boundary on that day."""
        return self.effects[self.last] or 0.0, self.boundaries[self.last] or 0.0

    @property
    def limit(self) -> float:
        """How far from 0 the picture reaches: all of the last interval, and every effect after the first quarter."""
        effect, boundary = self.end
        late = [abs(each) for each in self.effects[len(self.effects) // 4 :] if each is not None]
        reach = max([(abs(effect) + boundary) * 1.3, *(each * 1.1 for each in late), 1e-9])
        return min(reach, math.log(_MOST)) if self.logs else reach

    @property
    def hidden(self) -> tuple[int, ...]:
        """The days on which something lies outside of the picture."""
        pairs = zip(self.days, self.effects, self.boundaries, strict=True)
        return tuple(
            day
            for day, effect, boundary in pairs
            if effect is not None and boundary is not None and abs(effect) + boundary > self.limit
        )

    @property
    def dots(self) -> tuple[tuple[int, float], ...]:
        """The days of looks with the effect then, on the line; the last look is its end."""
        known = [(day, effect) for day, effect in zip(self.days, self.effects, strict=True) if effect is not None]
        found = []
        for day in self.looked:
            for (before, one), (after, other) in itertools.pairwise(known):
                effect = one + (other - one) * (day - before) / (after - before)
                if before <= day < after and abs(effect) <= self.limit:
                    found.append((day, effect))
        return (*found, (self.days[self.last], self.end[0]))

    def text(self, value: float) -> str:
        """A value of the axis in words, with the decimals that the last interval deserves."""
        _, boundary = self.end
        if self.logs and value > math.log(_MOST):
            return f"over ×{_MOST}"
        if self.logs:
            return percent(math.expm1(value), min(places_for(boundary * 100), 1), sign=True)
        return fixed(value, places_for(boundary), sign=True)


def courses(look: InterimResult, looks: Sequence[InterimResult], declared: Declared) -> tuple[Course, ...]:
    """What is drawn of each arm that has an effect on any day; `looks` are those of the phase."""
    baseline, logs = baseline_of(look), any(is_ratio(each) for each in primary(look))
    metric = next((each.metric for each in primary(look)), declared.metric)
    days = ordinals([each.day for each in look.days])
    looked = tuple(sorted(set(ordinals([each.last for each in looks if each.last and each.number != look.number]))))
    found = []
    for position, arm in enumerate(arms_of(look)):
        pairs = [each.effects.get(arm) for each in look.days]
        if arm == baseline or not any(pairs):
            continue
        effects = tuple(pair[0] if pair else None for pair in pairs)
        found.append(
            Course(
                arm, baseline, metric, colour(position), days, effects, tuple(pair[1] if pair else None for pair in pairs),
                looked, logs, -1 if declared.directions.get(metric) == "decrease" else 1,
            )
        )  # fmt: skip
    return tuple(found)


def effect_pictures(look: InterimResult, looks: Sequence[InterimResult], declared: Declared) -> tuple[Picture, ...]:
    """A picture of each arm's effect over time; small ones, side by side, where there are several."""
    found = courses(look, looks, declared)
    pictures = []
    for each in found:
        title = f"Effect of {each.arm} on {each.metric}"
        caption = effect_caption(each, look)
        if len(found) == 1:
            pictures.append(
                Picture(title, caption, _draw(each, WIDE, title, caption), _draw(each, SMALL, title, caption))
            )
        else:
            pictures.append(Picture(title, caption, _draw(each, SMALL, title, caption)))
    return tuple(pictures)


def effect_caption(course: Course, look: InterimResult) -> str:
    """What the picture shows, in sentences: the last effect, its interval, the boundary, the looks, what is cut off."""
    effect, boundary = course.end
    low, high = course.text(effect - boundary), course.text(effect + boundary)
    lower, upper = (course.text(end) for end in (-boundary, boundary))
    outside = abs(effect) > boundary
    where, what = ("outside", "leaves out") if outside else ("inside", "holds")
    day = ordinal_text(course.days[course.last])
    stood = f"On {day} {course.arm} stood at {course.text(effect)} against {course.baseline}"
    sentences = [
        f"{stood}, with an interval (shaded) from {low} to {high}.",
        f"That is {where} of the stopping boundary (dashed, {lower} and {upper}): the interval {what} 0.",
    ]
    if outside and look.verdict == "invalid":
        sentences.append("Nothing follows from it, because the data are not sound.")
    if any(each.variance_reduction is not None for each in primary(look)):
        sentences.append(
            "What the covariate explains is taken out of the effects in the tables, but not out of this picture."
        )
    looks = len(course.dots)
    sentences.append("The dot is the look." if looks == 1 else f"The {looks} dots are the looks, on their days.")
    if course.hidden:
        hidden = f"On {len(course.hidden)} of the {len(course.days)} days drawn"
        sentences.append(f"{hidden} the interval or the boundary reaches beyond the picture.")
    return " ".join(sentences)


def _draw(course: Course, size: tuple[int, int], title: str, caption: str) -> str:
    width, height = size
    effect, _ = course.end
    right = width - 12 - _LETTER * max(len(course.text(effect)) * 1.15, len("boundary"))
    x = Scale(course.days[0], max(course.days[-1], course.days[0] + 1), _LEFT, right)
    y = Scale(-course.limit, course.limit, height - _BOTTOM, _TOP)
    points = [
        None if each is None else (x(day), y(each)) for day, each in zip(course.days, course.effects, strict=True)
    ]
    return drawing(
        size, title, caption,
        *_axes(course, x, y),
        cut((_LEFT, _TOP, right - _LEFT + 6, height - _TOP - _BOTTOM), *_bands(course, x, y), curve(points, f"line {course.style}")),
        *_dots(course, x, y),
        *_end_labels(course, x, y, width),
        *_directions(course, x, y),
    )  # fmt: skip


def _axes(course: Course, x: Scale, y: Scale) -> list[str]:
    levels = _levels(course)
    step = min((abs(after - before) for before, after in itertools.pairwise(levels)), default=course.limit)
    places = 0 if course.logs else max(0, -math.floor(math.log10(step) + 1e-9))

    def text(value: float) -> str:
        return percent(math.expm1(value), places, sign=True) if course.logs else fixed(value, places, sign=True)

    return [*value_axis(x, y, levels, text), *day_axis(x, course.days, y.start)]


def _levels(course: Course) -> list[float]:
    if not course.logs:
        return ticks(-course.limit, course.limit, 6)
    shares = ticks(math.expm1(-course.limit), math.expm1(course.limit), 6)
    return [math.log1p(each) for each in shares if each > -1]


def _bands(course: Course, x: Scale, y: Scale) -> list[str]:
    far = 20 * course.limit  # a line that runs on for miles is no longer drawn dashed

    def along(height: Callable[[float, float], float]) -> list[Point | None]:
        pairs = zip(course.days, course.effects, course.boundaries, strict=True)
        return [
            None if effect is None or boundary is None else (x(day), y(min(max(height(effect, boundary), -far), far)))
            for day, effect, boundary in pairs
        ]

    return [
        areas(along(lambda effect, b: effect + b), along(lambda effect, b: effect - b), f"band {course.style}"),
        curve(along(lambda _, b: b), "boundary"),
        curve(along(lambda _, b: -b), "boundary"),
    ]


def _dots(course: Course, x: Scale, y: Scale) -> list[str]:
    """The looks on the line, the last one filled."""
    *looks, last = [(x(day), y(effect)) for day, effect in course.dots]
    places = [*((place, "dot") for place in looks), (last, "last dot")]
    return [tag("circle", cx=px, cy=py, r=4, class_=f"{style} {course.style}") for (px, py), style in places]


def _end_labels(course: Course, x: Scale, y: Scale, width: int) -> list[str]:
    """The last effect, and the boundary on the other side of the zero line, where it is in nobody's way."""
    effect, boundary = course.end
    other = -boundary if effect >= 0 else boundary
    own, dashed = spread([y(effect) + 4, y(other) + 4], 15, y.end + 4, y.start - 2)
    start = min(x(course.days[course.last]), x.end) + 10
    return [
        label((start, own), course.text(effect), f"value {course.style}"),
        label((width - 2, dashed), "boundary", "", "end"),
    ]


def _directions(course: Course, x: Scale, y: Scale) -> list[str]:
    """Which way is better, above the picture, where no line runs."""
    up, down = ("better", "worse") if course.better > 0 else ("worse", "better")
    return [label((x.start, y.end - 12), f"↑ {up}  ↓ {down}")]
