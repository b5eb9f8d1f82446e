"""Which arm a unit gets: the published hash, what other SDKs say, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from ftops.experiments.assignment import (
    MAX_ARMS,
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

UNITS = [f"user-{number}" for number in range(100_000)]
HALVES = (("a", 0, 5000), ("b", 5000, 10_000))


def document(arms=None, **spec):
    arms = arms or {"a": {"model": "chat@1.0.0", "weight": 0.5}, "b": {"model": "chat@1.1.0", "weight": 0.5}}
    return {
        "apiVersion": "ftops/v1",
        "kind": "Experiment",
        "metadata": {"name": "chat-v2"},
        "spec": {"arms": arms, **spec},
    }


def arms(**weights):
    return {name: {"model": f"chat@{name}", "weight": weight} for name, weight in weights.items()}


# -------------------------------------------------------------------------------------------------------- the hash


@pytest.mark.parametrize(("seed", "unit", "place"), [("seed", "a", 505), ("seed", "b", 2696), ("foo", "ab", 2575)])
def test_published_examples(seed, unit, place):
    """Of hash version 2, on GrowthBook's page for those who write an SDK."""
    assert bucket(seed, unit) == place


def test_the_sdk_of_another_language_agrees():
    """growthbook.json is what @growthbook/growthbook 1.8.0 (JavaScript) says; docs/how-to/assign.md has the code."""
    ranges = (("a", 0, 3333), ("b", 3333, 8000), ("a", 8000, 10_000))
    whole = Allocation("korean-chat-v2", ranges)
    gated = Allocation(whole.seed, ranges, (Gate("korean-chat-v2:coverage", 0, 4000), Gate("chat-models", 2500, 7500)))
    rows = json.loads((Path(__file__).parent / "growthbook.json").read_text())
    assert [[unit, assign(whole, unit), assign(gated, unit)] for unit, _, _ in rows] == rows
    assert {arm for _, _, arm in rows} == {"a", "b", None}


@pytest.mark.parametrize(
    ("unit", "canonical"),
    [
        ("user-1", "user-1"),
        ("a b\t%41+", "a b\t%41+"),  # ASCII is never touched, escapes and control characters neither
        ("사용자", "%EC%82%AC%EC%9A%A9%EC%9E%90"),
        ("é", "%C3%A9"),
        ("e\u0301", "e%CC%81"),  # looks the same as the one above, and is another unit
        ("x😀", "x%F0%9F%98%80"),
        ("\x80", "%C2%80"),
    ],
)
def test_canonical_form(unit, canonical):
    assert canonical_unit(unit) == canonical
    assert bucket("s", unit) == bucket("s", canonical)


@pytest.mark.parametrize("unit", ["", "\ud83d", "a\ude00b", "사\udfff"])
def test_what_is_no_unit_is_refused(unit):
    allocation = Allocation("s", HALVES)
    reason = "half of a surrogate pair" if unit else "empty text"
    with pytest.raises(ValueError, match=reason):
        assign(allocation, unit)
    with pytest.raises(ValueError, match=reason):
        assign_many(allocation, ["a", unit, "b"])


@pytest.mark.parametrize("unit", [None, 7, b"a"])
def test_only_text_is_a_unit(unit):
    with pytest.raises(TypeError, match=f"found {type(unit).__name__}"):
        assign(Allocation("s", HALVES), unit)
    with pytest.raises(TypeError):
        assign_many(Allocation("s", HALVES), ["a", unit])


def test_a_seed_beyond_ascii_is_refused():
    with pytest.raises(ValueError, match="ascii"):
        bucket("씨앗", "a")


# ---------------------------------------------------------------------------------------------------- frequencies


