"""A ratio of two sums, such as clicks by answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftops.display.numbers import trimmed
from ftops.experiments.metric_types.figures import Figures
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.simulated_field import SimulatedField, whole_numbers

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats
    from ftops.statistics.sample import Sample


class Ratio(MetricType):
    """The sum of one field by the sum of another one, over all rows of an arm; tested by the delta method over its units.

    An effect is a plain difference of ratios. What a design can find is not told beforehand: it takes the data of both
    parts.
    """

    __slots__ = ()

    name = "ratio"
    of_parts = True
    aggregates = ()
    in_deviations = False
    test = "ratio-delta"

    def sample(self, figures: Figures) -> Sample:
        from ftops.statistics.effects import ratio_sample

        return ratio_sample(figures.y, figures.denominators)

    def linear(self, figures: Figures) -> Floats:
        import numpy as np

        above, below = figures.y, figures.denominators
        ratio = above.sum() / below.sum()
        return np.asarray(ratio + (above - ratio * below) / below.mean())

    def detectable(self, units: float, level: float, power: float, mean: float | None) -> float | None:
        return None

    def power(self, effect: float, units: tuple[float, float], level: float, mean: float | None) -> float | None:
        return None

    def amount(self, effect: float) -> str:
        return trimmed(effect)

    def simulated(self, fields: tuple[str, ...], sign: int) -> tuple[SimulatedField, ...]:
        above, below = fields

        def part(lean: Floats, columns: Mapping[str, Floats], chance: Floats) -> Floats:
            import numpy as np

            return np.asarray(np.floor(columns[below] / (1 + np.exp(-lean)) + chance))

        return (
            SimulatedField(below, lambda lean, _columns, _chance: _whole(lean), whole_numbers, 1),
            SimulatedField(above, part, whole_numbers, sign),
        )


def _whole(lean: Floats) -> Floats:
    import numpy as np

    return 1 + np.floor(np.exp(0.7 + 0.6 * lean))
