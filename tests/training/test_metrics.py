"""Curves from events: what a training that began again went through, the best point, and what is left."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftops.status.run import read_lines
from ftops.training.axolotl.metrics import better
from ftops.training.metrics import Pace, Point, SavedCheckpoint, Series, best, curves, samples


def begin(step):
    return {"event": "begin", "step": step, "maxSteps": 10, "time": 1.0}


def log(step, **figures):
    return {"event": "log", "step": step, "maxSteps": 10, "time": 1.0 + step, **figures}


def values(series):
    return dict(zip(series.at, series.values, strict=True))


def test_a_curve_has_what_was_logged_and_evaluated_each_step_once():
    told = [
        begin(0), log(1, loss=4.0, learning_rate=0.1), log(2, loss=3.0), {"event": "evaluate", "step": 2, "eval_loss": 3.5},
        {"event": "evaluate", "step": 2, "eval_loss": 9.0}, {"event": "save", "step": 2, "size": 7}, {"event": "log", "loss": 1.0},
    ]  # fmt: skip
    found = curves([told])
    assert {name: values(each) for name, each in found.items()} == {
        "loss": {1: 4.0, 2: 3.0}, "learning_rate": {1: 0.1}, "eval_loss": {2: 3.5},
    }  # fmt: skip


def test_an_attempt_takes_back_what_was_lost_with_the_one_before():
    first = [begin(0), *(log(step, loss=10.0 - step) for step in (1, 2, 3, 4))]
    second = [begin(2), *(log(step, loss=20.0 - step) for step in (3, 4, 5))]
    assert values(curves([first, second])["loss"]) == {1: 9.0, 2: 8.0, 3: 17.0, 4: 16.0, 5: 15.0}
    assert values(curves([first, [begin(0), log(1, loss=7.0)]])["loss"]) == {1: 7.0}
    assert curves([first, [begin(0)]]) == {}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 50))
def test_thinning_keeps_the_mean_the_order_and_the_end(found, most):
    series = Series(range(len(found)), found)
    thin = series.thinned(most)
    assert len(thin) == min(most, len(found))
    assert list(thin.at) == sorted(set(thin.at))
    assert thin.last.at == series.last.at
    assert min(found) - 1e-6 <= min(thin.values) <= max(thin.values) <= max(found) + 1e-6
    if len(found) % most == 0:
        assert math.isclose(sum(thin.values) / len(thin), sum(found) / len(found), rel_tol=1e-9, abs_tol=1e-3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300))
def test_the_smoothed_curve_has_every_point_and_stays_inside(found):
    smooth = Series(range(len(found)), found).smoothed()
    assert len(smooth) == len(found)
    assert min(found) - 1e-3 <= min(smooth.values) <= max(smooth.values) <= max(found) + 1e-3


def test_the_best_point_is_the_first_of_equal_ones():
    series = Series([1, 2, 3, 4], [3.0, 1.0, 1.0, 5.0])
    assert series.best("min") == Point(2, 1.0)
    assert series.best("max") == Point(4, 5.0)


def test_the_pace_is_that_since_the_attempt_began():
    last = {"step": 30, "maxSteps": 110, "time": 50.0}
    assert Pace.of({"step": 10, "time": 10.0}, last) == Pace(2.0, 160.0)
    assert Pace.of({"step": 30, "time": 10.0}, last) is None
    assert Pace.of({}, last) is None
    assert Pace.of({"step": 10, "time": 10.0}, {}) is None


def test_figures_of_the_machine_are_by_the_second():
    found = samples(
        [{"time": 100.0, "cpu_percent": 50.0}, {"cpu_percent": 1.0}, {"time": 105.0, "cpu_percent": 70.0, "x": "y"}]
    )
    assert values(found["cpu_percent"]) == {0.0: 50.0, 5.0: 70.0}
    assert found.keys() == {"cpu_percent"}


def saved(step, state="whole", **metrics):
    return SavedCheckpoint(1, step, state, 10, metrics=metrics)


def test_the_best_checkpoint_is_whole_and_the_earliest_of_equal_ones():
    found = [saved(1, "torn", a=0.0), saved(2, a=2.0), saved(3, a=1.0), saved(4, a=1.0), saved(5, b=0.0)]
    assert best(found, "a", "min").step == 3
    assert best(found, "a", "max").step == 2
    assert best(found, "c", "max") is None


@pytest.mark.parametrize(
    ("metric", "way"),
    [
        ("eval_loss", "min"), ("loss", "min"), ("eval_ppl", "min"), ("eval_rewards/accuracies", "max"), ("eval_f1", "max"),
        ("rewards/margins", "max"), ("learning_rate", None), ("gloss", None), ("eval_rewards/chosen", None),
    ],
)  # fmt: skip
def test_which_way_a_metric_is_better(metric, way):
    assert better(metric) == way


def test_a_hundred_thousand_events_are_a_curve_in_under_a_second(tmp_path):
    line = '{"event": "log", "step": %d, "maxSteps": 100000, "time": 1.5, "loss": 2.25, "grad_norm": 1.5, "learning_rate": 0.0001}\n'
    path = tmp_path / "events.jsonl"
    path.write_text("".join(line % step for step in range(1, 100_001)))
    start = time.process_time()
    found = curves([read_lines(path)])
    assert time.process_time() - start < 1
    assert len(found["loss"]) == 100_000


def test_lines_that_are_no_objects_are_left_out(tmp_path):
    assert read_lines(tmp_path / "absent.jsonl") == []
    (tmp_path / "it.jsonl").write_bytes(b'{"a": 1}\nnot json\n[1]\n\xff\n{"b": 2}\n{"c": 3}')
    assert read_lines(tmp_path / "it.jsonl") == [{"a": 1}, {"b": 2}]
