"""Laws of assignment, each named after what it says."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.experiments.assignment import (
    WHOLE,
    Allocation,
    Gate,
    assign,
    assign_many,
    bucket,
    canonical_unit,
    moved,
    ranges_by_weight,
    ranges_moved_least,
)

UNIT = st.one_of(
    st.text(min_size=1, max_size=40),
    st.text("0123456789abcdef-", min_size=1, max_size=40),
    st.integers(0, 10**12).map("user-{}".format),
)
SEED = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=63)
ARMS = "abcde"


@st.composite
def weights(draw, arms=ARMS):
    """All units among some arms; some may get none."""
    names = draw(st.lists(st.sampled_from(arms), min_size=1, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, WHOLE), min_size=len(names) - 1, max_size=len(names) - 1)))
    return dict(zip(names, (end - start for start, end in zip([0, *cuts], [*cuts, WHOLE], strict=True)), strict=True))


@st.composite
def gates(draw):
    bounds = st.lists(st.integers(0, WHOLE), min_size=2, max_size=2).map(sorted)
    return tuple(Gate(seed, *draw(bounds)) for seed in draw(st.lists(SEED, max_size=2)))


@st.composite
def allocations(draw):
    return Allocation(draw(SEED), ranges_by_weight(draw(weights())), draw(gates()))


def width(ranges, arm):
    return sum(end - start for name, start, end in ranges if name == arm)


@settings(max_examples=150)
@given(allocations(), st.lists(UNIT, max_size=60))
def test_many_units_get_what_each_one_gets(allocation, units):
    found = [allocation.arms[place] if place >= 0 else None for place in assign_many(allocation, units)]
    assert found == [assign(allocation, unit) for unit in units]
    assert assign_many(allocation, pa.array(units, pa.string())).tolist() == assign_many(allocation, units).tolist()


@given(SEED, UNIT)
def test_a_bucket_depends_on_the_canonical_form_alone(seed, unit):
    assert canonical_unit(unit).isascii()
    assert canonical_unit(canonical_unit(unit)) == canonical_unit(unit)
    assert 0 <= bucket(seed, unit) == bucket(seed, canonical_unit(unit)) < WHOLE


@given(UNIT, UNIT)
def test_units_without_percent_signs_stay_apart(one, other):
    if "%" not in one + other:
        assert (canonical_unit(one) == canonical_unit(other)) == (one == other)


@given(
    weights(), SEED, st.lists(UNIT, min_size=1, max_size=30), st.lists(st.integers(0, WHOLE), min_size=2, max_size=5)
)
def test_a_ramp_moves_nobody_between_arms(shares, seed, units, coverages):
    ramp = [
        Allocation(seed, ranges_by_weight(shares), (Gate(f"{seed}:coverage", 0, end),)) for end in sorted(coverages)
    ]
    for unit in units:
        found = [assign(allocation, unit) for allocation in ramp]
        entered = next((place for place, arm in enumerate(found) if arm is not None), len(found))
        assert None not in found[entered:]  # who is in stays in
        assert len(set(found[entered:])) <= 1


@given(st.lists(UNIT, min_size=1, max_size=30), SEED, st.integers(0, WHOLE))
def test_experiments_of_one_group_share_no_unit(units, group, cut):
    first = Allocation("first", (("a", 0, WHOLE),), (Gate(group, 0, cut),))
    second = Allocation("second", (("a", 0, WHOLE),), (Gate(group, cut, WHOLE),))
    for unit in units:
        assert (assign(first, unit) is None) != (assign(second, unit) is None)


@given(weights())
def test_each_arm_owns_its_weight(shares):
    ranges = ranges_by_weight(shares)
    assert {arm: width(ranges, arm) for arm in shares} == shares
    assert [start for _, start, _ in ranges] == [0, *(end for _, _, end in ranges[:-1])]


@settings(max_examples=60)
@given(weights(), st.lists(weights(), min_size=1, max_size=4))
def test_a_change_of_weights_moves_the_least_that_it_can(first, changes):
    """Change after change: what is owned is what the weights say, no more moves than must, and ranges stay few."""
    before = ranges_by_weight(first)
    for shares in changes:
        after = ranges_moved_least(before, shares)
        assert {arm: width(after, arm) for arm in shares} == shares
        assert {arm for arm, _, _ in after} == set(shares)
        gained = sum(max(0, weight - width(before, arm)) for arm, weight in shares.items())
        assert moved(before, after) == gained
        changed = {arm for arm in {*shares, *(arm for arm, _, _ in before)} if width(before, arm) != shares.get(arm, 0)}
        assert len([each for each in after if each[1] < each[2]]) <= len(before) + len(changed)
        before = after


@given(weights())
def test_the_same_weights_change_nothing(shares):
    ranges = ranges_by_weight(shares)
    again = ranges_moved_least(ranges, shares)
    assert moved(ranges, again) == 0
    assert {each for each in again if each[1] < each[2]} == {each for each in ranges if each[1] < each[2]}
