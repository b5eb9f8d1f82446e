"""What the logs of an experiment say, as columns: the rows of one phase, sound, without duplicates, audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ftops.datasets.finding import Finding
from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.assignment import Allocation
from ftops.experiments.metric_types.values import NUMBERS, Values
from ftops.experiments.spec.experiment import Experiment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to read: those of `experiment` from `since` until before `until` (unix seconds; None: no bound), with
    these fields, in an arm that `allocation` gives to their unit."""

    experiment: str
    allocation: Allocation
    fields: Mapping[str, Values]
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Observations:
    """The rows that count, in any order.

    `unit` gives for each row the index of its unit, `day` its day (since 1970-01-01, UTC), `values` for each field its
    value (NaN where the row has none). `arm` gives for each unit the index of its arm in `arms`.
    `faults` are the first faulty rows, with no text of a row in them. `digest` is the sha256 of what was read, the same
    for the same files whatever their names; `first` and `last` are the times of the rows that count (unix seconds).
    """

    arms: tuple[str, ...]
    unit: NDArray[np.int32]
    arm: NDArray[np.int8]
    day: NDArray[np.int32]
    values: Mapping[str, NDArray[np.float64]]
    rows: Rows
    digest: str
    faults: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    simulated: bool = False
    first: float | None = None
    last: float | None = None
    misassigned_units: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def units(self) -> int:
        return len(self.arm)


def wanted(experiment: Experiment, since: float | None = None, until: float | None = None) -> Wanted:
    """The rows that an experiment is decided by: from its period, and from `since` until before `until` within it."""
    spec = experiment.spec
    fields = {field: metric.metric_type.values for metric in spec.metrics for field in metric.fields}
    if spec.covariate is not None:
        fields.setdefault(spec.covariate, NUMBERS)
    start, end = seconds(spec.period.start), seconds(spec.period.end)
    return Wanted(
        experiment.metadata.name,
        experiment.allocation,
        fields,
        since=max((each for each in (since, start) if each is not None), default=None),
        until=min((each for each in (until, end) if each is not None), default=None),
    )


def seconds(moment: str | None) -> float | None:
    """A time in RFC 3339 as unix seconds."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
