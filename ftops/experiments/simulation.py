"""Rows of an experiment as they might come, made from a seed: to try a design out, and to show what a verdict can do.

Units arrive one after the other and come back more or less often. Each has a level of its own, how content it is in
general, and each of its rows a satisfaction around it; what a row says follows from that. The same seed gives the same
units and the same rows whatever else is asked for, so that two situations differ in just what differs between them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ftops.digests import Json
from ftops.experiments.analysis.outcomes import Sums
from ftops.experiments.assignment import assign_many
from ftops.experiments.metric_types import METRIC_TYPES
from ftops.experiments.metric_types.simulated_field import SimulatedField, decimals
from ftops.experiments.spec.experiment import Experiment, ExperimentSpec
from ftops.experiments.spec.metric import Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALIKE: Final = 0.3
"""How much of the variance of satisfaction is between units: the correlation of two rows of one unit."""
MORE_ROWS: Final = 2.5
"""Rows of a unit of usual activity beyond its first one."""
ACTIVITY: Final = 0.8
"""The standard deviation of the logarithm of activity: one unit of a hundred is six times as active as a usual one."""
BEFORE: Final = 0.8
"""The correlation of the covariate with the level of its unit."""
MOST: Final = 10_000_000
"""Units: their rows still fit into the memory of a usual machine."""
LONGEST: Final = 36_500
"""Days."""
CROWD: Final = 20_000
"""Units of the population in which the size of an effect is measured."""
FARTHEST: Final = 6.0
"""A larger move of satisfaction is not tried: everybody is as content as can be long before."""
BLOCK: Final = 10_000
"""Rows that are made into Python values at once."""

RESERVED: Final = frozenset(
    ("id", "experiment", "unit", "arm", "time", "query", "response", "feedback", "simulated"),
)


@dataclass(frozen=True, slots=True)
class Situation:
    """What happens in an experiment.

    `units` come in all, over `days` from `start` on (RFC 3339). `effect` is by how many standard deviations the units'
    figures of the primary metric are better in every arm but the baseline. `rated` is the share of rows with a rating; in
    the arms that are not the baseline a row of one or two stars is rated `unhappy` times as often, a share `lost` of the
    units leaves no rows, and durations other than the primary metric (`response_time_ms` in any case) are `slower`
    times as long. Raises ValueError for what cannot be.
    """

    units: int = 2000
    days: int = 14
    start: str = "2026-01-05T00:00:00Z"
    seed: int = 1
    effect: float = 0.2
    rated: float = 0.6
    unhappy: float = 1.0
    lost: float = 0.0
    slower: float = 1.0

    def __post_init__(self) -> None:
        if not (1 <= self.units <= MOST and 1 <= self.days <= LONGEST and self.seed >= 0):
            raise ValueError(f"units must be from 1 to {MOST:,}, days from 1 to {LONGEST:,}, and the seed at least 0")
        if not (0 <= self.rated <= 1 and 0 <= self.lost < 1):
            raise ValueError("rated must be from 0 to 1, and lost from 0 to less than 1")
        if not (0 < self.unhappy < math.inf and 0 < self.slower < math.inf and math.isfinite(self.effect)):
            raise ValueError("unhappy and slower must be above 0, and all of them numbers")
        if datetime.fromisoformat(self.start).tzinfo is None:
            raise ValueError(f"expected a time with its zone, such as 2026-01-05T00:00:00Z, found {self.start}")


def simulate(experiment: Experiment, situation: Situation) -> Iterator[dict[str, Json]]:
    """The rows that the units which take part leave, in the order of their times, as documented for logs; each says that
    it is simulated. Raises ValueError where the effect can't be had, or a metric has the name of another column.
    """
    fields = _fields(experiment.spec)
    shift = _shift(experiment.spec.metric, fields, situation)
    return _rows(experiment, situation, fields, shift)


# ---------------------------------------------------------------------------------------------------- fields


def _fields(spec: ExperimentSpec) -> dict[str, SimulatedField]:
    """Every figure of a row by its name. What several metrics read is made for the first of them."""
    fields: dict[str, SimulatedField] = {}
    for metric in spec.metrics:
        for each in metric.metric_type.simulated(metric.fields, 1 if metric.direction == "increase" else -1):
            fields.setdefault(each.name, each)
    for name, each in _well_known().items():
        fields.setdefault(name, each)
    for name in fields:
        if name in RESERVED or name == spec.covariate:
            raise ValueError(f"a metric is read from {name!r}, which is another column of a log row")
    return fields


def _well_known() -> dict[str, SimulatedField]:
    """The fields that the rows of every experiment have."""
    return {
        name: each
        for metric_type in METRIC_TYPES.values()
        for name, sign in metric_type.well_known.items()
        for each in metric_type.simulated((name,), sign)
    }


# ---------------------------------------------------------------------------------------------------- people


@dataclass(frozen=True, slots=True)
class _People:
    """Units in the order of their arrival (a part of the time), and their rows: whose each is, and how it answers.

    `whose` gives for each row the index of its unit; `chance` decides for a row whether it is rated.
    """

    seed: int
    arrival: Floats
    level: Floats
    whose: NDArray[np.int64]
    chance: Floats = field(repr=False)

    @classmethod
    def of(cls, units: int, seed: int) -> _People:
        import numpy as np

        draw = _stream(seed, "people")
        arrival = np.sort(draw.random(units))
        activity = np.exp(ACTIVITY * draw.standard_normal(units))
        rows = 1 + np.floor(-MORE_ROWS * activity * np.log1p(-draw.random(units))).astype(np.int64)
        whose = np.repeat(np.arange(units), rows)
        return cls(seed, arrival, draw.standard_normal(units), whose, _stream(seed, "rated").random(len(whose)))

    def earlier(self) -> Floats:
        """A figure of each unit from before the experiment."""
        noise = _stream(self.seed, "covariate").standard_normal(len(self.level))
        return 10 + 2 * (BEFORE * self.level + math.sqrt(1 - BEFORE**2) * noise)

    def columns(self, fields: Mapping[str, SimulatedField], moved: Mapping[str, Floats | float]) -> dict[str, Floats]:
        """The values of every field, where satisfaction with some of them is `moved`."""
        columns: dict[str, Floats] = {}
        for each in fields.values():  # a whole stands before its part
            draw = _stream(self.seed, f"field {each.name}")
            around = math.sqrt(1 - ALIKE) * draw.standard_normal(len(self.whose))
            satisfaction = math.sqrt(ALIKE) * self.level[self.whose] + around + moved.get(each.name, 0.0)
            columns[each.name] = each.draw(each.sign * satisfaction, columns, draw.random(len(self.whose)))
        return columns


def _stream(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose: what is drawn for another one does not change them."""
    from numpy.random import PCG64, Generator

    return Generator(PCG64([seed, zlib.crc32(purpose.encode())]))


