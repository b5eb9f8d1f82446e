"""How often something happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftops.digests import Json
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.simulated_field import whole_numbers
from ftops.experiments.metric_types.values import Values

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats, Mask


def _fits(number: float) -> bool:
    return number >= 0 and number.is_integer()


def _fit(values: Floats) -> Mask:
    import numpy as np

    fits: Mask = (values >= 0) & (values < np.inf) & (values == np.floor(values))
    return fits


class Count(MetricType):
    """A whole number from 0 on; the sum of a unit's rows, or their mean."""

    __slots__ = ()

    name = "count"
    values = Values("count", "a whole number from 0 on", _fits, _fit)
    aggregates = ("sum", "mean")

    def draw(self, lean: Floats) -> Floats:
        import numpy as np

        return np.floor(np.exp(0.4 + 0.7 * lean))

    def plain(self, values: Floats) -> list[Json]:
        return whole_numbers(values)
