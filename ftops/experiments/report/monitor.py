"""How an experiment goes while it runs: units, rates, times, and when it will be done; never which arm leads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ftops.digests import Json
from ftops.display.figure import Table
from ftops.display.numbers import NONE, counted, number, percent
from ftops.display.table import table_lines
from ftops.display.text import clean
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.report.chart_data import arms_of
from ftops.experiments.report.figures import data_checks
from ftops.experiments.spec.experiment import ExperimentSpec
from ftops.plan.address import FORMAT_VERSION
from ftops.plan.json import as_json

BLIND: Final = (
    "Which arm leads is not shown: to know it is a look, and every look makes a false alarm more likely.\n"
    "`ftops experiment analyze` takes one, with what the stopping rule asks for."
)
_SECONDS_A_DAY: Final = 86_400


def monitor_text(name: str, spec: ExperimentSpec, look: InterimResult) -> str:
    """What `monitor_json` says, for people."""
    simulated = " (simulated data)" if look.simulated else ""
    seen = sum(each.exposed for each in look.arms.values())
    part = f"{percent(look.fraction, 0)} of the target of {spec.design.target_samples:,} units an arm"
    lines = [f"{name}{simulated}: {counted(seen, 'unit')}, {part}", f"  {_pace(look)}", ""]
    lines += [*table_lines(_arms(spec, look)), ""]
    lines += [f"  {each.mark} {each.text}" for each in data_checks(look)]
    return "\n".join([*(clean(line) for line in lines), "", BLIND])


def monitor_json(name: str, spec: ExperimentSpec, look: InterimResult) -> str:
    """Units, rates and times of each arm, the tests of the data, and how far the target is; undefined figures are null.

    `targetReachedOn` is the day on which the arm that is furthest behind has its units, if they go on coming as so far.
    """
    reached, traffic = _reached(look), _traffic(look)
    document = {
        "formatVersion": FORMAT_VERSION,
        "experiment": name,
        "simulated": look.simulated,
        "first": look.first,
        "last": look.last,
        "targetSamples": spec.design.target_samples,
        "fraction": look.fraction,
        "newUnitsADay": None if traffic is None else round(traffic, 1),
        "targetReachedOn": None if reached is None else reached.date().isoformat(),
        "arms": {arm: _arm(spec, look, arm) for arm in arms_of(look)},
        "srm": {"pValue": look.srm.p_value},
        "response": {"pValue": look.response.p_value},
        "rows": look.rows.model_dump(),
    }
    return as_json(document)


def _arm(spec: ExperimentSpec, look: InterimResult, arm: str) -> Json:
    figures = look.arms[arm]
    return {
        "units": figures.exposed,
        "withValue": figures.units,
        "rows": figures.rows,
        "responseRate": look.response.rates.get(arm),
        "times": {
            metric: {quantile: value for quantile, (value, _, _) in quantiles.items()}
            for metric, quantiles in _times(spec, look, arm).items()
        },
    }


def _times(spec: ExperimentSpec, look: InterimResult, arm: str) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Quantiles of durations by metric; not of one that decides, as they would say who leads."""
    return {
        each.metric: each.quantiles[arm]
        for each in look.distributions
        if each.metric != spec.metric.name and arm in each.quantiles
    }


def _arms(spec: ExperimentSpec, look: InterimResult) -> Table:
    arms = arms_of(look)
    times = {arm: _times(spec, look, arm) for arm in arms}
    columns = sorted({(metric, quantile) for arm in arms for metric, found in times[arm].items() for quantile in found})
    rows = []
    for arm in arms:
        figures = look.arms[arm]
        quantiles = [times[arm].get(metric, {}).get(quantile) for metric, quantile in columns]
        counts = (f"{figures.exposed:,}", f"{figures.units:,}", f"{figures.rows:,}")
        answered = percent(look.response.rates.get(arm))
        rows.append((arm, *counts, answered, *(NONE if each is None else number(each[0]) for each in quantiles)))
    headings = ("arm", "units", "with a value", "rows", f"rows with {spec.metric.name}")
    titles = tuple(f"{metric} {quantile}" for metric, quantile in columns)
    return Table((*headings, *titles), tuple(rows), frozenset(range(1, len(headings) + len(titles))))


def _span(look: InterimResult) -> tuple[datetime, float] | None:
    """The last moment, and the days since the first one; None where all rows are of one moment."""
    if look.first is None or look.last is None:
        return None
    first, last = datetime.fromisoformat(look.first), datetime.fromisoformat(look.last)
    days = (last - first).total_seconds() / _SECONDS_A_DAY
    return (last, days) if days > 0 else None


def _traffic(look: InterimResult) -> float | None:
    span = _span(look)
    return None if span is None else sum(each.exposed for each in look.arms.values()) / span[1]


def _reached(look: InterimResult) -> datetime | None:
    """When the target is reached if it goes on as so far; None when it is, and where there is nothing to tell it by."""
    span = _span(look)
    if span is None or not 0 < look.fraction < 1:
        return None
    last, days = span
    try:
        return last + timedelta(days=days * (1 - look.fraction) / look.fraction)
    except OverflowError:  # in thousands of years
        return None


def _pace(look: InterimResult) -> str:
    span, traffic, reached = _span(look), _traffic(look), _reached(look)
    if span is None or traffic is None:
        return "no rows yet" if look.first is None else f"all rows are of {look.first}"
    so_far = f"from {look.first} to {look.last}, {number(traffic, 3)} new units a day"
    if look.fraction >= 1:
        return f"{so_far}; the target is reached"
    return f"{so_far}; at this rate the target is reached on {reached.date()}" if reached else so_far