# ---------------------------------------------------------------------------------------------------- effect


def _moved_field(metric: Metric) -> str:
    """The field that an effect on the metric acts on."""
    return metric.fields[0]


def _shift(metric: Metric, fields: Mapping[str, SimulatedField], situation: Situation) -> float:
    """How far satisfaction must move for the effect that is asked for, found in a large population by bisection."""
    import numpy as np

    if situation.effect == 0:
        return 0.0
    crowd = _People.of(CROWD, 0)
    needed = {name: fields[name] for name in reversed(metric.fields)}
    sign = 1 if metric.direction == "increase" else -1

    def figures(shift: float) -> Floats:
        columns = crowd.columns(needed, {_moved_field(metric): shift})
        for name, each in needed.items():
            if each.bad is not None:
                columns[name][crowd.chance >= situation.rated] = np.nan
        sums = Sums.empty(metric, CROWD)
        sums.add(crowd.whose, tuple(columns[name] for name in metric.fields))
        return metric.metric_type.linear(sums.outcomes(np.zeros(CROWD, np.int8)).of(0))

    before = figures(0.0)
    if len(before) < 2 or not before.var():
        raise ValueError(f"{metric.name} would be the same everywhere: no effect on it can be had")

    def reached(shift: float) -> float:
        after = figures(shift)
        return float(sign * (after.mean() - before.mean()) / math.sqrt((before.var() + after.var()) / 2))

    low, high = sorted((0.0, math.copysign(FARTHEST, situation.effect)))
    if not reached(low) <= situation.effect <= reached(high):
        raise ValueError(
            f"an effect of {situation.effect:g} standard deviations on {metric.name} is more than can be had"
        )
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < situation.effect else (low, middle)
    return (low + high) / 2


