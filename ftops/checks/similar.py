"""Which rows are alike: exactly, by the canonical encoding of their fields; nearly, by the Jaccard index of their tokens.

What hashes propose is confirmed by the tokens themselves, so the result is that of comparing every row with every other.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeVar

from ftops.checks.joins import Bound, Join
from ftops.checks.rows import MESSAGES, text_fields
from ftops.checks.tokens import TokenSets, said, token_sets, words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.checks.rows import Rows

    Ints = NDArray[np.int64]
    Batches = Iterable[pa.RecordBatch]

Out = TypeVar("Out")
CONFIRMED: Final = 20_000
"""Pairs whose texts are in memory at one time."""
THREADS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Shared:
    """How many tokens two rows share, of how many that either has."""

    tokens: int
    of: int

    def reaches(self, bound: Bound) -> bool:
        """Whether the Jaccard index is at least `bound`."""
        return self.tokens * bound.denominator >= bound.numerator * self.of

    def __str__(self) -> str:
        """The Jaccard index with two decimals, rounded down: it never looks better than it is."""
        whole, part = divmod(100 * self.tokens // self.of, 100)
        return f"{whole}.{part:02}"


@dataclass(frozen=True, slots=True)
class Alike:
    """For each row by its place: `numbers` its number, `first` the place of the first row that is exactly equal, `lowest`
    that of the first row of its cluster (equal to `first` where near-duplicates aren't looked for), and by place what a
    near-duplicate shares with the lowest row of its cluster."""

    numbers: Ints
    first: Ints
    lowest: Ints
    shared: Mapping[int, Shared]


def clusters(rows: Rows, threshold: float, ngrams: int | None = None) -> dict[int, int]:
    """For each row that is like an earlier one, exactly or nearly, the lowest row of its cluster, by their numbers."""
    found = alike(rows, threshold, ngrams)
    return {
        int(number): int(lowest)
        for number, lowest in zip(found.numbers, found.numbers[found.lowest], strict=True)
        if number != lowest
    }


def alike(rows: Rows, threshold: float | None, ngrams: int | None = None) -> Alike:
    """Which of `rows` are equal and, with a threshold, which are like each other."""
    import numpy as np

    numbers = [np.empty(0, np.int64)]
    digests = [np.empty((0, 2), np.uint64)]
    sets: list[TokenSets] = []

    def look(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, TokenSets | None]:
        return batch, None if threshold is None else token_sets(batch, ngrams)

    for batch, found in _ahead(look, rows.batches()):
        numbers.append(batch.column("row").to_numpy())
        digests.append(equality(batch))
        if found is not None:
            sets.append(found)
    first = _firsts(np.concatenate(digests).T)
    if threshold is None:
        return Alike(np.concatenate(numbers), first, first, {})
    lowest, shared = _near(rows, sets, first, Bound.of(threshold), ngrams)
    return Alike(np.concatenate(numbers), first, lowest, shared)


def matches(rows: Rows, other: Batches, threshold: float, ngrams: int | None = None) -> dict[int, Shared]:
    """The rows, by number, that are like any row of `other`, which is read more than once; and what one shares with it."""
    import numpy as np

    bound = Bound.of(threshold)
    refuted: set[tuple[int, int]] = set()
    numbers = np.concatenate([np.empty(0, np.int64), *(batch.column("row").to_numpy() for batch in rows.batches())])

    def both() -> Iterator[pa.RecordBatch]:
        for batch in other:
            theirs.append(batch.num_rows)
            yield batch
        yield from rows.batches()

    while True:
        theirs: list[int] = []
        parts = list(_ahead(lambda batch: token_sets(batch, ngrams), both()))
        whole = _Sets.of(parts, _tokens_of(parts) > 0)
        count = sum(theirs)
        boundary = int(np.searchsorted(whole.rows, count))
        join = Join(whole.tokens, whole.sizes, bound, boundary, whole.places(refuted))
        pairs = [(int(whole.rows[one]), int(whole.rows[own])) for one, own in join.edges]
        shared = dict(_confirmed(both, sorted(pairs), ngrams))
        wrong = {pair for pair, found in shared.items() if not found.reaches(bound)}
        if not wrong:
            return {int(numbers[own - count]): found for (_, own), found in shared.items()}
        refuted |= wrong


def equality(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """128 bits for each row, that are equal where all fields are. An empty optional field is as one that is absent."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    # No text holds NUL, and every row joins as many texts as every other, or as many for each message: so where one
    # text ends is certain, and ("a,b", "c") is not ("a", "b,c").
    separator = pa.scalar("\0", pa.large_string())
    columns = []
    for name in text_fields(batch.schema.names):
        column = batch.column(batch.schema.get_field_index(name))
        if name == MESSAGES:
            parts = [pc.fill_null(part, "").cast(pa.large_string()) for part in column.flatten().flatten()]
            whole = pc.binary_join_element_wise(*parts, separator)
            offsets = pc.subtract(column.offsets, column.offsets[0])
            column = pc.binary_join(pa.LargeListArray.from_arrays(offsets, whole), separator)
        columns.append(column.cast(pa.large_string()))
    joined = pc.binary_join_element_wise(*columns, separator).cast(pa.large_binary())
    digests = b"".join([blake2b(each, digest_size=16).digest() for each in joined.to_pylist()])
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


# ------------------------------------------------------------------------------------------------ near


@dataclass(frozen=True, slots=True)
class _Sets:
    """The token sets of those rows that have any, one after the other; `rows` are the places of the rows, rising."""

    rows: Ints
    tokens: NDArray[np.uint32]
    sizes: Ints

    @classmethod
    def of(cls, parts: list[TokenSets], keep: NDArray[np.bool_]) -> _Sets:
        """Those sets of `parts` that are to be kept; `parts` are used up, so that little is in memory twice."""
        import numpy as np

        sizes = _tokens_of(parts)
        tokens = np.empty(int(sizes[keep].sum()), np.uint32)
        row, end = len(sizes), len(tokens)
        while parts:
            part = parts.pop()
            row -= len(part.sizes)
            own = part.tokens[np.repeat(keep[row : row + len(part.sizes)], part.sizes)]
            tokens[end - len(own) : end] = own
            end -= len(own)
        return cls(np.flatnonzero(keep), tokens, sizes[keep])

    def places(self, pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
        """Pairs of rows as pairs of sets."""
        place = {int(row): place for place, row in enumerate(self.rows)} if pairs else {}
        return {(place[low], place[high]) for low, high in pairs}


def _tokens_of(parts: Sequence[TokenSets]) -> Ints:
    """How many tokens each row has."""
    import numpy as np

    return np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])


