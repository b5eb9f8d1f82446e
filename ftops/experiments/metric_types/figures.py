"""What a metric type is given of an arm, and what it makes of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats
    from ftops.statistics.effects import Effect
    from ftops.statistics.sample import Interval, Sample


@dataclass(frozen=True, slots=True)
class Figures:
    """One figure `y` of each unit of an arm that has one, made from its rows as `aggregate` says.

    Of a metric of two parts `y` is the numerator and `below` the denominator. `adjusted`: what a covariate explains was
    taken out.
    """

    y: Floats
    aggregate: str
    below: Floats | None = None
    adjusted: bool = False

    @property
    def denominators(self) -> Floats:
        """`below`. Raises TypeError where there are none."""
        if self.below is None:
            raise TypeError("these figures have no denominators")
        return self.below


@dataclass(frozen=True, slots=True)
class Measured:
    """The effect of an arm on the scale that is tested (of a duration: of logarithms), and the samples behind it."""

    effect: Effect
    arm: Sample
    baseline: Sample


class Difference(NamedTuple):
    """An effect as it is shown, and as a share of the baseline's mean, each with its interval; None where undefined."""

    effect: float | None
    ci: Interval | None
    relative_effect: float | None
    relative_ci: Interval | None
