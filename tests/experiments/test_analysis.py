"""What may be concluded from data: each verdict, each rule, and data that must not be believed."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ftops.experiments.analysis import analyze, wanted
from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.analysis.stopping_rule import StoppingRule, rising
from ftops.experiments.metric_types import METRIC_TYPES
from tests.support.looking import DAY, columns, experiment, ratings, three_arms

FIXED = {"targetSamples": 400, "minimumDetectableEffect": 0.3, "rule": "fixed"}
OPEN = {"targetSamples": 400, "minimumDetectableEffect": 0.3, "rule": "always-valid"}
LATENCY = {"name": "response_time_ms", "type": "duration", "direction": "decrease", "margin": 0.05}


def look(found, earlier=(), fractions=(), **spec):
    return analyze(experiment(**spec).spec, found, earlier, fractions)


def primary(found):
    return next(each for each in found.comparisons if each.role == "primary")


# ------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("rule", ["fixed", "obrien-fleming", "always-valid"])
def test_a_clear_win(rule):
    found = look(ratings(0.5), design={**FIXED, "rule": rule})
    assert (found.verdict, found.winner, found.decided_at) == ("winner", "b", 1)
    assert "b is better than a" in found.reasons[0]
    assert primary(found).outcome == "better"


@pytest.mark.parametrize("rule", ["fixed", "obrien-fleming", "always-valid"])
def test_the_baseline_can_win(rule):
    found = look(ratings(-0.5), design={**FIXED, "rule": rule})
    assert (found.verdict, found.winner) == ("winner", "a")
    assert "keep it" in found.reasons[0]


def test_less_can_be_better():
    found = look(ratings(-0.5), metric={"name": "rating", "type": "continuous", "direction": "decrease"})
    assert (found.verdict, found.winner) == ("winner", "b")


def test_no_difference_takes_an_interval_inside_of_what_matters():
    found = look(ratings(0.0, seed=4), design=FIXED)
    assert (found.verdict, found.winner, found.decided_at) == ("no-difference", None, 1)
    low, high = primary(found).ci
    assert -0.3 < low < 0 < high < 0.3


def test_a_target_too_small_to_tell_is_inconclusive_and_final():
    found = look(ratings(0.2, units=60, seed=1), design={"targetSamples": 60, "minimumDetectableEffect": 0.3})
    assert (found.verdict, found.decided_at) == ("inconclusive", 1)
    assert "neither a difference nor its absence is shown" in found.reasons[0]


def test_an_always_valid_rule_goes_on_beyond_its_target():
    found = look(ratings(0.1, units=500, seed=3), design=OPEN)
    assert (found.verdict, found.decided_at) == ("inconclusive", None)


def test_before_the_target_a_fixed_rule_says_nothing():
    """However clear it looks: that is what makes its error what it is."""
    found = look(ratings(1.0, units=200), design=FIXED)
    assert (found.verdict, found.decided_at, found.fraction) == ("inconclusive", None, 0.5)
    assert "looks early" in found.reasons[0]


def test_before_the_target_obrien_fleming_asks_for_more():
    found = look(ratings(0.24, units=200, seed=4))
    assert primary(found).p_value < 0.05
    assert primary(found).level < 0.005
    assert found.verdict == "inconclusive"


def test_below_thirty_units_nothing_is_concluded():
    found = look(ratings(5.0, units=29), design={"targetSamples": 30})
    assert found.verdict == "inconclusive"
    assert "29 users" in found.reasons[0]


def test_what_was_decided_stays():
    first = look(ratings(0.5, units=200))
    assert first.verdict == "winner"
    later = look(ratings(0.0, units=400, digest="e" * 64), earlier=[first])
    assert (later.verdict, later.winner, later.decided_at, later.number) == ("winner", "b", 1, 2)
    assert later.reasons[0].startswith("Decided at look 1")


def test_but_not_when_the_data_turns_out_to_be_invalid():
    first = look(ratings(0.5, units=200))
    lost = ratings(0.5, units=400)
    keep = ~((lost.arm[lost.unit] == 1) & (np.arange(len(lost.unit)) % 2 == 0))
    unit, arm = np.unique(lost.unit[keep], return_inverse=True)[1], lost.arm[keep]
    later = look(columns(unit, arm, {"rating": lost.values["rating"][keep]}, digest="e" * 64), earlier=[first])
    assert (later.verdict, later.winner, later.decided_at) == ("invalid", None, None)


# ---------------------------------------------------------------------------------------------- several arms


def test_every_arm_against_the_baseline_with_alpha_shared():
    found = look(ratings(0.5, arms=3), arms=three_arms(), design={"targetSamples": 300, "rule": "fixed"})
    assert [(each.arm, each.baseline, each.level) for each in found.comparisons] == [
        ("b", "a", 0.025),
        ("c", "a", 0.025),
    ]
    assert found.srm.p_value < 0.01


def test_of_two_winners_the_larger_effect_is_taken_and_said_to_be_no_proof_against_the_other():
    data = ratings(0.6, arms=3, units=300)
    data.values["rating"][data.arm[data.unit] == 2] += 0.02
    even = {
        name: {**arm, "weight": weight}
        for (name, arm), weight in zip(three_arms().items(), (0.3334, 0.3333, 0.3333), strict=True)
    }
    found = look(data, arms=even, design={"targetSamples": 300})
    assert found.verdict == "winner"
    assert any("beats the baseline too" in each for each in found.reasons)


def test_an_arm_without_weight_is_left_out():
    arms = three_arms()
    arms["a"]["weight"], arms["b"]["weight"], arms["c"]["weight"] = 0.5, 0.5, 0
    data = ratings(0.5)
    found = look(columns(data.unit, data.arm, data.values, arms=("a", "b", "c")), arms=arms)
    assert [each.arm for each in found.comparisons] == ["b"]
    assert found.verdict == "winner"
    assert primary(found).level == pytest.approx(0.05)


# ---------------------------------------------------------------------------------- data not to be believed


def test_a_mismatch_of_the_split_blocks():
    data = columns(range(1000), [0] * 560 + [1] * 440, {"rating": np.r_[np.full(560, 3.0), np.full(440, 5.0)]})
    found = look(data, design=FIXED)
    assert found.verdict == "invalid"
    assert "not split as declared" in found.reasons[0]
    assert found.srm.p_value == pytest.approx(scipy_stats.chisquare([560, 440]).pvalue)


def test_all_units_in_one_arm():
    found = look(columns(range(500), [0] * 500, {"rating": np.full(500, 4.0)}))
    assert found.verdict == "invalid"


def test_answers_that_are_missing_not_at_random_block():
    """Equal quality; who is unhappy with b rates three times as often."""
    random = np.random.default_rng(5)
    arm = np.arange(4000) % 2
    mood = np.clip(random.normal(3.5, 1.0, 4000), 1, 5)
    chance = np.where(mood < 3, np.where(arm == 1, 0.9, 0.3), 0.3)
    rating = np.where(random.random(4000) < chance, mood, np.nan)
    found = look(columns(range(4000), arm, {"rating": rating}), design={"targetSamples": 400})
    assert found.verdict == "invalid"
    assert primary(found).p_value < 1e-6, "the test alone would have called it"
    assert "who answers in one arm is not like who answers in the other" in found.reasons[0]


def test_rows_in_other_arms_than_the_hash_gives_block():
    counts = Rows(read=1000, kept=800, misassigned=200)
    found = look(ratings(0.5, rows=counts))
    assert found.verdict == "invalid"
    assert "20.0 % of the rows" in found.reasons[0]


def test_a_few_such_rows_are_left_out_with_a_caution():
    found = look(ratings(0.5, rows=Rows(read=1000, kept=980, misassigned=20)))
    assert found.verdict == "winner"
    assert any("2.0 % of the rows" in each for each in found.notes)


def test_no_rows_at_all():
    found = look(columns([], [], {"rating": []}))
    assert (found.verdict, found.arms["a"].units, found.days) == ("inconclusive", 0, ())


def test_no_variance():
    data = columns(range(1000), np.arange(1000) % 2, {"rating": np.full(1000, 5.0)})
    found = look(data)
    assert (found.verdict, primary(found).p_value, primary(found).ci) == ("inconclusive", None, None)
    assert any("nothing can be tested" in each for each in found.reasons)


def test_a_unit_with_a_million_rows_is_one_unit():
    random = np.random.default_rng(7)
    unit = np.r_[np.arange(800), np.zeros(1_000_000, np.int32)]
    rating = np.r_[np.clip(random.normal(3, 1, 800), 1, 5), np.full(1_000_000, 5.0)]
    found = look(columns(unit, np.arange(800) % 2, {"rating": rating}))
    assert found.arms["a"].units == 400
    assert abs(primary(found).effect) < 0.3


# -------------------------------------------------------------------------------------------------- metrics


def test_ratings_stand_by_unit_with_the_rank_test_and_their_distribution():
    unit = np.repeat(np.arange(100), 3)
    random = np.random.default_rng(3)
    values = random.integers(1, 6, 300).astype(float)
    values[random.random(300) < 0.2] = np.nan
    values[::3] = random.integers(1, 6, 100)  # each unit has one at least
    data = columns(unit, np.arange(100) % 2, {"rating": values})
    found = look(data, design={"targetSamples": 40})
    means = np.array([np.nanmean(values[unit == each]) for each in range(100)])
    one, other = means[1::2], means[0::2]
    expected = scipy_stats.ttest_ind(one, other, equal_var=False)
    assert primary(found).effect == pytest.approx(one.mean() - other.mean())
    assert primary(found).p_value == pytest.approx(expected.pvalue)
    assert primary(found).ci == pytest.approx(tuple(expected.confidence_interval(1 - primary(found).level)))
    assert primary(found).rank_p_value == pytest.approx(scipy_stats.mannwhitneyu(one, other).pvalue)
    (spread,) = found.distributions
    assert spread.labels == ("1", "2", "3", "4", "5")
    assert sum(spread.shares["a"]) == pytest.approx(1, abs=1e-5)


def test_binary_counts_units_and_agrees_with_chi_square():
    arm = np.r_[np.zeros(500), np.ones(500)]
    solved = np.r_[np.arange(500) < 200, np.arange(500) < 250]
    found = look(columns(range(1000), arm, {"solved": solved}), metric={"name": "solved", "type": "binary"})
    expected = scipy_stats.chi2_contingency([[200, 300], [250, 250]], correction=False)
    assert primary(found).p_value == pytest.approx(expected.pvalue)
    assert primary(found).effect == pytest.approx(0.1)
    assert found.arms["b"].mean == pytest.approx(0.5)


def test_binary_takes_any_of_a_units_rows():
    data = columns([0, 0, 1, 1], [0, 1], {"solved": [0, 1, 0, 0]})
    found = look(data, metric={"name": "solved", "type": "binary"})
    assert (found.arms["a"].mean, found.arms["b"].mean) == (1.0, 0.0)


def test_a_duration_is_compared_by_its_logarithms():
    random = np.random.default_rng(2)
    arm = np.arange(1000) % 2
    times = np.exp(random.normal(6, 0.5, 1000)) * np.where(arm == 1, 0.8, 1.0)
    metric = {"name": "response_time_ms", "type": "duration", "direction": "decrease"}
    found = look(columns(range(1000), arm, {"response_time_ms": times}), metric=metric)
    logs = np.log(times)
    assert primary(found).effect == pytest.approx(math.exp(logs[arm == 1].mean() - logs[arm == 0].mean()))
    assert primary(found).relative_effect == pytest.approx(primary(found).effect - 1)
    assert found.winner == "b"
    assert found.arms["a"].mean == pytest.approx(math.exp(logs[arm == 0].mean()))
    (spread,) = found.distributions
    median, low, high = spread.quantiles["a"]["p50"]
    assert low <= median <= high
    assert median == pytest.approx(np.median(times[arm == 0]), rel=0.01)


def test_counts_are_summed_by_unit():
    data = columns([0, 0, 1, 2, 3], [0, 0, 1, 1], {"escalations": [1, 2, 0, 4, 1]})
    found = look(data, metric={"name": "escalations", "type": "count", "direction": "decrease"})
    assert (found.arms["a"].mean, found.arms["b"].mean) == (1.5, 2.5)


def test_a_ratio_is_one_of_sums():
    random = np.random.default_rng(4)
    unit = np.repeat(np.arange(600), 4)
    arm = np.arange(600) % 2
    tokens = random.integers(50, 150, 2400).astype(float)
    cost = tokens * random.normal(1, 0.1, 2400) * np.where(arm[unit] == 1, 0.8, 1.0)
    metric = {"name": "cost", "type": "ratio", "numerator": "price", "denominator": "tokens", "direction": "decrease"}
    found = look(columns(unit, arm, {"price": cost, "tokens": tokens}), metric=metric, design={"targetSamples": 300})
    one, other = arm[unit] == 1, arm[unit] == 0
    assert found.arms["b"].mean == pytest.approx(cost[one].sum() / tokens[one].sum())
    assert primary(found).effect == pytest.approx(
        cost[one].sum() / tokens[one].sum() - cost[other].sum() / tokens[other].sum()
    )
    assert found.winner == "b"


def test_secondary_metrics_are_corrected_by_holm():
    data = ratings(0.5)
    random = np.random.default_rng(9)
    for name in ("x", "y", "z"):
        data.values[name] = random.normal(0, 1, len(data.unit))
    data.values["x"] += 0.16 * (data.arm[data.unit] == 1)
    names = [{"name": name, "type": "continuous"} for name in ("x", "y", "z")]
    found = look(data, secondary=names, design=FIXED)
    secondary = [each for each in found.comparisons if each.role == "secondary"]
    raw = sorted(each.p_value for each in secondary)
    assert raw[0] < 0.05
    assert min(each.p_adjusted for each in secondary) == pytest.approx(3 * raw[0])
    assert all((each.outcome != "open") == (each.p_adjusted < 0.05) for each in secondary)


def test_a_covariate_takes_variance_away():
    random = np.random.default_rng(9)
    before = random.normal(0, 1, 800)
    arm = np.arange(800) % 2
    rating = 3.5 + 0.8 * before + 0.1 * arm + random.normal(0, 0.6, 800)
    data = columns(range(800), arm, {"score": rating, "covariate": before})
    score = {"name": "score", "type": "continuous"}
    plain, adjusted = look(data, metric=score), look(data, metric=score, covariate="covariate")
    assert adjusted.days[-1].effects["b"][0] == pytest.approx(primary(adjusted).effect)
    assert primary(adjusted).variance_reduction == pytest.approx(0.64, abs=0.06)
    assert np.diff(primary(adjusted).ci)[0] < 0.7 * np.diff(primary(plain).ci)[0]
    assert abs(primary(adjusted).effect - 0.1) < abs(primary(plain).effect - 0.1) + 0.05


# ----------------------------------------------------------------------------------------------- guardrails


def with_latency(factor, units=400, difference=0.5, spread=0.3):
    data = ratings(difference, units=units)
    random = np.random.default_rng(11)
    times = np.exp(random.normal(6, spread, len(data.unit)))
    data.values["response_time_ms"] = times * np.where(data.arm[data.unit] == 1, factor, 1.0)
    return data


def guardrail(found):
    return next(each for each in found.comparisons if each.role == "guardrail")


@pytest.mark.parametrize(
    ("factor", "spread", "state", "verdict"),
    [
        (1.0, 0.1, "kept", "winner"),
        (0.8, 0.3, "kept", "winner"),
        (1.0, 0.9, "open", "winner"),
        (1.3, 0.3, "broken", "inconclusive"),
    ],
)
def test_a_guardrail(factor, spread, state, verdict):
    found = look(with_latency(factor, spread=spread), guardrails=[LATENCY])
    assert (guardrail(found).guardrail, found.verdict) == (state, verdict)
    assert any("Guardrail response_time_ms" in each for each in found.reasons)
    if state == "broken":
        assert "can't be taken" in found.reasons[0]
        assert found.decided_at == 1
    if state == "kept":
        assert guardrail(found).worst < LATENCY["margin"]


# -------------------------------------------------------------------------------------------------- looking


def test_looks_with_nothing_new_are_no_further_looks():
    assert rising((0.2, 0.2, 0.5), 0.5) == (0.2, 0.5)
    assert rising((), 0.7) == (0.7,)


@pytest.mark.parametrize("rule", ["obrien-fleming", "always-valid"])
def test_more_looks_before_make_none_easier(rule):
    design = experiment(design={**FIXED, "rule": rule}).spec.design
    few, many = StoppingRule(design, 2, 1.0, (0.5,)), StoppingRule(design, 2, 1.0, (0.2, 0.4, 0.5, 0.6, 0.8))
    assert many.level() <= few.level() <= 0.05


def test_the_last_day_is_the_look():
    data = ratings(0.3)
    found = look(data)
    (effect, boundary) = found.days[-1].effects["b"]
    low, high = primary(found).ci
    assert effect == pytest.approx(primary(found).effect)
    assert (effect - boundary, effect + boundary) == (pytest.approx(low), pytest.approx(high))
    assert len(found.days) == 14
    assert found.days[-1].exposed == {"a": 400, "b": 400}
    assert found.days[0].day == "2024-10-04"


def test_a_long_experiment_is_shown_in_steps():
    data = columns(range(800), np.arange(800) % 2, {"rating": 1 + np.arange(800) % 5}, day=DAY + np.arange(800))
    days = look(data).days
    assert 30 <= len(days) <= 61
    assert days[-1].exposed == {"a": 400, "b": 400}


def test_looks_of_which_only_the_fraction_is_known():
    alone, after = look(ratings(0.24)), look(ratings(0.24), fractions=(0.25, 0.5))
    assert (alone.number, after.number) == (1, 3)
    assert primary(after).level < primary(alone).level == pytest.approx(0.05)


def test_a_look_at_the_target_leaves_nothing_to_spend():
    after = look(ratings(0.5), fractions=(0.5, 1.2))
    assert (primary(after).level, primary(after).ci, primary(after).outcome) == (0.0, None, "open")
    assert after.verdict == "inconclusive"


def test_what_is_wanted_of_the_rows():
    found = wanted(
        experiment(
            guardrails=[LATENCY],
            secondary=[{"name": "solved", "type": "binary"}],
            covariate="covariate",
            period={"start": "2026-01-01T00:00:00Z"},
        ),
        until=1.8e9,
    )
    kinds = {"rating": "rating", "solved": "binary", "response_time_ms": "duration", "covariate": "continuous"}
    assert found.fields == {name: METRIC_TYPES[kind].values for name, kind in kinds.items()}
    assert (found.experiment, found.since, found.until) == ("v2", 1767225600.0, 1.8e9)


def test_the_face_stays_a_function_however_often_it_was_called():
    """Whoever watches an experiment imports it again at every look: no module of the room may have its name."""
    look(ratings(0.24))
    again = importlib.import_module("ftops.experiments.analysis")
    assert again.analyze is analyze


def test_the_same_data_is_the_same_look():
    first = look(ratings(0.24, units=200, seed=4))
    assert look(ratings(0.24, units=200, seed=4), earlier=[first]) == first
