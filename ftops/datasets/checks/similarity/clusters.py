"""Rows that are alike: exactly, by the encoding of their fields; nearly, by the Jaccard index of their tokens.

What hashes propose is confirmed by the tokens themselves, so the result is that of comparing every row with every other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Final

from ftops.datasets.checks.rows import FIELDS, MESSAGES, among
from ftops.datasets.checks.similarity.join import Bound, Join
from ftops.datasets.checks.similarity.tokens import TokenSets, said, token_sets, words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.datasets.checks.rows import Batches, Rows

    Ints = NDArray[np.int64]
    Pair = tuple[int, int]

CONFIRMED: Final = 20_000
"""Pairs whose texts are in memory at one time."""
SHARE: Final = 1000
"""Pairs that are compared before others get a turn."""


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

    if threshold is None:
        looks = list(rows.each(_numbered_equality))
        numbers = np.concatenate([np.empty(0, np.int64), *(each for each, _ in looks)])
        first = _firsts(np.concatenate([np.empty((0, 2), np.uint64), *(each for _, each in looks)]).T)
        return Alike(numbers, first, first, {})
    placed, sets = _Placed.of(rows, ngrams)
    first = _first_equal(placed, sets)
    lowest, shared = _near(placed, sets, first, Bound.of(threshold))
    return Alike(placed.numbers, first, lowest, shared)


def matches(rows: Rows, other: Batches, threshold: float, ngrams: int | None = None) -> dict[int, Shared]:
    """The rows, by number, that are like any row of `other`; and what one shares with it."""
    bound = Bound.of(threshold)
    refuted: set[Pair] = set()
    while True:
        theirs, parts = _Placed.of(other, ngrams)
        own, more = _Placed.of(rows, ngrams)
        parts += more
        count = len(theirs.numbers)
        whole = _Sets.of(parts, _tokens_of(parts) > 0)
        boundary = int(whole.rows.searchsorted(count))
        join = Join(whole.tokens, whole.sizes, bound, boundary, whole.places(refuted))
        pairs = sorted((int(whole.rows[one]), int(whole.rows[row]) - count) for one, row in join.edges)
        shared = dict(_confirmed(theirs, own, pairs))
        wrong = {(one, row + count) for (one, row), found in shared.items() if not found.reaches(bound)}
        if not wrong:
            return {int(own.numbers[row]): found for (_, row), found in shared.items()}
        refuted |= wrong


def equality(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """128 bits for each row, of shape (rows, 2), that are equal where all fields are; an empty one is as one that is absent.

    They are the BLAKE2b (RFC 7693) of the fields in their order in FIELDS.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    # No text holds NUL, and every row joins as many texts as every other, or as many for each message: so where one
    # text ends is certain, and ("a,b", "c") is not ("a", "b,c").
    kind = pa.large_string()
    separator = pa.scalar("\0", kind)
    columns = []
    for name in FIELDS:
        column = batch.column(name) if name in batch.schema.names else pa.scalar("", kind)
        if name == MESSAGES and name in batch.schema.names:
            parts = [pc.fill_null(part, "").cast(kind) for part in column.flatten().flatten()]
            whole = pc.binary_join_element_wise(*parts, separator)
            offsets = pc.subtract(column.offsets, column.offsets[0])
            column = pc.binary_join(pa.LargeListArray.from_arrays(offsets, whole), separator).cast(kind)
        columns.append(column)
    joined = pc.binary_join_element_wise(*columns, separator).cast(pa.large_binary())
    digests = b"".join([blake2b(each, digest_size=16).digest() for each in joined.to_pylist()])
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _numbered_equality(batch: pa.RecordBatch) -> tuple[Ints, NDArray[np.uint64]]:
    return batch.column("row").to_numpy(), equality(batch)


