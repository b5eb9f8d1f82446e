"""An arm against the baseline in one metric: effect, interval, and what the stopping rule makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from ftops.experiments.analysis.interim_result import Comparison
from ftops.experiments.metric_types.figures import Measured
from ftops.experiments.spec.metric import Guardrail, Metric

if TYPE_CHECKING:
    from ftops.experiments.analysis.outcomes import Outcomes
    from ftops.experiments.analysis.stopping_rule import Judged, StoppingRule
    from ftops.statistics.effects import Effect

Role = Literal["primary", "secondary", "guardrail"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms that are compared, each by its index in `names`."""

    arm: int
    baseline: int
    names: tuple[str, ...]


def measure(outcomes: Outcomes, pair: Pair) -> Measured:
    """The effect of an arm against the baseline, by the test that belongs to the metric."""
    return outcomes.metric.metric_type.measure(outcomes.of(pair.arm), outcomes.of(pair.baseline))


def sign_of(metric: Metric) -> int:
    """1 where more is better, -1 where less is."""
    return 1 if metric.direction == "increase" else -1


def compare(outcomes: Outcomes, measured: Measured, pair: Pair, role: Role, rule: StoppingRule) -> Comparison:
    """What is known of an arm against the baseline in one metric."""
    metric, effect = outcomes.metric, measured.effect
    judged = rule.judge(effect)
    judged = replace(judged, interval=metric.metric_type.reportable(judged.interval))
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
    level = judged.level or rule.design.alpha
    figures: dict[str, object] = metric.metric_type.difference(measured, judged.interval, level)._asdict()
    if isinstance(metric, Guardrail):
        figures |= _guarded(measured, judged, metric)
    return found.model_copy(update=figures | _more(outcomes, measured, pair))


def outcome(judged: Judged, effect: Effect, metric: Metric) -> Literal["better", "worse", "open"]:
    """Whether an arm is shown to be better or worse."""
    if not judged.sure or effect.estimate is None:
        return "open"
    return "better" if sign_of(metric) * effect.estimate > 0 else "worse"


def _more(outcomes: Outcomes, measured: Measured, pair: Pair) -> dict[str, object]:
    """What stands beside the test: the standardised difference, the rank test, and what a flat prior says."""
    from ftops.statistics import bayes, effects

    metric, effect = outcomes.metric, measured.effect
    more: dict[str, object] = {}
    if effect.estimate is not None and effect.se is not None:
        gain = sign_of(metric) * effect.estimate
        more |= {
            "chance_better": bayes.chance_better(gain, effect.se),
            "expected_loss": bayes.expected_loss(gain, effect.se),
        }
    if metric.metric_type.in_deviations:
        more["standardized"] = effects.cohens_d(measured.arm, measured.baseline)
    by_ranks = metric.metric_type.rank_p_value(outcomes.of(pair.arm), outcomes.of(pair.baseline))
    return more if by_ranks is None else {**more, "rank_p_value": by_ranks}


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
    share = None if change is None else metric.metric_type.share(change, measured.baseline)
    return None if share is None else -sign_of(metric) * share
