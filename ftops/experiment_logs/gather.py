"""From the rows of all files to the rows that count: without duplicates, in the phase, in the arm of their unit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ftops.analysis.observations import Observations, RowCounts, Wanted
from ftops.assignment import assign_many
from ftops.errors import ChecksFailed, Diagnostic
from ftops.experiment_logs.columns import NAMED, SHOWN, Part
from ftops.experiment_logs.row import Rules
from ftops.values import Finding

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

DAY: Final = 86_400
MAX_ROWS: Final = 200_000_000
"""What fits into the memory of a large machine; a row takes about 60 bytes."""
MANY_ROWS: Final = 1_000
LARGE_SHARE: Final = 0.2
"""Of all rows from which a unit is pointed at, where there are over MANY_ROWS."""


@dataclass(slots=True)
class Gathered:
    """What was read so far."""

    rules: Rules
    wanted: Wanted
    several: bool = False
    """Whether a fault says in which file it is."""
    parts: list[Part] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    others: set[str] = field(default_factory=set)
    read: int = 0
    faulty: int = 0
    foreign: int = 0
    simulated: bool = False

    def add(self, path: str, first: int, part: Part) -> None:
        """Takes in the rows of a stretch of the file `path`; `first` is the number of its first row."""
        listed = list(part.faults)
        for each in (part, part.extra):
            if each is None:
                continue
            if each is part.extra:
                listed += each.faults
            self.read += each.read
            self.faulty += each.faulty
            self.foreign += each.foreign
            self.others |= each.others
            self.simulated |= each.simulated
            if len(each.arm):
                self.parts.append(each)
        for place, fault in sorted(listed, key=lambda each: each[0]):
            if len(self.faults) < SHOWN:
                detail = f"{path}: {fault.detail}" if self.several else fault.detail
                self.faults.append(Finding("log", first + place, fault.field, detail))
        if self.read > MAX_ROWS:
            raise ChecksFailed(Diagnostic(f"more than {MAX_ROWS:,} log rows", hint="read fewer files at once"))

    def observations(self) -> Observations:
        """The rows that count. Raises ChecksFailed where there are rows, but none of the experiment is sound."""
        self._check_any()
        rows = _Rows.of(self.parts, len(self.rules.fields))
        self.parts.clear()
        return _observations(self, rows)

    def _check_any(self) -> None:
        if not self.read or self.parts:
            return
        if self.foreign and not self.faulty:
            named = ", ".join(repr(each[:40]) for each in sorted(self.others)[:NAMED])
            raise ChecksFailed(
                Diagnostic(
                    f"no row is of the experiment {self.rules.experiment!r}",
                    f"the {self.foreign:,} rows are of {named}",
                    "check the path of the logs, and what the application writes as `experiment`",
                )
            )
        told = [
            f"row {each.row}{', ' + each.field if each.field else ''}: {each.detail}" for each in self.faults[:5]
        ]
        raise ChecksFailed(
            Diagnostic(
                f"none of the {self.read:,} rows is a sound row of the experiment {self.rules.experiment!r}",
                "\n".join(told),
                "see docs/reference/log-rows.md for what a row must be",
            )
        )


@dataclass(slots=True)
class _Rows:
    """Sound rows as columns; `unit` holds codes, `names` the name of each code."""

    id: tuple[NDArray[np.uint64], NDArray[np.uint64]]
    unit: NDArray[np.int32]
    order: NDArray[np.uint64]
    """Of each unit a number that tells it from the others, the same wherever it is read."""
    names: pa.Array
    arm: NDArray[np.int8]
    time: NDArray[np.int64]
    values: list[NDArray[np.float64]]

    @classmethod
    def of(cls, parts: list[Part], fields: int) -> _Rows:
        import numpy as np
        import pyarrow as pa

        if not parts:
            nothing = np.zeros(0, np.uint64)
            return cls(
                (nothing, nothing), np.zeros(0, np.int32), nothing, pa.array([], pa.large_string()),
                np.zeros(0, np.int8), np.zeros(0, np.int64), [np.zeros(0) for _ in range(fields)],
            )  # fmt: skip
        ids = tuple(np.concatenate([part.ids[half] for part in parts]) for half in (0, 1))
        unit, first = _codes(*(np.concatenate([part.unit_hashes[half] for part in parts]) for half in (0, 1)))
        order = np.concatenate([part.unit_hashes[0] for part in parts])[first]
        return cls(
            (ids[0], ids[1]),
            unit,
            order,
            _names(parts, first),
            np.concatenate([part.arm for part in parts]),
            np.concatenate([part.time for part in parts]),
            [np.concatenate([part.values[place] for part in parts]) for place in range(fields)],
        )


def _codes(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The code of each row's unit, in the order of the hashes, and the first row of each code."""
    import numpy as np

    order, same = _sorted(one)
    if not (one[order[1:]][same] == one[order[:-1]][same]).all() or not (
        other[order[1:]][same] == other[order[:-1]][same]
    ).all():
        order = np.lexsort((other, one))
        same = (one[order[1:]] == one[order[:-1]]) & (other[order[1:]] == other[order[:-1]])
    new = np.concatenate(([True], ~same))
    codes = np.empty(len(one), np.int32)
    codes[order] = np.cumsum(new, dtype=np.int32) - 1
    return codes, order[new]


