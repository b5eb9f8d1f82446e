"""Ratings: stars that people give, or do not give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from ftops.digests import Json
from ftops.experiments.metric_types.figures import Figures
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.simulated_field import SimulatedField
from ftops.experiments.metric_types.spread import Levels
from ftops.experiments.metric_types.values import Values

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats, Mask

STARS: Final = (-1.405, -0.915, -0.305, 0.524)
"""Satisfaction from which a row is worth 2, 3, 4, 5 stars: 8, 10, 20, 32 and 30 % of the rows, which is 3.66 on average."""


def _fits(number: float) -> bool:
    return number in (1, 2, 3, 4, 5)


def _fit(values: Floats) -> Mask:
    import numpy as np

    fits: Mask = (values >= 1) & (values <= 5) & (values == np.floor(values))
    return fits


class Rating(MetricType):
    """One to five stars. The rank test stands beside that of the means, as stars need not be equally far apart."""

    __slots__ = ()

    name = "rating"
    values = Values("rating", "a whole number from 1 to 5", _fits, _fit)
    well_known: ClassVar[Mapping[str, int]] = {"rating": 1}
    spread = Levels(("1", "2", "3", "4", "5"), 1)

    def rank_p_value(self, arm: Figures, baseline: Figures) -> float | None:
        from ftops.statistics.rank_tests import rank_test

        return rank_test(arm.y, baseline.y)

    def draw(self, lean: Floats) -> Floats:
        import numpy as np

        return np.searchsorted(STARS, lean).astype(np.float64) + 1

    def plain(self, values: Floats) -> list[Json]:
        return [None if math.isnan(each) else int(each) for each in values.tolist()]

    def simulated(self, fields: tuple[str, ...], sign: int) -> tuple[SimulatedField, ...]:
        (stars,) = super().simulated(fields, sign)
        return (replace(stars, bad=partial(_bad, sign)),)


def _bad(sign: int, values: Floats) -> Mask:
    return values <= 2 if sign > 0 else values >= 4
