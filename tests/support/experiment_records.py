"""Records of experiments as they come out of an analysis, made without one: figures that belong together, by a seed."""

from __future__ import annotations

import math
import random
from datetime import date, timedelta
from statistics import NormalDist

from ftops.experiments.analysis.interim_result import (
    ArmFigures,
    Comparison,
    Day,
    Distribution,
    InterimResult,
    Response,
    Rows,
    Split,
)
from ftops.experiments.record import Conclusion, ExperimentRecord, ExperimentStatus, Phase, PhaseArm, Proposal
from ftops.resources.record import RecordMetadata

START = date(2026, 9, 1)
SHA = "0123456789abcdef" * 4
NORMAL = NormalDist()

DIFF = """\
--- a/specs/models.yaml
+++ b/specs/models.yaml
@@ -9,4 +9,4 @@
   versions:
     1.0.0: {run: chat-base}
     1.1.0: {run: chat-lora}
-  aliases: {production: 1.0.0}
+  aliases: {production: 1.1.0}
"""


def inputs(metric="rating", direction="increase", **more):
    return {
        "hypothesis": "Answers tuned on the reviewed set are rated higher.",
        "unit": "user_id",
        "metric": {"name": metric, "type": "rating" if metric == "rating" else "duration", "direction": direction},
        "secondary": [{"name": "solved", "type": "binary", "direction": "increase"}],
        "guardrails": [{"name": "response_time_ms", "type": "duration", "direction": "decrease", "margin": 0.05}],
        "design": {"alpha": 0.05, "power": 0.8, "targetSamples": 800, "rule": "obrien-fleming", "minimumDetectableEffect": 0.2},
        **more,
    }  # fmt: skip


def daily(seed, arms, effects, days=28, spread=1.0):
    """For each day the units seen so far, and for each arm its effect and the boundary: O'Brien and Fleming's, roughly."""
    source = random.Random(seed)
    seen, sums = dict.fromkeys(arms, 0), dict.fromkeys(arms, 0.0)
    found = []
    for day in range(days):
        for arm in arms:
            more = round(source.gauss(29, 4) * (0.7 if day % 7 in (5, 6) else 1.1))
            seen[arm] += more
            sums[arm] += sum(source.gauss(effects.get(arm, 0.0), spread) for _ in range(more))
        pairs = {}
        for arm in arms[1:]:
            error = spread * math.sqrt(1 / seen[arm] + 1 / seen[arms[0]])
            effect = sums[arm] / seen[arm] - sums[arms[0]] / seen[arms[0]]
            pairs[arm] = (effect, error * 1.96 / math.sqrt((day + 1) / days))
        found.append(Day(day=(START + timedelta(day)).isoformat(), exposed=dict(seen), effects=pairs))
    return tuple(found)


def compared(arm, metric, role, effect, half, mean, **more):
    """A comparison whose interval reaches `half` to both sides; a ratio where `mean` is None."""
    ratio = mean is None
    ends = (effect - half, effect + half)
    shown = [math.exp(each) if ratio else each for each in (effect, *ends)]
    relative = [each - 1 if ratio else each / mean for each in shown]
    p_value = 2 * (1 - NORMAL.cdf(abs(effect) / (half / 1.96)))
    outcome = "open" if ends[0] <= 0 <= ends[1] else "better" if (effect > 0) is not ratio else "worse"
    return Comparison(
        arm=arm, baseline="a", metric=metric, role=role, test="Welch t", effect=shown[0], ci=(shown[1], shown[2]),
        relative_effect=relative[0], relative_ci=(relative[1], relative[2]), standardized=effect / 1.1, p_value=p_value,
        level=0.05, outcome=outcome, **more,
    )  # fmt: skip


def even(units):
    """The p-value of as many units in each of two arms."""
    a, b = units.values()
    return 2 * (1 - NORMAL.cdf(abs(a - b) / math.sqrt(a + b)))


