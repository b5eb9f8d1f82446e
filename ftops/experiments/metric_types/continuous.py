"""Plain numbers: scores, amounts, whatever may be below 0 too."""

from __future__ import annotations

from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.spread import Histogram


class Continuous(MetricType):
    """Any finite number; the mean of a unit's rows, or their sum."""

    __slots__ = ()

    name = "continuous"
    aggregates = ("mean", "sum")
    spread = Histogram()
