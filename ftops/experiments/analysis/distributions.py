"""What a report's pictures are drawn from: an experiment at the end of each day, and how values spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ftops.experiments.analysis.compare import Pair, measure
from ftops.experiments.analysis.interim_result import Day, Distribution
from ftops.experiments.analysis.outcomes import Outcomes, Sums, adjusted, columns_of, covariate
from ftops.experiments.metric_types.spread import Histogram, Levels
from ftops.experiments.spec.metric import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftops.experiments.analysis.observations import Observations
    from ftops.experiments.analysis.stopping_rule import StoppingRule
    from ftops.experiments.spec.experiment import ExperimentSpec

MOST_DAYS: Final = 60
"""Points over time; a longer experiment is shown in steps of several days."""
BINS: Final = 20
SPREAD: Final = 2.6
_EPOCH: Final = date(1970, 1, 1)
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95}


def days(spec: ExperimentSpec, observations: Observations, rule: StoppingRule) -> tuple[tuple[Day, ...], Sums]:
    """How the primary metric stood at the end of each day, with the boundary that a look on that day would have had; and
    its sums at the end."""
    import numpy as np

    sums = Sums.empty(spec.metric, observations.units)
    if not len(observations.day):
        return (), sums
    first = int(observations.day.min())
    since = observations.day - first
    until = np.bincount(since).cumsum()
    order = _order(since)
    seen = np.zeros(observations.units, np.bool_)
    columns, before = columns_of(spec.metric, observations), covariate(spec.covariate, observations)
    found, start = [], 0
    for day in _ends(len(until) - 1):
        rows = slice(start, start := int(until[day]))
        chosen = rows if order is None else order[rows]
        unit = observations.unit[chosen]
        sums.add(unit, tuple(column[chosen] for column in columns))
        seen[unit] = True
        outcomes, _ = adjusted(sums.outcomes(observations.arm), before)
        effects = _effects(spec, observations.arms, outcomes, rule)
        units = np.bincount(observations.arm, weights=seen, minlength=len(observations.arms))
        exposed = {name: int(count) for name, count in zip(observations.arms, units, strict=True)}
        found.append(Day(day=str(_EPOCH + timedelta(days=first + day)), exposed=exposed, effects=effects))
    return tuple(found), sums


def _order(since: NDArray[np.int32]) -> NDArray[np.int64] | None:
    """The rows in the order of their days, None where they stand so."""
    import numpy as np

    if not (since[1:] < since[:-1]).any():
        return None
    # Numbers of 16 bits are sorted in linear time.
    return np.argsort(since.astype(np.int16) if since.max() < 2**15 else since, kind="stable")


def _ends(last: int) -> Sequence[int]:
    """The days, from 0 on, at whose end it is looked: the last one, and back from it in equal steps."""
    return range(last, -1, -(last // MOST_DAYS + 1))[::-1]


def _effects(
    spec: ExperimentSpec, names: tuple[str, ...], outcomes: Outcomes, rule: StoppingRule
) -> dict[str, tuple[float, float] | None]:
    """For each other arm its effect so far and the boundary; None where there is too little to test."""
    import numpy as np

    units = dict(zip(names, np.bincount(outcomes.arm, minlength=len(names)).tolist(), strict=True))
    fraction = min(units[name] for name in spec.active) / spec.design.target_samples
    then = replace(rule, fraction=fraction, before=tuple(each for each in rule.before if each < fraction))
    found: dict[str, tuple[float, float] | None] = {}
    for index, name in enumerate(names):
        if name == spec.baseline or name not in spec.active:
            continue
        enough = min(units[name], units[spec.baseline]) >= 2
        pair = Pair(index, names.index(spec.baseline), names)
        found[name] = _effect(outcomes, pair, then) if enough else None
    return found


def _effect(outcomes: Outcomes, pair: Pair, rule: StoppingRule) -> tuple[float, float] | None:
    effect = measure(outcomes, pair).effect
    boundary = rule.judge(effect).boundary
    return None if effect.estimate is None or boundary is None else (effect.estimate, boundary)


def distributions(spec: ExperimentSpec, observations: Observations) -> tuple[Distribution, ...]:
    """How the values of a metric spread over the rows of each arm, where its type says how they are counted."""
    metrics: dict[str, Metric] = {}
    for metric in (spec.metric, *spec.secondary, *spec.guardrails):
        if metric.metric_type.spread is not None:
            metrics.setdefault(metric.name, metric)
    found = (_distribution(metric, observations) for metric in metrics.values())
    return tuple(each for each in found if each is not None)


def _distribution(metric: Metric, observations: Observations) -> Distribution | None:
    import numpy as np

    values = observations.values[metric.name]
    whole = ~np.isnan(values)
    all_there = bool(whole.all())
    unit = observations.unit if all_there else observations.unit[whole]
    values = values if all_there else values[whole]
    if not len(values):
        return None
    arm = observations.arm[unit]
    match metric.metric_type.spread:
        case Levels(labels, lowest):
            shares = _shares(observations, arm, values.astype(np.int16) - lowest, len(labels))
            return Distribution(metric=metric.name, labels=labels, shares=shares)
        case Histogram() as histogram:
            found = _histogram(histogram, observations, arm, values)
            quantiles = _quantiles(observations, arm, unit, values) if histogram.quantiles else {}
            return Distribution(metric=metric.name, quantiles=quantiles, **found)
        case None:
            return None


def _histogram(
    histogram: Histogram, observations: Observations, arm: NDArray[np.int8], values: NDArray[np.float64]
) -> dict[str, Any]:
    """The labels and edges of the bins, and the share of each arm's rows in them."""
    import numpy as np

    log = histogram.logarithms
    place = np.log(values) if log else values.copy()
    ends = _ends_of(place)
    edges = np.linspace(*ends, BINS + 1)
    place -= ends[0]
    place *= BINS / (ends[1] - ends[0])
    np.clip(place, 0, BINS - 1, out=place)
    shares = _shares(observations, arm, place.astype(np.int16), BINS)
    edges = np.exp(edges) if log else edges
    return {
        "labels": tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)),
        "edges": tuple(float(f"{edge:.6g}") for edge in edges),
        "shares": shares,
    }


