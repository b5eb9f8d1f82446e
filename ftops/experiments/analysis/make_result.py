"""One look: everything that is known of an experiment by its data so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from ftops.experiments.analysis import distributions as pictures
from ftops.experiments.analysis import validity, verdict
from ftops.experiments.analysis.compare import Pair, compare, measure
from ftops.experiments.analysis.interim_result import ArmFigures, Comparison, InterimResult
from ftops.experiments.analysis.outcomes import Outcomes, adjusted, covariate, outcomes
from ftops.experiments.analysis.stopping_rule import StoppingRule
from ftops.experiments.metric_types.figures import Measured
from ftops.experiments.spec.design import power_at, smallest_effect

if TYPE_CHECKING:
    from ftops.experiments.analysis.observations import Observations
    from ftops.experiments.spec.experiment import ExperimentSpec

_SOFTWARE: Final = ("ftops", "numpy", "scipy")


def take(
    spec: ExperimentSpec, observations: Observations, earlier: Sequence[InterimResult], fractions: Sequence[float]
) -> InterimResult:
    """See `ftops.experiments.analysis.analyze`."""
    # Sorting and counting millions of rows use a second processor where there is one.
    with ThreadPoolExecutor(1) as beside:
        distributions = beside.submit(pictures.distributions, spec, observations)
        look = _look(spec, observations, earlier, fractions)
        return look.model_copy(update={"distributions": distributions.result()})


def _look(
    spec: ExperimentSpec, observations: Observations, earlier: Sequence[InterimResult], fractions: Sequence[float]
) -> InterimResult:
    import numpy as np

    earlier = [each for each in earlier if each.data_digest != observations.digest]  # the same data is the same look
    before = (*fractions, *(each.fraction for each in earlier))
    start = StoppingRule(spec.design, len(spec.active), 0.0, before)
    days, sums = pictures.days(spec, observations, start)
    primary, reduction = adjusted(sums.outcomes(observations.arm), covariate(spec.covariate, observations))
    counts = np.bincount(primary.arm, minlength=len(observations.arms))
    fewest = min(int(counts[observations.arms.index(name)]) for name in spec.active)
    fraction = fewest / spec.design.target_samples
    rule = replace(start, fraction=fraction)
    valid = validity.examine(spec, observations, sums.count)
    found = _found(spec, observations, primary, rule, reduction)
    decision = verdict.decide(spec, found, rule, valid.faults)
    number = len(before) + 1
    decided_at = number if decision.final else None
    settled = next((each for each in earlier if each.decided_at is not None), None)
    if settled is not None and decision.verdict != "invalid":
        reason = f"Decided at look {settled.number}, as the rule says; what came later changes nothing."
        decision = verdict.Decision(settled.verdict, (reason, *settled.reasons), settled.winner, final=True)
        decided_at = settled.number
    return InterimResult(
        number=number,
        data_digest=observations.digest,
        simulated=observations.simulated,
        first=_utc(observations.first),
        last=_utc(observations.last),
        fraction=_rounded(fraction),
        rows=observations.rows,
        arms=_arms(spec, observations, primary),
        comparisons=found.comparisons,
        srm=valid.srm,
        response=valid.response,
        days=days,
        verdict=decision.verdict,
        winner=decision.winner,
        decided_at=decided_at,
        reasons=decision.reasons,
        notes=(*valid.cautions, *observations.notes),
        software={name: version(name) for name in _SOFTWARE},
    )


def _found(
    spec: ExperimentSpec, observations: Observations, primary: Outcomes, rule: StoppingRule, reduction: float | None
) -> verdict.Found:
    """Every comparison, and what the verdict needs of them."""
    names = observations.arms
    base = names.index(spec.baseline)
    pairs = [Pair(names.index(name), base, names) for name in spec.active if name != spec.baseline]
    mean = _mean(primary, base)
    smallest = smallest_effect(spec.metric, spec.design, len(spec.active), mean)
    comparisons: list[Comparison] = []
    within: dict[str, bool] = {}
    for pair in pairs:
        measured = measure(primary, pair)
        found = compare(primary, measured, pair, "primary", rule)
        units = (float(measured.arm.n), float(measured.baseline.n))
        power = power_at(spec.metric, spec.design, len(spec.active), units, mean)
        comparisons.append(found.model_copy(update={"power": power, "variance_reduction": reduction}))
        within[found.arm] = _within(measured, rule, smallest, spec)
    secondary = [
        compare(values, measure(values, pair), pair, "secondary", rule)
        for metric in spec.secondary
        for values in [outcomes(metric, observations)]
        for pair in pairs
    ]
    guarded = [
        compare(values, measure(values, pair), pair, "guardrail", rule)
        for metric in spec.guardrails
        for values in [outcomes(metric, observations)]
        for pair in pairs
    ]
    counts = [int((primary.arm == names.index(name)).sum()) for name in spec.active]
    return verdict.Found((*comparisons, *_corrected(secondary), *guarded), min(counts), smallest, within)


def _corrected(secondary: Sequence[Comparison]) -> Iterator[Comparison]:
    """Secondary comparisons by Holm: better or worse only where that holds with all of them looked at."""
    from ftops.statistics.corrections import holm

    for found, p_value in zip(secondary, holm([each.p_value for each in secondary]), strict=True):
        holds = p_value is not None and p_value < found.level
        yield found.model_copy(update={"p_adjusted": p_value, "outcome": found.outcome if holds else "open"})


def _within(measured: Measured, rule: StoppingRule, smallest: float | None, spec: ExperimentSpec) -> bool:
    """Whether all of an effect's interval is smaller than the smallest effect that matters."""
    interval = rule.judge(measured.effect).interval
    if smallest is None or interval is None:
        return False
    spread = 1.0
    if spec.metric.metric_type.in_deviations:
        one, other = measured.arm, measured.baseline
        spread = math.sqrt(((one.n - 1) * one.variance + (other.n - 1) * other.variance) / (one.n + other.n - 2))
    return -smallest * spread < interval[0] and interval[1] < smallest * spread


def _mean(found: Outcomes, arm: int) -> float | None:
    """The mean of the figures in one arm: of some metrics the spread follows from it."""
    figures = found.of(arm).y
    return float(figures.mean()) if len(figures) else None


def _arms(spec: ExperimentSpec, observations: Observations, primary: Outcomes) -> dict[str, ArmFigures]:
    import numpy as np

    rows = np.bincount(observations.arm[observations.unit], minlength=len(observations.arms))
    exposed = np.bincount(observations.arm, minlength=len(observations.arms))
    return {
        name: _figures(spec, primary, index).model_copy(
            update={"exposed": int(exposed[index]), "rows": int(rows[index])}
        )
        for index, name in enumerate(observations.arms)
    }


def _figures(spec: ExperimentSpec, primary: Outcomes, arm: int) -> ArmFigures:
    """Units, mean, variance, and the interval of the mean, at alpha; who was seen is counted elsewhere."""
    figures, kind = primary.of(arm), spec.metric.metric_type
    if not len(figures.y):
        return ArmFigures(exposed=0, units=0, rows=0)
    sample = kind.sample(figures)
    interval = kind.mean_interval(figures, sample, spec.design.alpha)
    if interval is not None:
        interval = kind.shown(interval[0]), kind.shown(interval[1])
    mean = kind.shown(sample.mean)
    known = math.isfinite(mean)
    return ArmFigures(
        exposed=0,
        units=sample.n,
        rows=0,
        mean=mean if known else None,
        variance=sample.variance if sample.defined else None,
        ci=interval if known else None,
    )


def _rounded(fraction: float) -> float:
    return round(fraction, 6)


def _utc(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
