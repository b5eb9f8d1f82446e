"""What the pictures of a report are drawn from: how an experiment stood at the end of each day, and how values spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ftops.analysis.compare import Pair, measure
from ftops.analysis.look import Day, Distribution
from ftops.analysis.outcomes import Outcomes, Sums, columns_of
from ftops.kinds.metric import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftops.analysis.observations import Observations
    from ftops.analysis.rules import Looking
    from ftops.kinds.experiment import ExperimentSpec

MOST_DAYS: Final = 60
"""Points over time; a longer experiment is shown in steps of several days."""
BINS: Final = 20
_EPOCH: Final = date(1970, 1, 1)
QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95}


def days(spec: ExperimentSpec, observations: Observations, looking: Looking) -> tuple[Day, ...]:
    """How the primary metric stood at the end of each day, with the boundary that a look on that day would have had."""
    import numpy as np

    order = np.argsort(observations.day, kind="stable")
    day = observations.day[order]
    if not len(day):
        return ()
    unit = observations.unit[order]
    columns = tuple(column[order] for column in columns_of(spec.metric, observations))
    seen = np.zeros(observations.units, dtype=bool)
    sums = Sums.empty(spec.metric, observations.units)
    found, start = [], 0
    for end_day in _ends(int(day[0]), int(day[-1])):
        end = int(np.searchsorted(day, end_day, side="right"))
        rows = slice(start, end)
        seen[unit[rows]] = True
        sums.add(unit[rows], tuple(column[rows] for column in columns))
        counts = np.bincount(observations.arm[seen], minlength=len(observations.arms))
        exposed = {name: int(count) for name, count in zip(observations.arms, counts, strict=True)}
        effects = _effects(spec, observations, sums, looking)
        found.append(Day(day=str(_EPOCH + timedelta(days=end_day)), exposed=exposed, effects=effects))
        start = end
    return tuple(found)


def _ends(first: int, last: int) -> Sequence[int]:
    """The days at whose end it is looked: the last one, and back from it in equal steps."""
    step = (last - first) // MOST_DAYS + 1
    return range(last, first - 1, -step)[::-1]


def _effects(
    spec: ExperimentSpec, observations: Observations, sums: Sums, looking: Looking
) -> dict[str, tuple[float, float] | None]:
    """For each other arm its effect so far and the boundary; None where there is too little to test."""
    names = observations.arms
    outcomes = sums.outcomes(observations.arm)
    units = {name: int((outcomes.arm == index).sum()) for index, name in enumerate(names)}
    fraction = min(units[name] for name in spec.active) / spec.design.target_samples
    then = replace(looking, fraction=fraction, before=tuple(each for each in looking.before if each < fraction))
    found: dict[str, tuple[float, float] | None] = {}
    for index, name in enumerate(names):
        if name == spec.baseline or name not in spec.active:
            continue
        enough = min(units[name], units[spec.baseline]) >= 2
        pair = Pair(index, names.index(spec.baseline), names)
        found[name] = _effect(outcomes, pair, then) if enough else None
    return found


def _effect(outcomes: Outcomes, pair: Pair, looking: Looking) -> tuple[float, float] | None:
    effect = measure(outcomes, pair).effect
    boundary = looking.judge(effect).boundary
    return None if effect.estimate is None or boundary is None else (effect.estimate, boundary)


def distributions(spec: ExperimentSpec, observations: Observations) -> tuple[Distribution, ...]:
    """How the values of ratings, durations and plain numbers spread over the rows of each arm."""
    metrics: dict[str, Metric] = {}
    for metric in (spec.metric, *spec.secondary, *spec.guardrails):
        if metric.type in ("rating", "duration", "continuous"):
            metrics.setdefault(metric.name, metric)
    found = (_distribution(metric, observations) for metric in metrics.values())
    return tuple(each for each in found if each is not None)


def _distribution(metric: Metric, observations: Observations) -> Distribution | None:
    import numpy as np

    values = observations.values[metric.name]
    whole = ~np.isnan(values)
    values, unit = values[whole], observations.unit[whole]
    arm = observations.arm[unit]
    if not len(values):
        return None
    if metric.type == "rating":
        counted = {
            name: np.bincount(values[arm == index].astype(int), minlength=6)[1:] for index, name in _named(observations)
        }
        return Distribution(metric=metric.name, labels=("1", "2", "3", "4", "5"), shares=_shares(counted))
    edges = _edges(values, log=metric.type == "duration")
    scale = np.log if metric.type == "duration" else np.asarray
    low, high = scale(edges[0]), scale(edges[-1])
    inside = np.clip(scale(values), low, high)
    counted = {
        name: np.histogram(inside[arm == index], bins=len(edges) - 1, range=(float(low), float(high)))[0]
        for index, name in _named(observations)
    }
    quantiles = (
        {name: _quantiles(values[arm == index], unit[arm == index]) for index, name in _named(observations)}
        if metric.type == "duration"
        else {}
    )
    labels = tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges))
    bounds = tuple(float(f"{edge:.6g}") for edge in edges)
    return Distribution(metric=metric.name, labels=labels, edges=bounds, shares=_shares(counted), quantiles=quantiles)


def _named(observations: Observations) -> enumerate[str]:
    return enumerate(observations.arms)


def _edges(values: NDArray[np.float64], *, log: bool) -> NDArray[np.float64]:
    """Bins between the 0.5th and the 99.5th percentile, what lies outside in the first and the last; logarithmic ones of
    durations."""
    import numpy as np

    low, high = np.quantile(values, (0.005, 0.995))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.array([low, low * 1.01 if low > 0 else low + 1.0])
    return np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)


def _shares(counted: dict[str, NDArray[np.int64]]) -> dict[str, tuple[float, ...]]:
    return {
        name: tuple(round(float(count / max(counts.sum(), 1)), 6) for count in counts)
        for name, counts in counted.items()
    }


def _quantiles(values: NDArray[np.float64], unit: NDArray[np.int32]) -> dict[str, tuple[float, float, float]]:
    from ftops.stats.ratings import quantile_interval

    found = {name: quantile_interval(values, unit, q, 0.05) for name, q in QUANTILES.items()}
    return {name: each for name, each in found.items() if each is not None}
