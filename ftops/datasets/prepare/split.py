"""Which split each row comes to.

Rows that are alike form a group, and a group is never divided: a row of the test split has no near twin in training. The
side of a group is that of its first row, the one with the lowest number. There are two ways to choose it.

By hash, where the spec names no column: 64 bits of the first row's BLAKE2b (RFC 7693, `clusters.equality`), mixed with those
of the seed, as a fraction of their range, which the ratios cut in the order train, validation, test. Nothing else counts, so the order of files makes no
difference where no rows are alike, and ratios are met in the mean: of n groups a split with ratio r gets n·r ± √(n·r·(1-r)).

By permuted blocks, where `stratify` names one (as in clinical trials; Zelen 1974, doi:10.1016/0021-9681(74)90015-0): within a
value of the column the n-th group takes the n-th place in a sequence that has each side as often as its ratio asks for, to a
group, after every block; the order in a block comes from the seed. So ratios hold in each stratum, small ones too.

Either way rows that come later change no earlier row's side. There is one exception: a row that is like rows of two groups
makes one of them, and the second takes the side of the first.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ftops.datasets.checks.rows import STRATUM
from ftops.datasets.checks.similarity import clusters
from ftops.datasets.checks.similarity.tokens import mixed
from ftops.datasets.spec import Split
from ftops.errors import ChecksFailed, Diagnostic
from ftops.files import open_new, open_regular

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.datasets.read import StoredRows

VERSION: Final = 1
SPLITS: Final = ("train", "validation", "test")
BLOCK: Final = 20
"""Groups in a block: the usual ratios are multiples of a twentieth."""


@dataclass(frozen=True, slots=True)
class Sides:
    """For each row that is kept, in order: its number, its side (an index in SPLITS), and the first row of its group."""

    rows: NDArray[np.int64]
    sides: NDArray[np.uint8]
    firsts: NDArray[np.int64]

    def save(self, folder: Path) -> None:
        """Writes a file for each of the three to `folder`."""
        import numpy as np

        for name in ("rows", "sides", "firsts"):
            with os.fdopen(open_new(folder / f"{name}.npy"), "wb") as file:
                np.save(file, getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Sides:
        """What `save` wrote to `folder`."""
        import numpy as np

        def read(name: str) -> NDArray[Any]:
            with os.fdopen(open_regular(folder / f"{name}.npy"), "rb") as file:
                array: NDArray[Any] = np.load(file, allow_pickle=False)
            return array

        return cls(read("rows"), read("sides"), read("firsts"))


def assign(rows: StoredRows, split: Split, known: Mapping[int, int] | None) -> Sides:
    """The side of every row.

    `known` gives rows that are like an earlier one the lowest row of their group, where some check has found that out at
    least as widely as `split.near` asks for; else it is found out here. Raises ChecksFailed where the column to stratify by
    is not there.
    """
    import numpy as np

    numbers, values, strata = _hashed(rows, split.seed)
    used = [side for side, name in enumerate(SPLITS) if getattr(split, name) > 0]
    if len(used) == 1:
        return Sides(numbers, np.full(len(numbers), used[0], np.uint8), numbers)
    if known is None:
        known = {} if split.near is None else clusters.clusters(rows, split.near)
    firsts = _firsts(numbers, values, known)
    if split.stratify is None:
        sides = _by_hash(values, split)
    else:
        sides = np.zeros(len(numbers), np.uint8)
        leads = np.unique(firsts)
        sides[leads] = _by_block(_strata(strata, len(numbers), split.stratify), leads, split)
    return Sides(numbers, sides[firsts], numbers[firsts])


def _hashed(rows: StoredRows, seed: int) -> tuple[NDArray[np.int64], NDArray[np.uint64], pa.ChunkedArray | None]:
    """The number of each row; 64 bits of a hash of its fields and the seed, where equal ones mean equal rows; its stratum."""
    import numpy as np
    import pyarrow as pa

    looks = list(rows.each(_look))
    numbers = np.concatenate([np.empty(0, np.int64), *(look.numbers for look in looks)])
    digests = np.concatenate([np.empty(0, np.uint64), *(look.digests for look in looks)])
    strata = [look.strata for look in looks if look.strata is not None]
    key = np.frombuffer(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "<u8")
    # Each of the steps can be undone, so that different digests stay different.
    values = mixed(mixed(digests) ^ key)
    return numbers, values, pa.chunked_array(strata, pa.large_string()) if strata else None


class _Look(NamedTuple):
    numbers: NDArray[np.int64]
    digests: NDArray[np.uint64]
    strata: pa.Array | None


def _look(batch: pa.RecordBatch) -> _Look:
    stratum = batch.column(STRATUM) if STRATUM in batch.schema.names else None
    return _Look(batch.column("row").to_numpy(), clusters.equality(batch)[:, 0], stratum)


def _firsts(numbers: NDArray[np.int64], values: NDArray[np.uint64], alike: Mapping[int, int]) -> NDArray[np.int64]:
    """For each row the index of the first row of its group, which need not be the one that `alike` names: that may be gone."""
    import numpy as np

    groups = numbers.copy()
    if alike and len(numbers):
        rows = np.fromiter(alike, np.int64, len(alike))
        leads = np.fromiter(alike.values(), np.int64, len(alike))
        at = np.searchsorted(numbers, rows)
        here = (at < len(numbers)) & (numbers[np.minimum(at, len(numbers) - 1)] == rows)
        groups[at[here]] = leads[here]
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    lead: NDArray[np.int64] = first[inverse]
    _, first, inverse = np.unique(values[lead], return_index=True, return_inverse=True)
    together: NDArray[np.int64] = lead[first[inverse]]
    return together


def _by_hash(values: NDArray[np.uint64], split: Split) -> NDArray[np.uint8]:
    import numpy as np

    used = [(side, ratio) for side, name in enumerate(SPLITS) if (ratio := getattr(split, name)) > 0]
    # The last bound is left out, so that a sum of ratios a hair below 1 leaves no row without a side.
    bounds = [min(round(bound * 2**64), 2**64 - 1) for bound in accumulate(ratio for _, ratio in used)][:-1]
    sides = np.array([side for side, _ in used], np.uint8)
    found: NDArray[np.uint8] = sides[np.searchsorted(np.array(bounds, np.uint64), values, side="right")]
    return found


# ---------------------------------------------------------------------------------------------- strata


def _strata(strata: pa.ChunkedArray | None, count: int, column: str) -> list[str | None]:
    if strata is None and count:
        raise ChecksFailed(
            Diagnostic(f"no column {column!r} to stratify by", hint="check split.stratify of the data set")
        )
    return [] if strata is None else strata.to_pylist()


def _by_block(strata: list[str | None], leads: NDArray[np.int64], split: Split) -> list[int]:
    """The side of each group, whose first rows are at the places `leads`: what is next in the sequence of its stratum."""
    sequences: dict[str | None, Iterator[int]] = {}
    sides = []
    for lead in leads.tolist():
        stratum = strata[lead]
        if stratum not in sequences:
            sequences[stratum] = _sequence(stratum, split)
        sides.append(next(sequences[stratum]))
    return sides


def _sequence(stratum: str | None, split: Split) -> Iterator[int]:
    """Sides without end. Each block has those that the ratios lack most so far, shuffled by the seed and the stratum."""
    ratios = [getattr(split, name) for name in SPLITS]
    counts = [0] * len(SPLITS)
    key = hashlib.blake2b(f"{split.seed} {'' if stratum is None else '=' + stratum}".encode()).digest()
    block = 0
    while True:
        sides = []
        for place in range(block * BLOCK + 1, (block + 1) * BLOCK + 1):
            # Rounded, so that what is equal but for the last bit of a float stays equal: then the first one is taken.
            lacks = [
                round(place * ratio - count, 9) if ratio else -1.0 for ratio, count in zip(ratios, counts, strict=True)
            ]
            side = lacks.index(max(lacks))
            counts[side] += 1
            sides.append(side)
        chance = struct.unpack(f"<{BLOCK}H", hashlib.blake2b(str(block).encode(), key=key).digest()[: 2 * BLOCK])
        yield from (sides[place] for place in sorted(range(BLOCK), key=lambda place: (chance[place], place)))
        block += 1
