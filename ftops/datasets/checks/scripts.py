"""How long texts are, and in which script: of whole columns at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.datasets.checks.rows import TOOLS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

OPTIONAL: Final = frozenset({"input", "system", TOOLS})
"""Fields that may be empty, whatever the shape."""
SEEN: Final = 120
"""The writing of a text is told by so many characters at its beginning; at most 255, for a count has 8 bits below."""
RANGES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "Latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0x24F), (0x1E00, 0x1EFF)),
    "Hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3)),
    "Han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x2FFFF)),
    "Kana": ((0x3040, 0x30FF),),
    "Cyrillic": ((0x400, 0x52F),),
    "Arabic": ((0x620, 0x64A), (0x66E, 0x6D3), (0x6FA, 0x6FF), (0x750, 0x77F)),
    "Indic": ((0x900, 0xDFF),),
    "other": ((0x370, 0x3FF), (0x531, 0x5EA), (0x700, 0x74F), (0xE00, 0x10FF), (0x1200, 0x137F), (0x1780, 0x17FF)),
}
"""Code points by writing (Unicode 16, blocks of letters). `other`: Greek, Armenian, Hebrew, Syriac, Thai, Lao, Tibetan,
Burmese, Georgian, Ethiopic, Khmer. Of the Latin letters those outside of words, such as full-width ones, are left out."""
SCRIPTS: Final = tuple(RANGES)


def characters(column: pa.Array) -> NDArray[np.int64]:
    """How many characters (code points) each value has; a chat those of all its messages and calls together."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_large_list(column.type):
        return pc.utf8_length(column).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]
    messages = column.flatten()
    lengths = np.zeros(len(messages) + 1, np.int64)
    for part in ("content", "tool_calls"):
        lengths[1:] += pc.utf8_length(messages.field(part)).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(turns(column))
    return np.diff(np.cumsum(lengths)[ends], prepend=0)


def turns(chats: pa.LargeListArray) -> NDArray[np.int64]:
    """How many messages each chat has."""
    import pyarrow.compute as pc

    return pc.list_value_length(chats).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def letters(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    """How many letters of each of SCRIPTS a text has, one row a text, among its first SEEN characters.

    The first two bytes of a character tell its writing (blocks of 64 code points for those of three bytes). Eight counts
    of 8 bits lie in one number, so that one sum over the bytes of a text makes them all.
    """
    import numpy as np
    import pyarrow.compute as pc

    starts = pc.utf8_slice_codeunits(texts, 0, SEEN)
    _, offsets, values = starts.buffers()
    packed = np.zeros(len(starts), np.uint64)
    bounds = np.frombuffer(offsets, np.int64)[starts.offset : starts.offset + len(starts) + 1]
    some = bounds[1:] > bounds[:-1]
    if some.any():
        read = np.frombuffer(values, np.uint8)[bounds[0] : bounds[-1]]
        pairs = np.left_shift(read, 8, dtype=np.uint16)
        pairs[:-1] |= read[1:]
        packed[some] = np.add.reduceat(_table().take(pairs), bounds[:-1][some] - bounds[0])
    return packed.astype("<u8").view(np.uint8).reshape(len(starts), len(SCRIPTS))


def main_script(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """The index in SCRIPTS of what most letters are of, -1 where there are none; `counts` has a column a text."""
    import numpy as np

    counts = np.ascontiguousarray(counts)
    return np.where(counts.any(axis=0), counts.argmax(axis=0), -1)


def count_letters(text: str) -> dict[str, int]:
    """The same for one text, over its whole length and code point by code point."""
    return {name: len("".join(pattern.findall(text))) for name, pattern in _patterns().items()}


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    return {
        name: re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in ranges)}]+")
        for name, ranges in RANGES.items()
    }


@cache
def _table() -> NDArray[np.uint64]:
    """By the first two bytes of a character: 1 in the eight bits of its writing."""
    import numpy as np

    table = np.zeros(2**16, np.uint64)
    for index, ranges in enumerate(RANGES.values()):
        for first, last in ranges:
            one = np.uint64(1 << 8 * index)
            if last < 0x80:
                table[first << 8 : (last + 1) << 8] = one
            elif last >= 0x10000:
                table[0xF0A0:0xF0B0] = one  # planes 2 and more, all of them Han
            else:
                for code in range(first, last + 1, 64 if first >= 0x800 else 1):
                    lead, follower = chr(code).encode()[:2]
                    table[lead << 8 | follower] = one
    return table