# ------------------------------------------------------------------------------------------------------ rows


def _rows(
    experiment: Experiment, situation: Situation, fields: Mapping[str, SimulatedField], shift: float
) -> Iterator[dict[str, Json]]:
    import numpy as np

    spec, people = experiment.spec, _People.of(situation.units, situation.seed)
    prefix = f"{spec.unit.removesuffix('_id')}-{situation.seed}"
    names = [f"{prefix}-{number:06}" for number in range(1, situation.units + 1)]
    allocation = experiment.allocation
    arm = assign_many(allocation, names)
    treated = (arm >= 0) & (arm != allocation.arms.index(spec.baseline))
    lost = treated & (_stream(situation.seed, "lost").random(situation.units) < situation.lost)
    columns = people.columns(fields, {_moved_field(spec.metric): shift * treated[people.whose]})
    for each in fields.values():
        columns[each.name] = _logged(each, columns[each.name], spec, situation, people, treated[people.whose])
    if spec.covariate is not None:
        columns[spec.covariate] = people.earlier()[people.whose]
    times = _times(people, situation)
    order = np.argsort(times, kind="stable")
    order = order[((arm >= 0) & ~lost)[people.whose[order]]]
    plainly = {name: each.plain for name, each in fields.items()}
    for first in range(0, len(order), BLOCK):
        block = order[first : first + BLOCK]
        moments = np.datetime_as_string(times[block].astype("datetime64[ms]"), unit="ms", timezone="UTC").tolist()
        plain = [plainly.get(name, decimals)(values[block]) for name, values in columns.items()]
        rows = zip(people.whose[block].tolist(), moments, *plain, strict=True)
        for number, (unit, moment, *figures) in enumerate(rows, first + 1):
            yield {
                "id": f"{experiment.metadata.name}-{situation.seed}-{number:07}",
                "experiment": experiment.metadata.name,
                "unit": names[unit],
                "arm": allocation.arms[arm[unit]],
                "time": moment,
                **dict(zip(columns, figures, strict=True)),
                "simulated": True,
            }


def _logged(
    each: SimulatedField,
    values: Floats,
    spec: ExperimentSpec,
    situation: Situation,
    people: _People,
    treated: NDArray[np.bool_],
) -> Floats:
    """The values of a field that come into the log: ratings that are given, times as they are measured."""
    import numpy as np

    usual = _well_known().get(each.name)  # whatever a spec takes it for
    if (usual is not None and usual.slowed) or (each.slowed and each.name != spec.metric.name):
        values = np.where(treated, situation.slower * values, values)
    if each.bad is None:
        return values
    often = np.where(treated & each.bad(values), situation.unhappy, 1.0) * situation.rated
    return np.where(people.chance < often, values, np.nan)


def _times(people: _People, situation: Situation) -> NDArray[np.int64]:
    """Milliseconds since 1970 of each row: a unit's first one when it arrives, the others rather soon after."""
    import numpy as np

    arrival = people.arrival[people.whose]
    later = _stream(situation.seed, "times").random(len(arrival)) ** 2
    later[np.flatnonzero(np.diff(people.whose, prepend=-1))] = 0.0
    start = datetime.fromisoformat(situation.start).timestamp() * 1000
    return (start + (arrival + (1 - arrival) * later) * situation.days * 86_400_000).astype(np.int64)