@pytest.mark.parametrize("seed", ["chat-v2", "x", "chat-models", "chat-v2:coverage"])
def test_buckets_are_uniform(seed):
    places = [bucket(seed, unit) for unit in UNITS]
    assert stats.chisquare(np.bincount(np.array(places) // 100, minlength=100)).pvalue > 0.001


def test_arms_get_their_weight():
    ranges = ranges_by_weight({"a": 5000, "b": 3000, "c": 2000})
    counts = np.bincount(assign_many(Allocation("chat-v2", ranges), UNITS))
    assert stats.chisquare(counts, np.array([0.5, 0.3, 0.2]) * len(UNITS)).pvalue > 0.001


SEEDS = ["chat-v2", "chat-v3", "chat", "v2-chat", "chat-v2:coverage"]


@pytest.mark.parametrize("other", SEEDS[1:])
def test_experiments_are_not_correlated(other):
    """Version 1 of the hash gave up to 0.525 here."""
    places = [assign_many(Allocation(seed, HALVES), UNITS) for seed in (SEEDS[0], other)]
    assert abs(np.corrcoef(*places)[0, 1]) < 0.015  # more than four standard errors


# ------------------------------------------------------------------------------------------------------ many units

GATED = Allocation("chat-v2", HALVES, (Gate("chat-v2:coverage", 0, 6000), Gate("chat-models", 2000, 9000)))


def one_by_one(allocation, units):
    found = [assign(allocation, unit) for unit in units]
    return [-1 if arm is None else allocation.arms.index(arm) for arm in found]


MIXED = [
    *UNITS[:2000], "é", "사용자-1", "x" * 1024, "x" * 1025, "사" * 1024, "y" * 50_000, "😀", "\x00", "a\x00", "%", "é" * 7
]  # fmt: skip


def test_of_ranges_that_overlap_the_first_counts():
    allocation = Allocation("s", (("b", 0, 6000), ("a", 0, WHOLE), ("b", 7000, WHOLE)))
    units = UNITS[:1000]
    assert [assign(allocation, unit) for unit in units] == ["b" if bucket("s", unit) < 6000 else "a" for unit in units]
    assert assign_many(allocation, units).tolist() == one_by_one(allocation, units)


@pytest.mark.parametrize("units", [MIXED, MIXED[:2000], MIXED[2000:], UNITS[:70_000], ["é"], []], ids=len)
def test_many_is_as_one_by_one(units):
    assert assign_many(GATED, units).tolist() == one_by_one(GATED, units)


@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("part", [slice(None), slice(3, 2005), slice(5, 5)])
def test_arrow_is_read_where_it_lies(text, part):
    array = pa.array(MIXED, text)[part]
    assert assign_many(GATED, array).tolist() == one_by_one(GATED, MIXED[part])


def test_the_rare_short_hashes():
    """Of the first hash one in 43,000 has five digits or fewer; none of these is lost."""
    allocation = Allocation("s", tuple((str(start), start, start + 100) for start in range(0, WHOLE, 100)))
    units = [f"u{number}" for number in range(150_000)]
    assert assign_many(allocation, units).tolist() == one_by_one(allocation, units)


def test_arrow_with_nulls_or_of_something_else_is_refused():
    with pytest.raises(ValueError, match="found null"):
        assign_many(GATED, pa.array(["a", None]))
    with pytest.raises(ValueError, match="empty"):
        assign_many(GATED, pa.array(["a", ""]))
    with pytest.raises(TypeError, match="found binary"):
        assign_many(GATED, pa.array([b"a"]))


# ---------------------------------------------------------------------------------------- the document as committed


def test_of_a_document():
    assert Allocation.of(document()) == Allocation("chat-v2", HALVES)
    assert Allocation.of(document(seed="s2", coverage=0.25)) == Allocation(
        "s2", HALVES, (Gate("s2:coverage", 0, 2500),)
    )
    assert Allocation.of(document(coverage=1)).gates == ()
    excluded = Allocation.of(document(exclusion={"group": "chat", "range": [0.5, 1]}))
    assert excluded.gates == (Gate("chat", 5000, 10_000),)


def test_arms_without_units_are_arms():
    allocation = Allocation.of(document(arms(b=1, c=0, a=0)))
    assert allocation.arms == ("a", "b", "c")
    assert {assign(allocation, unit) for unit in UNITS[:100]} == {"b"}


def test_written_ranges():
    tree = arms(b=0.4, a=0.6, c=0)
    tree["a"]["ranges"] = [[0.7, 1], [0, 0.3]]
    tree["b"]["ranges"] = [[0.3, 0.7]]
    allocation = Allocation.of(document(tree))
    assert allocation.arms == ("a", "b", "c")
    assert {arm for arm, _, _ in allocation.ranges} == set(allocation.arms)
    places = {unit: bucket("chat-v2", unit) for unit in UNITS[:2000]}
    assert all(assign(allocation, unit) == ("b" if 3000 <= place < 7000 else "a") for unit, place in places.items())


def test_the_state_does_not_change_the_answer():
    for state in ("running", "stopped", "concluded"):
        assert Allocation.of(document(state=state, reason="r")) == Allocation("chat-v2", HALVES)


def with_ranges(**ranges):
    tree = arms(a=0.5, b=0.5)
    for name, value in ranges.items():
        tree[name]["ranges"] = value
    return document(tree)


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (None, "document: expected a mapping, found nothing"),
        ([], "document: expected a mapping"),
        ({"kind": "Model"}, "kind: expected Experiment, found 'Model'"),
        ({"kind": "Experiment"}, "spec: expected a mapping, found nothing"),
        ({"kind": "Experiment", "spec": {}}, "metadata: expected a mapping"),
        ({**document(), "metadata": {}}, "metadata.name or spec.seed: expected text .in quotes., found nothing"),
        (document(seed=7), "expected text .in quotes., found 7"),
        (document(seed="씨앗"), "printable ASCII"),
        (document(arms(a=0.5, b=0.6)), "add up to 1, found 1.1"),
        (document(arms(a=0.5, b=0.4)), "add up to 1, found 0.9"),
        (document(arms(a=0.33333, b=0.66667)), "spec.arms.a.weight: expected whole basis points"),
        (document(arms(a=-0.5, b=1.5)), "spec.arms.a.weight: expected a number from 0 to 1, found -0.5"),
        (document(arms(a=float("nan"), b=1)), "found nan"),
        (document(arms(a=True, b=0)), "found True"),
        (document(arms(a="0.5", b=0.5)), "found '0.5'"),
        (document({True: {"weight": 1}}), "the name of an arm: expected text .in quotes., found True"),
        (document({"a": 1}), "spec.arms.a: expected a mapping"),
        (
            document({f"a{number}": {"weight": 0} for number in range(MAX_ARMS + 1)}),
            "expected 1 to 127 arms, found 128",
        ),
        (document(coverage=1.5), "spec.coverage: expected a number from 0 to 1"),
        (document(exclusion={"group": "g"}), r"spec.exclusion.range: expected \[start, end\], found nothing"),
        (document(exclusion={"group": "g", "range": [0.5, 0.5]}), "expected a start below the end"),
        (document(exclusion={"group": "chat-v2", "range": [0, 0.5]}), "expected another name than the seed"),
        (with_ranges(a=[[0, 0.5]]), "ranges of arm b have 0 of the units, not 0.5"),
        (with_ranges(a=[[0, 0.5]], b=[[0.4, 0.9]]), "ranges of a and b overlap at 0.4"),
        (with_ranges(a=[[0, 0.4], [0.4, 0.6]], b=[[0.5, 1]]), "ranges of arm a have 0.6"),
        (with_ranges(a=[[0, 0.5]], b=[[0.5, 1, 2]]), r"spec.arms.b.ranges: expected \[start, end\]"),
        (with_ranges(a=5, b=[[0.5, 1]]), "spec.arms.a.ranges: expected a list, found 5"),
    ],
)
def test_what_is_no_experiment_is_refused(tree, reason):
    with pytest.raises(ValueError, match=reason):
        Allocation.of(tree)


