"""The difference between an arm and the baseline: how large, how sure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftops.statistics.sample import Interval, Sample, critical, two_sided

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Test = Literal["welch-t", "two-proportion-z", "ratio-delta"]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many units there are in the arm and in the baseline, and in how many of them it happened."""

    arm_n: float
    arm: float
    baseline_n: float
    baseline: float


@dataclass(frozen=True, slots=True)
class Effect:
    """A difference, arm minus baseline, on the scale of the analysis.

    `se` is its standard error (0 where no value differs from another in its arm), `df` the degrees of freedom of its t
    (inf for a z), `p_value` that of no difference, two-sided. Each is None where it is undefined: with fewer than two
    units in an arm, and the p-value also where nothing varies.
    """

    estimate: float | None
    se: float | None
    df: float
    p_value: float | None
    test: Test
    counts: Counts | None = None

    def statistic(self, null: float = 0.0) -> float | None:
        """How many standard errors the estimate is from `null`.

        Of shares with the standard error that they would have if `null` was true (Mee 1984): at 0 the pooled one.
        """
        if self.estimate is None or self.se is None:
            return None
        se = self.se if self.counts is None else _difference_se(self.counts, null)
        return (self.estimate - null) / se if se > 0 else None

    def interval(self, level: float) -> Interval | None:
        """Every difference that the test does not refute at `level`: so 0 is outside just when `p_value < level`.

        By Welch's t; of shares by their score (Mee 1984), also right where nobody or everybody did it.
        None where it is undefined, and where it would have no end: at level 0.
        """
        if self.estimate is None or self.se is None or level == 0:
            return None
        reach = critical(level, self.df)
        if self.counts is not None:
            return _shares_interval(self.counts, self.estimate, reach)
        if self.se == 0:
            return None
        return self.estimate - reach * self.se, self.estimate + reach * self.se


def welch(arm: Sample, baseline: Sample, test: Test = "welch-t") -> Effect:
    """The difference of two means, whose variances may differ (Welch 1947; degrees of freedom by Satterthwaite 1946)."""
    if not (arm.defined and baseline.defined):
        estimate = _finite(arm.mean - baseline.mean)
        return Effect(estimate, None, math.inf, None, test)
    arm_part, baseline_part = arm.variance / arm.n, baseline.variance / baseline.n
    variance = arm_part + baseline_part
    estimate = _finite(arm.mean - baseline.mean)
    if estimate is None or not math.isfinite(variance):
        return Effect(estimate, None, math.inf, None, test)
    if variance == 0:
        return Effect(estimate, 0.0, math.inf, None, test)
    # As shares of the variance: squares of the variances themselves would leave the range of a float.
    share = arm_part / variance
    df = 1 / (share**2 / (arm.n - 1) + (1 - share) ** 2 / (baseline.n - 1))
    se = math.sqrt(variance)
    return Effect(estimate, se, df, two_sided(estimate / se, df), test)


def proportions(arm_n: float, arm_successes: float, base_n: float, base_successes: float) -> Effect:
    """The difference of two shares of units: the z test with the pooled share, whose square is Pearson's chi-square (1900)
    without continuity correction. `se` is the unpooled one.

    Raises ValueError where there are more successes than units, or fewer than none.
    """
    if not (0 <= arm_successes <= arm_n and 0 <= base_successes <= base_n):
        raise ValueError("expected between 0 and as many successes as there are units")
    if arm_n == 0 or base_n == 0:
        return Effect(None, None, math.inf, None, "two-proportion-z")
    arm, base = arm_successes / arm_n, base_successes / base_n
    estimate = arm - base
    se = math.sqrt(arm * (1 - arm) / arm_n + base * (1 - base) / base_n)
    pooled = (arm_successes + base_successes) / (arm_n + base_n)
    null_se = math.sqrt(pooled * (1 - pooled) * (1 / arm_n + 1 / base_n))
    p_value = two_sided(estimate / null_se) if null_se > 0 else None
    counts = Counts(arm_n, arm_successes, base_n, base_successes)
    return Effect(estimate, se, math.inf, p_value, "two-proportion-z", counts)


def ratio_sample(numerator: ArrayLike, denominator: ArrayLike) -> Sample:
    """The ratio of two sums over units, as the mean of a sample: each unit counts as what it adds to the ratio,
    R + (numerator - R denominator) / mean(denominator) (delta method: Deng, Knoblich and Lu 2018).

    Each array has one value a unit. The mean is NaN where the denominators add up to 0.
    """
    import numpy as np

    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    n = len(above)
    total = float(below.sum())
    if n == 0 or total == 0:
        return Sample(n, math.nan, math.nan)
    ratio = float(above.sum()) / total
    with np.errstate(over="ignore", invalid="ignore"):
        parts = Sample.of((above - ratio * below) / (total / n))
    return Sample(n, ratio, parts.variance) if math.isfinite(ratio) else Sample(n, math.nan, math.nan)


def ratio(arm_num: ArrayLike, arm_den: ArrayLike, base_num: ArrayLike, base_den: ArrayLike) -> Effect:
    """The difference of two ratios of sums over units, by the delta method (Deng, Knoblich and Lu 2018): units are
    independent, their rows need not be. Each array has one value a unit. Degrees of freedom as in `welch`."""
    return welch(ratio_sample(arm_num, arm_den), ratio_sample(base_num, base_den), "ratio-delta")


