"""How a training went: its loss step by step, with what the validation split said, and the figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from ftops.display.axes import end_labels, value_axis
from ftops.display.numbers import counted, fixed, number, trimmed
from ftops.display.svg import Picture, Point, Scale, areas, curve, cut, drawing, label, line, tag, ticks
from ftops.training.metrics import SMOOTHED_OVER, Series

_WIDE: Final = (720, 320)
_NARROW: Final = (360, 260)
_SMALL: Final = (360, 190)
_LEFT, _TOP, _BOTTOM = 52, 16, 40
_LETTER: Final = 7.8
_SPIKE: Final = 0.5
"""How far beyond the smoothed curve the picture reaches, as a share of that one's height: further out single steps are cut off."""


def loss_picture(loss: Series, evaluated: Series | None, begun_at: Sequence[int]) -> Picture:
    """The loss of each step, thin, and smoothed; that on the validation split with its best; where attempts began."""
    title, caption = "Loss of every step", loss_caption(loss, evaluated, begun_at)
    wide, narrow = (_draw_loss(loss, evaluated, begun_at, size, title, caption) for size in (_WIDE, _NARROW))
    return Picture(title, caption, wide, narrow)


def loss_caption(loss: Series, evaluated: Series | None, begun_at: Sequence[int]) -> str:
    """What the picture shows, in sentences."""
    said = []
    if evaluated is not None:
        best = evaluated.best("min")
        said.append(
            f"On the validation split (with dots: {counted(len(evaluated), 'evaluation')}) the loss was lowest at step "
            f"{best.at:,.0f}, {trimmed(best.value)}; the last was {trimmed(evaluated.last.value)}."
        )
    smooth = loss.smoothed()
    lowest = smooth.best("min")
    which = f"smoothed loss (the mean over {SMOOTHED_OVER * 100:.0f} % of the steps)" if loss.reach else "loss"
    said.append(
        f"On what it was trained on, the {which} ended at {trimmed(smooth.last.value)}, and was lowest at step "
        f"{lowest.at:,.0f}, {trimmed(lowest.value)}."
    )
    if len(loss) > _columns(_WIDE):
        said.append(
            f"The band goes from the lowest to the highest of the {len(loss):,} logged steps that share a place."
        )
    elif loss.reach:
        said.append("The thin line is that of every logged step.")
    low, high = _limits(loss, evaluated)
    if hidden := sum(not low <= value <= high for value in loss.values):
        verb = "lies" if hidden == 1 else "lie"
        highest = trimmed(loss.best("max").value)
        said.append(f"{counted(hidden, 'step')} with a loss of up to {highest} {verb} above the picture.")
    if begun_at:
        steps = ", ".join(f"{step:,}" for step in begun_at)
        said.append(f"Dashed: a later attempt began, at step {steps}.")
    return " ".join(said)


def series_picture(title: str, series: Series, unit: str, *, at: str = "step") -> Picture:
    """Another figure over steps, or over minutes."""
    top = series.best("max")
    caption = f"{title}: at most {_amount(top.value, unit)}, at {at} {trimmed(top.at, 3)}; at the end {_amount(series.last.value, unit)}."
    return Picture(title, caption, _draw_series(title, caption, series, unit, at))


def _amount(value: float, unit: str) -> str:
    return f"{_level(value)} {unit}".rstrip()


def _level(value: float) -> str:
    """A value in few letters, also a learning rate."""
    return f"{value:.1e}" if 0 < abs(value) < 0.001 else trimmed(value, 3)


# ----------------------------------------------------------------------------------------------------- drawing


def _columns(size: tuple[int, int]) -> int:
    return size[0] - _LEFT


def _limits(loss: Series, evaluated: Series | None) -> tuple[float, float]:
    """The values that the picture holds: all but single steps far above."""
    smoothed = [*loss.smoothed().values, *(evaluated.values if evaluated else ())]
    low, high = min(*loss.values, *smoothed), max(smoothed)
    return low, min(max(high, *loss.values), high + _SPIKE * ((high - low) or 1))


