"""What a row says, as a set of tokens: the measure by which rows are alike.

`words` is the definition. `token_sets` computes the same for whole batches, as numbers that stand for the tokens.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final
from unicodedata import category, normalize

from ftops.datasets.checks.rows import TOOLS
from ftops.datasets.checks.texts import Leaf, leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

WORD: Final = re.compile(r"\w+")
PIECE: Final = 2**18
"""Characters that are looked at together: their numbers fit into the cache of a processor."""
ROW_BITS: Final = 13
"""A batch has at most 2**13 rows, so that one number of 64 bits holds a row and 51 bits of a token's hash."""
HASH_BITS: Final = 64 - ROW_BITS


@dataclass(frozen=True, slots=True)
class TokenSets:
    """The distinct tokens of rows: those of row i are `tokens[ends[i] - sizes[i]:ends[i]]`, with `ends` the running sum.

    A token is 32 bits of its hash, so two tokens of a row may look the same, and the overlap of two rows is never less
    than it seems. `signatures` are equal where all hashes are; they are sums of 51 bits of each.
    """

    tokens: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    signatures: NDArray[np.uint64]


def said(batch: pa.RecordBatch) -> list[Leaf]:
    """The texts that make rows alike: all but the functions that a chat may call, which many chats share."""
    return [leaf for leaf in leaves(batch) if leaf.field != TOOLS]


def folded(text: str) -> str:
    """`text` with what only looks different made equal."""
    return normalize("NFKC", text).lower()


def words(text: str, ngrams: int | None = None) -> set[str]:
    """The tokens of a text: its words, or all runs of `ngrams` characters of its words joined by single spaces.

    A text that is shorter than `ngrams` is one token, and one without any word has none.
    """
    found: list[str] = WORD.findall(folded(text))
    if ngrams is None or not found:
        return set(found)
    joined = " ".join(found)
    return {joined[at : at + ngrams] for at in range(max(1, len(joined) - ngrams + 1))}


def token_sets(batch: pa.RecordBatch, ngrams: int | None = None) -> TokenSets:
    """The distinct tokens of each row of `batch`, over all its texts: what `words` gives, hashed."""
    import numpy as np

    keys = [np.empty(0, np.uint64)]
    for leaf in said(batch):
        texts = leaf.texts.to_pylist()
        lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
        rows = leaf.rows.astype(np.uint64) << np.uint64(HASH_BITS)
        for first, last in _ranges(lengths):
            for piece in _folded_pieces(texts[first:last], lengths[first:last], rows[first:last]):
                hashes, counts = _hashes(piece, ngrams)
                keys.append((hashes >> np.uint64(ROW_BITS)) | np.repeat(piece.rows, counts))
    ordered = np.sort(np.concatenate(keys))
    fresh = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    ordered = ordered[fresh]
    starts = np.searchsorted(ordered, np.arange(batch.num_rows, dtype=np.uint64) << np.uint64(HASH_BITS))
    sizes = np.diff(starts, append=len(ordered))
    hashes = ordered & np.uint64(2**HASH_BITS - 1)
    signatures = np.zeros(batch.num_rows, np.uint64)
    some = sizes > 0
    if some.any():
        signatures[some] = np.add.reduceat(hashes, starts[some])
    return TokenSets((hashes >> np.uint64(HASH_BITS - 32)).astype(np.uint32), sizes, signatures)


