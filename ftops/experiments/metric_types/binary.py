"""Whether something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ftops.digests import Json
from ftops.display.numbers import trimmed
from ftops.experiments.metric_types.figures import Figures, Measured
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.values import Values

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats, Mask
    from ftops.statistics.sample import Interval, Sample

HAPPENS: Final = 1.0
"""Satisfaction from which it is true: 16 % of the rows."""


def _fits(number: float) -> bool:
    return number in (0, 1)


def _fit(values: Floats) -> Mask:
    fits: Mask = (values == 0) | (values == 1)
    return fits


class Binary(MetricType):
    """A share of the units (`any`: whether it happened in one of their rows), or their mean share of rows.

    Effects are differences of shares, said in percentage points: the spread of a share follows from the share itself.
    """

    __slots__ = ()

    name = "binary"
    values = Values("binary", "true, false, 1 or 0", _fits, _fit, booleans=True)
    aggregates = ("any", "mean")
    in_deviations = False
    symbol = ""
    without_mean = " if the baseline's share is a half"
    times = 100
    unit = " percentage points"

    def mean_interval(self, figures: Figures, sample: Sample, alpha: float) -> Interval | None:
        from ftops.statistics.sample import share_interval

        if figures.aggregate == "any" and not figures.adjusted:
            return share_interval(int(figures.y.sum()), sample.n, alpha)
        return super().mean_interval(figures, sample, alpha)

    def measure(self, arm: Figures, baseline: Figures) -> Measured:
        from ftops.statistics.effects import proportions

        if arm.aggregate != "any":
            return super().measure(arm, baseline)
        counts = len(arm.y), int(arm.y.sum()), len(baseline.y), int(baseline.y.sum())
        return Measured(proportions(*counts), self.sample(arm), self.sample(baseline))

    def detectable(self, units: float, level: float, power: float, mean: float | None) -> float | None:
        from ftops.statistics.power import detectable_share

        return detectable_share(_share(mean), units, level, power)

    def power(self, effect: float, units: tuple[float, float], level: float, mean: float | None) -> float | None:
        from ftops.statistics.power import power_shares

        share = _share(mean)
        change = effect if share + effect <= 1 else -effect
        return power_shares(share, change, *units, level)

    def amount(self, effect: float) -> str:
        return f"{trimmed(effect * 100)} percentage points"

    def draw(self, lean: Floats) -> Floats:
        import numpy as np

        return (lean > HAPPENS).astype(np.float64)

    def plain(self, values: Floats) -> list[Json]:
        return [each == 1 for each in values.tolist()]


def _share(mean: float | None) -> float:
    """The baseline's share where it is known; else one half, which is the hardest."""
    return 0.5 if mean is None or not 0 < mean < 1 else mean