def _first_equal(placed: _Placed, parts: Sequence[TokenSets]) -> Ints:
    """For each row the place of the first one that is equal. Only rows with the same tokens can be."""
    import numpy as np

    same = _firsts(np.stack([_signatures(parts), _tokens_of(parts).astype(np.uint64)]))
    first = np.arange(len(same))
    several = np.flatnonzero(np.bincount(same, minlength=len(same))[same] > 1)
    if len(several):
        digests = placed.rows.each(partial(_equality_of, placed.numbers[several]))
        first[several] = several[_firsts(np.concatenate(list(digests)).T)]
    return first


def _equality_of(wanted: Ints, batch: pa.RecordBatch) -> NDArray[np.uint64]:
    return equality(batch.take(among(batch.column("row").to_numpy(), wanted).nonzero()[0]))


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
            own = _kept(part, keep[row : row + len(part.sizes)])
            tokens[end - len(own) : end] = own
            end -= len(own)
        return cls(np.flatnonzero(keep), tokens, sizes[keep])

    def places(self, pairs: Iterable[Pair]) -> set[Pair]:
        """Pairs of rows as pairs of sets."""
        place = {int(row): place for place, row in enumerate(self.rows)} if pairs else {}
        return {(place[low], place[high]) for low, high in pairs}


def _kept(part: TokenSets, keep: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """The tokens of those rows that are to be kept: taken in runs, as most rows are."""
    import numpy as np

    ends = np.concatenate(([0], np.cumsum(part.sizes)))
    turns = np.flatnonzero(np.diff(keep, prepend=False, append=False))
    bounds = ends[turns].tolist()
    runs = [part.tokens[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True)]
    return np.concatenate([part.tokens[:0], *runs])


def _signatures(parts: Sequence[TokenSets]) -> NDArray[np.uint64]:
    """Equal where rows have the same tokens, and hardly ever elsewhere."""
    import numpy as np

    return np.concatenate([np.empty(0, np.uint64), *(part.signatures for part in parts)])


def _tokens_of(parts: Sequence[TokenSets]) -> Ints:
    """How many tokens each row has."""
    import numpy as np

    return np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])


@dataclass(frozen=True, slots=True)
class _Placed:
    """Rows that are named by their places, the number of each, and what counts as a token of theirs."""

    rows: Batches
    numbers: Ints
    ngrams: int | None

    @classmethod
    def of(cls, rows: Batches, ngrams: int | None) -> tuple[_Placed, list[TokenSets]]:
        """`rows`, and the sets of their tokens."""
        import numpy as np

        looks = list(rows.each(partial(_numbered_sets, ngrams)))
        numbers = np.concatenate([np.empty(0, np.int64), *(each for each, _ in looks)])
        return cls(rows, numbers, ngrams), [sets for _, sets in looks]

    def texts(self, places: Iterable[int]) -> dict[int, list[str]]:
        """What the rows at `places` say."""
        import numpy as np

        wanted = np.unique(np.fromiter(places, np.int64))
        found = dict(chain.from_iterable(self.rows.each(partial(_texts, self.numbers[wanted]))))
        return {
            place: found[number] for place, number in zip(wanted.tolist(), self.numbers[wanted].tolist(), strict=True)
        }


def _numbered_sets(ngrams: int | None, batch: pa.RecordBatch) -> tuple[Ints, TokenSets]:
    return batch.column("row").to_numpy(), token_sets(batch, ngrams)


def _near(placed: _Placed, parts: list[TokenSets], first: Ints, bound: Bound) -> tuple[Ints, dict[int, Shared]]:
    """The lowest row of each row's cluster, and what each further row that isn't exactly equal to one shares with it."""
    import numpy as np

    own = np.arange(len(first))
    refuted: set[Pair] = set()
    while True:
        keep = (first == own) & (_tokens_of(parts) > 0)
        edges = [] if refuted else _collapsed(parts, keep)
        sets = _Sets.of(parts, keep)
        join = Join(sets.tokens, sets.sizes, bound, refuted=sets.places(refuted))
        edges += [(int(sets.rows[min(edge)]), int(sets.rows[max(edge)])) for edge in join.edges]
        lowest = _lowest(len(first), edges)
        direct = sorted((int(lowest[row]), row) for row in np.flatnonzero(lowest != own).tolist())
        shared = dict(_confirmed(placed, placed, direct))
        sure = _lowest(len(first), [pair for pair, found in shared.items() if found.reaches(bound)])
        unsure = sorted({edge for edge in edges if sure[edge[0]] != sure[edge[1]]})
        wrong = {pair for pair, found in _confirmed(placed, placed, unsure) if not found.reaches(bound)}
        if not wrong:
            return lowest[first], {row: found for (_, row), found in shared.items()}
        refuted |= wrong
        _, parts = _Placed.of(placed.rows, placed.ngrams)


