"""Records of experiments: one text, and looks of two machines that lose nothing or contradict each other."""

from __future__ import annotations

import pytest

from ftops.errors import RecordConflict
from ftops.experiments.analysis import analyze
from ftops.experiments.record import experiment_state
from ftops.registry.merge import merge
from ftops.registry.record_files import dump, parse
from tests.support.looking import experiment, ratings, record


@pytest.fixture(scope="module")
def looks():
    """Three looks, each at more data than the one before."""
    found = []
    for units in (100, 200, 300):
        data = ratings(0.1, units=units, digest=f"{units:064d}")
        found.append(analyze(experiment().spec, data, found))
    return found


def test_text_and_value_are_one(looks):
    whole = record(*looks)
    assert parse(whole.path, dump(whole)) == whole
    assert dump(parse(whole.path, dump(whole))) == dump(whole)
    assert whole.path == "registry/experiments/v2.yaml"


def test_merging_keeps_every_look(looks):
    one, two, three = looks
    merged = merge(record(one, two), record(one, three))
    assert sorted(merged.status.phases["1"].looks) == ["1", "2", "3"]
    assert merge(None, record(one)) == record(one)
    assert merge(record(one, two), record(one, two)) == record(one, two)


def test_one_look_at_two_data_sets_is_a_conflict(looks):
    one, two, _ = looks
    other = two.model_copy(update={"data_digest": "f" * 64})
    with pytest.raises(RecordConflict, match="look 2 of phase 1 was taken twice"):
        merge(record(one, two), record(one, other))


def test_what_planning_needs_of_a_record(looks):
    state = experiment_state(record(*looks))
    assert (state.state, state.phase, state.looks, state.traffic) == ("running", "1", 3, 57.14)
    assert (state.fraction, state.verdict, state.decided) == (0.75, "inconclusive", False)
    assert state.mean == pytest.approx(looks[-1].arms["a"].mean)
    assert experiment_state(record()).looks == 0
