"""How often looks at data without an effect find one: what the bounds of `statistics.sequential` promise is measured by it."""

from __future__ import annotations

import math

from ftops.statistics.sample import critical, two_sided
from ftops.statistics.sequential import _go_on, _too_close


def crossing(fractions, bounds):
    """How likely it is, with no effect, that |z| is beyond its bound at one look or more: for looks at these fractions of
    the data (rising, above 0), by recursive integration (Armitage, McPherson and Rowe 1969)."""
    going = None
    total = reached = 0.0
    for fraction, bound, following in zip(fractions, bounds, [*fractions, math.inf][1:], strict=True):
        assert reached < fraction
        assert not _too_close(going, fraction)
        total += two_sided(bound) if going is None else going.crossing(fraction, bound)
        going = _go_on(going, fraction, bound, following)
        reached = fraction
    return total


def peeking(looks, alpha):
    """How often a test at `alpha` finds an effect where there is none, when the data is looked at so many times, equally
    spaced, and the first finding counts."""
    return crossing([look / looks for look in range(1, looks + 1)], [critical(alpha)] * looks)