def _collapsed(parts: Sequence[TokenSets], keep: NDArray[np.bool_]) -> list[Pair]:
    """Pairs of rows whose sets have the same signature; of each such group only the first stays in `keep`."""
    import numpy as np

    rows = np.flatnonzero(keep)
    first = rows[_firsts(np.stack([_signatures(parts)[rows], _tokens_of(parts)[rows].astype(np.uint64)]))]
    keep[rows[first != rows]] = False
    return [(int(low), int(row)) for low, row in zip(first, rows, strict=True) if low != row]


def _confirmed(ones: _Placed, others: _Placed, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Shared]]:
    """What each pair of one row and another shares, by the tokens themselves."""
    for start in range(0, len(pairs), CONFIRMED):
        some = pairs[start : start + CONFIRMED]
        if ones is others:  # one look at the rows is enough
            left = right = ones.texts(chain.from_iterable(some))
        else:
            left, right = ones.texts(one for one, _ in some), others.texts(other for _, other in some)
        texts = [(left[one], right[other]) for one, other in some]
        shares = [texts[at : at + SHARE] for at in range(0, len(texts), SHARE)]
        yield from zip(
            some, chain.from_iterable(ones.rows.spread(partial(_compared, ones.ngrams), shares)), strict=True
        )


def _compared(ngrams: int | None, pairs: Sequence[tuple[list[str], list[str]]]) -> list[Shared]:
    found, last, tokens = [], None, set[str]()
    for one, other in pairs:
        if one is not last:  # pairs of a cluster follow each other, and have the same first row
            last, tokens = one, _tokens(one, ngrams)
        theirs = _tokens(other, ngrams)
        both = len(tokens & theirs)
        found.append(Shared(both, len(tokens) + len(theirs) - both))
    return found


def _tokens(texts: Sequence[str], ngrams: int | None) -> set[str]:
    if ngrams is None:  # no word and no folding reaches over the end of a line: one look at all texts is enough
        return words("\n".join(texts))
    return set().union(*(words(text, ngrams) for text in texts))


def _texts(wanted: Ints, batch: pa.RecordBatch) -> list[tuple[int, list[str]]]:
    """What the rows with the numbers `wanted`, which are rising, say."""
    taken = batch.take(among(batch.column("row").to_numpy(), wanted).nonzero()[0])
    found: list[list[str]] = [[] for _ in range(taken.num_rows)]
    for leaf in said(taken):
        for row, text in zip(leaf.rows.tolist(), leaf.texts.to_pylist(), strict=True):
            found[row].append(text)
    return list(zip(taken.column("row").to_pylist(), found, strict=True))


def _lowest(count: int, edges: Collection[Pair]) -> Ints:
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

    order = np.argsort(columns[0], kind="stable")
    ordered = columns[:, order]
    same = ordered[:, 1:] == ordered[:, :-1]
    if (same[0] & ~same.all(axis=0)).any():  # hardly ever: the first column nearly always tells all
        order = np.lexsort(columns[::-1])
        ordered = columns[:, order]
        same = ordered[:, 1:] == ordered[:, :-1]
    starts = np.flatnonzero(np.concatenate(([True], ~same.all(axis=0))))[: len(order)]
    result = np.empty(len(order), np.int64)
    result[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return result