def made_look(days, comparisons, means, **more):
    """A look at the end of `days`; what is not given in `more` is plausible."""
    last = days[-1].exposed
    arms = {
        arm: ArmFigures(
            exposed=count, units=round(count * 0.93), rows=count * 4, mean=means[arm], variance=1.1, ci=(means[arm] - 0.08, means[arm] + 0.08)
        )
        for arm, count in last.items()
    }  # fmt: skip
    total = sum(last.values())
    kept = total * 4
    values = {
        "number": 4, "taken_at": f"{days[-1].day}T23:10:00Z", "data_digest": f"sha256:{SHA}", "last": f"{days[-1].day}T22:58:11Z",
        "first": f"{days[0].day}T00:02:09Z", "fraction": min(each.units for each in arms.values()) / 800,
        "rows": Rows(read=kept + 61, kept=kept, faulty=12, duplicates=40, conflicting=2, misassigned=9), "arms": arms,
        "comparisons": tuple(comparisons), "srm": Split(units=last, expected={arm: 1 / len(last) for arm in last}, p_value=0.62),
        "response": Response(rates=dict.fromkeys(last, 0.61), p_value=0.44), "days": days, "verdict": "inconclusive",
        "reasons": ("Nothing is shown yet.",), "software": {"ftops": "0.3.0", "numpy": "2.4.0", "scipy": "1.17.0"},
    }  # fmt: skip
    return InterimResult(**{**values, **more})


def made_record(name, look, arms, *, earlier=(), phase="running", **more):
    looks = {str(each.number): each for each in (*earlier, *([look] if look else []))}
    phases = {"1": Phase(started_at="2026-09-01T00:00:00Z", arms=arms, looks=looks)}
    status = {
        "phase": phase,
        "inputs": inputs(),
        "digest": f"sha256:{SHA}",
        "current": "1",
        "phases": phases,
        "traffic": 58.3,
        "input_commit": SHA[:40],
    }
    return ExperimentRecord(metadata=RecordMetadata(name=name), status=ExperimentStatus(**{**status, **more}))


def two_arms():
    return {"a": PhaseArm(model="chat@1.0.0", weight=0.5, baseline=True), "b": PhaseArm(model="chat@1.1.0", weight=0.5)}


def earlier_looks(days, means, at=(7, 14, 21)):
    """Looks before the last one, which keep no days and no distributions."""
    found = []
    for number, end in enumerate(at, 1):
        effect = compared("b", "rating", "primary", *days[end - 1].effects["b"], 3.6)
        look = made_look(days[:end], [effect], means, number=number)
        found.append(look.model_copy(update={"days": (), "distributions": ()}))
    return tuple(found)


def winner():
    """28 days, two arms, ratings, simulated: b is better."""
    days = daily(3, ("a", "b"), {"b": 0.21}, spread=1.05)
    effect, half = days[-1].effects["b"]
    means = {"a": 3.6, "b": 3.6 + effect}
    found = [
        compared("b", "rating", "primary", effect, half, 3.6, power=0.97, rank_p_value=0.0004, chance_better=0.9996, expected_loss=0.00001, variance_reduction=0.18),
        compared("b", "solved", "secondary", 0.021, 0.034, 0.64, p_adjusted=0.226),
        compared("b", "response_time_ms", "guardrail", 0.012, 0.021, None, guardrail="kept", margin=0.05, worst=0.029),
    ]  # fmt: skip
    ratings = Distribution(
        metric="rating", labels=("1", "2", "3", "4", "5"), edges=(1, 2, 3, 4, 5, 5),
        shares={"a": (0.081, 0.122, 0.214, 0.302, 0.281), "b": (0.052, 0.091, 0.203, 0.331, 0.323)},
    )  # fmt: skip
    look = made_look(
        days, found, means, simulated=True, verdict="winner", winner="b", decided_at=4, distributions=(ratings,),
        reasons=("The rating of b is higher than that of a, by more than the stopping rule asks at this look.", "Response times stay within the margin of 5 %."),
    )  # fmt: skip
    proposals = (
        Proposal(why="Promote chat 1.1.0, the version that won, to production.", file="specs/models.yaml", diff=DIFF),
    )
    return made_record("chat-v2", look, two_arms(), earlier=earlier_looks(days, means), proposals=proposals)


