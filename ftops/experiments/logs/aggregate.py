"""Which of the sound rows count: one of each id, in the phase, in the arm of their unit. All at once, by columns."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.analysis.observations import Wanted
from ftops.experiments.assignment import Allocation, assign_many
from ftops.experiments.logs.columns import Part
from ftops.experiments.logs.row_schema import Rules

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bits = NDArray[np.uint64]
    Mask = NDArray[np.bool_]
    Places = NDArray[np.int64]

DAY: Final = 86_400 * 10**6
"""Microseconds."""
_STRETCH: Final = 1 << 20
MANY_ROWS: Final = 1_000
LARGE_SHARE: Final = 0.2
"""Of all rows, from which a unit is pointed at where there are over MANY_ROWS."""


@dataclass(slots=True)
class Counted:
    """The rows that count, in the order in which they were read, as `Observations` has them."""

    unit: NDArray[np.int32]
    arm: NDArray[np.int8]
    day: NDArray[np.int32]
    values: dict[str, NDArray[np.float64]]
    rows: Rows
    first: float | None
    last: float | None
    misassigned_units: int
    notes: list[str]


@dataclass(slots=True)
class _All:
    """What is known of all rows, in the order they were read, before it is decided which of them count.

    `owed` is the arm of each unit by the hash.
    """

    keep: Mask
    times: Places
    day: NDArray[np.int32]
    duplicates: int
    conflicting: int
    unit: NDArray[np.int32]
    owed: NDArray[np.int8]


def count(parts: list[Part], wanted: Wanted, rules: Rules) -> Counted:
    """What counts of `parts`. Takes their columns from them, one after the other, because all of them are large."""
    import numpy as np

    if not parts:
        none = np.zeros(0, np.int32)
        return Counted(none, none.astype(np.int8), none, {name: none.astype(float) for name in rules.fields},
                       Rows(), None, None, 0, [])  # fmt: skip
    rows = _identified(parts, wanted.allocation)
    keep = rows.keep
    early, late = _outside(rows.times, wanted, keep)
    owed = rows.owed
    wrong = keep & (_whole([part.arm for part in parts]) != owed[rows.unit])
    misassigned = int(wrong.sum())
    if misassigned:
        keep &= ~wrong
    unit, arm = _only_seen(rows.unit, owed, keep)
    moments = rows.times if keep.all() else rows.times[keep]
    first, last = (int(moments.min()) / 1e6, int(moments.max()) / 1e6) if len(moments) else (None, None)
    ahead = int((moments > time.time() * 1e6 + DAY).sum())
    all_kept = len(moments) == len(keep)
    del moments, rows.times
    columns = [unit, rows.day, *(_whole([part.values[place] for part in parts]) for place in range(len(rules.fields)))]
    unit, day, *values = columns if all_kept else (column[keep] for column in columns)
    del columns
    parts.clear()
    return Counted(
        unit, arm, day, dict(zip(rules.fields, values, strict=True)),
        Rows(
            kept=len(day), duplicates=rows.duplicates, conflicting=rows.conflicting, early=early, late=late,
            misassigned=misassigned,
        ),
        first, last, len(np.unique(rows.unit[wrong])), _notes(unit, ahead),
    )  # fmt: skip


def _outside(times: Places, wanted: Wanted, keep: Mask) -> tuple[int, int]:
    """How many rows lie before and after what is wanted; they are taken out of `keep`."""
    early = late = 0
    if wanted.since is not None:
        before = keep & (times < round(wanted.since * 1e6))
        early = int(before.sum())
        keep &= ~before
    if wanted.until is not None:
        after = keep & (times >= round(wanted.until * 1e6))
        late = int(after.sum())
        keep &= ~after
    return early, late


def _dated(parts: list[Part]) -> tuple[Places, NDArray[np.int32]]:
    """The times of all rows, and their days."""
    import numpy as np

    times = _whole([part.time for part in parts])
    for part in parts:
        del part.time
    return times, np.floor_divide(times, DAY, out=np.empty(len(times), np.int32), casting="unsafe")


def _whole(pieces: list[Any]) -> Any:
    import numpy as np

    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


def _identified(parts: list[Part], allocation: Allocation) -> _All:
    import numpy as np

    # These need nothing of each other, and the longest begins.
    with ThreadPoolExecutor(2) as pool:
        coding = pool.submit(_codes, parts)
        sorting = pool.submit(_sorted, [part.ids[0] for part in parts])
        dating = pool.submit(_dated, parts)
        order, alike = sorting.result()
        times, day = dating.result()
        unit, first = coding.result()
    keep = np.ones(len(order), np.bool_)
    doubtful = np.flatnonzero(alike | np.append(alike[1:], False))
    at = order[doubtful]
    by, again, conflicting = _repeated(parts, times, at)
    keep[at[by[again]]] = False
    owed = _owed(parts, first, allocation)
    for part in parts:
        del part.ids, part.unit_hashes, part.units
    return _All(keep, times, day, int(again.sum()), conflicting, unit, owed)


def _sorted(pieces: list[Bits]) -> tuple[Places, Mask]:
    """The order of the hashes by their upper bits, and which of them begin as the one before.

    The lower bits give way to the row's place: sorting numbers is several times as fast as sorting places by numbers.
    """
    import numpy as np

    count = sum(map(len, pieces))
    bits = count.bit_length()
    low = np.uint64((1 << bits) - 1)
    packed = np.empty(count, np.uint64)
    start = 0
    for piece in pieces:
        end = start + len(piece)
        np.bitwise_and(piece, ~low, out=packed[start:end])
        packed[start:end] |= np.arange(start, end, dtype=np.uint64)
        start = end
    packed.sort()
    alike = np.zeros(count, np.bool_)
    for start in range(1, count, _STRETCH):  # without a copy of all of them
        piece = packed[start - 1 : start + _STRETCH] >> np.uint64(bits)
        alike[start : start + _STRETCH] = piece[1:] == piece[:-1]
    packed &= low
    return packed.view(np.int64), alike


def _codes(parts: list[Part]) -> tuple[NDArray[np.int32], Places]:
    """A number for each unit: of each row, and a row of each. The same units in another order get the same numbers."""
    import numpy as np

    order, same = _sorted([part.unit_hashes[0] for part in parts])
    codes = _numbered(order, same)
    first = order[~same]
    told = [_at([part.unit_hashes[half] for part in parts], first) for half in (0, 1)]
    shared = np.zeros(len(first), np.bool_)
    start = 0
    for part in parts:
        mine = codes[start : start + len(part.arm)]
        for hashes, own in zip(told, part.unit_hashes, strict=True):
            shared[mine[hashes[mine] != own]] = True
        start += len(part.arm)
    return _parted(parts, codes, first, shared) if shared.any() else (codes, first)


def _parted(
    parts: list[Part], codes: NDArray[np.int32], first: Places, shared: Mask
) -> tuple[NDArray[np.int32], Places]:
    """What `_codes` gives, where units share a number because their hashes begin alike: the first of them by its whole hash
    keeps it, and each other one gets a number of its own."""
    import numpy as np

    rows = np.flatnonzero(shared[codes])
    one, other = (_at([part.unit_hashes[half] for part in parts], rows) for half in (0, 1))
    by = np.lexsort((other, one, codes[rows]))
    rows, one, other = rows[by], one[by], other[by]
    code = codes[rows]
    keeps = np.append(True, code[1:] != code[:-1])
    begins = keeps | np.append(True, (one[1:] != one[:-1]) | (other[1:] != other[:-1]))
    fresh = begins & ~keeps
    numbers = np.where(fresh, len(first) + np.cumsum(fresh) - 1, code)[begins].astype(np.int32)
    codes[rows] = numbers[np.cumsum(begins) - 1]
    first = np.append(first, np.zeros(int(fresh.sum()), first.dtype))
    first[numbers] = rows[begins]
    return codes, first


def _numbered(order: Places, same: Mask) -> NDArray[np.int32]:
    import numpy as np

    numbers = np.cumsum(~same, dtype=np.int32)
    numbers -= 1
    codes = np.empty(len(order), np.int32)
    codes[order] = numbers
    return codes


def _at(pieces: list[Any], rows: Places) -> Any:
    """Of a column in pieces, what is at `rows`."""
    import numpy as np

    bounds = np.cumsum([0, *map(len, pieces)])
    order = np.argsort(rows)
    cuts = np.searchsorted(rows[order], bounds)
    found = np.empty(len(rows), pieces[0].dtype)
    for piece, start, begin, end in zip(pieces, bounds, cuts, cuts[1:], strict=False):
        found[order[begin:end]] = piece[rows[order[begin:end]] - start]
    return found


def _owed(parts: list[Part], rows: Places, allocation: Allocation) -> NDArray[np.int8]:
    """The arm that the hash gives to the units of `rows`, which count over all parts."""
    import numpy as np
    import pyarrow as pa

    bounds = np.cumsum([0, *(len(part.arm) for part in parts)])
    order = np.argsort(rows)
    cuts = np.searchsorted(rows[order], bounds)
    units = [
        part.units.take(pa.array(rows[order[begin:end]] - start)).cast(pa.large_string())
        for part, start, begin, end in zip(parts, bounds, cuts, cuts[1:], strict=False)
    ]
    arms = np.empty(len(rows), np.int8)
    arms[order] = assign_many(allocation, pa.concat_arrays(units))
    return arms


def _repeated(parts: list[Part], times: Places, at: Places) -> tuple[Places, Mask, int]:
    """The order of the rows `at` by id, time and what they say; which of them, so ordered, repeat the id before; and how
    many of those say something else than the first of their id, which is the one that is kept.
    """
    import numpy as np

    one, other = (_at([part.ids[half] for part in parts], at) for half in (0, 1))
    content = [
        times[at],
        *(_at([part.unit_hashes[half] for part in parts], at) for half in (0, 1)),
        _at([part.arm for part in parts], at),
        *(_at([part.values[place] for part in parts], at) for place in range(len(parts[0].values))),
    ]
    by = np.lexsort((*reversed(content), other, one))
    again = np.zeros(len(at), np.bool_)
    again[1:] = (one[by][1:] == one[by][:-1]) & (other[by][1:] == other[by][:-1])
    kept = np.maximum.accumulate(np.where(again, 0, np.arange(len(at))))
    differs = np.zeros(len(at), np.bool_)
    for column in (each[by] for each in content):
        differs |= (column != column[kept]) & ((column == column) | (column[kept] == column[kept]))  # noqa: PLR0124
    return by, again, int(differs.sum())


def _only_seen(
    unit: NDArray[np.int32], arm: NDArray[np.int8], rows: Mask
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """The numbers and arms of the units that have one of `rows`."""
    import numpy as np

    if rows.all():
        return unit, arm
    seen = np.zeros(len(arm), np.bool_)
    seen[unit[rows]] = True
    if seen.all():
        return unit, arm
    return (np.cumsum(seen, dtype=np.int32) - 1)[unit], arm[seen]


def _notes(unit: NDArray[np.int32], ahead: int) -> list[str]:
    import numpy as np

    notes = []
    if ahead:
        notes.append(f"{ahead:,} rows are dated more than a day ahead of now: a clock is wrong")
    if len(unit) > MANY_ROWS and (share := int(np.bincount(unit).max()) / len(unit)) > LARGE_SHARE:
        notes.append(f"one unit has {share:.0%} of all rows: it may be no person")
    return notes