def _ranges(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of texts with about PIECE characters each."""
    import numpy as np

    ends = np.cumsum(lengths)
    first = done = 0
    while first < len(lengths):
        last = min(int(np.searchsorted(ends, done + PIECE)) + 1, len(lengths))
        yield first, last
        first, done = last, int(ends[last - 1])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Folded texts: a coefficient for each character, 0 for those in no word; where each text starts, and its row.

    One character in no word stands before the first text and after each.
    """

    coefficients: NDArray[np.uint64]
    starts: NDArray[np.int64]
    rows: NDArray[np.uint64]


def _folded_pieces(texts: Sequence[str], lengths: NDArray[np.int64], rows: NDArray[np.uint64]) -> Iterator[_Piece]:
    """`texts`, folded: character by character, and those where that is not enough in a piece of their own.

    `lengths` count one character more for each.
    """
    import numpy as np

    starts = _starts(lengths)
    coefficients = _folding().take(_codes(texts))
    if len(hard := np.flatnonzero(coefficients == _HARD)):
        these = np.unique(np.searchsorted(starts, hard, side="right") - 1)
        others = [folded(texts[index]) for index in these.tolist()]
        own = np.array([len(text) + 1 for text in others])
        yield _Piece(_coefficients().take(_codes(others)), _starts(own), rows[these])
        coefficients[ranges(starts[these], lengths[these])] = 0
    yield _Piece(coefficients, starts, rows)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each text starts in what `_codes` gives, and last where a next one would."""
    import numpy as np

    return np.cumsum(np.concatenate(([1], lengths)))


def _codes(texts: Sequence[str]) -> NDArray[np.uint32]:
    import numpy as np

    return np.frombuffer("\0".join(("", *texts, "")).encode("utf-32-le"), "<u4")


def _hashes(piece: _Piece, ngrams: int | None) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of all tokens of a piece, and how many each of its texts has.

    The hash of a run of characters is a polynomial in an odd number with a random-looking coefficient for each
    character, so that it follows from the difference of two running sums (Karp and Rabin 1987, modulo 2**64).
    """
    import numpy as np

    values, starts = piece.coefficients, piece.starts
    word = values != 0
    edges = np.flatnonzero(word[1:] != word[:-1]) + 1
    first, last = edges[::2], edges[1::2]
    if ngrams is None:
        counts = np.diff(np.searchsorted(first, starts))
    else:
        # One separator stays after each word: it is the space to the next one, and after the last it isn't counted.
        word[last] = True
        values[last] = _SPACE
        places = np.flatnonzero(word)
        bounds = np.searchsorted(places, starts)
        values = values.take(places)
        length = np.diff(bounds) - 1
        counts = np.where(length < 0, 0, np.maximum(1, length - ngrams + 1))
        first = ranges(bounds[:-1], counts)
        last = first + np.repeat(np.minimum(length, ngrams), counts)
    powers, inverses = _powers(len(values))
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(np.multiply(values, powers[: len(values)], out=values), out=sums[1:])
    return mixed((sums.take(last) - sums.take(first)) * inverses.take(first)), counts


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers start, start + 1, … of each range, one range after the other."""
    import numpy as np

    before = np.cumsum(lengths) - lengths
    places: NDArray[np.int64] = np.repeat(starts - before, lengths)
    places += np.arange(len(places))
    return places


_FACTOR: Final = 0x9E3779B97F4A7C15
_SPACE: Final = 0xD1B54A32D192ED03
_HARD: Final = 2
"""No coefficient: those are odd, or 0."""


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers of which every bit depends on all bits of `values` (the finalizer of SplitMix64, Steele et al. 2014)."""
    import numpy as np

    result = values ^ (values >> np.uint64(30))
    result *= np.uint64(0xBF58476D1CE4E5B9)
    result ^= result >> np.uint64(27)
    result *= np.uint64(0x94D049BB133111EB)
    result ^= result >> np.uint64(31)
    return result


@cache
def _coefficients() -> NDArray[np.uint64]:
    """For each code point an odd coefficient, and 0 for those that are in no word."""
    import numpy as np

    points = np.arange(0x110000, dtype="<u4")
    values = np.zeros(len(points), np.uint64)
    for run in WORD.finditer(points.tobytes().decode("utf-32-le", "surrogatepass")):
        values[run.start() : run.end()] = 1
    values *= mixed((points.astype(np.uint64) + np.uint64(1)) * np.uint64(_FACTOR)) | np.uint64(1)
    return values


@cache
def _folding() -> NDArray[np.uint64]:
    """For each code point the coefficient of what it is folded to, where no other can change that; _HARD for the rest.

    Looked at are letters, signs and pictures that are frequent; texts with others are folded as a whole.
    """
    import numpy as np

    values = _coefficients()
    result = np.full(len(values), _HARD, np.uint64)
    for first, last in (0x4E00, 0xA000), (0xAC00, 0xD7A4):  # Han characters and Hangul syllables
        result[first:last] = values[first:last]
    for code in (*range(0x3400), *range(0xFF00, 0xFFF0), *range(0x1F000, 0x1FB00)):
        if (single := _folded_alone(chr(code))) is not None:
            result[code] = values[ord(single)]
    return result


def _folded_alone(character: str) -> str | None:
    """What `folded` makes of a character wherever it stands, if that is one character, or many that are in no word (then
    a space stands for them); None where it isn't so, or where the character may combine with one before it.

    What combines is a mark or a part of a Hangul syllable. A capital sigma is another small letter at the end of a word.
    """
    plain = normalize("NFKC", character)
    if any(category(each).startswith("M") or "\u1100" <= each <= "\u11ff" or each == "Σ" for each in plain):
        return None
    small = plain.lower()
    return small if len(small) == 1 else " " if not WORD.search(small) else None


def _powers(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """At least `count` powers of the odd number, from the first, and their inverses modulo 2**64."""
    return _power_table(max(2 * PIECE, 1 << count.bit_length()))


@lru_cache(maxsize=1)
def _power_table(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    import numpy as np

    inverse = pow(_FACTOR, -1, 2**64)
    return tuple(  # type: ignore[return-value]
        np.multiply.accumulate(np.full(count, number, np.uint64)) for number in (_FACTOR, inverse)
    )
