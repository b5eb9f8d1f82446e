"""The types of metrics, one file each: what a row may hold, how two arms are compared, in which words, how rows are made up.

Whoever handles a metric asks its type. Importing takes the standard library only: web applications write log rows, and
plans are made without numpy.
"""

from __future__ import annotations

from typing import Final

from ftops.experiments.metric_types.binary import Binary
from ftops.experiments.metric_types.continuous import Continuous
from ftops.experiments.metric_types.count import Count
from ftops.experiments.metric_types.duration import Duration
from ftops.experiments.metric_types.metric_type import MetricType
from ftops.experiments.metric_types.rating import Rating
from ftops.experiments.metric_types.ratio import Ratio

__all__ = ["METRIC_TYPES", "MetricType"]

METRIC_TYPES: Final[dict[str, MetricType]] = {
    each.name: each
    for each in (
        Rating(),
        Binary(),
        Continuous(),
        Duration(),
        Count(),
        Ratio(),
    )
}
"""By the name that specs use, in the order in which they are offered: the only list of them."""
