"""What a number of units can find, and how many units it takes.

Means are compared in standard deviations (`d`), shares as they are. `alpha` is two-sided. `ratio` is how many units the
other arm has for each one here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ftops.statistics.sample import critical


def power(d: float, n1: float, n2: float, alpha: float) -> float | None:
    """How surely a difference of `d` standard deviations is found by the two-sided t test (Cohen 1988), by the noncentral t.
    None for fewer than two units in an arm."""
    if min(n1, n2) < 2:
        return None
    df = n1 + n2 - 2
    # n1 n2 / (n1 + n2), without a product that would leave the range of a float
    away = abs(d) * math.sqrt(n1 / (1 + n1 / n2))
    far = critical(alpha, df)
    return min(1.0, max(0.0, 1 - _below(far, df, away) + _below(-far, df, away)))


def samples(d: float, alpha: float, power: float, ratio: float = 1.0) -> float | None:
    """How many units this arm needs to find a difference of `d` standard deviations so surely: not rounded, at least 2.
    None for d = 0."""
    if d == 0:
        return None
    return _least(lambda n: _t_power(d, n, ratio * n, alpha), power, 2.0 / min(1.0, ratio))


def detectable(n: float, alpha: float, power: float, ratio: float = 1.0) -> float | None:
    """The smallest difference, in standard deviations, that `n` units in this arm find so surely. None for fewer than two
    units in an arm."""
    if min(n, ratio * n) < 2:
        return None
    return _least(lambda d: _t_power(d, n, ratio * n, alpha), power, 0.0)


def power_shares(p: float, difference: float, n1: float, n2: float, alpha: float) -> float | None:
    """How surely the two-sided z test finds the shares `p` in n2 units and `p + difference` in n1 units to differ: by the
    normal approximation, pooled under no difference (Fleiss, Levin and Paik 2003, section 4.2).
    None where a share would leave 0 to 1, or an arm is empty."""
    from scipy.special import ndtr

    other = p + difference
    if not (0 <= p <= 1 and 0 <= other <= 1) or min(n1, n2) <= 0:
        return None
    pooled = (other * n1 + p * n2) / (n1 + n2)
    far = critical(alpha) * math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    se = math.sqrt(other * (1 - other) / n1 + p * (1 - p) / n2)
    distance = abs(difference)
    if se == 0:
        return float(distance > far)
    return float(ndtr((distance - far) / se) + ndtr((-distance - far) / se))


def detectable_share(p: float, n: float, alpha: float, power: float, ratio: float = 1.0) -> float | None:
    """The smallest rise from the share `p` that `n` units in this arm find so surely; of a fall: ask for `1 - p`.
    None where not even a rise to 1 is found."""
    if not 0 <= p < 1 or n <= 0 or (power_shares(p, 1 - p, n, ratio * n, alpha) or 0.0) < power:
        return None
    return _least(lambda rise: power_shares(p, min(rise, 1 - p), n, ratio * n, alpha) or 0.0, power, 0.0)


def _below(t: float, df: float, away: float) -> float:
    """The probability of a noncentral t below `t`. scipy has NaN for some that are less than 1e-15 (measured): 0 here."""
    from scipy.special import nctdtr

    found = float(nctdtr(df, away, t))
    return 0.0 if math.isnan(found) else found


def _t_power(d: float, n1: float, n2: float, alpha: float) -> float:
    return power(d, n1, n2, alpha) or 0.0


def _least(rising: Callable[[float], float], wanted: float, start: float) -> float | None:
    """The smallest value from `start` on at which a rising function is at least `wanted`. None where it never is."""
    if rising(start) >= wanted:
        return start
    low, step = start, 1.0
    while rising(start + step) < wanted:
        low, step = start + step, 2 * step
        if step > 1e15:
            return None
    high = start + step
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if rising(middle) < wanted:
            low = middle
        else:
            high = middle
    return high