def _ends_of(values: NDArray[np.float64]) -> tuple[float, float]:
    """From where to where bins go: SPREAD standard deviations to both sides of the mean, as far as there are values. What
    lies further out is counted in the first and the last bin."""
    mean, reach = float(values.mean()), SPREAD * float(values.std())
    low, high = max(float(values.min()), mean - reach), min(float(values.max()), mean + reach)
    return (low, high) if high > low else (low, low + max(abs(low), 1.0) / 100)


def _shares(
    observations: Observations, arm: NDArray[np.int8], place: NDArray[np.int16], bins: int
) -> dict[str, tuple[float, ...]]:
    """For each arm the share of its rows in each bin; `place` is the bin of each row."""
    import numpy as np

    counts = np.bincount(arm.astype(np.int16) * bins + place, minlength=len(observations.arms) * bins)
    by_arm = counts.reshape(len(observations.arms), bins)
    return {
        name: tuple(round(float(count / max(counts.sum(), 1)), 6) for count in counts)
        for name, counts in zip(observations.arms, by_arm, strict=True)
    }


def _quantiles(
    observations: Observations, arm: NDArray[np.int8], unit: NDArray[np.int32], values: NDArray[np.float64]
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """For each arm its quantiles by rows, with their intervals."""
    from ftops.statistics.rank_tests import quantile_intervals

    found = {}
    for index, name in enumerate(observations.arms):
        mine = arm == index
        known = quantile_intervals(values[mine], unit[mine], tuple(QUANTILES.values()), 0.05)
        found[name] = {} if known is None else dict(zip(QUANTILES, known, strict=True))
    return found
