"""From rows to one figure a unit: what is compared are units, because the rows of one unit are alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftops.experiments.metric_types.figures import Figures
from ftops.experiments.spec.metric import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftops.experiments.analysis.observations import Observations


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The units that have an outcome of a metric: the index of their arm, their figure `y`, and `unit`, which they are.

    The figure of a duration is the mean of its logarithms. Of a ratio `y` is the numerator and `below` the denominator.
    `adjusted`: what a covariate explains was taken out.
    """

    metric: Metric
    arm: NDArray[np.int8]
    unit: NDArray[np.int64]
    y: NDArray[np.float64]
    below: NDArray[np.float64] | None = None
    adjusted: bool = False

    def of(self, arm: int) -> Figures:
        """The figures of the units in one arm."""
        mine = self.arm == arm
        below = None if self.below is None else self.below[mine]
        return Figures(self.y[mine], self.metric.by_unit, below, self.adjusted)


@dataclass(slots=True)
class Sums:
    """What is added up for each unit while rows come in: how many values, and their sum (of a ratio: of both parts)."""

    metric: Metric
    count: NDArray[np.float64]
    total: NDArray[np.float64]
    below: NDArray[np.float64] | None

    @classmethod
    def empty(cls, metric: Metric, units: int) -> Sums:
        import numpy as np

        below = np.zeros(units) if metric.metric_type.of_parts else None
        return cls(metric, np.zeros(units), np.zeros(units), below)

    def add(self, unit: NDArray[np.signedinteger[Any]], columns: tuple[NDArray[np.float64], ...]) -> None:
        """Adds rows: of each the index of its unit, and its value in each field of the metric."""
        import numpy as np

        whole = ~np.isnan(columns[0])
        for column in columns[1:]:
            whole &= ~np.isnan(column)
        if not whole.all():
            unit, columns = unit[whole], tuple(column[whole] for column in columns)
        units = len(self.count)
        values = self.metric.metric_type.analysed(columns[0])
        self.count += np.bincount(unit, minlength=units)
        self.total += np.bincount(unit, weights=values, minlength=units)
        if self.below is not None:
            self.below += np.bincount(unit, weights=columns[1], minlength=units)

    def outcomes(self, arm: NDArray[np.int8]) -> Outcomes:
        """The units that have a value by now."""
        import numpy as np

        unit = np.flatnonzero(self.count)
        total = self.total[unit]
        match self.metric.by_unit:
            case "mean":
                figure = total / self.count[unit]
            case "any":
                figure = (total > 0).astype(np.float64)
            case _:
                figure = total
        below = None if self.below is None else self.below[unit]
        return Outcomes(self.metric, arm[unit], unit, figure, below)


def columns_of(metric: Metric, observations: Observations) -> tuple[NDArray[np.float64], ...]:
    """The columns that a metric is made from."""
    return tuple(observations.values[field] for field in metric.fields)


def outcomes(metric: Metric, observations: Observations) -> Outcomes:
    """The figure of each unit that has a value of `metric` in any of its rows."""
    sums = Sums.empty(metric, observations.units)
    sums.add(observations.unit, columns_of(metric, observations))
    return sums.outcomes(observations.arm)


def adjusted(found: Outcomes, before: NDArray[np.float64] | None) -> tuple[Outcomes, float | None]:
    """`found` with what a figure of each unit from `before` the experiment explains taken out (CUPED), and the share of the
    variance that was; as it is where there is no such figure, and for a ratio."""
    from ftops.statistics.cuped import adjust

    if before is None or found.below is not None:
        return found, None
    if len(found.y) < 3:
        return replace(found, adjusted=True), None
    figures, reduction = adjust(found.y, before[found.unit], found.arm)
    return replace(found, y=figures, adjusted=True), reduction


def covariate(field: str | None, observations: Observations) -> NDArray[np.float64] | None:
    """The figure of each unit from before the experiment; None where the spec names none."""
    return None if field is None else unit_means(field, observations)


def unit_means(field: str, observations: Observations) -> NDArray[np.float64]:
    """For each unit the mean of a field over its rows, NaN where it has none."""
    import numpy as np

    values = observations.values[field]
    whole = ~np.isnan(values)
    unit = observations.unit[whole]
    count = np.bincount(unit, minlength=observations.units)
    total = np.bincount(unit, weights=values[whole], minlength=observations.units)
    means = np.full(observations.units, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means
