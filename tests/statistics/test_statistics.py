"""The statistics of experiments against published numbers, scipy, statsmodels and simulations."""

import importlib
import math
import subprocess
import sys
import time
from dataclasses import astuple, fields, is_dataclass
from itertools import pairwise

import numpy as np
import pytest

from ftops.statistics import bayes, corrections, cuped, effects, power, rank_tests, sample_ratio, sequential
from ftops.statistics import sample as moments
from ftops.statistics.sample import Sample
from tests.support.crossing import crossing, peeking

SLEEP = (
    [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
    [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
)
"""Student's sleep data (1908), which R documents `t.test` with."""


def sample(*values):
    return Sample.of(values)


# Samples


def test_numacc4_of_the_national_institute_of_standards():
    values = np.array([10000000.2, *([10000000.1, 10000000.3] * 500)])
    found = Sample.of(values)
    assert found.mean == pytest.approx(10000000.2, rel=1e-15)
    assert math.sqrt(found.variance) == pytest.approx(0.1, rel=1e-8)


@pytest.mark.parametrize("n", [2, 3, 65536, 65537, 200001])
def test_a_sample_is_what_numpy_says(n):
    values = np.random.default_rng(n).gamma(2, 3, n) - 5
    found = Sample.of(values)
    assert (found.n, found.mean) == (n, pytest.approx(values.mean(), rel=1e-12))
    assert found.variance == pytest.approx(values.var(ddof=1), rel=1e-12)


@pytest.mark.parametrize("values", [[0.1] * 10, [1e300] * 1000, [1 / 3 + 1e-16, 1 / 3, 1 / 3 - 1e-16] * 5])
def test_equal_values_have_no_variance(values):
    assert Sample.of(values).variance == 0


@pytest.mark.parametrize(
    ("values", "mean"), [([], False), ([4.0], True), ([1e300, -1e300], True), ([1.7e308] * 9, True)]
)
def test_what_a_sample_does_not_have_is_nan(values, mean):
    found = Sample.of(values)
    assert math.isfinite(found.mean) is mean
    assert not math.isinf(found.variance)


def test_intervals_of_a_mean_and_of_a_share():
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    arm = Sample.of(SLEEP[0])
    expected = stats.t.interval(0.95, arm.n - 1, arm.mean, math.sqrt(arm.variance / arm.n))
    assert arm.interval(0.05) == pytest.approx(expected)
    assert sample(1).interval(0.05) is None
    for successes, n in [(0, 10), (3, 10), (10, 10), (17, 1000)]:
        expected = proportion_confint(successes, n, 0.05, method="wilson")
        assert moments.share_interval(successes, n, 0.05) == pytest.approx(expected)
    assert moments.share_interval(0, 0, 0.05) is None


def test_ten_million_values_are_quick():
    values = np.random.default_rng(1).normal(size=10_000_000)
    Sample.of(values[:10])
    assert best_of(3, lambda: Sample.of(values)) < 0.1


# Means


def test_welch_is_what_r_documents_of_the_sleep_data():
    effect = effects.welch(Sample.of(SLEEP[0]), Sample.of(SLEEP[1]))
    assert effect.estimate / effect.se == pytest.approx(1.8608, abs=5e-5)
    assert effect.df == pytest.approx(17.776, abs=5e-4)
    assert effect.p_value == pytest.approx(0.07939, abs=5e-6)
    assert effect.interval(0.05) == pytest.approx((-0.2054832, 3.3654832), abs=5e-8)


@pytest.mark.parametrize(
    ("arm", "baseline"),
    [
        ((13, 15.0, 87.5), (11, 12.0, 39.0)),
        ((150, 0.2, 0.16), (200, 0.225, 0.17437)),
        ((2, 1.0, 0.5), (1000, 3.0, 9.0)),
        ((30, 2.0, 0.0), (30, 1.0, 1.0)),
        ((5_000_000, 3.001, 1.2), (5_000_000, 3.0, 1.1)),
        ((40, 50.0, 1.0), (40, 3.0, 1.0)),
    ],
)
def test_welch_is_what_scipy_says(arm, baseline):
    from scipy import stats

    effect = effects.welch(Sample(*arm), Sample(*baseline))
    n1, m1, v1 = arm
    n2, m2, v2 = baseline
    expected = stats.ttest_ind_from_stats(m1, math.sqrt(v1), n1, m2, math.sqrt(v2), n2, equal_var=False)
    assert effect.statistic() == pytest.approx(expected.statistic, rel=1e-12)
    assert effect.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_welch_of_scalars_is_quick():
    arm, baseline = Sample(30, 3.1, 1.2), Sample(40, 2.8, 1.1)
    effects.welch(arm, baseline)
    assert best_of(5, lambda: [effects.welch(arm, baseline) for _ in range(1000)]) < 0.02


@pytest.mark.parametrize("level", [0.0, 1e-300, 1e-111, 1e-40, 1e-12])
def test_intervals_at_the_levels_of_very_early_looks_are_finite_or_none(level):
    arm, baseline = Sample(30, 3.1, 1.2), Sample(31, 2.8, 1.1)
    counts = effects.proportions(30, 20, 31, 11)
    shares = Sample(30, 20 / 30, 0.2), Sample(31, 11 / 31, 0.2)
    for effect, samples in ((effects.welch(arm, baseline), (arm, baseline)), (counts, shares)):
        intervals = effect.interval(level), effects.relative(effect, *samples, level)[1]
        if level == 0:
            assert intervals == (None, None)
        for interval in intervals:
            assert interval is None or (math.isfinite(interval[0]) and interval[0] < 0 < interval[1] < math.inf)


def test_cohens_d():
    arm, baseline = sample(2, 4, 7, 3, 7, 35, 8, 9), sample(1, 2, 3, 4, 5)
    pooled = math.sqrt((7 * arm.variance + 4 * baseline.variance) / 11)
    assert effects.cohens_d(arm, baseline) == pytest.approx((arm.mean - baseline.mean) / pooled)
    assert effects.cohens_d(sample(1, 1), sample(2, 2)) is None
    assert effects.cohens_d(sample(1), sample(2, 3)) is None


@pytest.mark.parametrize(
    ("arm", "baseline", "se"),
    [
        ((), (1, 2), None),
        ((1,), (1, 2), None),
        ((), (), None),
        ((1, 1), (2, 2), 0.0),
        ((1, 1), (1, 1), 0.0),
        ((1e300, -1e300), (1, 2), None),
        ((1e-300, 2e-300), (1e-300, 3e-300), 0.0),
    ],
)
def test_undefined_figures_of_means_are_none(arm, baseline, se):
    arm, baseline = sample(*arm), sample(*baseline)
    effect = effects.welch(arm, baseline)
    assert (effect.se, effect.p_value, effect.interval(0.05), effect.statistic()) == (se, None, None, None)
    assert effects.relative(effect, arm, baseline, 0.05)[1] is None
    assert finite(effect)


def test_one_arm_without_variance_and_huge_values_are_compared():
    assert effects.welch(sample(5, 5, 5), sample(1, 2, 3)).df == pytest.approx(2)
    huge = effects.welch(sample(1e150, 2e150, 4e150), sample(1e150, 3e150, 8e150))
    assert huge.p_value == pytest.approx(effects.welch(sample(1, 2, 4), sample(1, 3, 8)).p_value)


# Shares


def test_the_example_that_statsmodels_documents_proportions_ztest_with():
    effect = effects.proportions(83, 5, 99, 12)
    assert effect.statistic() == pytest.approx(-1.4078, abs=5e-5)
    assert effect.p_value == pytest.approx(0.159, abs=5e-4)


def test_the_table_that_scipy_documents_chi2_contingency_with():
    from scipy.stats import chi2_contingency

    counts = np.array([[176, 230], [21035, 21018]])
    expected = chi2_contingency(counts, correction=False)
    effect = effects.proportions(counts[:, 0].sum(), 176, counts[:, 1].sum(), 230)
    assert effect.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert effect.statistic() ** 2 == pytest.approx(expected.statistic, rel=1e-9)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((70, 56, 80, 48), (0.0533, 0.3377)), ((56, 5, 29, 0), (-0.0313, 0.1926))],
)
def test_intervals_of_shares_are_those_that_newcombe_published(counts, expected):
    """Newcombe 1998, table II, method 5: Mee's interval."""
    assert effects.proportions(*counts).interval(0.05) == pytest.approx(expected, abs=5e-5)