def _sorted(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The order of `keys` by their upper bits, and which of them has those of the one before.

    The row's place takes the lower bits: sorting numbers is several times as fast as sorting places by numbers.
    """
    import numpy as np

    bits = np.uint64(len(keys).bit_length())
    low = np.uint64((1 << int(bits)) - 1)
    packed = (keys & ~low) | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    order = (packed & low).astype(np.int64)
    packed >>= bits
    return order, packed[1:] == packed[:-1]


def _names(parts: list[Part], rows: NDArray[np.int64]) -> pa.Array:
    """The units of `rows`, which count over all parts."""
    import numpy as np
    import pyarrow as pa

    bounds = np.cumsum([0, *(len(part.units) for part in parts)])
    inside = np.searchsorted(bounds, rows, side="right") - 1
    order = np.argsort(inside, kind="stable")
    taken = [
        parts[part].units.take(pa.array(rows[order[begin:end]] - bounds[part])).cast(pa.large_string())
        for part, begin, end in zip(
            range(len(parts)),
            np.searchsorted(inside[order], np.arange(len(parts)), side="left"),
            np.searchsorted(inside[order], np.arange(len(parts)), side="right"),
            strict=True,
        )
    ]
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_arrays(taken).take(pa.array(back))


# ------------------------------------------------------------------------------------------------- what counts


def _observations(gathered: Gathered, rows: _Rows) -> Observations:
    import numpy as np

    wanted = gathered.wanted
    counts = {"read": gathered.read, "faulty": gathered.faulty, "foreign": gathered.foreign}
    keep, counts["duplicates"], counts["conflicting"] = _first_of_each(rows)
    moments = rows.time[keep]
    early = moments < (-math.inf if wanted.since is None else round(wanted.since * 1e6))
    late = moments >= (math.inf if wanted.until is None else round(wanted.until * 1e6))
    counts["early"], counts["late"] = int(early.sum()), int((late & ~early).sum())
    within = ~(early | late)
    if not within.all():
        keep = keep[within]
    owed = assign_many(wanted.allocation, rows.names)
    wrong = rows.arm[keep] != owed[rows.unit[keep]]
    counts["misassigned"] = int(wrong.sum())
    misassigned_units = len(np.unique(rows.unit[keep[wrong]]))
    if wrong.any():
        keep = keep[~wrong]
    counts["kept"] = len(keep)
    unit, arm = _only_seen(rows.unit[keep], owed)
    moments = rows.time[keep]
    return Observations(
        wanted.allocation.arms,
        unit,
        arm,
        np.floor_divide(moments, DAY * 1_000_000).astype(np.int32),
        {name: column[keep] for name, column in zip(gathered.rules.fields, rows.values, strict=True)},
        RowCounts(**counts),
        gathered.digest,
        tuple(gathered.faults),
        (*gathered.notes, *_notes(unit, moments)),
        gathered.simulated,
        int(moments.min()) / 1e6 if len(moments) else None,
        int(moments.max()) / 1e6 if len(moments) else None,
        misassigned_units,
        gathered.sources,
    )


def _first_of_each(rows: _Rows) -> tuple[NDArray[np.int64], int, int]:
    """One row of each id, in the order of the ids' hashes; how many others there are, and how many of those differ.

    Of equal ids the row is taken that comes first by time and then by what it says, whatever order they were read in.
    """
    import numpy as np

    order, same = _sorted(rows.id[0])
    if not same.any():
        return order, 0, 0
    # Few rows as a rule: those whose hash begins like that of another.
    doubtful = np.flatnonzero(np.concatenate((same, [False])) | np.concatenate(([False], same)))
    at = order[doubtful]
    content = [rows.time[at], rows.order[rows.unit[at]], rows.arm[at], *(column[at] for column in rows.values)]
    ids = rows.id[0][at], rows.id[1][at]
    by = np.lexsort((*reversed(content), ids[1], ids[0]))
    again = np.zeros(len(at), np.bool_)
    again[1:] = (ids[0][by][1:] == ids[0][by][:-1]) & (ids[1][by][1:] == ids[1][by][:-1])
    kept = np.maximum.accumulate(np.where(again, 0, np.arange(len(at))))
    differs = np.zeros(len(at), np.bool_)
    for column in content:
        ordered = column[by]
        equal = ordered == ordered[kept]
        if ordered.dtype.kind == "f":
            equal |= np.isnan(ordered) & np.isnan(ordered[kept])
        differs |= ~equal
    order[doubtful] = at[by]
    drop = np.zeros(len(order), np.bool_)
    drop[doubtful] = again
    return order[~drop], int(again.sum()), int(differs.sum())


def _only_seen(unit: NDArray[np.int32], arm: NDArray[np.int8]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """The codes and arms of the units that have a row."""
    import numpy as np

    seen = np.zeros(len(arm), np.bool_)
    seen[unit] = True
    if seen.all():
        return unit, arm
    codes = np.cumsum(seen, dtype=np.int32) - 1
    return codes[unit], arm[seen]


def _notes(unit: NDArray[np.int32], moments: NDArray[np.int64]) -> list[str]:
    import numpy as np

    notes = []
    ahead = int((moments > (time.time() + DAY) * 1e6).sum())
    if ahead:
        notes.append(f"{ahead:,} rows are dated more than a day ahead: a clock is wrong")
    if len(unit) > MANY_ROWS:
        share = int(np.bincount(unit).max()) / len(unit)
        if share > LARGE_SHARE:
            notes.append(f"one unit has {share:.0%} of all rows: it may be no person")
    return notes
