"""Every comparison side by side: relative effects with their intervals, and how far a guardrail may go."""

from __future__ import annotations

import statistics

from ftops.display.numbers import counted, percent, shortened
from ftops.display.svg import Picture, Scale, drawing, label, line, tag, ticks
from ftops.experiments.analysis.interim_result import Comparison, InterimResult
from ftops.experiments.report.chart_data import Declared, relative_text

_TOP, _BOTTOM = 26, 30
_COLOURS = {"better": "good", "worse": "bad", "open": "even", "kept": "good", "broken": "bad"}


def outcome(comparison: Comparison) -> str:
    """What the comparison showed, in a word or two."""
    match comparison.guardrail:
        case "kept":
            return "within the margin"
        case "broken":
            return "guardrail broken"
        case "open":
            return "margin still open"
        case _:
            return {"better": "better", "worse": "worse", "open": "not shown"}[comparison.outcome]


def forest_picture(look: InterimResult, declared: Declared) -> Picture | None:
    """Relative effects of all comparisons; none where fewer than two have one."""
    drawn = [each for each in look.comparisons if each.relative_effect is not None]
    if len(drawn) < 2:
        return None
    reach = forest_reach(drawn, declared)
    title = "All metrics, as shares of the baseline's mean"
    caption = forest_caption(look, reach, declared)
    return Picture(
        title, caption, _draw(drawn, declared, reach, 720, (title, caption)),
        _draw(drawn, declared, reach, 360, (title, caption)),
    )  # fmt: skip


def forest_reach(comparisons: list[Comparison], declared: Declared) -> float:
    """How far from 0 the picture reaches; an interval far wider than most is cut, so that the others can be read."""
    reaches = [max(abs(end) for end in _ends(each, declared)) for each in comparisons]
    margins = [each.margin for each in comparisons if each.margin is not None]
    return max([min(max(reaches), 4 * statistics.median(reaches)), *margins, 1e-6]) * 1.08


def forest_caption(look: InterimResult, reach: float, declared: Declared) -> str:
    """How to read it, what was shown, and what is not drawn."""
    drawn = [each for each in look.comparisons if each.relative_effect is not None]
    words = [f"{each.arm} in {each.metric} ({each.role}): {outcome(each)}" for each in drawn if _state(each) != "open"]
    sentences = [
        f"{counted(len(drawn), 'comparison')} with their intervals; one that crosses 0 shows no effect.",
        f"{'; '.join(words)}." if words else "None of them shows an effect.",
    ]
    if any(_margin(each, declared) is not None for each in drawn):
        sentences.append("The upright dash is a guardrail's margin: on that side its interval is one-sided.")
    if look.verdict == "invalid":
        sentences.append("Nothing follows from it, because the data are not sound.")
    if beyond := sum(any(abs(end) > reach for end in _ends(each, declared)) for each in drawn):
        sentences.append(
            f"{counted(beyond, 'interval')} with an arrow reach{'es' if beyond == 1 else ''} beyond the picture."
        )
    if left := len(look.comparisons) - len(drawn):
        sentences.append(
            f"{counted(left, 'comparison')} without a relative effect {'is' if left == 1 else 'are'} not drawn."
        )
    return " ".join(sentences)


def _draw(drawn: list[Comparison], declared: Declared, reach: float, width: int, said: tuple[str, str]) -> str:
    wide = width > 500
    row = 34 if wide else 46
    height = _TOP + row * len(drawn) + _BOTTOM
    x = Scale(-reach, reach, 190 if wide else 14, width - (190 if wide else 14))
    parts = _scale(x, height)
    for index, each in enumerate(drawn):
        middle = _TOP + row * index + (row / 2 if wide else row * 0.7)
        parts += _row(each, x, middle, declared)
        parts += _words(each, middle, width)
    return drawing((width, height), *said, *parts)


def _scale(x: Scale, height: int) -> list[str]:
    steps = ticks(x.low, x.high, 7 if x.end - x.start > 320 else 5)
    places = 0 if len(steps) < 2 or steps[1] - steps[0] >= 0.0099 else 1
    parts = []
    for value in steps:
        parts.append(line((x(value), _TOP - 6), (x(value), height - _BOTTOM), "zero" if value == 0 else "grid"))
        text = "0" if value == 0 else percent(value, places, sign=True)
        parts.append(label((x(value), height - 12), text, "strong" if value == 0 else "", "middle"))
    return parts


def _row(comparison: Comparison, x: Scale, middle: float, declared: Declared) -> list[str]:
    low, high = _ends(comparison, declared)
    style = _COLOURS[_state(comparison)]
    start, end = (x(min(max(each, x.low), x.high)) for each in (low, high))
    parts = [line((start, middle), (end, middle), f"whisker {style}")]
    for outside, place, way in ((low < x.low, start, 1), (high > x.high, end, -1)):
        if outside:
            parts.append(tag("path", d=f"M{place:.1f} {middle:.1f}l{7 * way} -4v8z", class_=f"fill {style}"))
    if (margin := _margin(comparison, declared)) is not None and x.holds(margin):
        parts.append(line((x(margin), middle - 9), (x(margin), middle + 9), "margin"))
    if x.holds(comparison.relative_effect or 0.0):
        parts.append(tag("circle", cx=x(comparison.relative_effect or 0.0), cy=middle, r=4.5, class_=f"fill {style}"))
    return parts


def _words(comparison: Comparison, middle: float, width: int) -> list[str]:
    """The metric and the arm, and the figure with what it showed: beside the interval, on a phone above it."""
    name, figure = f"{comparison.metric}, {comparison.arm}", relative_text(comparison)
    style = f"text-{_COLOURS[_state(comparison)]}"
    if width > 500:
        return [
            label((0, middle - 1), shortened(name, 28), "strong"),
            label((0, middle + 13), comparison.role),
            label((width - 2, middle - 1), figure, "value", "end"),
            label((width - 2, middle + 13), outcome(comparison), style, "end"),
        ]
    above, said = middle - 15, f"{figure} {outcome(comparison)}"
    room = int(width / 6.9) - len(said) - 2
    return [
        label((2, above), shortened(name, room), "strong"),
        label((width - 2, above), said, style, "end"),
    ]


def _state(comparison: Comparison) -> str:
    return comparison.guardrail or comparison.outcome


def _ends(comparison: Comparison, declared: Declared) -> tuple[float, float]:
    """The interval; of a guardrail on the worse side the one-sided one, which its margin is held against."""
    value = comparison.relative_effect or 0.0
    low, high = comparison.relative_ci or (value, value)
    direction = declared.directions.get(comparison.metric)
    if comparison.worst is None or direction is None:
        return low, high
    return (low, comparison.worst) if direction == "decrease" else (-comparison.worst, high)


def _margin(comparison: Comparison, declared: Declared) -> float | None:
    """Where the margin lies; not known where the record does not say which way is better."""
    direction = declared.directions.get(comparison.metric)
    if comparison.margin is None or direction is None:
        return None
    return comparison.margin if direction == "decrease" else -comparison.margin
