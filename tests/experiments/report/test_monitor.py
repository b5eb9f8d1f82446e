"""The view of an experiment that runs: how it goes, and never who leads."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ftops.experiments.analysis import analyze
from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.analysis.observations import Observations
from ftops.experiments.report.monitor import monitor_json, monitor_text
from ftops.experiments.spec.experiment import Experiment
from tests.support.projects import document

TIMES = {"name": "response_time_ms", "type": "duration", "direction": "decrease"}
START = 1_767_571_200.0  # 2026-01-05T00:00:00Z


def spec(metric=None, **more):
    arms = {"a": {"model": "chat@1.0.0", "weight": 0.5}, "b": {"model": "chat@1.1.0", "weight": 0.5}}
    usual = {
        "arms": arms,
        "metric": metric or {"name": "rating", "type": "rating"},
        "secondary": [] if metric else [TIMES],
        "design": {"targetSamples": 400},
        "logs": {"path": "l.jsonl"},
    }
    tree = document("Experiment", "trial", usual | more)
    return Experiment.model_validate_json(json.dumps(tree), by_alias=True, by_name=False).spec


def look(found, units=(100, 100), days=5.0, simulated=False, lead=0.0):
    """Two rows a unit, every second one rated; ratings of arm b are `lead` better, its times half as long again."""
    arm = np.repeat(np.array([0, 1], np.int8), units)
    unit = np.repeat(np.arange(len(arm), dtype=np.int32), 2)
    rng = np.random.default_rng(1)
    rating = np.clip(np.round(rng.normal(3 + lead * arm[unit], 0.8)), 1, 5)
    rating[::2] = np.nan
    times = rng.lognormal(6.8, 0.5, len(unit)) * np.where(arm[unit] == 1, 1.5, 1.0)
    rows = np.full(len(unit), 20_458, np.int32)
    last = START + days * 86_400 if len(unit) else None
    observations = Observations(
        ("a", "b"), unit, arm, rows, {"rating": rating, "response_time_ms": times},
        Rows(read=len(unit), kept=len(unit)), "0" * 64, simulated=simulated,
        first=START if len(unit) else None, last=last,
    )  # fmt: skip
    return analyze(found, observations)


def test_units_rates_times_and_how_far_it_is():
    found = json.loads(monitor_json("trial", spec(), look(spec())))
    assert found["fraction"] == 0.25
    assert found["targetSamples"] == 400
    assert found["newUnitsADay"] == 40.0
    assert found["targetReachedOn"] == "2026-01-25"  # 5 days for a quarter
    assert (found["first"], found["last"]) == ("2026-01-05T00:00:00Z", "2026-01-10T00:00:00Z")
    for arm in "ab":
        assert {key: found["arms"][arm][key] for key in ("units", "withValue", "rows", "responseRate")} == {
            "units": 100, "withValue": 100, "rows": 200, "responseRate": 0.5,
        }  # fmt: skip
        assert set(found["arms"][arm]["times"]["response_time_ms"]) == {"p50", "p90", "p95"}
    slow, fast = (found["arms"][arm]["times"]["response_time_ms"]["p50"] for arm in "ba")
    assert slow / fast == pytest.approx(1.5, rel=0.25)
    assert found["srm"]["pValue"] == 1.0


def test_nothing_says_which_arm_leads():
    """The same whether b leads or not, in all that is shown."""
    even, ahead = (look(spec(), lead=lead) for lead in (0.0, 1.0))
    assert [each.mean for each in even.arms.values()] != [each.mean for each in ahead.arms.values()]
    assert monitor_text("trial", spec(), even) == monitor_text("trial", spec(), ahead)
    assert monitor_json("trial", spec(), even) == monitor_json("trial", spec(), ahead)
    assert "Which arm leads is not shown" in monitor_text("trial", spec(), even)


def test_a_duration_that_decides_is_not_shown():
    found = spec(TIMES)
    shown = json.loads(monitor_json("trial", found, look(found)))
    assert shown["arms"]["b"]["times"] == {}
    assert "p50" not in monitor_text("trial", found, look(found))


def test_text_says_the_same():
    text = monitor_text("trial", spec(), look(spec(), simulated=True))
    first, pace, _, heading, a, b, *_ = text.splitlines()
    assert first == "trial (simulated data): 200 units, 25 % of the target of 400 units an arm"
    assert pace.strip() == (
        "from 2026-01-05T00:00:00Z to 2026-01-10T00:00:00Z, 40 new units a day; at this rate the target is reached on "
        "2026-01-25"
    )
    assert re.split(r"  +", heading.strip()) == [
        "arm", "units", "with a value", "rows", "rows with rating", "response_time_ms p50", "response_time_ms p90",
        "response_time_ms p95",
    ]  # fmt: skip
    assert a.split()[:6] == ["a", "100", "100", "200", "50.0", "%"]
    assert b.split()[:6] == ["b", "100", "100", "200", "50.0", "%"]


def test_a_mismatch_is_said():
    text = monitor_text("trial", spec(), look(spec(), units=(300, 150)))
    assert "sample-ratio mismatch" in text
    assert json.loads(monitor_json("trial", spec(), look(spec(), units=(300, 150))))["srm"]["pValue"] < 1e-6


def test_when_the_target_is_reached_there_is_no_forecast():
    found = look(spec(), units=(400, 450))
    assert "the target is reached" in monitor_text("trial", spec(), found)
    assert json.loads(monitor_json("trial", spec(), found))["targetReachedOn"] is None


@pytest.mark.parametrize(("units", "days"), [((0, 0), 0.0), ((1, 0), 0.0), ((3, 3), 0.0), ((5, 0), 2.0)])
def test_a_beginning_has_no_forecast(units, days):
    found = json.loads(monitor_json("trial", spec(), look(spec(), units=units, days=days)))
    assert found["targetReachedOn"] is None
    assert monitor_text("trial", spec(), look(spec(), units=units, days=days))


def test_a_target_in_thousands_of_years_is_no_forecast():
    found = spec(design={"targetSamples": 10**9})
    assert json.loads(monitor_json("trial", found, look(found, units=(1, 1))))["targetReachedOn"] is None
