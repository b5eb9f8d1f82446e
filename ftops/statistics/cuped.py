"""Less variance by what was known before the experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftops.statistics.sample import Sample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def adjust(y: ArrayLike, x: ArrayLike, arm: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """Each unit's outcome without what its covariate foretold, and the share of the variance within arms that this took
    away (Deng, Xu, Kohavi and Walker 2013): y - theta (x - mean of x), theta being the slope of y on x within arms.

    `y` (finite), `x` (NaN: unknown) and `arm` (its number, from 0 on) have one value a unit. Where x is unknown, y stays.
    Where x does not vary within arms, y stays everywhere. The mean of y over all units stays.
    """
    import numpy as np

    outcome, covariate, group = np.asarray(y, np.float64), np.asarray(x, np.float64), np.asarray(arm)
    known = np.isfinite(covariate)
    figures = Sample.of(covariate[known])
    if not figures.defined:
        return outcome, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        before, after = _within(covariate[known], group[known]), _within(outcome[known], group[known])
        spread = float(before @ before)
        # Within arms less than 1e-10 of what it varies at all is rounding, and a slope on it nothing but noise.
        if not 1e-20 * figures.variance * figures.n < spread < np.inf:
            return outcome, 0.0
        slope = float(before @ after) / spread
        adjusted = outcome - slope * np.where(known, covariate - figures.mean, 0.0)
        left, whole = _within(adjusted, group), _within(outcome, group)
        whole_spread = float(whole @ whole)
        reduction = 1 - float(left @ left) / whole_spread if whole_spread > 0 else np.nan
    return (adjusted, reduction) if np.isfinite(reduction) else (outcome, 0.0)


def _within(values: NDArray[np.float64], group: NDArray[np.integer]) -> NDArray[np.float64]:
    """Each value less the mean of its group."""
    import numpy as np

    centred: NDArray[np.float64] = values - values[0]
    means = np.bincount(group, weights=centred) / np.maximum(1, np.bincount(group))
    within: NDArray[np.float64] = centred - means[group]
    return within
