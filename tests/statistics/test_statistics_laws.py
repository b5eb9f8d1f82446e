"""Laws that hold for all data: of effects, corrections, sizes and bounds."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ftops.statistics import bayes, corrections, cuped, effects, power, rank_tests, sequential
from ftops.statistics.sample import Sample, share_interval
from tests.support.crossing import crossing

figures = st.lists(st.integers(-10_000, 10_000).map(lambda number: number / 16), min_size=2, max_size=40)
"""Values whose sums are exact, so that a law is not lost in rounding."""
level = st.sampled_from([1e-6, 0.005, 0.05, 0.2])
share = st.tuples(st.integers(1, 300), st.integers(0, 300)).map(lambda pair: (pair[0], min(pair)))
probability = st.floats(0, 1)


def welch(arm, baseline):
    return effects.welch(Sample.of(arm), Sample.of(baseline))


def same(found, expected):
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-6, abs=1e-12))


@given(figures, figures, level)
def test_swapping_the_arms_negates_the_effect_and_keeps_p(arm, baseline, level):
    effect, swapped = welch(arm, baseline), welch(baseline, arm)
    assert swapped.estimate == -effect.estimate
    same(swapped.p_value, effect.p_value)
    interval, other = effect.interval(level), swapped.interval(level)
    assert (interval is None) == (other is None)
    if interval is not None:
        assert interval == pytest.approx((-other[1], -other[0]))


@given(share, share, level)
def test_swapping_the_arms_negates_the_difference_of_shares(arm, baseline, level):
    effect, swapped = effects.proportions(*arm, *baseline), effects.proportions(*baseline, *arm)
    assert swapped.estimate == -effect.estimate
    same(swapped.p_value, effect.p_value)
    low, high = effect.interval(level)
    assert swapped.interval(level) == pytest.approx((-high, -low), abs=1e-7)


@given(figures, figures, st.randoms(use_true_random=False))
def test_the_order_of_values_changes_nothing(arm, baseline, random):
    effect = welch(arm, baseline)
    random.shuffle(arm)
    random.shuffle(baseline)
    again = welch(arm, baseline)
    same(again.estimate, effect.estimate)
    same(again.p_value, effect.p_value)


@given(figures, figures, st.integers(-1000, 1000))
def test_shifting_both_arms_changes_nothing(arm, baseline, shift):
    effect, moved = welch(arm, baseline), welch([x + shift for x in arm], [x + shift for x in baseline])
    same(moved.estimate, effect.estimate)
    same(moved.se, effect.se)
    same(moved.p_value, effect.p_value)


@given(figures, figures, st.sampled_from([1e-100, 1e-3, 0.5, 7, 1e6, 1e100]))
def test_scaling_scales_the_effect_and_keeps_p_and_d(arm, baseline, scale):
    scaled_arm, scaled_baseline = ([x * scale for x in side] for side in (arm, baseline))
    effect, scaled = welch(arm, baseline), welch(scaled_arm, scaled_baseline)
    assert scaled.estimate == pytest.approx(effect.estimate * scale, rel=1e-6, abs=scale * 1e-11)
    same(scaled.p_value, effect.p_value)
    same(
        effects.cohens_d(Sample.of(scaled_arm), Sample.of(scaled_baseline)),
        effects.cohens_d(Sample.of(arm), Sample.of(baseline)),
    )
    relative = effects.relative(effect, Sample.of(arm), Sample.of(baseline), 0.05)
    again = effects.relative(scaled, Sample.of(scaled_arm), Sample.of(scaled_baseline), 0.05)
    if relative[1] is not None and abs(relative[1][1]) < 1e3:
        same(again[1], relative[1])


def agree(interval, effect, level):
    """An interval holds no effect just when the p-value is at least the level."""
    assume(effect.p_value is None or abs(effect.p_value / level - 1) > 1e-6)
    refuted = effect.p_value is not None and effect.p_value < level
    assert (not interval[0] <= 0 <= interval[1]) == refuted


@given(figures, figures, level)
def test_intervals_of_means_agree_with_the_test(arm, baseline, level):
    arm, baseline = Sample.of(arm), Sample.of(baseline)
    effect = effects.welch(arm, baseline)
    assume(effect.p_value is not None)
    assert 0 <= effect.p_value <= 1
    interval = effect.interval(level)
    assert interval[0] <= effect.estimate <= interval[1]
    agree(interval, effect, level)
    value, interval = effects.relative(effect, arm, baseline, level)
    if interval is not None:
        assert interval[0] <= value <= interval[1]
        agree(interval, effect, level)


@given(share, share, level)
def test_intervals_of_shares_agree_with_the_test(arm, baseline, level):
    effect = effects.proportions(*arm, *baseline)
    assert effect.p_value is None or 0 <= effect.p_value <= 1
    interval = effect.interval(level)
    assert -1 <= interval[0] <= effect.estimate <= interval[1] <= 1
    agree(interval, effect, level)
    samples = [Sample(n, x / n, 0.0) for n, x in (arm, baseline)]
    value, interval = effects.relative(effect, *samples, level)
    if value is not None:
        assert -1 <= interval[0] <= value + 1e-9
        assert value - 1e-9 <= interval[1] < math.inf
        agree(interval, effect, level)


@given(share, level)
def test_the_interval_of_a_share_holds_it(share, level):
    n, successes = share
    low, high = share_interval(successes, n, level)
    assert 0 <= low <= successes / n <= high <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=2, max_size=30))
def test_a_ratio_of_ones_is_a_mean(pairs):
    above = [float(num) for num, _ in pairs]
    ratio, mean = effects.ratio_sample(above, [1.0] * len(above)), Sample.of(above)
    assert ratio.mean == pytest.approx(mean.mean)
    assert ratio.variance == pytest.approx(mean.variance, abs=1e-12)


@given(st.lists(st.one_of(st.none(), probability), max_size=12), st.randoms(use_true_random=False))
def test_holm_never_lowers_keeps_the_order_and_follows_a_permutation(p_values, random):
    adjusted = corrections.holm(p_values)
    pairs = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None]
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(q for _, q in pairs)
    places = list(range(len(p_values)))
    random.shuffle(places)
    assert corrections.holm([p_values[place] for place in places]) == tuple(adjusted[place] for place in places)


@given(st.floats(0.02, 2), st.floats(0.001, 0.2), st.floats(0.3, 0.99), st.floats(0.2, 5))
def test_power_and_sizes_invert_each_other(d, alpha, wanted, ratio):
    n = power.samples(d, alpha, wanted, ratio)
    assume(min(n, n * ratio) > 2.01)
    assert power.power(d, n, ratio * n, alpha) == pytest.approx(wanted, abs=1e-6)
    assert power.detectable(n, alpha, wanted, ratio) == pytest.approx(d, rel=1e-5)


@given(st.floats(0.02, 0.9), st.floats(50, 1e6), st.floats(0.3, 0.99))
def test_power_and_sizes_of_shares_invert_each_other(p, n, wanted):
    rise = power.detectable_share(p, n, 0.05, wanted)
    assume(rise is not None)
    assert power.power_shares(p, rise, n, n, 0.05) == pytest.approx(wanted, abs=1e-6)


@given(
    st.lists(st.floats(0.001, 1.5), min_size=1, max_size=8, unique=True).map(sorted), st.sampled_from([0.01, 0.05, 0.2])
)
def test_the_spending_bounds_err_at_most_at_alpha(fractions, alpha):
    bounds = sequential.obrien_fleming(fractions, alpha)
    assert all(bound > 0 for bound in bounds)
    taken = [pair for pair in zip(fractions, bounds, strict=True) if pair[1] < math.inf]
    assume(taken and all(b[0] - a[0] > 0.001 for a, b in pairwise(taken)))
    risk = crossing(*zip(*taken, strict=True))
    assert risk <= alpha + 1e-6
    assert fractions[-1] < 1 or risk == pytest.approx(alpha, abs=1e-6)


def always_valid_p(estimate, variance, target, alpha):
    """The p-value of a mixture sequential test (Johari, Koomen, Pekelis and Walsh 2017): valid whenever one looks."""
    mixture = sequential._mixture(variance, target, alpha)
    distance = abs(estimate) / math.sqrt(variance)
    return math.exp(min(0.0, (math.log1p(mixture) - distance * distance * mixture / (1 + mixture)) / 2))


@given(st.floats(-5, 5), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_confidence_sequence_and_its_p_invert_each_other(estimate, variance, target, alpha):
    half_width = sequential.always_valid_half_width(variance, target, alpha)
    assert always_valid_p(half_width, variance, target, alpha) == pytest.approx(alpha)
    p_value = always_valid_p(estimate, variance, target, alpha)
    assert 0 <= p_value <= 1
    assume(abs(p_value / alpha - 1) > 1e-6)
    assert (p_value < alpha) == (abs(estimate) > half_width)
    level = sequential.always_valid_level(variance, target, alpha)
    assert 0 <= level < alpha
    tightest = sequential.always_valid_half_width(target, target, alpha)
    other = sequential.always_valid_half_width(target, variance, alpha)
    assert tightest <= other * (1 + 1e-12)


@given(st.lists(st.tuples(st.floats(-99, 99), st.floats(-99, 99), st.integers(0, 2)), min_size=3, max_size=40))
def test_cuped_keeps_the_mean_and_never_adds_variance(rows):
    y, x, arm = (np.array(column) for column in zip(*rows, strict=True))
    adjusted, reduction = cuped.adjust(y, x, arm)
    rounding = 1e-12 * np.abs(adjusted).max()
    assert adjusted.mean() == pytest.approx(y.mean(), abs=rounding + 1e-12)
    assert -1e-9 - rounding <= reduction <= 1


@given(st.lists(st.tuples(st.floats(0, 99), st.integers(0, 5)), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_interval_of_a_quantile_holds_it(rows, q):
    values, units = zip(*rows, strict=True)
    found = rank_tests.quantile_intervals(values, units, [q], 0.05)
    assert (found is None) == (len(set(units)) < 2)
    if found is not None:
        [(value, low, high)] = found
        assert min(values) <= low <= value <= high <= max(values)


@given(st.floats(-100, 100), st.floats(0.01, 100))
def test_chances_of_either_side_add_up_and_losses_differ_by_the_effect(estimate, se):
    assert bayes.chance_better(estimate, se) + bayes.chance_better(-estimate, se) == pytest.approx(1)
    loss, other = bayes.expected_loss(estimate, se), bayes.expected_loss(-estimate, se)
    assert other - loss == pytest.approx(estimate, abs=1e-6)
    assert loss >= 0


def test_without_an_effect_one_trial_in_twenty_is_below_five_percent():
    rng = np.random.default_rng(20)
    draws = rng.integers(1, 6, (2000, 2, 60)).astype(float)
    p_values = np.array([welch(arm, baseline).p_value for arm, baseline in draws])
    assert 0.038 < (p_values < 0.05).mean() < 0.062
    counts = rng.binomial(400, 0.3, (2000, 2))
    p_values = np.array([effects.proportions(400, a, 400, b).p_value for a, b in counts.tolist()])
    assert 0.038 < (p_values < 0.05).mean() < 0.062
