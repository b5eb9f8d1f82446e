"""Laws of sweeps: a member's name is its own, expanding loses and invents nothing, and the best is the best in any order."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from ftops.digests import canonical
from ftops.plan.address import Address
from ftops.plan.observed import Observed, Source
from ftops.plan.sweep_choice import MemberResult, choose
from ftops.reconcile.planner import make_plan
from ftops.resources.fields import NAME_PATTERN
from ftops.training.spec.sweep import SweepSpec, member_name
from tests.support.outcomes import applied, planned_again, read

SCALARS = (
    st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
    | st.text(st.sampled_from("ab1_-. 한"), max_size=8)
)
KEYS = ["learning_rate", "lora_r", "optimizer", "lora_target_modules"]


def same(value):
    """1 and 1.0 are one value, true is another."""
    return (isinstance(value, bool), value) if not isinstance(value, list) else ("list", *map(same, value))


VALUES = st.lists(SCALARS | st.lists(SCALARS, max_size=2), min_size=1, max_size=3, unique_by=same)
PARAMETERS = st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3)


def spec(given_, **more):
    return SweepSpec.model_validate({"parameters": given_, "runs": 1000, **more})


def names(sweep, name="search"):
    return [member_name(name, point) for point in sweep.points()]


@given(PARAMETERS)
def test_expanding_is_a_bijection_onto_the_grid(given_):
    sweep = spec(given_)
    points = sweep.points()
    assert len(points) == math.prod(len(values) for values in given_.values())
    assert len({canonical(point) for point in points}) == len(points)
    assert all(point.keys() == given_.keys() for point in points)
    assert all(value in given_[key] for point in points for key, value in point.items())


@given(PARAMETERS, st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True))
def test_every_member_has_a_name_of_its_own(given_, name):
    found = names(spec(given_), name)
    assert len(set(found)) == len(found)
    assert all(len(each) <= 63 and re.fullmatch(NAME_PATTERN, each) for each in found)


@given(PARAMETERS, st.randoms(use_true_random=False), PARAMETERS)
def test_names_stay_as_values_come_go_and_move(given_, random, more):
    before = {canonical(point): name for point, name in zip(spec(given_).points(), names(spec(given_)), strict=True)}
    shuffled = {
        key: random.sample(values, len(values)) for key, values in random.sample(sorted(given_.items()), len(given_))
    }
    assert set(names(spec(shuffled))) == set(before.values())
    extended = {
        key: [*values, *(each for each in more.get(key, []) if same(each) not in map(same, values))]
        for key, values in shuffled.items()
    }
    after = {canonical(point): name for point, name in zip(spec(extended).points(), names(spec(extended)), strict=True)}
    assert before.items() <= after.items()


@given(PARAMETERS, st.integers(1, 30), st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_random_draw_is_a_part_of_the_grid_and_reproducible(given_, runs, seed, random):
    drawn = spec(given_, strategy="random", runs=runs, seed=seed)
    grid = {canonical(point) for point in spec(given_).points()}
    found = {canonical(point) for point in drawn.points()}
    assert found <= grid
    assert len(found) == min(runs, len(grid))
    shuffled = {key: random.sample(values, len(values)) for key, values in given_.items()}
    again = spec(shuffled, strategy="random", runs=runs, seed=seed)
    assert {canonical(point) for point in again.points()} == found
    one_more = spec(given_, strategy="random", runs=runs + 1, seed=seed)
    assert found <= {canonical(point) for point in one_more.points()}


RESULTS = st.lists(
    st.tuples(
        st.sampled_from(["succeeded", "failed", "cancelled", "pending"]),
        st.none() | st.floats() | st.sampled_from([0.5, 1.0]),
    ),
    min_size=1,
    max_size=6,
)


@given(RESULTS, st.sampled_from(["min", "max"]), st.integers(0, 3))
def test_the_chosen_one_is_the_first_of_the_best(results, mode, may_fail):
    members = [
        MemberResult(f"m-{n}", {"n": n}, "d", phase, value if phase == "succeeded" else None)
        for n, (phase, value) in enumerate(results)
    ]
    found = choose("eval_loss", mode, may_fail, members)
    assert {each.name for each in found.members} == {each.name for each in members}
    able = [each for each in members if each.value is not None and math.isfinite(each.value)]
    failed = [each for each in members if each.phase in ("failed", "cancelled")]
    if len(failed) > may_fail or not able or any(each.phase == "pending" for each in members):
        assert not found.chosen
        return
    best = {"min": min, "max": max}[mode](each.value for each in able)
    assert found.chosen == next(each.name for each in able if each.value == best)
    bad = [not each.is_chosen_from for each in found.members]
    assert bad == sorted(bad, reverse=True), "who can't be chosen comes first"


@given(
    st.lists(st.sampled_from([1e-4, 2e-4, 5e-4]), min_size=1, unique=True),
    st.lists(st.sampled_from([1e-3, 2e-3]), unique=True),
    st.data(),
)
def test_applying_leaves_nothing_to_plan_and_more_values_train_only_the_new_ones(values, more, data):
    def documents(rates):
        sweep = {"parameters": {"learning_rate": rates}}
        return [
            {"kind": "Dataset", "metadata": {"name": "chat"}, "spec": {"source": {"path": "chat.csv"}}},
            {"kind": "TrainingRun", "metadata": {"name": "search"}, "spec": {
                "dataset": "chat", "baseModel": {"init": {}}, "method": "full", "sweep": sweep}},
            {"kind": "Model", "metadata": {"name": "bot"}, "spec": {"versions": {"1.0.0": {"run": "search"}}}},
        ]  # fmt: skip

    observed = Observed(sources={"chat.csv": Source("chat.csv", "sha256:aa")})
    specs = read(documents(values))
    assert not planned_again(specs, observed).has_changes
    measured = {
        name: {"eval_loss": data.draw(st.floats(0, 9))}
        for name in specs.resources[Address("TrainingRun", "search")].members
    }
    observed = applied(make_plan(specs, observed), specs, observed, measured=measured)
    longer = read(documents(data.draw(st.permutations([*values, *more]))))
    plan = make_plan(longer, observed)
    trained = {each.address.name for each in plan.changes if each.change_class == "retrain"}
    assert trained == {member_name("search", {"learning_rate": each}) for each in more}


def test_a_digest_stands_for_what_no_name_can_hold():
    assert member_name("search", {"lora_r": 8, "learning_rate": 2e-4}) == "search-lr-2e-4-r-8"
    assert member_name("search", {"optimizer": "adamw_torch"}) == "search-optimizer-adamw-torch"
    assert re.fullmatch(r"search-[0-9a-f]{8}", member_name("search", {"optimizer": "한"}))
    assert re.fullmatch(r"s{54}-[0-9a-f]{8}", member_name("s" * 63, {"lora_r": 8}))


def test_texts_are_not_numbers():
    found = [
        member_name("search", {"optimizer": value}) for value in ("8", 8, "true", True, "none", None, "a_b", "a-b")
    ]
    assert len(set(found)) == len(found)
