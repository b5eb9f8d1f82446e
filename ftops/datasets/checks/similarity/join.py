"""All pairs of sets with at least a given Jaccard index, as far as they still tell something, without comparing all.

Sets that overlap by k share one of the first |set| - k + 1 tokens, whatever order tokens stand in; with the rarest first
few sets share one (prefix filter: Chaudhuri et al. 2006, Bayardo et al. 2007). Where many do all the same, they are taken
as sets of their own, without what all of them share and with tokens ordered by how rare they are among these. A sketch of
each set then rules out most pairs, and the tokens themselves the rest. No step is by chance, and none misses a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from ftops.datasets.checks.similarity.prefix_filter import (
    LOW,
    Chunk,
    chunks,
    grouped,
    in_threads,
    rarest_first,
    reordered,
    sketches,
)
from ftops.datasets.checks.similarity.tokens import ranges

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

PAIRS: Final = 2**20
"""Pairs that are looked at together."""
FEW: Final = 2**15
"""Pairs of which the tokens are compared together, before it is asked which of the others still tell something."""
GROUP: Final = 400
"""Up to so many sets that share a token, all pairs of them are looked at."""
DIVIDING: Final = 30
"""What dividing a group costs for each token of its sets, in pairs looked at, as measured."""
HUBS: Final = 4
"""With how many sets of a large group all others are compared, before the group is divided."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A Jaccard index as a fraction, so that 19 of 20 is 0.95 exactly. Nine decimals of the threshold count."""

    numerator: int
    denominator: int

    @classmethod
    def of(cls, threshold: float) -> Bound:
        return cls(*Fraction(repr(threshold)).limit_denominator(10**9).as_integer_ratio())

    def overlap(self, sizes: Ints, others: Ints) -> Ints:
        """The least overlap with which sets of these sizes are alike."""
        return -(-self.numerator * (sizes + others) // (self.numerator + self.denominator))

    def least(self, sizes: Ints) -> Ints:
        """The least overlap with which a set of this size is like any other."""
        return -(-self.numerator * sizes // self.denominator)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some sets on their way to be divided: of each the tokens that are left, rarest first, beyond `shared` that all have.

    `pairs` is how many pairs were to be looked at, were they not divided further; None for the whole.
    """

    nodes: Ints
    tokens: NDArray[np.uint32]
    sizes: Ints
    shared: int = 0
    pairs: int | None = None


class Join:
    """Sets, numbered from 0 and none of them empty; `edges` are pairs of them that are alike.

    Without `boundary` the edges are a spanning forest: they connect whatever chains of alike sets connect. With it, sets
    below are compared with the others: each that is like any below is in one edge. `refuted` pairs are no edges.
    The array of tokens becomes the join's own.
    """

    def __init__(
        self,
        tokens: NDArray[np.uint32],
        sizes: Ints,
        bound: Bound,
        boundary: int | None = None,
        refuted: Collection[tuple[int, int]] = (),
    ) -> None:
        import numpy as np

        self._sizes, self._ends, self._bound, self._boundary = sizes, np.cumsum(sizes), bound, boundary
        self._refuted = np.array([low << 32 | high for low, high in refuted], np.int64)
        self._tokens = tokens
        rarest_first(tokens, sizes)
        # Alike sets differ in a share of their tokens at most, and so in as many bits of their sketches at most.
        share = (bound.denominator - bound.numerator) / (bound.denominator + bound.numerator)
        self._differing = sizes * share + 1e-6
        self._sketches = sketches(tokens, sizes, 2 * share)
        self._label = (
            np.arange(len(sizes)) if boundary is None else (np.arange(len(sizes)) >= boundary).astype(np.int64)
        )
        self.edges: list[tuple[int, int]] = []
        if len(sizes):
            under_way = [self._divided(_Part(np.arange(len(sizes)), tokens, sizes))]
            while under_way:
                if (part := next(under_way[-1], None)) is None:
                    under_way.pop()
                else:
                    under_way.append(self._divided(part))

    def _divided(self, part: _Part) -> Iterator[_Part]:
        """Look at the pairs of `part` that share one of their first tokens; what is too large for that comes back as parts."""
        import numpy as np

        own = self._sizes[part.nodes]
        # No other set is smaller than the smallest of the part, nor than what alike sets must share.
        need = self._bound.overlap(own, np.maximum(self._bound.least(own), own.min()))
        prefix = part.sizes - np.maximum(need - part.shared, 1) + 1
        prefix = np.minimum(np.maximum(prefix, 0), part.sizes)
        places = ranges(np.cumsum(part.sizes) - part.sizes, prefix)
        owners = np.repeat(np.arange(len(part.nodes)), prefix)
        order, groups = grouped(part.tokens[places])
        starts, sizes = self._open_groups(part.nodes[owners[order]], groups)
        if part.pairs is not None and int((sizes * (sizes - 1) // 2).sum()) > part.pairs // 2:
            self._look_across(part.nodes)
            return
        most = self._most(len(part.tokens) / len(part.nodes))
        small = sizes <= most
        members = part.nodes[owners[order[ranges(starts[small], sizes[small])]]]
        ends = np.repeat(np.cumsum(sizes[small]), sizes[small])
        self._look(members, np.arange(1, len(members) + 1), ends)
        part_ends = np.cumsum(part.sizes)
        for start, size in zip(starts[~small].tolist(), sizes[~small].tolist(), strict=True):
            at = order[start : start + size]
            smaller = self._large(part, part.nodes[owners[at]], places[at] + 1, part_ends[owners[at]])
            if smaller is not None:
                yield smaller

    def _most(self, tokens: float) -> float:
        """Of how many sets, with so many tokens in the mean, all pairs are looked at: dividing them would cost as much.

        After a refuted pair nothing is divided: to be like the smallest set then says too little, see `_large`.
        """
        return len(self._sizes) if len(self._refuted) else max(GROUP, DIVIDING * tokens)

    def _open_groups(self, members: Ints, groups: Ints) -> tuple[Ints, Ints]:
        """Of groups, given by their starts, those of which any pair still tells something: starts and sizes."""
        import numpy as np

        sizes = np.diff(groups, append=len(members))
        several = np.flatnonzero(sizes > 1)
        starts, sizes = groups[several], sizes[several]
        if not len(starts):
            return starts, sizes
        members = members[ranges(starts, sizes)]
        labels = self._labels(members)
        at = np.cumsum(sizes) - sizes
        still = np.minimum.reduceat(labels, at) != np.maximum.reduceat(labels, at)
        if self._boundary is not None:
            still &= np.minimum.reduceat(members, at) < self._boundary
        return starts[still], sizes[still]

    def _large(self, part: _Part, nodes: Ints, starts: Ints, ends: Ints) -> _Part | None:
        """What is left of a large group of `part` to be divided, of the tokens from `starts` to `ends`.

        Sets that are alike by what all of the group share are all like the smallest: so comparing each with that one
        finds them, and every other pair shares a further token.
        """
        import numpy as np

        hubs = nodes if self._boundary is None else nodes[nodes < self._boundary]
        hubs = hubs[np.argsort(self._sizes[hubs], kind="stable")]
        for _ in range(HUBS):
            others = nodes[self._labels(nodes) != self._labels(hubs[:1])]
            self._add(*self._near(np.full(len(others), hubs[0]), others))
            unlike = int((self._labels(others) != self._labels(hubs[:1])).sum())
            hubs = hubs[1:] if self._boundary is not None else hubs[self._labels(hubs) != self._labels(hubs[:1])]
            if unlike > len(others) * 7 // 8 or not len(hubs):
                break
        if self._boundary is not None:
            left = (nodes < self._boundary) | (self._labels(nodes) > 0)
            nodes, starts, ends = nodes[left], starts[left], ends[left]
        pairs = self._count_across(nodes)
        if pairs <= len(nodes) * self._most(float((ends - starts).mean())) / 2:
            self._look_across(nodes)
            return None
        tokens, sizes, shared = reordered(part.tokens[ranges(starts, ends - starts)], ends - starts)
        return _Part(nodes, tokens, sizes, part.shared + 1 + shared, pairs)

    def _count_across(self, nodes: Ints) -> int:
        """How many pairs of `nodes` still tell something."""
        import numpy as np

        _, counts = np.unique(self._labels(nodes), return_counts=True)
        return (len(nodes) ** 2 - int((counts**2).sum())) // 2

    def _look_across(self, nodes: Ints) -> None:
        """Look at all pairs of `nodes` that still tell something."""
        import numpy as np

        labels = self._labels(nodes)
        order = np.argsort(labels, kind="stable")
        ends = np.searchsorted(labels[order], labels[order], side="right")
        self._look(nodes[order], ends, np.full(len(nodes), len(nodes)))

    def _look(self, members: Ints, firsts: Ints, lasts: Ints) -> None:
        """Look at each of `members` with those at the places from `firsts` up to `lasts`."""
        import numpy as np

        counts = np.maximum(lasts - firsts, 0)

        def near(chunk: Chunk) -> tuple[Ints, Ints]:
            low, high = chunk.low, chunk.high
            partners = members[ranges(firsts[low:high], counts[low:high])]
            return self._near(np.repeat(members[low:high], counts[low:high]), partners)

        for one, other in in_threads(near, counts):
            self._add(one, other)

    def _near(self, one: Ints, other: Ints) -> tuple[Ints, Ints]:
        """Of pairs those whose sketches don't tell that they are unlike."""
        import numpy as np

        distance: NDArray[np.int16] = np.zeros(len(one), np.int16)
        for sketch in self._sketches:
            distance += np.bitwise_count(sketch.take(one) ^ sketch.take(other))
            near = np.flatnonzero(distance <= self._differing.take(one) + self._differing.take(other))
            one, other, distance = one.take(near), other.take(near), distance.take(near)
        return one, other

    def _add(self, one: Ints, other: Ints) -> None:
        """Of pairs those that are alike become edges, as far as they tell something that those before don't."""
        import numpy as np

        keep = self._open(one, other)
        keep &= np.minimum(self._sizes[one], self._sizes[other]) >= self._bound.overlap(
            self._sizes[one], self._sizes[other]
        )
        one, other = one[keep], other[keep]
        pairs = np.setdiff1d(np.minimum(one, other) << 32 | np.maximum(one, other), self._refuted)
        for start in range(0, len(pairs), FEW):
            one, other = pairs[start : start + FEW] >> 32, pairs[start : start + FEW] & LOW
            keep = self._open(one, other)
            one, other = one[keep], other[keep]
            alike = self._overlap(one, other) >= self._bound.overlap(self._sizes[one], self._sizes[other])
            self._join(one[alike], other[alike])

    def _overlap(self, one: Ints, other: Ints) -> Ints:
        """How many tokens each pair shares."""
        import numpy as np

        shared = np.zeros(len(one), np.int64)
        lengths = self._sizes[one] + self._sizes[other]
        for low, high in chunks(lengths, 4 * PAIRS):
            keys = []
            for side in (one[low:high], other[low:high]):
                tokens = self._tokens[ranges(self._ends[side] - self._sizes[side], self._sizes[side])]
                pair = np.repeat(np.arange(high - low, dtype=np.uint64), self._sizes[side])
                keys.append(pair << np.uint64(32) | tokens)
            ordered = np.sort(np.concatenate(keys))
            twice = ordered[1:][ordered[1:] == ordered[:-1]] >> np.uint64(32)
            shared[low:high] = np.bincount(twice.astype(np.int64), minlength=high - low)
        return shared

    def _open(self, one: Ints, other: Ints) -> NDArray[np.bool_]:
        """Of pairs, which still tell something."""
        apart: NDArray[np.bool_] = self._labels(one) != self._labels(other)
        return apart if self._boundary is None else apart & ((one < self._boundary) != (other < self._boundary))

    def _labels(self, nodes: Ints) -> Ints:
        """Two sets with the same label need not be looked at: they are connected.

        With a boundary only those that are to be found, and weren't yet, have 1, and all others 0.
        """
        labels = self._label[nodes]
        if self._boundary is None:
            while ((above := self._label[labels]) != labels).any():
                labels = above
            self._label[nodes] = labels
        return labels

    def _join(self, one: Ints, other: Ints) -> None:
        import numpy as np

        if self._boundary is not None:
            found, first = np.unique(other, return_index=True)
            self._label[found] = 0
            self.edges += zip(one[first].tolist(), found.tolist(), strict=True)
            return
        while len(one):
            roots, others = self._labels(one), self._labels(other)
            apart = roots != others
            one, other, roots, others = one[apart], other[apart], roots[apart], others[apart]
            high, first = np.unique(np.maximum(roots, others), return_index=True)
            self._label[high] = np.minimum(roots, others)[first]
            self.edges += zip(one[first].tolist(), other[first].tolist(), strict=True)
