"""Simulated rows: what each option does is seen in the rows, and the same seed gives the same rows."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime, timedelta
from hashlib import sha256

import numpy as np
import pytest
from scipy.stats import chisquare

from ftops.experiments.analysis import wanted
from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.assignment import assign
from ftops.experiments.logs.files import LogFile
from ftops.experiments.logs.read_files import read
from ftops.experiments.simulation import Situation, simulate
from ftops.experiments.spec.experiment import Experiment
from tests.support.projects import document

RATING = {"name": "rating", "type": "rating"}
METRICS = {
    "rating": RATING,
    "complaints": {"name": "stars", "type": "rating", "direction": "decrease"},
    "binary": {"name": "solved", "type": "binary"},
    "binary by row": {"name": "failed", "type": "binary", "direction": "decrease", "aggregate": "mean"},
    "count": {"name": "retries", "type": "count", "direction": "decrease"},
    "count by row": {"name": "links", "type": "count", "aggregate": "mean"},
    "continuous": {"name": "score", "type": "continuous"},
    "duration": {"name": "response_time_ms", "type": "duration", "direction": "decrease"},
    "ratio": {"name": "share", "type": "ratio", "numerator": "used", "denominator": "shown"},
}


def experiment(metric=RATING, **more):
    arms = {
        "a": {"model": "chat@1.0.0", "weight": 0.5, "baseline": True},
        "b": {"model": "chat@1.1.0", "weight": 0.5},
    }
    spec = {"arms": arms, "metric": metric, "design": {"targetSamples": 800}, "logs": {"path": "l.jsonl"}, **more}
    return Experiment.model_validate_json(
        json.dumps(document("Experiment", "test", spec)), by_alias=True, by_name=False
    )


def rows(spec=None, **situation):
    return list(simulate(spec or experiment(), Situation(**situation)))


def by_unit(found, name):
    """The values of a field by arm and unit, rows without one left out."""
    values = defaultdict(lambda: defaultdict(list))
    for row in found:
        if row[name] is not None:
            values[row["arm"]][row["unit"]].append(row[name])
    return values


def figures(found, metric):
    """One figure a unit, by arm, as the specs define it."""
    if metric["type"] == "ratio":
        above, below = by_unit(found, metric["numerator"]), by_unit(found, metric["denominator"])
        ratio = {arm: sum(map(sum, above[arm].values())) / sum(map(sum, below[arm].values())) for arm in above}
        size = np.mean([sum(each) for arm in below.values() for each in arm.values()])
        return {
            arm: np.array([r + (sum(above[arm][u]) - r * sum(below[arm][u])) / size for u in above[arm]])
            for arm, r in ratio.items()
        }
    usual = {"binary": max, "count": sum}.get(metric["type"], np.mean)
    fold = {"mean": np.mean, "sum": sum, None: usual}[metric.get("aggregate")]
    if metric["type"] == "duration":
        fold = lambda each: np.mean(np.log(each))  # noqa: E731
    return {
        arm: np.array([fold(each) for each in units.values()], float)
        for arm, units in by_unit(found, metric["name"]).items()
    }


def difference(found, metric=RATING):
    """By how many standard deviations arm b is above arm a."""
    arms = figures(found, metric)
    spread = np.sqrt((arms["a"].var() + arms["b"].var()) / 2)
    return (arms["b"].mean() - arms["a"].mean()) / spread


def unit_arms(found):
    return {row["unit"]: row["arm"] for row in found}


# ------------------------------------------------------------------------------------------------------ rows


def test_a_row_is_as_documented_and_holds_no_text():
    spec = experiment(unit="session_id", covariate="before")
    first, *_, last = rows(spec, units=200, days=3)
    assert set(first) == {
        "id", "experiment", "unit", "arm", "time", "rating", "response_time_ms", "before", "simulated",
    }  # fmt: skip
    assert (first["experiment"], first["simulated"], first["unit"]) == ("test", True, "session-1-000001")
    begin = datetime.fromisoformat("2026-01-05T00:00:00Z")
    assert begin <= datetime.fromisoformat(first["time"]) < datetime.fromisoformat(last["time"])
    assert datetime.fromisoformat(last["time"]) < begin + timedelta(days=3)


def test_rows_are_json_in_the_order_of_their_times_with_ids_of_their_own():
    found = rows(units=500)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    assert len({row["id"] for row in found}) == len(found)


@pytest.mark.parametrize("name", METRICS)
def test_every_row_is_one_that_can_be_analysed(name, tmp_path):
    spec = experiment(METRICS[name], covariate="before", coverage=0.7)
    found = rows(spec, units=300)
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found))
    taken = read([LogFile.named(tmp_path / "rows.jsonl")], wanted(spec))
    assert taken.rows == Rows(read=len(found), kept=len(found))
    assert taken.simulated
    assert taken.units == len(unit_arms(found))


def test_the_same_seed_gives_the_same_rows_and_another_one_others():
    assert rows(units=300, seed=4) == rows(units=300, seed=4)
    one, other = rows(units=300, seed=4), rows(units=300, seed=5)
    assert not {row["id"] for row in one} & {row["id"] for row in other}
    assert not {row["unit"] for row in one} & {row["unit"] for row in other}


def test_the_rows_of_a_seed_are_these_on_every_machine():
    text = "\n".join(json.dumps(row, sort_keys=True) for row in rows(units=50, seed=1))
    assert sha256(text.encode()).hexdigest() == DIGEST


DIGEST = "a6bd07cd4ae59f3d839d148e57804eeb3c4afc37aa28e182331a29a9a4331e3c"


def test_arms_are_those_of_the_hash_and_only_units_that_take_part_have_rows():
    spec = experiment(coverage=0.3)
    found = unit_arms(rows(spec, units=2000))
    assert all(assign(spec.allocation, unit) == arm for unit, arm in found.items())
    assert 500 < len(found) < 700
    everybody = unit_arms(rows(units=2000))
    assert len(everybody) == 2000
    assert all(arm == everybody[unit] for unit, arm in found.items())


def test_units_arrive_day_by_day_and_differ_in_activity():
    found = rows(units=3000, days=10)
    first_days = defaultdict(int)
    for day in {row["unit"]: row["time"][:10] for row in reversed(found)}.values():
        first_days[day] += 1
    assert len(first_days) == 10
    assert 220 < min(first_days.values()) <= max(first_days.values()) < 380
    counts = np.array([len(each) for arm in by_unit(found, "response_time_ms").values() for each in arm.values()])
    assert counts.min() == 1
    assert counts.max() > 20
    assert 3 < counts.mean() < 5


def test_the_rows_of_a_unit_are_alike():
    """One-way analysis of variance: the part of the variance that is between units."""
    metric = METRICS["continuous"]
    groups = list(by_unit(rows(experiment(metric), units=4000, effect=0), "score")["a"].values())
    sizes = np.array([len(each) for each in groups])
    within = sum(np.var(each) * len(each) for each in groups) / (sizes.sum() - len(groups))
    grand = np.mean(np.concatenate(groups))
    between = (sizes * (np.array([np.mean(each) for each in groups]) - grand) ** 2).sum() / (len(groups) - 1)
    typical = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(groups) - 1)
    assert (between - within) / (between + (typical - 1) * within) == pytest.approx(0.3, abs=0.03)


def test_the_covariate_goes_with_the_level_of_its_unit():
    spec = experiment({**METRICS["continuous"]}, covariate="before")
    found = rows(spec, units=3000, effect=0)
    before = by_unit(found, "before")["a"]
    score = by_unit(found, "score")["a"]
    assert all(len(set(each)) == 1 for each in before.values())
    units = list(before)
    correlation = np.corrcoef([before[u][0] for u in units], [np.mean(score[u]) for u in units])[0, 1]
    assert 0.4 < correlation < 0.7


@pytest.mark.parametrize("name", METRICS)
def test_values_fit_the_type_of_their_metric(name):
    metric = METRICS[name]
    found = rows(experiment(metric), units=500)
    names = [metric["numerator"], metric["denominator"]] if metric["type"] == "ratio" else [metric["name"]]
    values = [row[each] for row in found for each in names]
    assert len(set(values)) > 1
    match metric["type"]:
        case "rating":
            assert set(values) == {None, 1, 2, 3, 4, 5}
        case "binary":
            assert {type(each) for each in values} == {bool}
        case "count" | "ratio":
            assert all(type(each) is int and each >= 0 for each in values)
        case "duration":
            assert min(values) > 0
        case "continuous":
            assert all(np.isfinite(values))
    if metric["type"] == "ratio":
        assert all(row["used"] <= row["shown"] and row["shown"] > 0 for row in found)


# --------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("effect", [-0.3, 0.0, 0.3])
@pytest.mark.parametrize("name", METRICS)
def test_effect_is_the_standardised_difference_in_the_good_direction(name, effect):
    metric = METRICS[name]
    good = -1 if metric.get("direction") == "decrease" else 1
    found = difference(rows(experiment(metric), units=8000, effect=effect), metric)
    assert good * found == pytest.approx(effect, abs=0.07)  # three standard errors of 4,000 units an arm


def test_the_effect_is_on_the_primary_metric_alone():
    spec = experiment(secondary=[METRICS["continuous"], METRICS["duration"]])
    without, with_effect = (rows(spec, units=300, effect=effect) for effect in (0.0, 0.5))
    changed = {key for one, other in zip(without, with_effect, strict=True) for key in one if one[key] != other[key]}
    assert changed == {"rating"}
    assert all(
        one["arm"] == "b" and other["rating"] > one["rating"]
        for one, other in zip(without, with_effect, strict=True)
        if one != other
    )


def test_every_arm_but_the_baseline_has_the_effect():
    arms = {name: {"model": f"chat@{version}", "weight": weight, "baseline": name == "b"}
            for name, version, weight in (("a", "1.0.0", 0.25), ("b", "1.1.0", 0.5), ("c", "1.2.0", 0.25))}  # fmt: skip
    found = figures(rows(experiment(arms=arms), units=12000, effect=0.5), RATING)
    spread = np.sqrt(found["b"].var())
    assert (found["a"].mean() - found["b"].mean()) / spread == pytest.approx(0.5, abs=0.1)
    assert (found["c"].mean() - found["b"].mean()) / spread == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_rated_is_the_share_of_rows_with_a_rating(share):
    found = rows(units=3000, rated=share, effect=0)
    assert np.mean([row["rating"] is not None for row in found]) == pytest.approx(share, abs=0.02)


def test_unhappy_rows_of_the_other_arms_are_rated_more_often():
    everything = rows(units=4000, rated=1, effect=0)
    worth = {row["id"]: row["rating"] for row in everything}
    share = defaultdict(list)
    for row in rows(units=4000, rated=0.3, unhappy=2, effect=0):
        share[row["arm"], worth[row["id"]] <= 2].append(row["rating"] is not None)
    rates = {key: np.mean(each) for key, each in share.items()}
    assert rates["b", True] == pytest.approx(0.6, abs=0.03)
    for key in (("a", True), ("a", False), ("b", False)):
        assert rates[key] == pytest.approx(0.3, abs=0.03)
    assert difference(rows(units=4000, rated=0.3, unhappy=2, effect=0)) < -0.1


def test_lost_takes_that_share_of_the_units_of_the_other_arms():
    whole, rest = unit_arms(rows(units=4000)), unit_arms(rows(units=4000, lost=0.2))
    count = {arm: list(rest.values()).count(arm) for arm in "ab"}
    assert count["a"] == list(whole.values()).count("a")
    assert count["b"] / list(whole.values()).count("b") == pytest.approx(0.8, abs=0.03)
    assert rest.items() <= whole.items()
    assert chisquare(list(count.values())).pvalue < 1e-6


def test_slower_is_a_factor_on_the_times_of_the_other_arms():
    latency = {"name": "latency", "type": "duration", "direction": "decrease"}
    spec = experiment(secondary=[latency])
    for one, other in zip(rows(spec, units=300), rows(spec, units=300, slower=1.5), strict=True):
        for name in ("response_time_ms", "latency"):
            factor = 1.5 if one["arm"] == "b" else 1.0
            assert other[name] == pytest.approx(factor * one[name], abs=0.2)
        assert one["rating"] == other["rating"]


def test_a_primary_duration_is_slowed_only_where_it_is_the_response_time():
    spec = experiment({"name": "latency", "type": "duration", "direction": "decrease"})
    for one, other in zip(rows(spec, units=100), rows(spec, units=100, slower=2), strict=True):
        assert one["latency"] == other["latency"]
        assert (one["response_time_ms"] == other["response_time_ms"]) == (one["arm"] == "a")


def test_start_days_and_units():
    found = rows(units=10, days=2, start="2026-03-01T12:00:00+09:00")
    assert {row["time"][:10] for row in found} <= {"2026-03-01", "2026-03-02", "2026-03-03"}
    assert min(row["time"] for row in found) >= "2026-03-01T03:00:00"
    assert len(unit_arms(found)) == 10


# ------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "wrong",
    [
        {"units": 0}, {"units": 10**8}, {"days": 0}, {"days": 10**6}, {"seed": -1}, {"rated": 1.1}, {"lost": 1.0}, {"unhappy": 0.0}, {"slower": -1.0},
        {"effect": float("nan")}, {"start": "yesterday"}, {"start": "2026-01-05T00:00:00"},
    ],
    ids=str,
)  # fmt: skip
def test_a_situation_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        Situation(**wrong)


def test_an_effect_that_cannot_be_had_is_refused_before_the_first_row():
    with pytest.raises(ValueError, match="more than can be had"):
        simulate(experiment(), Situation(effect=9))
    with pytest.raises(ValueError, match="no effect on it can be had"):
        simulate(experiment(), Situation(rated=0.0))


def test_a_metric_that_reads_another_column_is_refused():
    with pytest.raises(ValueError, match="'time'"):
        simulate(experiment({"name": "time", "type": "duration"}), Situation())
    with pytest.raises(ValueError, match="'score'"):
        simulate(experiment(METRICS["continuous"], covariate="score"), Situation())
