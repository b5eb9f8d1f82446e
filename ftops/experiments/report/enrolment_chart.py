"""Who took part, from day to day: units in each arm so far, and each arm's share beside the share it should have."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ftops.display.axes import day_axis, end_labels, ordinals, value_axis
from ftops.display.numbers import counted, day_text, listed, p_is, percent, shortened
from ftops.display.svg import Picture, Scale, areas, curve, cut, drawing, line, ticks
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.report.chart_data import Declared, arms_of, colour

_SIZE = (360, 230)
_LEFT, _TOP, _BOTTOM = 46, 14, 30
CHANCE = 3.2905
"""Standard errors that chance alone exceeds once in a thousand times: the level at which a mismatch blocks a verdict."""


def unit_pictures(look: InterimResult, declared: Declared) -> tuple[Picture, ...]:
    """Units so far, and their shares; none where there is no day."""
    if not look.days:
        return ()
    return _counts(look, declared), _shares(look, declared)


def counts_caption(look: InterimResult, declared: Declared) -> str:
    """How many units each arm had in the end."""
    last = look.days[-1]
    each = listed(f"{last.exposed.get(arm, 0):,} in {arm}" for arm in arms_of(look))
    return f"By {day_text(last.day)}, {counted(sum(last.exposed.values()), declared.unit)} had been seen: {each}."


def shares_caption(look: InterimResult) -> str:
    """Each arm's share in the end, the share it should have, and the test of that."""
    last, expected = look.days[-1].exposed, _expected(look)
    total = sum(last.values())
    each = listed(
        f"{percent(last.get(arm, 0) / total if total else None)} in {arm} ({percent(expected[arm])} expected)"
        for arm in arms_of(look)
        if arm in expected
    )
    test = "" if look.srm.p_value is None else f" The test of the split: {p_is(look.srm.p_value)}."
    return f"{each}.{test} The grey band is what chance alone leaves only once in 1,000 times, on any one day."


def _counts(look: InterimResult, declared: Declared) -> Picture:
    title = f"{declared.unit.capitalize()}s in each arm, so far"
    caption = counts_caption(look, declared)
    top = max(max(each.exposed.values(), default=0) for each in look.days)
    labels = {arm: f"{shortened(arm)} {look.days[-1].exposed.get(arm, 0):,}" for arm in arms_of(look)}
    x, y = _scales(look, (0, max(top, 1) * 1.05), labels.values())
    parts = value_axis(x, y, [each for each in ticks(0, y.high, 5) if each == int(each)], lambda value: f"{value:,.0f}")
    parts += day_axis(x, _days(look), y.start)
    lines, ends = [], []
    for position, arm in enumerate(arms_of(look)):
        values = [each.exposed.get(arm, 0) for each in look.days]
        lines.append(curve(list(zip(map(x, _days(look)), map(y, values), strict=True)), f"line {colour(position)}"))
        ends.append((labels[arm], y(values[-1]), colour(position)))
    return Picture(title, caption, drawing(_SIZE, title, caption, *parts, *lines, *end_labels(ends, x.end + 6, y)))


def _shares(look: InterimResult, declared: Declared) -> Picture:
    title = f"Share of the {declared.unit}s in each arm"
    caption = shares_caption(look)
    expected = _expected(look)
    shares = {arm: [_share(each.exposed, arm) for each in look.days] for arm in expected}
    last = {arm: next((each for each in reversed(found) if each is not None), None) for arm, found in shares.items()}
    labels = {arm: f"{shortened(arm)} {percent(share)}" for arm, share in last.items() if share is not None}
    low, high = _range(look, expected)
    x, y = _scales(look, (low, high), labels.values())
    places = 0 if high - low > 0.04 else 1
    parts = value_axis(x, y, ticks(low, high, 5), lambda value: percent(value, places))
    parts += day_axis(x, _days(look), y.start)
    bands = [
        part
        for share in {round(each, 2): each for each in expected.values()}.values()
        for part in _band(look, share, x, y)
    ]
    lines, ends = [], []
    for position, arm in enumerate(arms_of(look)):
        if arm not in labels:
            continue
        style = colour(position)
        points = [
            None if share is None else (x(day), y(share)) for day, share in zip(_days(look), shares[arm], strict=True)
        ]
        lines.append(curve(points, f"line {style}"))
        ends.append((labels[arm], y(last[arm] or 0.0), style))
    drawn = cut((_LEFT, _TOP, x.end - _LEFT + 2, y.start - _TOP), *bands, *lines)
    return Picture(title, caption, drawing(_SIZE, title, caption, *parts, drawn, *end_labels(ends, x.end + 6, y)))


def _band(look: InterimResult, share: float, x: Scale, y: Scale) -> list[str]:
    upper, lower = [], []
    for day, each in zip(_days(look), look.days, strict=True):
        total = sum(each.exposed.values())
        width = CHANCE * math.sqrt(share * (1 - share) / total) if total else 1.0
        upper.append((x(day), y(share + width)))
        lower.append((x(day), y(share - width)))
    return [areas(upper, lower, "chance"), line((x.start, y(share)), (x.end, y(share)), "boundary")]


def _range(look: InterimResult, expected: dict[str, float]) -> tuple[float, float]:
    """The shares that the picture holds: those after the first quarter of the days, and the band then."""
    late = look.days[len(look.days) // 4 :]
    shares = [share for each in late for arm in expected if (share := _share(each.exposed, arm)) is not None]
    total = max(sum(late[0].exposed.values()), 1)
    widths = [CHANCE * math.sqrt(each * (1 - each) / total) for each in expected.values()]
    ends = [end for each, width in zip(expected.values(), widths, strict=True) for end in (each - width, each + width)]
    return max(min([*shares, *ends, 1.0]), 0.0), min(max([*shares, *ends, 0.01]), 1.0)


def _expected(look: InterimResult) -> dict[str, float]:
    """The share that each arm should have; `expected` may be in units or in shares."""
    total = sum(look.srm.expected.values())
    return {arm: value / total for arm, value in look.srm.expected.items() if total and value > 0}


def _share(exposed: dict[str, int], arm: str) -> float | None:
    total = sum(exposed.values())
    return exposed.get(arm, 0) / total if total else None


def _days(look: InterimResult) -> list[int]:
    return list(ordinals([each.day for each in look.days]))


def _scales(look: InterimResult, shown: tuple[float, float], labels: Iterable[str]) -> tuple[Scale, Scale]:
    """The scales of a picture with room for `labels` at the right."""
    days = _days(look)
    width, height = _SIZE
    right = width - 10 - 7.6 * max(map(len, labels), default=0)
    return Scale(days[0], max(days[-1], days[0] + 1), _LEFT, right), Scale(*shown, height - _BOTTOM, _TOP)
