"""How far from 0 an effect must be when the data is looked at more than once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.statistics.sample import critical, two_sided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FARTHEST: Final = 8.5
"""Standard errors: further out there is less than 1e-16 to integrate."""
_MOST_POINTS: Final = 512
"""Of the integration grid. Looks so close together that this is too coarse for them are bounded without the integral."""


@dataclass(frozen=True, slots=True)
class _Going:
    """Experiments that no look has ended yet: how likely it is that they are at each `place` (of the score, whose variance
    at a look is the `fraction` of the data), times the weight of the place in the integral."""

    fraction: float
    place: NDArray[np.float64]
    weight: NDArray[np.float64]

    def crossing(self, fraction: float, bound: float) -> float:
        """How likely it is to be beyond `bound` standard errors, on either side, when `fraction` of the data is there."""
        from scipy.special import ndtr

        step = math.sqrt(fraction - self.fraction)
        return 2 * float(self.weight @ ndtr((self.place - bound * math.sqrt(fraction)) / step))


def obrien_fleming(fractions: Sequence[float], alpha: float) -> tuple[float, ...]:
    """The two-sided bounds of z at looks that were taken when these fractions of the target were there: an effect that is
    further from 0 is called one, and in all looks together this errs with probability `alpha`.

    By spending (Lan and DeMets 1983, O'Brien-Fleming type): each side has spent 2 - 2 Φ(z(1 - alpha/4) / √t) until the
    fraction t. By recursive integration (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, chapter 19).
    A look at or after 1 spends all that is left. A look that adds no data, or comes after that, spends nothing: its bound
    is inf. Raises ValueError for a fraction that is not above 0.
    """
    if any(not 0 < fraction < math.inf for fraction in fractions):
        raise ValueError("expected fractions above 0")
    bounds: list[float] = []
    going: _Going | None = None
    spent = reached = 0.0
    for fraction, following in zip(fractions, [*fractions, math.inf][1:], strict=True):
        spend = _spent_until(fraction, alpha) - spent if fraction > reached else 0.0
        if spend <= 0:
            bounds.append(math.inf)
            continue
        spent, reached = spent + spend, fraction
        # What this look alone would do wrong is at least what it adds to the looks before: so this bound is safe.
        bound = critical(spend)
        if not _too_close(going, fraction):
            bound = bound if going is None else _bound(going, fraction, spend, bound)
            going = _go_on(going, fraction, bound, following)
        bounds.append(bound)
    return tuple(bounds)


def level(bound: float) -> float:
    """The level of a test or interval that reaches as far as a bound of z: 0 where the bound is inf."""
    return two_sided(bound)


def always_valid_half_width(variance: float, variance_at_target: float, alpha: float) -> float | None:
    """How far from 0 an estimate must be to be called an effect, however often and whenever one looks; also half the width of
    a confidence sequence: at `alpha`, all its intervals hold the truth at once.

    `variance` is the square of the estimate's standard error now, `variance_at_target` what it will be at the target, where
    the sequence is the tightest that it can be. The normal mixture of Robbins (1970), as a mixture sequential test in Johari,
    Koomen, Pekelis and Walsh (2017), for estimates that are nearly normal Waudby-Smith et al. (2021); the mixture's variance
    by Howard, Ramdas, McAuliffe and Sekhon (2021, section 3.5). None where a variance is not above 0.
    """
    mixture = _mixture(variance, variance_at_target, alpha)
    if mixture is None:
        return None
    return math.sqrt(variance * (1 + 1 / mixture) * (math.log1p(mixture) - 2 * math.log(alpha)))


def always_valid_level(variance: float, variance_at_target: float, alpha: float) -> float | None:
    """The level at which a plain interval is as wide as the confidence sequence now. None where a variance is not above 0."""
    half_width = always_valid_half_width(variance, variance_at_target, alpha)
    return None if half_width is None else level(half_width / math.sqrt(variance))


def _mixture(variance: float, variance_at_target: float, alpha: float) -> float | None:
    """The mixture's variance, as a multiple of the estimate's variance now. None where a variance is not above 0."""
    if not (0 < variance < math.inf and 0 < variance_at_target < math.inf):
        return None
    mixture = _tightest(alpha) * (variance_at_target / variance)
    return mixture if 0 < mixture < math.inf else None


@cache
def _tightest(alpha: float) -> float:
    """The multiple of the target's variance that makes (1 + 1/m) (log(1 + m) - 2 log alpha) least: there m is
    log(1 + m) - 2 log alpha, which Lambert's W solves."""
    from scipy.special import lambertw

    return -float(lambertw(-alpha * alpha / math.e, k=-1).real) - 1


def _spent_until(fraction: float, alpha: float) -> float:
    return alpha if fraction >= 1 else 2 * two_sided(critical(alpha / 2) / math.sqrt(fraction))


def _points(edge: float, step: float) -> int:
    """How many points the integral between -edge and edge needs: a few for each standard deviation of the step."""
    return 24 + math.ceil(4 * edge / step)


def _too_close(going: _Going | None, fraction: float) -> bool:
    """Whether this look has too little new data for the integral."""
    return going is not None and _points(going.place[-1], math.sqrt(fraction - going.fraction)) > _MOST_POINTS


def _bound(going: _Going, fraction: float, spend: float, highest: float) -> float:
    """The bound that spends so much at this look; it is at most `highest`."""
    low, high = 0.0, highest
    while high - low > 1e-10:
        middle = (low + high) / 2
        if going.crossing(fraction, middle) > spend:
            low = middle
        else:
            high = middle
    return high


def _go_on(going: _Going | None, fraction: float, bound: float, following: float) -> _Going:
    """Those that this look did not end, on a grid that is fine enough for the steps before it and after it."""
    import numpy as np

    before, last_edge = (0.0, 0.0) if going is None else (going.fraction, float(going.place[-1]))
    variance = fraction - before
    edge = min(bound * math.sqrt(fraction), last_edge + _FARTHEST * math.sqrt(variance))
    step = math.sqrt(min(variance, following - fraction) if following > fraction else variance)
    place, width = _grid(min(_MOST_POINTS, _points(edge, step)))
    place = edge * place
    if going is None:
        density = np.exp(-(place**2) / (2 * fraction)) / math.sqrt(2 * math.pi * fraction)
    else:
        moves = np.exp((place[:, None] - going.place[None, :]) ** 2 / (-2 * variance))
        density = (moves * going.weight).sum(axis=1) / math.sqrt(2 * math.pi * variance)
    return _Going(fraction, place, density * (edge * width))


def _grid(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At least so many points between -1 and 1, and their weights, by Gauss and Legendre."""
    return _legendre(1 << (points - 1).bit_length())


@cache
def _legendre(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.special import roots_legendre

    place, weight = roots_legendre(points)
    return place, weight
