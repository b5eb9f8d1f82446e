"""Tokens of many sets in the order that joining them wants, rarest first; and sketches that rule out most pairs."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

Out = TypeVar("Out")
TOKENS: Final = 2**18
"""Tokens, or pairs, that are looked at together."""
LOW: Final = 2**32 - 1
THREADS: Final = min(4, os.cpu_count() or 1)
AHEAD: Final = 4 * THREADS


def rarest_first(tokens: NDArray[np.uint32], sizes: Ints) -> None:
    """Give tokens other numbers, rare ones lower than frequent ones, and put those of each set in rising order.

    How frequent a token is, is counted by the lower bits of its number, which it may share: any order is right.
    """
    import numpy as np

    bits = min(20, max(8, len(tokens).bit_length()))
    mask = np.uint32(2**bits - 1)
    counts = np.zeros(2**bits, np.int64)
    for start in range(0, len(tokens), TOKENS):
        counts += np.bincount(tokens[start : start + TOKENS] & mask, minlength=2**bits)
    rank = np.empty(2**bits, np.uint32)
    rank[np.argsort(counts, kind="stable")] = np.arange(2**bits, dtype=np.uint32) << np.uint32(32 - bits)

    def renumber(chunk: Chunk) -> None:
        some = tokens[chunk.start : chunk.end]
        some[:] = rank.take(some & mask) | (some >> np.uint32(bits))
        _sort_chunk(tokens, sizes, chunk)

    deque(in_threads(renumber, sizes), 0)


def _sort(tokens: NDArray[np.uint32], sizes: Ints) -> None:
    """Put the tokens of each set in rising order."""
    deque(in_threads(lambda chunk: _sort_chunk(tokens, sizes, chunk), sizes), 0)


def _sort_chunk(tokens: NDArray[np.uint32], sizes: Ints, chunk: Chunk) -> None:
    import numpy as np

    keys = np.repeat(np.arange(chunk.high - chunk.low, dtype=np.uint64) << np.uint64(32), sizes[chunk.low : chunk.high])
    keys |= tokens[chunk.start : chunk.end]
    keys.sort()
    tokens[chunk.start : chunk.end] = keys & np.uint64(LOW)


def reordered(tokens: NDArray[np.uint32], sizes: Ints) -> tuple[NDArray[np.uint32], Ints, int]:
    """Tokens and sizes of sets without the tokens that all of them have, and how many those are.

    The tokens have other numbers, so that rising order is from the rarest among these sets to the most frequent.
    """
    import numpy as np

    owners = np.repeat(np.arange(len(sizes)), sizes)
    order, starts = grouped(tokens)
    counts = np.diff(starts, append=len(tokens))
    holders = owners[order]
    again = np.flatnonzero((holders[1:] == holders[:-1]) & (tokens[order[1:]] == tokens[order[:-1]])) + 1
    everywhere = counts == len(sizes)
    everywhere[np.searchsorted(starts, again, side="right") - 1] = False
    rank = np.empty(len(starts), np.uint32)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(starts), dtype=np.uint32)
    numbers = np.empty(len(tokens), np.uint32)
    numbers[order] = np.repeat(rank, counts)
    left = np.ones(len(tokens), bool)
    left[order] = np.repeat(~everywhere, counts)
    numbers, fewer = numbers[left], np.bincount(owners[left], minlength=len(sizes))
    _sort(numbers, fewer)
    return numbers, fewer, int(everywhere.sum())


def grouped(tokens: NDArray[np.uint32]) -> tuple[Ints, Ints]:
    """An order in which equal tokens stand together, earlier ones first, and where in it each group starts."""
    import numpy as np

    keys = tokens.astype(np.uint64) << np.uint64(32) | np.arange(len(tokens), dtype=np.uint64)
    keys.sort()
    order = (keys & np.uint64(LOW)).astype(np.int64)
    keys >>= np.uint64(32)
    return order, np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))[: len(tokens)]


def sketches(tokens: NDArray[np.uint32], sizes: Ints, share: float) -> NDArray[np.uint64]:
    """Of each set for each bit, whether the number of its tokens that fall on it is odd: 64 bits in each line.

    Two sets differ in no more bits than in tokens. There are several times more bits than the tokens that alike sets of
    the mean size differ in, which are a `share` of its size: so sets that differ in more show it.
    """
    import numpy as np

    differing = share * len(tokens) / max(len(sizes), 1)
    number = 1 << min(5, int(6 * differing // 64).bit_length())
    result = np.zeros((number, len(sizes)), np.uint64)

    ends = np.cumsum(sizes)

    def sketch(chunk: Chunk) -> None:
        some = tokens[chunk.start : chunk.end] & np.uint32(64 * number - 1)
        if number == 1:  # nearly always; several lines take as long by the other way, and more than a few longer
            bits = np.left_shift(np.uint64(1), some, dtype=np.uint64)
            starts = ends[chunk.low : chunk.high] - sizes[chunk.low : chunk.high] - chunk.start
            result[0, chunk.low : chunk.high] = np.bitwise_xor.reduceat(bits, starts)
            return
        places = np.repeat(np.arange(chunk.low, chunk.high), sizes[chunk.low : chunk.high])
        places += (some >> np.uint32(6)).astype(np.int64) * len(sizes)
        np.bitwise_xor.at(result.reshape(-1), places, np.uint64(1) << (some & np.uint32(63)).astype(np.uint64))

    deque(in_threads(sketch, sizes), 0)
    return result


class Chunk(NamedTuple):
    """The sets from `low` to `high`, whose tokens are those from `start` to `end`."""

    low: int
    high: int
    start: int
    end: int


def in_threads(work: Callable[[Chunk], Out], sizes: Ints) -> Iterator[Out]:
    """What `work` gives for some sets after the other, in order; NumPy lets several threads compute."""
    import numpy as np

    ends = np.concatenate(([0], np.cumsum(sizes)))
    parts = [Chunk(low, high, int(ends[low]), int(ends[high])) for low, high in chunks(sizes, TOKENS)]
    if len(parts) < 2:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(parts), AHEAD):  # so that few results wait
            yield from pool.map(work, parts[start : start + AHEAD])


def chunks(counts: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of indices, each with a sum of `counts` of about `most`, or a single one with more."""
    import numpy as np

    sums = np.cumsum(counts)
    low, done = 0, 0
    while low < len(counts):
        high = max(low + 1, int(np.searchsorted(sums, done + most, side="right")))
        yield low, high
        low, done = high, int(sums[high - 1])