def _draw_loss(
    loss: Series, evaluated: Series | None, begun_at: Sequence[int], size: tuple[int, int], title: str, caption: str
) -> str:
    low, high = _limits(loss, evaluated)
    ends = [("training", loss.smoothed(), "c1")] + ([("validation", evaluated, "c2")] if evaluated else [])
    texts = [f"{name} {number(series.last.value, 3)}" for name, series, _ in ends]
    x, y = _scales(size, [loss, *([evaluated] if evaluated else [])], (low, high), texts)
    parts = [*value_axis(x, y, ticks(low, high, 5), _even(low, high)), *_step_axis(x, y.start, "step")]
    parts += [line((x(step), y.start), (x(step), y.end), "boundary") for step in begun_at]
    parts.append(cut((_LEFT, _TOP - 4, x.end - _LEFT + 2, y.start - _TOP + 8), *_raw(loss, x, y)))
    parts += [curve(_places(series.thinned(_columns(size)), x, y), f"line {style}") for _, series, style in ends]
    if evaluated is not None:
        parts += _dots(evaluated, x, y)
    labels = [(text, y(series.last.value), style) for text, (_, series, style) in zip(texts, ends, strict=True)]
    return drawing(size, title, caption, *parts, *end_labels(labels, x.end + 8, y))


def _draw_series(title: str, caption: str, series: Series, unit: str, at: str) -> str:
    low, high = min(0.0, *series.values), max(series.values)
    text = _amount(series.last.value, unit)
    x, y = _scales(_SMALL, [series], (low, high or 1.0), [text])
    levels = ticks(low, high or 1.0, 4)
    parts = [*value_axis(x, y, levels, _level), *_step_axis(x, y.start, at)]
    drawn = curve(_places(series.thinned(_columns(_SMALL)), x, y), "line c1")
    return drawing(
        _SMALL, title, caption, *parts, drawn, *end_labels([(text, y(series.last.value), "c1")], x.end + 8, y)
    )


def _scales(
    size: tuple[int, int], series: Sequence[Series], shown: tuple[float, float], labels: Sequence[str]
) -> tuple[Scale, Scale]:
    """The scales of a picture with room for `labels` at the right."""
    first, last = min(each.first.at for each in series), max(each.last.at for each in series)
    right = size[0] - 14 - _LETTER * max(map(len, labels))
    return Scale(first, last if last > first else first + 1, _LEFT, right), Scale(*shown, size[1] - _BOTTOM, _TOP)


def _even(low: float, high: float) -> Callable[[float], str]:
    """Values of an axis, all with the same decimals."""
    steps = ticks(low, high, 5)
    gap = min((after - before for before, after in pairwise(steps)), default=1.0)
    places = 0 if gap >= 1 else 1 if gap >= 0.1 else 2 if gap >= 0.01 else 4
    return lambda value: fixed(value, places)


def _step_axis(x: Scale, bottom: float, word: str) -> Iterator[str]:
    for each in ticks(x.low, x.high, max(int((x.end - x.start) // 80), 2)):
        yield line((x(each), bottom), (x(each), bottom + 4), "axis")
        yield label((x(each), bottom + 17), trimmed(each), "", "middle")
    yield label((x.end, bottom + 33), word, "", "end")


def _places(series: Series, x: Scale, y: Scale) -> list[Point | None]:
    return [(x(at), y(value)) for at, value in zip(series.at, series.values, strict=True)]


def _raw(loss: Series, x: Scale, y: Scale) -> Iterator[str]:
    """Each step, or where they are too many to be drawn, from the lowest to the highest in each place."""
    most = _columns(_WIDE)
    if len(loss) <= most:
        yield curve(_places(loss, x, y), "raw c1")
        return
    bounds = [len(loss) * index // most for index in range(most + 1)]
    cuts = [(x(loss.at[high - 1]), loss.values[low:high]) for low, high in pairwise(bounds)]
    yield areas([(at, y(max(them))) for at, them in cuts], [(at, y(min(them))) for at, them in cuts], "band c1")


def _dots(evaluated: Series, x: Scale, y: Scale) -> Iterator[str]:
    """The evaluations, the best one filled and named."""
    best = evaluated.best("min")
    if len(evaluated) <= _columns(_NARROW) // 8:
        for at, value in zip(evaluated.at, evaluated.values, strict=True):
            yield tag("circle", cx=x(at), cy=y(value), r=3, class_="dot c2")
    yield tag("circle", cx=x(best.at), cy=y(best.value), r=4.5, class_="last dot c2")
    if x(best.at) < x.end - 60:  # else it would stand in the way of the label at the end
        yield label((x(best.at), y(best.value) + 18), f"best {number(best.value, 3)}", "value c2", "middle")