def relative(
    effect: Effect, arm: Sample, baseline: Sample, level: float
) -> tuple[float | None, tuple[float, float] | None]:
    """The effect as a share of the baseline's mean (0.1: a tenth more), and its interval: 0 is outside just when the
    effect's p-value is below `level`.

    Of means and ratios by Fieller (1954), which unlike the plain delta method agrees with the test; of shares by the score
    (Koopman 1984). The share is None where the baseline's mean is 0 or undefined, the interval also where that mean is not
    clearly away from 0, and at level 0.
    """
    if effect.estimate is None or not baseline.mean:
        return None, None
    value = _finite(effect.estimate / abs(baseline.mean))
    if value is None or effect.se is None:
        return None, None
    if level == 0:
        return value, None
    reach = critical(level, effect.df)
    if effect.counts is not None:
        return value, _ratio_interval(effect.counts, reach)
    return value, _fieller(arm, baseline, reach) if effect.se > 0 else None


def cohens_d(arm: Sample, baseline: Sample) -> float | None:
    """The difference of the means in pooled standard deviations (Cohen 1988). None where nothing varies, or with fewer
    than two units in an arm."""
    if not (arm.defined and baseline.defined):
        return None
    weight = (arm.n - 1) / (arm.n + baseline.n - 2)
    deviation = math.sqrt(weight * arm.variance + (1 - weight) * baseline.variance)
    return _finite((arm.mean - baseline.mean) / deviation) if deviation > 0 else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _fieller(arm: Sample, baseline: Sample, reach: float) -> Interval | None:
    """The interval of arm / baseline - 1; None where it has no end."""
    if baseline.mean == 0:
        return None
    # In units of the baseline's mean, so that no square leaves the range of a float.
    ratio = arm.mean / baseline.mean
    above = arm.variance / arm.n / baseline.mean / baseline.mean * reach**2
    below = baseline.variance / baseline.n / baseline.mean / baseline.mean * reach**2
    if not (below < 1 and math.isfinite(above) and math.isfinite(ratio)):
        return None
    spread = math.sqrt(above * (1 - below) + ratio**2 * below)
    ends = sorted(math.copysign(1, baseline.mean) * ((ratio + side * spread) / (1 - below) - 1) for side in (-1, 1))
    return ends[0], ends[1]


def _difference_se(counts: Counts, null: float) -> float:
    """The standard error of the difference of two shares that differ by `null`, at their likeliest values: the root of a
    cubic (Miettinen and Nurminen 1985, appendix I)."""
    null = max(-1.0, min(1.0, null))
    n, successes = counts.arm_n + counts.baseline_n, counts.arm + counts.baseline
    square = ((counts.arm_n + 2 * counts.baseline_n) * null - n - successes) / (3 * n)
    linear = ((counts.baseline_n * null - n - 2 * counts.baseline) * null + successes) / (3 * n)
    constant = counts.baseline * null * (1 - null) / n
    q = square**3 - 1.5 * square * linear + constant / 2
    p = math.copysign(math.sqrt(max(0.0, square**2 - linear)), q)
    angle = (math.pi + math.acos(max(-1.0, min(1.0, q / p**3)))) / 3 if p else math.pi / 2
    base = max(0.0, -null, min(1.0, 1 - null, 2 * p * math.cos(angle) - square))
    arm = max(0.0, min(1.0, base + null))
    return math.sqrt(arm * (1 - arm) / counts.arm_n + base * (1 - base) / counts.baseline_n)


def _shares_interval(counts: Counts, estimate: float, reach: float) -> Interval:
    def refuted(null: float) -> bool:
        return abs(estimate - null) > reach * _difference_se(counts, null)

    return _edge(refuted, estimate, -1.0), _edge(refuted, estimate, 1.0)


def _ratio_interval(counts: Counts, reach: float) -> Interval:
    """The interval of arm / baseline - 1. Odds make the search finite: a ratio r is looked for as r / (1 + r)."""
    arm, base = counts.arm / counts.arm_n, counts.baseline / counts.baseline_n
    n, successes = counts.arm_n + counts.baseline_n, counts.arm + counts.baseline

    def refuted(place: float) -> bool:
        if not 0 < place < 1:
            return True
        null = place / (1 - place)
        square, linear = n * null, counts.arm_n * null + counts.arm + counts.baseline_n + counts.baseline * null
        root = math.sqrt(max(0.0, linear**2 - 4 * square * successes))
        baseline_null = min(1.0, 1 / null, 2 * successes / (linear + root))
        arm_null = min(1.0, null * baseline_null)
        variance = arm_null * (1 - arm_null) / counts.arm_n
        variance += null**2 * baseline_null * (1 - baseline_null) / counts.baseline_n
        return abs(arm - null * base) > reach * math.sqrt(variance)

    estimate = arm / (arm + base)
    low, high = _edge(refuted, estimate, 0.0), _edge(refuted, estimate, 1.0)
    return low / (1 - low) - 1, high / (1 - high) - 1


def _edge(refuted: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where, between the two, a value becomes refuted."""
    if not refuted(outside):
        return outside
    while True:
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            return inside
        if refuted(middle):
            outside = middle
        else:
            inside = middle
