"""For information only: what a flat prior and a normal likelihood make of an estimate.

Nothing may be decided by it, since looking often makes "95 % sure" wrong far more often than one time in twenty.

An effect above 0 counts as better: turn the sign of the estimate where less is better.
"""

from __future__ import annotations

import math


def chance_better(estimate: float | None, se: float | None) -> float | None:
    """The chance that the effect is above 0 (Gelman et al. 2013, section 2.5). None where there is no standard error above 0."""
    from scipy.special import ndtr

    if estimate is None or not se:
        return None
    return float(ndtr(estimate / se))


def expected_loss(estimate: float | None, se: float | None) -> float | None:
    """How much is lost on average by taking the arm: the mean of max(0, -effect) (Stucchio 2015), on the effect's scale.
    None where there is no standard error above 0."""
    from scipy.special import ndtr

    if estimate is None or not se:
        return None
    z = estimate / se
    return se * max(0.0, math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * float(ndtr(-z)))
