"""Laws of planning: applying leaves nothing to plan, order means nothing, and a choice is closed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.errors import PlanError
from ftops.plan.json import as_json
from ftops.plan.observed import Observed, Source
from ftops.plan.steps import Train
from ftops.reconcile.planner import make_plan, make_seal, moved
from tests.support.outcomes import applied, planned_again, read

HYPERPARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.sampled_from([1e-4, 2e-4]),
        "num_epochs": st.integers(1, 3),
    },
)


@st.composite
def projects(draw):
    """The documents of a project whose references all lead somewhere, without a cycle."""
    datasets = [f"data-{n}" for n in range(draw(st.integers(1, 2)))]
    found = [
        {"kind": "Dataset", "metadata": {"name": name}, "spec": {
            "source": {"path": f"{name}.csv"}, "split": {"seed": draw(st.integers(0, 1))}}}
        for name in datasets
    ]  # fmt: skip
    runs = [f"run-{n}" for n in range(draw(st.integers(0, 4)))]
    full = []
    for name in runs:
        bases = [{"init": {}}, {"hub": "some/model"}, {"path": "model"}, *({"run": each} for each in full)]
        spec = {
            "dataset": draw(st.sampled_from(datasets)),
            "baseModel": draw(st.sampled_from(bases)),
            "method": draw(st.sampled_from(["full", "lora"])),
            "onChange": draw(st.sampled_from(["retrain", "resume"])),
            "hyperparameters": draw(HYPERPARAMETERS),
        }
        found.append({"kind": "TrainingRun", "metadata": {"name": name}, "spec": spec})
        if spec["method"] == "full":
            full.append(name)
    if runs:
        versions = draw(
            st.dictionaries(st.sampled_from(["1.0.0", "1.1.0", "2.0.0"]), st.sampled_from(runs), min_size=1)
        )
        tags = {version: draw(st.lists(st.sampled_from("abc"), unique=True)) for version in versions}
        aliases = draw(st.dictionaries(st.sampled_from(["staging", "production"]), st.sampled_from(sorted(versions))))
        spec = {
            "versions": {each: {"run": run, "tags": tags[each]} for each, run in versions.items()},
            "aliases": aliases,
        }
        found.append({"kind": "Model", "metadata": {"name": "model"}, "spec": spec})
        if len(versions) > 1 and draw(st.booleans()):
            found.append(draw(experiments(sorted(versions))))
    return found


@st.composite
def experiments(draw, versions):
    """An experiment between two versions; what is measured is always the same, because that is frozen."""
    weight = draw(st.sampled_from([0.5, 0.2]))
    one, other = draw(st.permutations(versions))[:2]
    spec = {
        "arms": {
            "a": {"model": f"model@{one}", "weight": weight},
            "b": {"model": f"model@{other}", "weight": 1 - weight},
        },
        "metric": {"name": "rating", "type": "rating"},
        "design": {"targetSamples": 100},
        "coverage": draw(st.sampled_from([0.5, 1])),
        "logs": {"path": draw(st.sampled_from(["data-0.csv", "data-1.csv", "none/*.jsonl"]))},
    }
    return {"kind": "Experiment", "metadata": {"name": "experiment"}, "spec": spec}


@st.composite
def observations(draw):
    paths = ("data-0.csv", "data-1.csv", "model")
    return Observed(sources={path: Source(path, draw(st.sampled_from(["sha256:a", "sha256:b"]))) for path in paths})


def is_nothing(plan):
    return not plan.has_changes and all(change.note and not change.steps for change in plan.changes)


@given(projects(), observations())
@settings(max_examples=40, deadline=None)
def test_after_applying_nothing_is_planned(documents, observed):
    specs = read(documents)
    assert is_nothing(planned_again(specs, observed))


@given(projects(), projects(), observations(), observations())
@settings(max_examples=40, deadline=None)
def test_after_applying_a_change_nothing_is_planned(before, after, then, now):
    """Also on top of what other specs left, and back again."""
    left = applied(make_plan(read(before), then), read(before), then)
    changed = replace(left, sources=now.sources)
    assert is_nothing(planned_again(read(after), changed))
    left = applied(make_plan(read(after), changed), read(after), changed)
    back = make_plan(read(before), replace(left, sources=then.sources))
    assert not [step for change in back.changes for step in change.steps if isinstance(step, Train)]


@given(projects(), observations(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_failed_run_is_planned_again_and_it_alone(documents, observed, data):
    specs = read(documents)
    runs = [str(address) for address in specs.resources if address.kind == "TrainingRun"]
    failed = data.draw(st.sets(st.sampled_from(runs))) if runs else set()
    again = make_plan(specs, applied(make_plan(specs, observed), specs, observed, failed))
    trained = {str(change.address) for change in again.changes if any(isinstance(each, Train) for each in change.steps)}
    assert trained == failed


def shuffled_keys(data, tree):
    if isinstance(tree, dict):
        return {key: shuffled_keys(data, tree[key]) for key in data.draw(st.permutations(list(tree)))}
    return tree


@given(projects(), observations(), st.data())
@settings(max_examples=40, deadline=None)
def test_order_of_keys_documents_and_files_means_nothing(documents, observed, data):
    moved_about = [shuffled_keys(data, each) for each in data.draw(st.permutations(documents))]
    one, other = read(documents), read(moved_about, files=data.draw(st.integers(1, 3)))
    plan, again = make_plan(one, observed), make_plan(other, observed)
    assert [(each.address, each.digest, each.action, each.steps) for each in plan.changes] == [
        (each.address, each.digest, each.action, each.steps) for each in again.changes
    ]
    assert moved(make_seal(plan, one, observed, {}), make_seal(again, other, observed, {})) == ()


@given(projects(), observations())
@settings(max_examples=40, deadline=None)
def test_what_is_needed_stands_before(documents, observed):
    seen = set()
    for change in make_plan(read(documents), observed).changes:
        assert seen.issuperset(change.needs)
        seen.add(change.address)


@given(projects(), observations(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_choice_is_part_of_the_plan_and_closed(documents, observed, data):
    specs = read(documents)
    some = st.sets(st.sampled_from([str(address) for address in specs.resources]), max_size=2)
    targets, excludes = data.draw(some), data.draw(some)
    whole = {change.address: change for change in make_plan(specs, observed).changes}
    try:
        chosen = make_plan(specs, observed, targets=targets, excludes=excludes).changes
    except PlanError:  # nothing is left
        assert excludes
        return
    addresses = {change.address for change in chosen}
    assert all(whole[change.address] == change for change in chosen)
    assert all(addresses.issuperset(change.needs) for change in chosen)
    assert not excludes & {str(address) for address in addresses}
    if not targets and not excludes:
        assert addresses == set(whole)
    if not excludes:
        assert targets <= {str(address) for address in addresses}


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(), st.emails()
)
NUMBERS_IN_TEXTS = st.from_regex(r"(a: | )?-?[0-9]{1,3}(\.[0-9]|e-?[0-9]{1,2}),?", fullmatch=True)
TREES = st.recursive(
    SCALARS | NUMBERS_IN_TEXTS | st.sampled_from([1e-5, 1e16, -0.0, 5e-324, 1.5e300, 2**64, "\ud800", "\x1f", "품질"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | NUMBERS_IN_TEXTS, inner),
)


@given(TREES)
@settings(max_examples=300)
def test_json_is_what_python_itself_writes_but_for_what_acts_on_a_terminal(tree):
    found = as_json(tree)
    assert json.loads(found) == tree
    plain = json.dumps(tree, indent=2, ensure_ascii=False)
    if plain.replace("\n", "").isprintable():
        assert found == plain


@given(st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_no_number_is_no_json(number):
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json({"loss": [number]})