def three_arms():
    """21 days, three arms, durations: nothing is settled yet."""
    days = daily(11, ("a", "b", "c"), {"b": -0.05, "c": 0.012}, days=21, spread=0.55)
    found = [
        compared("b", "response_time_ms", "primary", *days[-1].effects["b"], None, power=0.61),
        compared("c", "response_time_ms", "primary", *days[-1].effects["c"], None, power=0.6),
        compared("b", "rating", "guardrail", -0.01, 0.08, 3.6, guardrail="kept", margin=0.05, worst=0.02),
        compared("c", "rating", "guardrail", -0.31, 0.09, 3.6, guardrail="broken", margin=0.05, worst=0.11),
    ]
    edges = (100, 150, 220, 330, 500, 740, 1100, 1600, 2400, 3600, 5400)
    times = Distribution(
        metric="response_time_ms", labels=tuple(str(each) for each in edges[:-1]), edges=edges,
        shares={
            "a": (0.01, 0.04, 0.11, 0.2, 0.24, 0.19, 0.12, 0.06, 0.02, 0.01), "b": (0.02, 0.05, 0.14, 0.23, 0.23, 0.16, 0.1, 0.05, 0.01, 0.01),
            "c": (0.01, 0.04, 0.1, 0.2, 0.23, 0.2, 0.13, 0.06, 0.02, 0.01),
        },
        quantiles={
            "a": {"p50": (590.0, 560.0, 622.0), "p90": (1420.0, 1330.0, 1530.0), "p95": (1910.0, 1770.0, 2090.0)},
            "b": {"p50": (541.0, 512.0, 570.0), "p90": (1300.0, 1210.0, 1400.0), "p95": (1740.0, 1600.0, 1900.0)},
            "c": {"p50": (601.0, 571.0, 634.0), "p90": (1450.0, 1350.0, 1560.0), "p95": (1950.0, 1800.0, 2140.0)},
        },
    )  # fmt: skip
    look = made_look(
        days, found, {"a": 612.4, "b": 580.1, "c": 619.9}, number=1, distributions=(times,),
        reasons=("Neither b nor c is shown to be faster or slower than a.", "c breaks the guardrail on rating."),
    )  # fmt: skip
    arms = {
        "a": PhaseArm(model="chat@1.0.0", weight=0.3334, baseline=True), "b": PhaseArm(model="chat-small@0.4.0", weight=0.3333),
        "c": PhaseArm(model="chat-large@2.0.0-rc.1", weight=0.3333),
    }  # fmt: skip
    declared = inputs(
        "response_time_ms",
        "decrease",
        secondary=[],
        guardrails=[{"name": "rating", "type": "rating", "direction": "increase", "margin": 0.05}],
    )
    return made_record("three-models", look, arms, inputs=declared)


def invalid():
    """Two arms of which one lost units: concluded without a winner."""
    days = tuple(
        each.model_copy(update={"exposed": {"a": each.exposed["a"], "b": round(each.exposed["b"] * 0.8)}})
        for each in daily(5, ("a", "b"), {"b": 0.3})
    )
    last = days[-1].exposed
    look = made_look(
        days, [compared("b", "rating", "primary", *days[-1].effects["b"], 3.6)], {"a": 3.6, "b": 3.9}, number=2, verdict="invalid",
        srm=Split(units=last, expected={"a": 0.5, "b": 0.5}, p_value=even(last)), response=Response(rates={"a": 0.61, "b": 0.52}, p_value=0.0008),
        reasons=("The arms have other shares of the users than the weights say, so something removes users from b.",), notes=("Look at what happens between assignment and logging.",),
    )  # fmt: skip
    ended = Conclusion(
        verdict="invalid",
        baseline="chat@1.0.0",
        metric="rating",
        reason="The client lost users of b.",
        ended_at="2026-09-29T08:00:00Z",
    )
    return made_record("lost-users", look, two_arms(), phase="concluded", conclusion=ended)


def just_started():
    """Declared and running, without a row."""
    return made_record("fresh", None, two_arms(), traffic=None)


RECORDS = {"winner": winner, "three-arms": three_arms, "invalid": invalid, "just-started": just_started}
