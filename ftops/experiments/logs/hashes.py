"""96 bits of each text of an Arrow column, to tell texts apart without keeping them.

The first 64 are the same everywhere and give rows their order; the last 32 are keyed anew in each process, so that
nobody can write two ids that are taken for one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_BLOCK: Final = 1 << 15
"""Texts that are hashed together: what is done with them stays in the processor's cache."""
_LONG: Final = 1024
"""Bytes from which a text is hashed by itself."""
_KEY: Final = secrets.token_bytes(16)
_ADD: Final = int.from_bytes(_KEY[:8], "little")
_TIMES: Final = int.from_bytes(_KEY[8:], "little") | 1
_STEP: Final = 0x9E3779B97F4A7C15
_MIX: Final = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
"""The multipliers of MurmurHash3's finaliser (Austin Appleby, public domain)."""

Hash = tuple["NDArray[np.uint64]", "NDArray[np.uint32]"]


def hashes(texts: pa.Array) -> Hash:
    """The two parts for each of `texts`, of type string, large_string, or a dictionary of those; none of it null."""
    import numpy as np
    import pyarrow as pa

    if isinstance(texts, pa.DictionaryArray):
        of_each, checked = hashes(texts.dictionary)
        at = texts.indices.to_numpy(zero_copy_only=False)
        return of_each[at], checked[at]
    bounds, data = layout(texts)
    found, checks = np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint32)
    for start in range(0, len(texts), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(texts)))
        first, second = _block(bounds[part.start : part.stop + 1], data)
        found[part] = first
        checks[part] = second >> np.uint64(32)
    return found, checks


def layout(texts: pa.Array) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Where each of `texts` begins, with the end of the last, and the bytes of all of them."""
    import numpy as np

    width: type[np.int32 | np.int64] = np.int64 if str(texts.type) == "large_string" else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        return np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint8)
    bounds = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return bounds, np.frombuffer(data or b"", np.uint8)


def _block(bounds: NDArray[Any], data: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    import numpy as np

    begin, end = int(bounds[0]), int(bounds[-1])
    lengths = np.diff(bounds)
    shortest, longest = int(lengths.min()), int(lengths.max())
    if longest == shortest and longest and longest % 8 == 0:
        words = data[begin:end].view("<u8").reshape(len(lengths), -1)
        return _mixed(lengths, words.shape[1], lambda place: (slice(None), words[:, place]))
    # Eight bytes from any place can be read so, and the last text has eight after it.
    padded = np.zeros(end - begin + 8, np.uint8)
    padded[: end - begin] = data[begin:end]
    anywhere = np.ndarray((end - begin + 1,), "<u8", padded.data, 0, (1,))
    at = (bounds[:-1] - begin).astype(np.int64)
    cut = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)

    def word(place: int) -> tuple[Any, NDArray[np.uint64]]:
        left = lengths - 8 * place
        rows: Any = slice(None) if shortest > 8 * place else np.flatnonzero(left > 0)
        return rows, anywhere[at[rows] + 8 * place] & cut[np.minimum(left[rows], 8)]

    longest = min(longest, _LONG)
    first, second = _mixed(lengths, (longest + 7) // 8, word)
    for text in np.flatnonzero(lengths > _LONG):
        raw = data[bounds[text] : bounds[text + 1]].tobytes()
        first[text] = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
        second[text] = int.from_bytes(hashlib.blake2b(raw, digest_size=8, key=_KEY).digest(), "little")
    return first, second


def _mixed(
    lengths: NDArray[Any], words: int, word: Callable[[int], tuple[Any, Any]]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """`word(place)` says which texts have a word there, and the words."""
    import numpy as np

    first = lengths.astype(np.uint64) * np.uint64(_STEP)
    second = lengths.astype(np.uint64) + np.uint64(_ADD)
    one, other, times = (np.uint64(each) for each in (*_MIX, _TIMES))
    for place in range(words):
        rows, now = word(place)
        for state, factor, shift in ((first, one, 32), (second, times, 29)):
            part = state[rows]  # a view or a copy: written back either way
            part ^= now
            part *= factor
            part ^= part >> np.uint64(shift)
            state[rows] = part
    return _finished(first, one, other), _finished(second, one, other)


def _finished(state: NDArray[np.uint64], one: np.uint64, other: np.uint64) -> NDArray[np.uint64]:
    import numpy as np

    for times in (one, other):
        state ^= state >> np.uint64(33)
        state *= times
    state ^= state >> np.uint64(33)
    return state