def likeliest(counts, arm_of, low, high):
    """The likeliest share of the baseline between two, found by searching, when `arm_of` gives the arm's share for it."""
    from scipy.optimize import minimize_scalar
    from scipy.special import xlogy

    n1, x1, n2, x2 = counts

    def unlikelihood(share):
        pairs = ((x1, n1, arm_of(share)), (x2, n2, share))
        return -sum(xlogy(x, p) + xlogy(n - x, 1 - p) for x, n, p in pairs)

    return minimize_scalar(unlikelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x


def score_of_difference(counts, null):
    n1, x1, n2, x2 = counts
    base = likeliest(counts, lambda share: share + null, max(0.0, -null), min(1.0, 1 - null))
    arm = base + null
    return (x1 / n1 - x2 / n2 - null) / math.sqrt(arm * (1 - arm) / n1 + base * (1 - base) / n2)


def score_of_ratio(counts, null):
    n1, x1, n2, x2 = counts
    base = likeliest(counts, lambda share: share * null, 0.0, min(1.0, 1 / null))
    arm = base * null
    return (x1 / n1 - null * x2 / n2) / math.sqrt(arm * (1 - arm) / n1 + null**2 * base * (1 - base) / n2)


COUNTS = [(83, 5, 99, 12), (30, 30, 40, 33), (1000, 3, 20, 1), (50_000, 2600, 50_000, 2500)]


@pytest.mark.parametrize("counts", [*COUNTS, (30, 0, 40, 6)])
def test_intervals_of_shares_end_where_the_likeliest_shares_are_refuted(counts):
    for end in effects.proportions(*counts).interval(0.05):
        assert abs(score_of_difference(counts, end)) == pytest.approx(1.959964, rel=1e-4)


@pytest.mark.parametrize("counts", COUNTS)
def test_relative_intervals_of_shares_end_where_the_likeliest_shares_are_refuted(counts):
    n1, x1, n2, x2 = counts
    arm, baseline = Sample(n1, x1 / n1, 0.1), Sample(n2, x2 / n2, 0.1)
    value, interval = effects.relative(effects.proportions(*counts), arm, baseline, 0.05)
    assert value == pytest.approx(x1 / n1 / (x2 / n2) - 1)
    for end in interval:
        assert abs(score_of_ratio(counts, 1 + end)) == pytest.approx(1.959964, rel=1e-4)


def test_a_relative_interval_of_shares_is_the_one_of_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep

    effect = effects.proportions(83, 5, 99, 12)
    _, interval = effects.relative(effect, Sample(83, 5 / 83, 0.1), Sample(99, 12 / 99, 0.1), 0.05)
    low, high = confint_proportions_2indep(5, 83, 12, 99, method="score", compare="ratio", correction=False)
    assert interval == pytest.approx((low - 1, high - 1), rel=1e-6)
    nobody = effects.proportions(30, 0, 40, 6)
    assert effects.relative(nobody, Sample(30, 0.0, 0.0), Sample(40, 0.15, 0.1), 0.05)[1][0] == -1


def test_shares_of_nobody_and_everybody():
    never = effects.proportions(100, 0, 100, 0)
    assert (never.estimate, never.se, never.p_value) == (0, 0, None)
    low, high = never.interval(0.05)
    assert low == pytest.approx(-high)
    assert high == pytest.approx(moments.share_interval(0, 100, 0.05)[1], rel=0.02)
    apart = effects.proportions(30, 30, 30, 0)
    assert apart.p_value < 1e-13
    assert apart.interval(0.05)[0] > 0.8
    assert apart.interval(0.05)[1] == 1
    nobody = effects.proportions(0, 0, 10, 3)
    assert (nobody.estimate, nobody.p_value, nobody.interval(0.05)) == (None, None, None)
    assert effects.relative(never, Sample(100, 0, 0), Sample(100, 0, 0), 0.05) == (None, None)
    assert finite(effects.proportions(1, 1, 1, 0))
    with pytest.raises(ValueError, match="successes"):
        effects.proportions(10, 11, 10, 3)


# Ratios and shares of the baseline


def by_unit(rng, units, effect=0.0):
    """Rows by unit, each with its unit's own taste: the sums above and below."""
    rows = rng.geometric(0.2, units).astype(float)
    return rows * (rng.normal(3 + effect, 1, units) + rng.normal(0, 1, units) / np.sqrt(rows)), rows


def test_a_ratio_is_the_delta_methods_formula():
    above, below = by_unit(np.random.default_rng(2), 400)
    other_above, other_below = by_unit(np.random.default_rng(3), 300)
    effect = effects.ratio(above, below, other_above, other_below)

    def variance(num, den):
        r = num.sum() / den.sum()
        covariance = np.cov(num, den)
        return (covariance[0, 0] - 2 * r * covariance[0, 1] + r * r * covariance[1, 1]) / (len(num) * den.mean() ** 2)

    assert effect.estimate == pytest.approx(above.sum() / below.sum() - other_above.sum() / other_below.sum())
    assert effect.se**2 == pytest.approx(variance(above, below) + variance(other_above, other_below), rel=1e-9)


def test_a_ratios_standard_error_is_the_bootstraps():
    rng = np.random.default_rng(4)
    above, below = by_unit(rng, 500)
    drawn = rng.integers(0, 500, (2000, 500))
    spread = (above[drawn].sum(1) / below[drawn].sum(1)).std()
    found = effects.ratio_sample(above, below)
    assert math.sqrt(found.variance / found.n) == pytest.approx(spread, rel=0.05)


def test_rows_of_the_same_units_give_no_false_alarms_as_a_ratio():
    rng = np.random.default_rng(5)
    p_values = [effects.ratio(*by_unit(rng, 100), *by_unit(rng, 100)).p_value for _ in range(2000)]
    assert 0.035 < np.mean(np.array(p_values) < 0.05) < 0.065


def test_ratios_without_rows_or_variance():
    none = effects.ratio([0, 0], [0, 0], [1, 2], [2, 3])
    assert (none.estimate, none.se, none.p_value) == (None, None, None)
    equal = effects.ratio([1, 2, 5], [1, 2, 5], [3, 1], [3, 1])
    assert (equal.estimate, equal.se, equal.p_value) == (0, 0, None)
    assert effects.ratio([], [], [], []).p_value is None


def test_a_relative_interval_holds_every_ratio_that_is_not_refuted():
    arm, baseline = Sample(50, 11.0, 9.0), Sample(60, 10.0, 12.0)
    effect = effects.welch(arm, baseline)
    value, interval = effects.relative(effect, arm, baseline, 0.05)
    assert value == pytest.approx(0.1)
    for end in interval:
        share = 1 + end
        se = math.sqrt(arm.variance / arm.n + share**2 * baseline.variance / baseline.n)
        assert abs(arm.mean - share * baseline.mean) / se == pytest.approx(moments.critical(0.05, effect.df))


def test_a_relative_interval_covers_and_is_near_the_delta_methods():
    arm, baseline = Sample(5000, 11.0, 9.0), Sample(6000, 10.0, 12.0)
    _, interval = effects.relative(effects.welch(arm, baseline), arm, baseline, 0.05)
    se = math.sqrt(9 / 5000 / 100 + 121 / 10_000 * 12 / 6000)
    assert interval == pytest.approx((0.1 - 1.96 * se, 0.1 + 1.96 * se), abs=1e-4)


@pytest.mark.parametrize("mean", [0.0, 0.1, -0.1])
def test_a_baseline_near_zero_has_no_relative_interval(mean):
    arm, baseline = Sample(50, 1.0, 1.0), Sample(50, mean, 1.0)
    value, interval = effects.relative(effects.welch(arm, baseline), arm, baseline, 0.05)
    assert interval is None
    assert (value is None) is (mean == 0)


def test_a_relative_effect_on_a_negative_baseline_has_the_effects_sign():
    arm, baseline = Sample(500, -9.0, 1.0), Sample(500, -10.0, 1.0)
    value, interval = effects.relative(effects.welch(arm, baseline), arm, baseline, 0.05)
    assert value == pytest.approx(0.1)
    assert 0 < interval[0] < value < interval[1]


# Ratings and durations


def test_the_example_that_scipy_documents_mannwhitneyu_with():
    assert rank_tests.rank_test([19, 22, 16, 29, 24], [20, 11, 17, 12]) == pytest.approx(1 / 9)


def test_a_rank_test_needs_values_that_differ():
    assert rank_tests.rank_test([], [1]) is None
    assert rank_tests.rank_test([3, 3], [3, 3, 3]) is None
    assert rank_tests.rank_test([3, 3] * 20, [4, 4, 4] * 20) < 1e-10


def test_quantiles_of_clustered_rows_are_covered_as_often_as_promised():
    rng = np.random.default_rng(6)
    truth = np.quantile(np.exp(rng.normal(0, 0.8, 2_000_000) + rng.normal(0, 0.6, 2_000_000)), [0.5, 0.9])
    covered = np.zeros(2)
    plain = 0
    for _ in range(400):
        unit = np.repeat(np.arange(300), rng.integers(5, 15, 300))
        values = np.exp(rng.normal(0, 0.8, 300)[unit] + rng.normal(0, 0.6, len(unit)))
        found = rank_tests.quantile_intervals(values, unit, (0.5, 0.9), 0.05)
        covered += [low <= true <= high for true, (_, low, high) in zip(truth, found, strict=True)]
        [(_, low, high)] = rank_tests.quantile_intervals(values, np.arange(len(values)), [0.5], 0.05)
        plain += low <= truth[0] <= high
    assert covered / 400 == pytest.approx([0.95, 0.95], abs=0.03)
    assert plain / 400 < 0.75


def test_quantiles_of_rows_of_their_own_are_numpys():
    values = np.random.default_rng(7).permutation(1001).astype(float)
    for q in (0.01, 0.5, 0.9, 1.0):
        [(value, low, high)] = rank_tests.quantile_intervals(values, np.arange(1001), [q], 0.05)
        assert value == np.quantile(values, q, method="inverted_cdf")
        assert low <= value <= high
    [(_, low, high)] = rank_tests.quantile_intervals(values, np.arange(1001), [0.5], 0.05)
    reach = 1.96 * math.sqrt(0.25 / 1001) * 1001
    assert (low, high) == (pytest.approx(500 - reach, abs=2), pytest.approx(500 + reach, abs=2))


def test_quantiles_need_two_units():
    assert rank_tests.quantile_intervals([], [], [0.5], 0.05) is None
    assert rank_tests.quantile_intervals([1, 2, 3], [7, 7, 7], [0.5], 0.05) is None
    assert rank_tests.quantile_intervals([3, 3, 3], [7, 7, 9], [0.5], 0.05) == ((3, 3, 3),)


# Sizes


@pytest.mark.parametrize(("d", "expected"), [(0.5, 63.77), (0.2, 393.41)])
def test_published_sizes(d, expected):
    assert power.samples(d, 0.05, 0.8) == pytest.approx(expected, abs=0.005)


def test_thirty_an_arm_find_seven_tenths_of_a_standard_deviation():
    assert power.detectable(30, 0.05, 0.8) == pytest.approx(0.736, abs=5e-4)


@pytest.mark.parametrize("d", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("ratio", [1, 0.25, 3])
def test_sizes_are_those_of_statsmodels(d, alpha, ratio):
    from statsmodels.stats.power import tt_ind_solve_power

    found = power.samples(d, alpha, 0.9, ratio)
    assert found == pytest.approx(tt_ind_solve_power(effect_size=d, alpha=alpha, power=0.9, ratio=ratio), rel=1e-4)
    expected = tt_ind_solve_power(effect_size=d, nobs1=50, alpha=alpha, ratio=ratio)
    assert power.power(d, 50, 50 * ratio, alpha) == pytest.approx(expected, rel=1e-6)


def test_sizes_of_shares_are_those_of_statsmodels():
    from statsmodels.stats.proportion import power_proportions_2indep

    for p, difference, n, ratio in [(0.1, 0.02, 2000, 1), (0.5, -0.1, 150, 2), (0.01, 0.01, 900, 0.5)]:
        expected = power_proportions_2indep(difference, p, n, ratio=ratio).power
        assert power.power_shares(p, difference, n, ratio * n, 0.05) == pytest.approx(expected, rel=1e-6)


def test_sizes_that_nothing_or_next_to_nothing_is_enough_for():
    assert power.samples(0, 0.05, 0.8) is None
    assert power.samples(100, 0.05, 0.8) == 2
    assert power.power(0.5, 1, 30, 0.05) is None
    assert power.power(0, 30, 30, 0.05) == pytest.approx(0.05)
    assert power.power(1e6, 30, 30, 0.05) == 1
    assert power.power(0.2, 1e9, 1e9, 0.05) == 1
    assert power.detectable(1, 0.05, 0.8) is None
    assert power.detectable(1e9, 0.05, 0.8) == pytest.approx((1.959964 + 0.841621) * math.sqrt(2e-9), rel=1e-5)
    assert power.detectable(2, 0.05, 0.8) > 2
    assert power.detectable_share(0.99, 30, 0.05, 0.8) is None
    assert power.detectable_share(1.0, 30, 0.05, 0.8) is None
    assert power.power_shares(0.0, 1.0, 30, 30, 0.05) == 1
    assert power.power_shares(0.3, 0.1, 0, 30, 0.05) is None


# Looking more than once


@pytest.mark.parametrize(
    ("looks", "percent"),
    [(1, 5.0), (2, 8.3), (3, 10.7), (4, 12.6), (5, 14.2), (10, 19.3), (20, 24.8), (50, 32.0), (100, 37.4)],
)
def test_peeking_is_the_table_of_armitage_mcpherson_and_rowe(looks, percent):
    assert 100 * peeking(looks, 0.05) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize(("looks", "share"), [(14, 0.219646), (28, 0.274681)])
def test_peeking_at_other_numbers_of_looks(looks, share):
    assert peeking(looks, 0.05) == pytest.approx(share, abs=1e-6)


def test_peeking_is_what_a_simulation_finds():
    z = np.random.default_rng(8).normal(size=(100_000, 14)).cumsum(1) / np.sqrt(np.arange(1, 15))
    assert (np.abs(z) > 1.959964).any(1).mean() == pytest.approx(peeking(14, 0.05), abs=0.004)


@pytest.mark.parametrize(
    ("bounds", "alpha"),
    [
        ([2.413] * 5, 0.05),  # Pocock's, Jennison and Turnbull 2000, table 2.1
        ([2.555] * 10, 0.05),
        ([2.040 * math.sqrt(5 / look) for look in range(1, 6)], 0.05),  # O'Brien and Fleming's, table 2.3
        ([2.087 * math.sqrt(10 / look) for look in range(1, 11)], 0.05),
    ],
)
def test_crossing_the_published_bounds_errs_as_published(bounds, alpha):
    looks = len(bounds)
    assert crossing([look / looks for look in range(1, looks + 1)], bounds) == pytest.approx(alpha, abs=1e-4)


def test_spending_bounds_are_those_of_lan_and_demets():
    found = sequential.obrien_fleming([0.2, 0.4, 0.6, 0.8, 1.0], 0.05)
    assert found == pytest.approx((4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=2e-4)
    assert sequential.obrien_fleming([0.5, 1], 0.05) == pytest.approx((2.9626, 1.9686), abs=1e-4)
    assert sequential.obrien_fleming([1.0], 0.05) == pytest.approx((1.959964,), abs=1e-6)


@pytest.mark.parametrize(
    "fractions",
    [
        [0.01, 0.3, 0.31, 0.9, 1.0],
        [1e-6, 0.5, 1.7],
        [look / 30 for look in range(1, 31)],
        [0.05 * 1.01**look for look in range(301)] + [1.0],
    ],
)
def test_spending_at_any_spacing_errs_at_alpha(fractions):
    bounds = sequential.obrien_fleming(fractions, 0.05)
    taken = [(fraction, bound) for fraction, bound in zip(fractions, bounds, strict=True) if bound < math.inf]
    assert crossing(*zip(*taken, strict=True)) == pytest.approx(0.05, abs=1e-6)


def test_looks_with_next_to_no_new_data_are_bounded_safely():
    fractions = [0.3, 0.30001, 0.30002, 0.6, 0.9999, 1.0]
    bounds = sequential.obrien_fleming(fractions, 0.05)
    assert bounds[1] > bounds[0]
    assert all(bound < math.inf for bound in bounds)
    rng = np.random.default_rng(9)
    steps = np.sqrt(np.diff([0, *fractions]))
    z = (rng.normal(size=(200_000, 6)) * steps).cumsum(1) / np.sqrt(fractions)
    assert 0.046 < (np.abs(z) > bounds).any(1).mean() < 0.0515


def test_looks_after_the_target_or_without_new_data_spend_nothing():
    bounds = sequential.obrien_fleming([0.5, 0.5, 0.4, 1.2, 1.3, 2], 0.05)
    assert [math.isinf(bound) for bound in bounds] == [False, True, True, False, True, True]
    assert sequential.level(bounds[1]) == 0
    assert sequential.obrien_fleming([], 0.05) == ()
    for fractions in ([0], [0.5, -1], [math.nan]):
        with pytest.raises(ValueError, match="above 0"):
            sequential.obrien_fleming(fractions, 0.05)


def test_bounds_fall_from_look_to_look():
    bounds = sequential.obrien_fleming([look / 12 for look in range(1, 13)], 0.01)
    assert all(later < earlier for earlier, later in pairwise(bounds))


def test_thirty_looks_are_bounded_quickly():
    fractions = [look / 30 for look in range(1, 31)]
    sequential.obrien_fleming(fractions, 0.05)
    assert best_of(3, lambda: sequential.obrien_fleming(fractions, 0.05)) < 30 * 0.002


def test_a_confidence_sequence_is_the_tightest_at_its_target():
    from scipy.optimize import minimize_scalar

    for alpha in (0.01, 0.05, 0.2):

        def width(log_mixture, alpha=alpha):
            m = math.exp(log_mixture)
            return math.sqrt((1 + 1 / m) * (math.log(1 + m) - 2 * math.log(alpha)))

        least = minimize_scalar(width).fun
        assert sequential.always_valid_half_width(0.04, 0.04, alpha) == pytest.approx(0.2 * least, rel=1e-9)


def test_a_confidence_sequence_errs_at_most_at_alpha_however_often_one_looks():
    rng = np.random.default_rng(10)
    looks = np.unique(np.geomspace(30, 20_000, 200).astype(int))
    steps = np.sqrt(np.diff([0, *looks]))
    means = (rng.normal(size=(4000, len(looks))) * steps).cumsum(1) / looks
    half_widths = [sequential.always_valid_half_width(1 / n, 1 / 2000, 0.05) for n in looks]
    crossed = (np.abs(means) > half_widths).any(1).mean()
    assert 0.01 < crossed < 0.05
    fixed = (np.abs(means) > 1.96 / np.sqrt(looks)).any(1).mean()
    assert fixed > 0.3


def test_undefined_figures_of_a_confidence_sequence_are_none():
    for variance, target in [(0, 1), (1, 0), (math.nan, 1), (1, math.inf), (1e-300, 1e300)]:
        assert sequential.always_valid_half_width(variance, target, 0.05) is None
        assert sequential.always_valid_level(variance, target, 0.05) is None


# Mismatch, corrections, covariates, information


def test_the_published_mismatch():
    """Kohavi, Tang and Xu 2020, chapter 3: 821,588 against 815,482 users."""
    assert sample_ratio.srm({"a": 821_588, "b": 815_482}, {"a": 0.5, "b": 0.5}) == pytest.approx(1.8e-6, rel=0.02)


def test_mismatch_is_chi_square_over_the_arms_that_have_a_weight():
    from scipy.stats import chisquare

    found = sample_ratio.srm({"a": 480, "b": 310, "c": 210}, {"a": 0.5, "b": 0.3, "c": 0.2, "d": 0})
    assert found == pytest.approx(chisquare([480, 310, 210], [500, 300, 200]).pvalue)
    assert sample_ratio.srm({"a": 500, "b": 500, "d": 0}, {"a": 0.5, "b": 0.5, "d": 0}) == 1
    assert sample_ratio.srm({"a": 500, "b": 500, "d": 1}, {"a": 0.5, "b": 0.5, "d": 0}) == 0
    assert sample_ratio.srm({"a": 40}, {"a": 0.5, "b": 0.5}) == pytest.approx(2.54e-10, rel=0.01)
    assert sample_ratio.srm({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}) is None
    assert sample_ratio.srm({"a": 5}, {"a": 1, "b": 0}) is None


def test_unequal_response_is_found_by_unit():
    rng = np.random.default_rng(11)

    def arm(rate):
        rows = rng.integers(1, 9, 500)
        return rng.binomial(rows, rate), rows

    assert sample_ratio.response(*arm(0.3), *arm(0.2)) < 1e-6
    same = [sample_ratio.response(*arm(0.3), *arm(0.3)) for _ in range(400)]
    assert np.mean(np.array(same) < 0.05) < 0.09
    assert sample_ratio.response([2, 3], [2, 3], [1, 1], [1, 1]) is None
    assert sample_ratio.response([2] * 40, [2] * 40, [0] * 40, [1] * 40) < 1e-10
    assert sample_ratio.response([], [], [1], [1]) is None


def test_holm_is_what_r_and_statsmodels_say():
    from statsmodels.stats.multitest import multipletests

    assert corrections.holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx((0.04, 0.06, 0.06, 0.06))
    p_values = np.random.default_rng(12).random(20) ** 3
    assert corrections.holm(p_values.tolist()) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert corrections.holm([None, 0.01, None, 0.03]) == (None, 0.02, None, 0.03)
    assert corrections.holm([]) == ()


def test_cuped_takes_away_what_the_covariate_foretold():
    rng = np.random.default_rng(13)
    arm = rng.integers(0, 2, 5000).astype(np.int8)
    x = rng.normal(10, 2, 5000)
    y = 1 + 0.6 * x + 0.3 * arm + rng.normal(0, 1, 5000)
    adjusted, reduction = cuped.adjust(y, x, arm)
    within = np.concatenate([x[arm == a] - x[arm == a].mean() for a in (0, 1)])
    slope = within @ np.concatenate([y[arm == a] for a in (0, 1)]) / (within @ within)
    assert adjusted == pytest.approx(y - slope * (x - x.mean()))
    assert adjusted.mean() == pytest.approx(y.mean(), rel=1e-12)
    assert reduction == pytest.approx(1.44 / 2.44, abs=0.03)
    plain = effects.welch(Sample.of(y[arm == 1]), Sample.of(y[arm == 0]))
    better = effects.welch(Sample.of(adjusted[arm == 1]), Sample.of(adjusted[arm == 0]))
    assert (better.se / plain.se) ** 2 == pytest.approx(1 - reduction, abs=1e-3)


def test_cuped_without_a_covariate_changes_nothing():
    y, arm = np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1])
    for x in ([math.nan] * 4, [5.0, 5, 6, 6], [1e300, -1e300, 1e300, 0]):
        adjusted, reduction = cuped.adjust(y, x, arm)
        assert (adjusted.tolist(), reduction) == (y.tolist(), 0)
    adjusted, reduction = cuped.adjust(y, [1, 2, math.nan, math.nan], arm)
    assert (adjusted[2:].tolist(), reduction) == ([3, 4], pytest.approx(0.5))
    assert cuped.adjust([3.0] * 4, [1, 2, 3, 5], arm)[1] == 0


def test_the_information_of_a_flat_prior():
    from scipy.integrate import quad
    from scipy.stats import norm

    for estimate, se in [(0.3, 0.2), (-0.5, 0.4), (0, 1), (2, 0.1)]:
        loss = quad(lambda x, estimate=estimate, se=se: -x * norm.pdf(x, estimate, se), estimate - 9 * se, 0)[0]
        assert bayes.expected_loss(estimate, se) == pytest.approx(loss if estimate < 9 * se else 0, abs=1e-9)
        assert bayes.chance_better(estimate, se) == pytest.approx(norm.sf(0, estimate, se))
    for estimate, se in [(None, None), (0.3, 0.0), (0.3, None)]:
        assert (bayes.chance_better(estimate, se), bayes.expected_loss(estimate, se)) == (None, None)
    assert bayes.expected_loss(1e200, 1e-200) == 0


# Imports


@pytest.mark.parametrize("name", ["power", "sequential", "effects", "sample_ratio", "bayes", "corrections"])
def test_what_a_plan_calls_does_not_wait_for_scipys_statistics(name):
    calls = {
        "power": "power.samples(0.5, 0.05, 0.8); power.detectable_share(0.3, 100, 0.05, 0.8)",
        "sequential": "sequential.obrien_fleming([0.5, 1], 0.05); sequential.always_valid_half_width(1, 1, 0.05)",
        "effects": "effects.proportions(83, 5, 99, 12).interval(0.05)",
        "sample_ratio": "sample_ratio.srm({'a': 4, 'b': 5}, {'a': 1, 'b': 1})",
        "bayes": "bayes.expected_loss(1, 1)",
        "corrections": "corrections.holm([0.1])",
    }
    code = f"import sys\nfrom ftops.statistics import {name}\nassert not {{'numpy', 'scipy'}} & set(sys.modules)\n{calls[name]}\n"
    subprocess.run([sys.executable, "-c", code + "assert 'scipy.stats' not in sys.modules"], check=True)


def test_every_public_function_names_its_source_or_is_plain():
    """A formula without a source cannot be checked: the year of its paper stands in the docstring."""
    plain = {"critical", "two_sided", "level", "shares", "samples", "detectable"}
    plain |= {"detectable_share", "always_valid_level", "Sample", "Counts", "Effect", "NonInferiority", "ratio_sample"}
    missing = []
    for name in (
        "bayes",
        "corrections",
        "cuped",
        "effects",
        "power",
        "rank_tests",
        "sample",
        "sample_ratio",
        "sequential",
    ):
        module = importlib.import_module(f"ftops.statistics.{name}")
        for label, value in vars(module).items():
            if label.startswith("_") or getattr(value, "__module__", "") != module.__name__ or label in plain:
                continue
            if not any(str(year) in (value.__doc__ or "") for year in range(1900, 2027)):
                missing.append(f"{name}.{label}")
    assert missing == []


def finite(value):
    """Whether no figure in a dataclass is NaN or infinite, but for the degrees of freedom."""
    assert is_dataclass(value)
    figures = {field.name: item for field, item in zip(fields(value), astuple(value), strict=True)}
    return all(math.isfinite(item) for name, item in figures.items() if isinstance(item, float) and name != "df")


def best_of(times, call):
    """Processor seconds: what else the machine does takes no part in them."""
    taken = []
    for _ in range(times):
        begun = time.process_time()
        call()
        taken.append(time.process_time() - begun)
    return min(taken)