def _near(
    rows: Rows, parts: list[TokenSets], first: Ints, bound: Bound, ngrams: int | None
) -> tuple[Ints, dict[int, Shared]]:
    """The lowest row of each row's cluster, and what each further row that isn't exactly equal to one shares with it."""
    import numpy as np

    own = np.arange(len(first))
    refuted: set[tuple[int, int]] = set()
    while True:
        keep = (first == own) & (_tokens_of(parts) > 0)
        edges = [] if refuted else _collapsed(parts, keep)
        sets = _Sets.of(parts, keep)
        join = Join(sets.tokens, sets.sizes, bound, refuted=sets.places(refuted))
        edges += [(int(sets.rows[min(edge)]), int(sets.rows[max(edge)])) for edge in join.edges]
        lowest = _lowest(len(first), edges)
        direct = sorted((int(lowest[row]), row) for row in np.flatnonzero(lowest != own).tolist())
        shared = dict(_confirmed(rows.batches, direct, ngrams))
        sure = _lowest(len(first), [pair for pair, found in shared.items() if found.reaches(bound)])
        others = _confirmed(rows.batches, sorted({edge for edge in edges if sure[edge[0]] != sure[edge[1]]}), ngrams)
        wrong = {pair for pair, found in others if not found.reaches(bound)}
        if not wrong:
            return lowest[first], {row: found for (_, row), found in shared.items()}
        refuted |= wrong
        parts = list(_ahead(lambda batch: token_sets(batch, ngrams), rows.batches()))


def _collapsed(parts: Sequence[TokenSets], keep: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of rows whose sets have the same signature; of each such group only the first stays in `keep`."""
    import numpy as np

    signatures = np.concatenate([np.empty(0, np.uint64), *(part.signatures for part in parts)])
    rows = np.flatnonzero(keep)
    first = rows[_firsts(np.stack([signatures[rows], _tokens_of(parts)[rows].astype(np.uint64)]))]
    keep[rows[first != rows]] = False
    return [(int(low), int(row)) for low, row in zip(first, rows, strict=True) if low != row]


def _confirmed(
    batches: Callable[[], Batches], pairs: Sequence[tuple[int, int]], ngrams: int | None
) -> Iterator[tuple[tuple[int, int], Shared]]:
    """What each pair of rows shares, by the tokens themselves."""
    for start in range(0, len(pairs), CONFIRMED):
        some = pairs[start : start + CONFIRMED]
        texts = _texts(batches(), sorted({row for pair in some for row in pair}))

        @lru_cache(maxsize=64)
        def tokens(row: int, texts: dict[int, list[str]] = texts) -> set[str]:
            if ngrams is None:  # no word and no folding reaches over the end of a line: one look at all texts is enough
                return words("\n".join(texts[row]))
            return set().union(*(words(text, ngrams) for text in texts[row]))

        for pair in some:
            one, other = map(tokens, pair)
            both = len(one & other)
            yield pair, Shared(both, len(one) + len(other) - both)


def _texts(batches: Batches, wanted: Sequence[int]) -> dict[int, list[str]]:
    """The texts of these rows, given by their places in rising order."""
    import numpy as np

    found: dict[int, list[str]] = {row: [] for row in wanted}
    end = 0
    for batch in batches:
        start, end = end, end + batch.num_rows
        low, high = np.searchsorted(wanted, [start, end])
        if low < high:
            taken = batch.take(np.array(wanted[low:high]) - start)
            for leaf in said(taken):
                for row, text in zip(leaf.rows.tolist(), leaf.texts.to_pylist(), strict=True):
                    found[wanted[low + row]].append(text)
    return found


def _lowest(count: int, edges: Collection[tuple[int, int]]) -> Ints:
    """For each of the rows 0, 1, … the lowest one that it is connected with (union-find)."""
    import numpy as np

    above = {row: row for edge in edges for row in edge}

    def root(row: int) -> int:
        while above[row] != row:
            above[row] = row = above[above[row]]
        return row

    for one, other in edges:
        low, high = sorted((root(one), root(other)))
        above[high] = low
    lowest = np.arange(count)
    for row in above:
        lowest[row] = root(row)
    return lowest


def _firsts(columns: NDArray[np.uint64]) -> Ints:
    """For each place the first place at which all of `columns` have the same."""
    import numpy as np

    order = np.lexsort(columns)
    ordered = columns[:, order]
    starts = np.flatnonzero(np.concatenate(([True], (ordered[:, 1:] != ordered[:, :-1]).any(axis=0))))[: len(order)]
    result = np.empty(len(order), np.int64)
    result[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return result


def _ahead(look: Callable[[pa.RecordBatch], Out], batches: Batches) -> Iterator[Out]:
    """What `look` gives for each batch, in order, with a few batches under way at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Out]] = deque()
        for batch in batches:
            waiting.append(pool.submit(look, batch))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
