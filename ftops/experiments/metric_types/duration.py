"""How long something took."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from ftops.digests import Json
from ftops.display.numbers import percent
from ftops.experiments.metric_types.figures import Difference, Measured
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.simulated_field import SimulatedField
from ftops.experiments.metric_types.spread import Histogram
from ftops.experiments.metric_types.values import Values

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats, Mask
    from ftops.statistics.sample import Interval, Sample

_WIDEST: Final = 100.0
"""Of an interval of logarithms: an early look may exclude nothing, and the exponential of that is no number."""


def _fits(number: float) -> bool:
    return 0 < number < math.inf


def _fit(values: Floats) -> Mask:
    import numpy as np

    return (values > 0) & (values < np.inf)


class Duration(MetricType):
    """A finite number above 0, analysed by its logarithm, as a few rows take many times as long as most.

    The mean is the geometric one, and an effect the ratio of two of them.
    """

    __slots__ = ()

    name = "duration"
    values = Values("duration", "a finite number above 0", _fits, _fit)
    well_known: ClassVar[Mapping[str, int]] = {"response_time_ms": -1}
    spread = Histogram(logarithms=True, quantiles=True)

    def analysed(self, values: Floats) -> Floats:
        import numpy as np

        return np.log(values)

    def shown(self, figure: float) -> float:
        return math.exp(figure)

    def reportable(self, interval: Interval | None) -> Interval | None:
        return None if interval is not None and max(map(abs, interval)) > _WIDEST else interval

    def difference(self, measured: Measured, interval: Interval | None, level: float) -> Difference:
        estimate = measured.effect.estimate
        return Difference(
            None if estimate is None else math.exp(estimate),
            None if interval is None else (math.exp(interval[0]), math.exp(interval[1])),
            None if estimate is None else math.expm1(estimate),
            None if interval is None else (math.expm1(interval[0]), math.expm1(interval[1])),
        )

    def share(self, change: float, baseline: Sample) -> float | None:
        return math.expm1(change)

    def size(self, metric: str, found: Difference) -> str:
        """`response_time_ms is +3.4 % (interval +0.6 % to +6.2 %)`."""
        effect, ci = found.effect or 0.0, found.ci
        text = f"{metric} is {percent(effect - 1, sign=True)}"
        if ci is None:
            return text
        return f"{text} (interval {percent(ci[0] - 1, sign=True)} to {percent(ci[1] - 1, sign=True)})"

    def draw(self, lean: Floats) -> Floats:
        import numpy as np

        return np.asarray(900 * np.exp(0.6 * lean))

    def plain(self, values: Floats) -> list[Json]:
        return [max(round(each, 1), 0.1) for each in values.tolist()]

    def simulated(self, fields: tuple[str, ...], sign: int) -> tuple[SimulatedField, ...]:
        (time,) = super().simulated(fields, sign)
        return (replace(time, slowed=True),)
