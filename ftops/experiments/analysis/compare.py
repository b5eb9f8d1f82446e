"""An arm against the baseline in one metric: effect, interval, and what the stopping rule makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from ftops.experiments.analysis.interim_result import Comparison
from ftops.experiments.spec.metric import Guardrail, Metric

if TYPE_CHECKING:
    from ftops.experiments.analysis.outcomes import Outcomes
    from ftops.experiments.analysis.stopping_rule import Judged, Looking
    from ftops.statistics.effects import Effect
    from ftops.statistics.sample import Sample

_WIDEST: Final = 100.0
"""Of an interval of logarithms: an early look may exclude nothing, and the exponential of that is no number."""
Role = Literal["primary", "secondary", "guardrail"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms that are compared, each by its index in `names`."""

    arm: int
    baseline: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """The effect of an arm on the scale that is tested (of a duration: of logarithms), and the samples behind it."""

    effect: Effect
    arm: Sample
    baseline: Sample


def measure(outcomes: Outcomes, pair: Pair) -> Measured:
    """The effect of an arm against the baseline, by the test that belongs to the metric."""
    from ftops.statistics import effects
    from ftops.statistics.sample import Sample

    metric = outcomes.metric
    one, other = outcomes.of(pair.arm), outcomes.of(pair.baseline)
    if metric.type == "ratio":
        below, other_below = outcomes.below_of(pair.arm), outcomes.below_of(pair.baseline)
        samples = effects.ratio_sample(one, below), effects.ratio_sample(other, other_below)
        return Measured(effects.ratio(one, below, other, other_below), *samples)
    samples = Sample.of(one), Sample.of(other)
    if metric.type == "binary" and metric.by_unit == "any":
        counts = len(one), int(one.sum()), len(other), int(other.sum())
        return Measured(effects.proportions(*counts), *samples)
    return Measured(effects.welch(*samples), *samples)


def sign_of(metric: Metric) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if metric.direction == "increase" else -1


def compare(outcomes: Outcomes, measured: Measured, pair: Pair, role: Role, looking: Looking) -> Comparison:
    """What is known of an arm against the baseline in one metric."""
    metric, effect = outcomes.metric, measured.effect
    judged = looking.judge(effect)
    if metric.type == "duration" and judged.interval is not None and max(map(abs, judged.interval)) > _WIDEST:
        judged = replace(judged, interval=None)
    found = Comparison(
        arm=pair.names[pair.arm],
        baseline=pair.names[pair.baseline],
        metric=metric.name,
        role=role,
        test=effect.test,
        level=judged.level,
        p_value=judged.p_value,
        outcome=outcome(judged, effect, metric),
    )
    if effect.estimate is None or effect.p_value is None:
        return found
    log = metric.type == "duration"
    figures = _of_logarithms(effect.estimate, judged) if log else _of_means(measured, judged, looking)
    if isinstance(metric, Guardrail):
        figures |= _guarded(measured, judged, metric)
    return found.model_copy(update=figures | _more(outcomes, measured, pair))


def outcome(judged: Judged, effect: Effect, metric: Metric) -> Literal["better", "worse", "open"]:
    """Whether an arm is shown to be better or worse."""
    if not judged.sure or effect.estimate is None:
        return "open"
    return "better" if sign_of(metric) * effect.estimate > 0 else "worse"


def _of_logarithms(estimate: float, judged: Judged) -> dict[str, object]:
    """Of a duration: the ratio of the geometric means."""
    span = judged.interval
    return {
        "effect": math.exp(estimate),
        "ci": None if span is None else (math.exp(span[0]), math.exp(span[1])),
        "relative_effect": math.expm1(estimate),
        "relative_ci": None if span is None else (math.expm1(span[0]), math.expm1(span[1])),
    }


def _of_means(measured: Measured, judged: Judged, looking: Looking) -> dict[str, object]:
    from ftops.statistics.effects import relative

    share, span = relative(measured.effect, measured.arm, measured.baseline, judged.level or looking.design.alpha)
    return {
        "effect": measured.effect.estimate,
        "ci": judged.interval,
        "relative_effect": share,
        "relative_ci": None if judged.interval is None else span,
    }


def _more(outcomes: Outcomes, measured: Measured, pair: Pair) -> dict[str, object]:
    """What stands beside the test: the standardised difference, the rank test, and what a flat prior says."""
    from ftops.statistics import bayes, effects, rank_tests

    metric, effect = outcomes.metric, measured.effect
    more: dict[str, object] = {}
    if effect.estimate is not None and effect.se is not None:
        gain = sign_of(metric) * effect.estimate
        more |= {
            "chance_better": bayes.chance_better(gain, effect.se),
            "expected_loss": bayes.expected_loss(gain, effect.se),
        }
    if metric.type not in ("binary", "ratio"):
        more["standardized"] = effects.cohens_d(measured.arm, measured.baseline)
    if metric.type == "rating":
        more["rank_p_value"] = rank_tests.rank_test(outcomes.of(pair.arm), outcomes.of(pair.baseline))
    return more


def _guarded(measured: Measured, judged: Judged, metric: Guardrail) -> dict[str, object]:
    """Non-inferiority, one-sided: how much worse the arm may be at most, against the margin.

    broken takes two things: the estimate lies beyond the margin, and the arm is shown to be worse at all. Not shown to be
    within the margin is `open`.
    """
    one_sided = min(2 * judged.level, 0.999)
    interval = measured.effect.interval(one_sided) if judged.interval is not None else None
    estimate = _harm(measured.effect.estimate, measured, metric)
    if interval is None or estimate is None:
        return {"margin": metric.margin, "guardrail": "open"}
    ends = [_harm(end, measured, metric) or 0.0 for end in interval]
    least, worst = min(ends), max(ends)
    broken = estimate > metric.margin and least > 0
    state = "kept" if worst < metric.margin else "broken" if broken else "open"
    return {"margin": metric.margin, "worst": worst, "guardrail": state}


def _harm(change: float | None, measured: Measured, metric: Metric) -> float | None:
    """How much worse a change is, as a share of the baseline's mean (below 0: better); None where that mean is 0."""
    if change is None:
        return None
    if metric.type == "duration":
        return -sign_of(metric) * math.expm1(change)
    mean = abs(measured.baseline.mean)
    return -sign_of(metric) * change / mean if mean > 0 else None
