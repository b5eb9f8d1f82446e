"""Rows that were on another side in the version before: that should not be, and is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ftops.datasets.finding import row_list
from ftops.datasets.prepare.manifest import INDEX, NOWHERE, SIDES, read_manifest
from ftops.datasets.prepare.split import Sides
from ftops.datasets.read import Reading
from ftops.datasets.read.row_index import RowIndex, matched, read_index
from ftops.datasets.spec import Split
from ftops.files import read_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def row_numbers(reading: Reading) -> NDArray[np.int64]:
    """The numbers of the rows that were read without a fault."""
    import numpy as np

    sound = np.ones(reading.read, bool)
    sound[np.array([fault.row for fault in reading.faults], np.int64) - 1] = False
    return np.flatnonzero(sound) + 1


def moved(previous: Path, made: Path, reading: Reading, sides: Sides, split: Split) -> Iterator[str]:
    """A warning where rows of the prepared folder `previous`, split in the same way, are on another side in `made`."""
    import numpy as np

    before, after = _indexed(previous), _indexed(made)
    manifest = read_manifest(previous)
    if before is None or after is None or manifest is None or manifest.split != split.model_dump(mode="json"):
        return
    old, new = matched(before[0].rows, after[0].rows)
    was, now = before[1][old], after[1][new]
    changed = (was != NOWHERE) & (now != NOWHERE) & (was != now)
    if not changed.any():
        return
    numbers = row_numbers(reading)
    rows = numbers[new[changed]]
    added = np.delete(numbers, new)
    joined = sides.firsts[np.searchsorted(sides.rows, rows)]
    joining = np.intersect1d(sides.rows[np.isin(sides.firsts, joined)], added)
    why = f"; new and like rows of two sides: {row_list(set(joining.tolist()))}" if len(joining) else ""
    yield f"on another side of the split than in the version before: {row_list(set(rows.tolist()))}{why}"


def _indexed(folder: Path) -> tuple[RowIndex, NDArray[np.uint8]] | None:
    """Which rows a folder was made from, and their sides; None where that is not known."""
    import numpy as np

    try:
        index, sides = (
            read_index(read_bytes(folder / INDEX, None)),
            np.frombuffer(read_bytes(folder / SIDES, None), np.uint8),
        )
    except FileNotFoundError:
        return None
    return (index, sides) if len(index) == len(sides) else None
