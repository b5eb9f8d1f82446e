"""Laws of the analysis: what arms are called, the order of rows and the unit of measure change no conclusion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.experiments.analysis import analyze
from tests.support.looking import columns, experiment

SPEC = {"metric": {"name": "score", "type": "continuous"}, "design": {"targetSamples": 60}}
quick = settings(max_examples=25, deadline=None)


@st.composite
def data(draw):
    """Rows of 80 to 300 units in two arms, some without a value."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    units = draw(st.integers(80, 300))
    rows = units * draw(st.integers(1, 3))
    unit = np.r_[np.arange(units), random.integers(0, units, rows - units)]
    arm = random.permutation(units) % 2
    values = random.normal(10, 2, rows) + draw(st.floats(-1, 1)) * arm[unit]
    values[random.random(rows) < 0.1] = np.nan
    return columns(unit, arm, {"score": values}, day=20_000 + random.integers(0, 5, rows))


def look(found, **spec):
    return analyze(experiment(**{**SPEC, **spec}).spec, found)


def only(found):
    (comparison,) = found.comparisons
    return comparison


def same(one, other):
    """Whether two looks say the same, but for what rounding may move."""
    figures = [(each.effect, each.p_value, each.standardized, *(each.ci or ())) for each in (only(one), only(other))]
    assert figures[0] == pytest.approx(figures[1], rel=1e-9, abs=1e-12)
    told = [(each.verdict, each.winner, only(each).outcome) for each in (one, other)]
    return told[0] == told[1]


@given(data())
@quick
def test_swapping_the_arms_negates(found):
    other = look(replace(found, arm=(1 - found.arm).astype(np.int8)))
    one = look(found)
    assert only(other).effect == pytest.approx(-only(one).effect, rel=1e-9, abs=1e-12)
    assert only(other).p_value == pytest.approx(only(one).p_value)
    assert only(other).ci == pytest.approx(tuple(-end for end in reversed(only(one).ci)))
    swapped = {"better": "worse", "worse": "better", "open": "open"}
    assert only(other).outcome == swapped[only(one).outcome]
    assert other.verdict == one.verdict
    assert (other.winner, one.winner) in {("a", "b"), ("b", "a"), (None, None)}


@given(data(), st.randoms(use_true_random=False))
@quick
def test_the_order_of_rows_means_nothing(found, random):
    order = list(range(len(found.unit)))
    random.shuffle(order)
    values = {name: each[order] for name, each in found.values.items()}
    moved = replace(found, unit=found.unit[order], day=found.day[order], values=values)
    one, other = look(found), look(moved)
    assert same(one, other)
    assert [each.exposed for each in one.days] == [each.exposed for each in other.days]


@given(data(), st.permutations(range(80)))
@quick
def test_the_numbers_of_units_mean_nothing(found, order):
    rename = np.r_[np.array(order), np.arange(80, found.units)]
    arm = np.empty_like(found.arm)
    arm[rename] = found.arm
    assert same(look(found), look(replace(found, unit=rename[found.unit].astype(np.int32), arm=arm)))


@given(data(), st.floats(0.01, 100))
@quick
def test_another_unit_of_measure_scales_the_effect_and_changes_nothing_else(found, factor):
    scaled = replace(found, values={"score": found.values["score"] * factor})
    one, other = look(found), look(scaled)
    assert only(other).effect == pytest.approx(only(one).effect * factor, rel=1e-6, abs=1e-9)
    assert only(other).p_value == pytest.approx(only(one).p_value, rel=1e-6)
    assert only(other).standardized == pytest.approx(only(one).standardized, rel=1e-6, abs=1e-12)
    assert only(other).relative_effect == pytest.approx(only(one).relative_effect, rel=1e-6, abs=1e-12)
    assert (other.verdict, other.winner) == (one.verdict, one.winner)


@given(data(), st.floats(-5, 5))
@quick
def test_the_same_for_everyone_changes_no_effect(found, shift):
    moved = replace(found, values={"score": found.values["score"] + shift})
    one, other = look(found), look(moved)
    assert only(other).effect == pytest.approx(only(one).effect, rel=1e-6, abs=1e-9)
    assert only(other).p_value == pytest.approx(only(one).p_value, rel=1e-6)
    assert (other.verdict, other.winner) == (one.verdict, one.winner)


@given(data(), st.sampled_from(["fixed", "obrien-fleming", "always-valid"]))
@quick
def test_an_interval_holds_no_effect_just_when_p_is_not_below_the_level(found, rule):
    each = only(look(found, design={"targetSamples": 60, "rule": rule}))
    low, high = each.ci
    assert (low > 0 or high < 0) == (each.p_value < each.level)
    assert low <= each.effect <= high


@given(data())
@quick
def test_a_direction_turns_the_winner_around_and_nothing_else(found):
    down = {"name": "score", "type": "continuous", "direction": "decrease"}
    one, other = look(found), look(found, metric=down)
    assert only(one).ci == only(other).ci
    assert only(one).p_value == only(other).p_value
    assert {one.winner, other.winner} in ({"a", "b"}, {None})
    assert one.verdict == other.verdict


def test_under_no_effect_five_in_a_hundred_are_called():
    random = np.random.default_rng(20261122)
    trials, called = 400, 0
    arm = np.arange(200) % 2
    for _ in range(trials):
        called += look(columns(range(200), arm, {"score": random.normal(0, 1, 200)})).verdict == "winner"
    assert called / trials <= 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5
    assert called > 0