# ---------------------------------------------------------------------------------------------------------- ranges


def test_three_arms_that_move():
    """By cumulative ranges a quarter of the units moves, where a sixth is the least."""
    before = ranges_by_weight({"a": 3334, "b": 3333, "c": 3333})
    weights = {"a": 5000, "b": 2500, "c": 2500}
    assert moved(before, ranges_by_weight(weights)) == 2499
    least = ranges_moved_least(before, weights)
    assert moved(before, least) == 1666
    assert least == (("a", 0, 4167), ("a", 9167, 10_000), ("b", 4167, 6667), ("c", 6667, 9167))


@pytest.mark.parametrize(
    ("weights", "after"),
    [
        ({"a": 2000, "b": 8000}, (("a", 0, 2000), ("b", 2000, 10_000))),
        ({"a": 8000, "b": 2000}, (("a", 0, 8000), ("b", 8000, 10_000))),
        ({"a": 5000, "b": 5000}, HALVES),
        ({"a": 0, "b": 10_000}, (("a", 0, 0), ("b", 0, 10_000))),
        ({"b": 10_000}, (("b", 0, 10_000),)),
        ({"a": 5000, "b": 3000, "c": 2000}, (("a", 0, 5000), ("b", 5000, 8000), ("c", 8000, 10_000))),
    ],
)
def test_ranges_stay_whole(weights, after):
    assert ranges_moved_least(HALVES, weights) == after


def test_small_pieces_go_first():
    before = (("a", 0, 4000), ("b", 4000, 9000), ("a", 9000, 10_000))
    assert ranges_moved_least(before, {"a": 4000, "b": 6000}) == (("a", 0, 4000), ("b", 4000, 10_000))


@pytest.mark.parametrize("weights", [{}, {"a": 9999}, {"a": 10_001}, {"a": -1, "b": 10_001}])
def test_weights_that_are_not_all_units_are_refused(weights):
    with pytest.raises(ValueError):
        ranges_by_weight(weights)
    with pytest.raises(ValueError):
        ranges_moved_least(HALVES, weights)


# ----------------------------------------------------------------------------------------------------- light import


def test_the_import_is_light():
    script = """
import json, sys
from ftops.assignment import Allocation, assign
assign(Allocation("s", (("a", 0, 10_000),)), "사용자")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=Path(__file__).parents[2],
                          capture_output=True, text=True, check=True)  # fmt: skip
    modules = set(json.loads(done.stdout)) - {"__main__"}
    # With -S no installed package is in reach, so what was imported is the standard library and ftops.
    assert modules <= {*sys.stdlib_module_names, "ftops"}
    assert not {"asyncio", "subprocess", "json.tool", "urllib", "logging"} & modules
