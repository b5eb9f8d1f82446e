"""Beyond means: ranks and the distribution of ratings, quantiles of durations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ftops.statistics.effects import ratio_sample
from ftops.statistics.sample import critical, two_sided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_FEW: Final = 8
"""Values in an arm up to which scipy computes the exact distribution."""

Quantile = tuple[float, float, float]
"""A quantile's value, and the low and the high end of its interval."""


def rank_test(x: ArrayLike, y: ArrayLike) -> float | None:
    """The p-value of the rank test (Mann and Whitney 1947), two-sided, ties corrected: exact for few values without ties.
    None where an arm is empty or all values are equal."""
    import numpy as np

    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not (len(first) and len(second)) or _all_equal(first, second):
        return None
    if min(len(first), len(second)) > _FEW:
        return _by_ranks(first, second)
    from scipy.stats import mannwhitneyu  # 0.5 s, as long as the rest of an analysis: only where it has the exact test

    return min(1.0, float(mannwhitneyu(first, second).pvalue))


def _by_ranks(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The normal approximation with corrections for ties and continuity (Hollander, Wolfe and Chicken 2014, section 4.1)."""
    import numpy as np

    n, m = len(first), len(second)
    _, place, times = np.unique(np.concatenate((first, second)), return_inverse=True, return_counts=True)
    ranks = np.cumsum(times) - (times - 1) / 2
    distance = abs(float(ranks[place[:n]].sum()) - n * (n + m + 1) / 2)
    tied = float((times.astype(np.float64) ** 3 - times).sum()) / ((n + m) * (n + m - 1))
    return two_sided(max(0.0, distance - 0.5) / math.sqrt(n * m / 12 * (n + m + 1 - tied)))


def quantile_intervals(
    values: ArrayLike, unit_index: ArrayLike, qs: Sequence[float], level: float
) -> tuple[Quantile, ...] | None:
    """Quantiles of rows with their intervals, where rows of one unit are alike (Deng, Knoblich and Lu 2018, section 4).

    `unit_index` gives for each value the number of its unit, from 0 on. The share of rows at or below the quantile is a
    ratio over units; by the delta method it has a standard error, and the interval goes from the quantile of the share less
    so many standard errors to that of the share and as many. With too few rows it ends at the smallest or largest of them.
    None for fewer than two units.
    """
    import numpy as np

    array, unit = np.asarray(values, dtype=np.float64), np.asarray(unit_index, dtype=np.intp)
    if len(array) == 0:
        return None
    rows = np.bincount(unit)
    seen = rows > 0
    if int(seen.sum()) < 2:
        return None
    ordered = np.sort(array)
    reach = critical(level)
    found = []
    for q in qs:
        value = float(ordered[_rank(q, len(array))])
        below = np.bincount(unit[array <= value], minlength=len(rows))
        wide = reach * _share_se(below[seen], rows[seen])
        low, high = (
            ordered[_rank(q - wide, len(array))],
            ordered[min(len(array) - 1, math.floor((q + wide) * len(array)))],
        )
        found.append((value, min(value, float(low)), max(value, float(high))))
    return tuple(found)


def _rank(q: float, n: int) -> int:
    """The index of the smallest of `n` ordered values that a share `q` of them does not exceed."""
    return min(n - 1, max(0, math.ceil(q * n) - 1))


def _share_se(below: NDArray[np.int_], rows: NDArray[np.int_]) -> float:
    """The standard error of sum(below) / sum(rows) over units."""
    sample = ratio_sample(below, rows)
    return math.sqrt(sample.variance / sample.n)


def _all_equal(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    return bool((first == first[0]).all() and (second == first[0]).all())
