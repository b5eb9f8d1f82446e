"""What the pictures of a report are drawn from: how an experiment stood at the end of each day, and how values spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ftops.analysis.compare import Pair, measure
from ftops.analysis.look import Day, Distribution
from ftops.analysis.outcomes import Outcomes, Sums, adjusted, columns_of, covariate
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


def days(spec: ExperimentSpec, observations: Observations, looking: Looking) -> tuple[tuple[Day, ...], Sums]:
    """How the primary metric stood at the end of each day, with the boundary that a look on that day would have had; and
    its sums at the end."""
    import numpy as np

    sums = Sums.empty(spec.metric, observations.units)
    if not len(observations.day):
        return (), sums
    first = int(observations.day.min())
    since = observations.day - first
    # Sorting 16 bits is linear; longer experiments than that have steps of days anyway.
    order = np.argsort(since.astype(np.int16) if since.max() < 2**15 else since, kind="stable")
    until = np.bincount(since).cumsum()
    unit = observations.unit[order]
    columns = tuple(column[order] for column in columns_of(spec.metric, observations))
    exposed = _exposed(observations, unit, since[order], len(until))
    before = covariate(spec.covariate, observations)
    found, start = [], 0
    for day in _ends(len(until) - 1):
        rows = slice(start, start := int(until[day]))
        sums.add(unit[rows], tuple(column[rows] for column in columns))
        outcomes, _ = adjusted(sums.outcomes(observations.arm), before)
        effects = _effects(spec, observations.arms, outcomes, looking)
        seen = dict(zip(observations.arms, exposed[:, day].tolist(), strict=True))
        found.append(Day(day=str(_EPOCH + timedelta(days=first + day)), exposed=seen, effects=effects))
    return tuple(found), sums


def _exposed(
    observations: Observations, unit: NDArray[np.int32], since: NDArray[np.int32], days: int
) -> NDArray[np.int64]:
    """How many units each arm had seen at the end of each day (arms by days), of rows in the order of their days."""
    import numpy as np

    came = np.empty(observations.units, np.int64)
    came[unit[::-1]] = since[::-1]  # what is written last stays: the first day
    arms = len(observations.arms)
    return (
        np.bincount(observations.arm.astype(np.int64) * days + came, minlength=arms * days)
        .reshape(arms, days)
        .cumsum(axis=1)
    )


def _ends(last: int) -> Sequence[int]:
    """The days, from 0 on, at whose end it is looked: the last one, and back from it in equal steps."""
    return range(last, -1, -(last // MOST_DAYS + 1))[::-1]


def _effects(
    spec: ExperimentSpec, names: tuple[str, ...], outcomes: Outcomes, looking: Looking
) -> dict[str, tuple[float, float] | None]:
    """For each other arm its effect so far and the boundary; None where there is too little to test."""
    import numpy as np

    units = dict(zip(names, np.bincount(outcomes.arm, minlength=len(names)).tolist(), strict=True))
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
    all_there = bool(whole.all())
    unit = observations.unit if all_there else observations.unit[whole]
    values = values if all_there else values[whole]
    if not len(values):
        return None
    arm = observations.arm[unit]
    if metric.type == "rating":
        shares = _shares(observations, arm, values.astype(np.int16) - 1, 5)
        return Distribution(metric=metric.name, labels=("1", "2", "3", "4", "5"), shares=shares)
    log = metric.type == "duration"
    edges = _edges(values, log=log)
    bins = len(edges) - 1
    low, high = (np.log(edges[[0, -1]]) if log else edges[[0, -1]]).tolist()
    place = np.log(values) if log else values.copy()
    place -= low
    place *= bins / (high - low)
    np.clip(place, 0, bins - 1, out=place)
    quantiles = {}
    if log:
        quantiles = {
            name: _quantiles(values[mine], unit[mine])
            for index, name in enumerate(observations.arms)
            for mine in [arm == index]
        }
    return Distribution(
        metric=metric.name,
        labels=tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)),
        edges=tuple(float(f"{edge:.6g}") for edge in edges),
        shares=_shares(observations, arm, place.astype(np.int16), bins),
        quantiles=quantiles,
    )


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


def _quantiles(values: NDArray[np.float64], unit: NDArray[np.int32]) -> dict[str, tuple[float, float, float]]:
    from ftops.stats.ratings import quantile_intervals

    found = quantile_intervals(values, unit, tuple(QUANTILES.values()), 0.05)
    return {} if found is None else dict(zip(QUANTILES, found, strict=True))
