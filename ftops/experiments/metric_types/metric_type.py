"""What a type of metric says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from ftops.digests import Json
from ftops.display.numbers import fixed, percent, places_for, trimmed
from ftops.experiments.metric_types.figures import Difference, Figures, Measured
from ftops.experiments.metric_types.simulated_field import SimulatedField, decimals
from ftops.experiments.metric_types.spread import Spread
from ftops.experiments.metric_types.values import NUMBERS, Values

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats
    from ftops.statistics.effects import Test
    from ftops.statistics.sample import Interval, Sample

Aggregate = Literal["mean", "sum", "any"]


class MetricType:
    """All that others ask of a type. As it stands here, it is a plain number whose means are compared by Welch's t.

    A type is a subclass with a name, which says only what it has otherwise, and an entry in `METRIC_TYPES`. It has no
    state. numpy and scipy are imported inside of the methods that compute.
    """

    __slots__ = ()

    name: ClassVar[str]
    """As specs say it."""

    # ------------------------------------------------------------------------------------------------ rows

    values: ClassVar[Values] = NUMBERS
    """What each of its fields may hold."""
    of_parts: ClassVar[bool] = False
    """Whether it is made of a numerator and a denominator, each a field of a row; else of one field."""
    well_known: ClassVar[Mapping[str, int]] = {}
    """Fields that are of this type in the rows of every experiment: 1 where more of it is better, -1 where less is."""
    aggregates: ClassVar[tuple[Aggregate, ...]] = ("mean",)
    """The ways to make one figure of a unit's rows, the usual one first; none where the sums of the parts are it."""

    def analysed(self, values: Floats) -> Floats:
        """The values on the scale on which they are added up and tested."""
        return values

    # ---------------------------------------------------------------------------------------------- one arm

    def sample(self, figures: Figures) -> Sample:
        """How many units, their mean and variance, on the scale that is tested."""
        from ftops.statistics.sample import Sample

        return Sample.of(figures.y)

    def mean_interval(self, figures: Figures, sample: Sample, alpha: float) -> Interval | None:
        """The interval of the mean, on the scale that is tested."""
        return sample.interval(alpha)

    def shown(self, figure: float) -> float:
        """A mean, or an end of its interval, on the scale of the values."""
        return figure

    def linear(self, figures: Figures) -> Floats:
        """One number for each unit, whose mean is what arms are compared by."""
        return figures.y

    # --------------------------------------------------------------------------------------------- two arms

    test: ClassVar[Test] = "welch-t"

    def measure(self, arm: Figures, baseline: Figures) -> Measured:
        """The effect of an arm against the baseline, by the test that belongs to the type."""
        from ftops.statistics.effects import welch

        samples = self.sample(arm), self.sample(baseline)
        return Measured(welch(*samples, self.test), *samples)

    def reportable(self, interval: Interval | None) -> Interval | None:
        """An interval of the effect on the scale that is tested; None where it can't be shown."""
        return interval

    def difference(self, measured: Measured, interval: Interval | None, level: float) -> Difference:
        """The effect as it is shown; `interval` is its own one, on the scale that is tested, which it has at `level`."""
        from ftops.statistics.effects import relative

        share, span = relative(measured.effect, measured.arm, measured.baseline, level)
        return Difference(measured.effect.estimate, interval, share, None if interval is None else span)

    def share(self, change: float, baseline: Sample) -> float | None:
        """A change on the scale that is tested, as a share of the baseline's mean; None where that is 0."""
        mean = abs(baseline.mean)
        return change / mean if mean > 0 else None

    def rank_p_value(self, arm: Figures, baseline: Figures) -> float | None:
        """The p-value of a test by ranks, where one stands beside the test of means."""
        return None

    # ----------------------------------------------------------------------------------------------- design

    in_deviations: ClassVar[bool] = True
    """Whether the smallest effect that matters is one in standard deviations; else it is a plain difference."""
    symbol: ClassVar[str] = "d = "
    """What stands before such an effect in an outlook."""
    without_mean: ClassVar[str] = ""
    """What an outlook takes for granted as long as the baseline's mean is not known."""

    def detectable(self, units: float, level: float, power: float, mean: float | None) -> float | None:
        """The effect that `units` an arm find with `power`; None where that can't be told.

        `mean` is that of the baseline where it is known.
        """
        from ftops.statistics.power import detectable

        return detectable(units, level, power)

    def power(self, effect: float, units: tuple[float, float], level: float, mean: float | None) -> float | None:
        """How surely `effect` is found with these units in arm and baseline; None where that can't be told."""
        from ftops.statistics import power as sizes

        return sizes.power(effect, *units, level)

    # ------------------------------------------------------------------------------------------------ words

    times: ClassVar[int] = 1
    """By what an effect is multiplied to be said."""
    unit: ClassVar[str] = ""
    """What stands after it, with a space before."""

    def amount(self, effect: float) -> str:
        """The smallest effect that matters, in words."""
        return f"{trimmed(effect, 3)} standard deviations"

    def size(self, metric: str, found: Difference) -> str:
        """`rating is +0.12, that is +3.4 % (interval +0.02 to +0.22)`; there is an effect."""
        effect, ci = found.effect or 0.0, found.ci
        places = 3 if ci is None else places_for((ci[1] - ci[0]) / 2 * self.times)
        text = f"{metric} is {fixed(effect * self.times, places, sign=True)}{self.unit}"
        if found.relative_effect is not None:
            text += f", that is {percent(found.relative_effect, sign=True)}"
        if ci is None:
            return text
        return f"{text} (interval {' to '.join(fixed(end * self.times, places, sign=True) for end in ci)})"

    spread: ClassVar[Spread | None] = None
    """How its values are counted for a picture; None where there is none."""

    # ------------------------------------------------------------------------------------------- simulation

    def draw(self, lean: Floats) -> Floats:
        """Values by how content the units are with it: standard normal, where more is better."""
        return 10 + 2 * lean

    def plain(self, values: Floats) -> list[Json]:
        """Drawn values as JSON has them."""
        return decimals(values)

    def simulated(self, fields: tuple[str, ...], sign: int) -> tuple[SimulatedField, ...]:
        """How a metric's fields are made up, each after those that it is made from. `sign`: as in `SimulatedField`."""
        return (SimulatedField(fields[0], lambda lean, _columns, _chance: self.draw(lean), self.plain, sign),)
