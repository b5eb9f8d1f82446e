"""What one look at an experiment's data found: the value that a record keeps and a report shows.

Undefined figures are None. Times are RFC 3339 in UTC, days ISO dates.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftops.resources.fields import Strict

Interval = tuple[float, float]
Verdict = Literal["winner", "no-difference", "inconclusive", "invalid"]


class ArmFigures(Strict):
    """The primary metric in one arm: `units` have an outcome of it, `exposed` units were seen at all.

    Of a duration the mean is the geometric one, and the variance that of the logarithms; of a ratio the mean is the
    ratio of the sums, and the variance that of a unit's part in it (linearised).
    """

    exposed: int
    units: int
    rows: int
    mean: float | None = None
    variance: float | None = None
    ci: Interval | None = None


class Comparison(Strict):
    """An arm against the baseline in one metric.

    `effect` is the difference of the means; of a duration the ratio of the geometric means. `ci` is the interval at
    `level`, the error that this look may make: so `ci` holds no effect just when `p_value` is at least `level`.
    `standardized` is the difference in pooled standard deviations (of a duration: of the logarithms).
    `power` is that of finding the smallest effect that matters with as many units as there are now.
    """

    arm: str
    baseline: str
    metric: str
    role: Literal["primary", "secondary", "guardrail"]
    test: str
    effect: float | None = None
    ci: Interval | None = None
    relative_effect: float | None = None
    relative_ci: Interval | None = None
    standardized: float | None = None
    p_value: float | None = None
    level: float
    p_adjusted: float | None = None
    """Of secondary metrics: by Holm, over all arms and secondary metrics."""
    outcome: Literal["better", "worse", "open"] = "open"
    """Shown to be better or worse than the baseline, at the level; or neither."""
    guardrail: Literal["kept", "open", "broken"] | None = None
    """kept: shown to be no worse than the margin; broken: worse than the margin, and shown to be worse at all."""
    margin: float | None = None
    worst: float | None = None
    """Of a guardrail: how much worse it may be at most, by its one-sided interval, as a share of the baseline's mean."""
    power: float | None = None
    rank_p_value: float | None = None
    """Of a rating: by the rank test (Mann-Whitney) on the units' means."""
    variance_reduction: float | None = None
    """Of the primary metric with a covariate: the share of the variance that CUPED took away."""
    chance_better: float | None = None
    """For information only: the chance that the arm is better, by a flat prior. Nothing is decided by it."""
    expected_loss: float | None = None
    """For information only: how much would be lost on average by taking this arm, by a flat prior."""


class Split(Strict):
    """Whether the units came in the arms as the weights say (sample-ratio mismatch), by chi-square."""

    units: dict[str, int]
    expected: dict[str, float]
    p_value: float | None = None


class Response(Strict):
    """Whether the arms have values of the primary metric for the same share of their rows: who does not answer is seldom
    like who does. By the ratio of rows with a value, clustered by unit; the smallest p-value of all arms."""

    rates: dict[str, float | None]
    p_value: float | None = None


class Distribution(Strict):
    """The values of a metric in each arm: shares of `bins`, by rows. A bin is [edges[i], edges[i + 1]), the last one closed;
    `labels` name them. `quantiles` of durations: for each arm the value at p50, p90, p95 and its interval."""

    metric: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    shares: dict[str, tuple[float, ...]]
    quantiles: dict[str, dict[str, tuple[float, float, float]]] = Field(default_factory=dict)


class Day(Strict):
    """How it stood at the end of a day: units seen so far by arm, and for each other arm the effect (a difference; of a
    duration the logarithm of the ratio) with `boundary`, how far from 0 it must be for this rule to call it an effect."""

    day: str
    exposed: dict[str, int]
    effects: dict[str, tuple[float, float] | None]


class Rows(Strict):
    """How many rows were read, and what became of them: `read` is the sum of the others but for `conflicting`."""

    read: int = 0
    kept: int = 0
    faulty: int = 0
    """Not a row as documented."""
    duplicates: int = 0
    """The same id again; one of them is kept, the same one in whatever order the rows stand."""
    conflicting: int = 0
    """Of the duplicates: those that say something else than the row that was kept."""
    foreign: int = 0
    """Of another experiment."""
    early: int = 0
    """From before this phase."""
    late: int = 0
    """From after the end."""
    misassigned: int = 0
    """In an arm that the hash does not give to the unit, or of a unit that takes no part."""


class InterimResult(Strict):
    """One look at the data of one phase.

    `fraction` is the part of the target that was reached, by the arm that is furthest behind. `decided` says that the
    stopping rule allows a verdict at this look; `decided_at` which look of the phase it was that decided.
    """

    number: int
    taken_at: str | None = None
    data_digest: str
    simulated: bool = False
    first: str | None = None
    last: str | None = None
    fraction: float
    rows: Rows
    arms: dict[str, ArmFigures]
    comparisons: tuple[Comparison, ...]
    srm: Split
    response: Response
    distributions: tuple[Distribution, ...] = ()
    days: tuple[Day, ...] = ()
    verdict: Verdict
    winner: str | None = None
    decided_at: int | None = None
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    software: dict[str, str] = Field(default_factory=dict)
