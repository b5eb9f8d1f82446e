"""Which rows a version of a data set has, in 32 bytes a row: enough to tell what was added, removed and changed.

A row is its `prompt` and what is learned from it. Both are named by a digest: no text can be read from them, but whoever
guesses a text can see whether it is there, so an index is as private as the rows and stays in the store beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Final

from ftops.datasets.checks.rows import MESSAGES, Rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

NAME: Final = "rows.idx"
"""What the file is called in the folder of prepared data."""
BYTES: Final = 16
ASKED: Final = ("instruction", "input", "system", "tools")
LEARNED: Final = ("output", "chosen", "rejected", "text")
"""What a model is given, and what it learns to write; of a chat that is the last message of the assistant.

A field that is empty and one that isn't there are the same.
"""
PARTS: Final = ("role", "content", "name", "tool_call_id", "tool_calls")
Text = bytes | memoryview
END: Final = "\x00"
"""Ends each part of what is digested; no text holds it, so that two different rows never read the same."""


@dataclass(frozen=True, slots=True)
class RowIndex:
    """Digests of the rows, in their order: `prompts` and `rows`, both of shape (rows, 2) and uint64."""

    prompts: NDArray[np.uint64]
    rows: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.rows)


def row_index(rows: Rows) -> bytes:
    """The index of `rows`, as it is kept in a file: for each row 16 bytes of its prompt, then 16 of the whole row."""
    return b"".join(rows.each(batch_index))


def batch_index(batch: pa.RecordBatch) -> bytes:
    """The part of an index that is about the rows of `batch`."""
    return b"".join(_digests(batch))


def read_index(content: bytes) -> RowIndex:
    """The index that `row_index` gave."""
    import numpy as np

    pairs = np.frombuffer(content, np.uint64).reshape(-1, 4)
    return RowIndex(pairs[:, :2], pairs[:, 2:])


def matched(before: NDArray[np.uint64], after: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which digest of `before` is which of `after`: positions in each, of equal length, rising in `before`.

    The first of several equal ones goes with the first, the second with the second; what is left over has no partner.
    """
    import numpy as np

    both = np.concatenate([before, after])
    # Stable: among equal digests those of `before` come first, and each side stays in its order.
    order = np.lexsort((both[:, 1], both[:, 0]))
    begins = np.ones(len(both), bool)
    begins[1:] = (both[order[1:]] != both[order[:-1]]).any(axis=1)
    group = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)[group]
    early = np.bincount(group, weights=order < len(before)).astype(np.int64)[group]
    rank = np.arange(len(both)) - first - early
    pairs = (rank >= 0) & (rank < early)
    mine, theirs = order[(first + rank)[pairs]], order[pairs] - len(before)
    rising = np.argsort(mine)
    return mine[rising], theirs[rising]


def _digests(batch: pa.RecordBatch) -> Iterator[bytes]:
    """For each row the digest of its prompt, and that of the prompt with what is learned after it.

    A row without any prompt has its own digest there: it is like no other row in what it was asked.
    """
    prompts = _joined(batch, ASKED)
    if MESSAGES in batch.schema.names:
        yield from _chat_digests(batch, prompts)
        return
    for prompt, answer in zip(prompts, _joined(batch, LEARNED, "0"), strict=False):
        digest = hashlib.blake2b(prompt, digest_size=BYTES)
        of_prompt = digest.digest()
        digest.update(answer)
        of_row = digest.digest()
        yield (of_prompt if len(prompt) > len(ASKED) else of_row) + of_row


def _chat_digests(batch: pa.RecordBatch, prompts: Iterable[Text]) -> Iterator[bytes]:
    """The same for chats: what is learned follows, in the digest, after the length of what stands after it in the chat."""
    answers = _joined(batch, LEARNED)
    chats = _chats(batch.column(MESSAGES), split=not set(LEARNED) & set(batch.schema.names))
    for prompt, answer, (before, spoken, after) in zip(prompts, answers, chats, strict=False):
        digest = hashlib.blake2b(prompt, digest_size=BYTES)
        digest.update(before)
        digest.update(after)
        of_prompt = digest.digest()
        digest.update(b"%d" % len(after))  # where in the chat the answer stands
        digest.update(END.encode())
        digest.update(spoken)
        digest.update(answer)
        of_row = digest.digest()
        yield (of_prompt if len(prompt) + len(before) + len(after) > len(ASKED) else of_row) + of_row


def _joined(batch: pa.RecordBatch, names: Sequence[str], *first: str) -> Iterable[Text]:
    """The texts of `names` of each row, each ended, after the texts `first`, which are the same in all rows."""
    columns = {name: batch.column(name) for name in names if name in batch.schema.names}
    if not columns:
        return repeat("".join(each + END for each in (*first, *("" for _ in names))).encode(), batch.num_rows)
    text, bounds = _ended([*first, *(columns.get(name, "") for name in names)])
    return (text[start:end] for start, end in pairwise(bounds.tolist()))


def _chats(column: pa.LargeListArray, *, split: bool) -> Iterator[tuple[Text, Text, Text]]:
    """Of each chat what stands before the last message of the assistant, that one, and what stands after it.

    Without `split` all of it stands before.
    """
    import numpy as np

    messages = column.flatten()
    text, bounds = _ended([messages.field(name) for name in PARTS])
    chats = column.offsets.to_numpy() - column.offsets[0].as_py()
    first, end = chats[:-1], chats[1:]
    answer = end
    if split:
        spoken = np.flatnonzero(messages.field("role").to_numpy(zero_copy_only=False) == "assistant")
        last = np.concatenate([[-1], spoken])[np.searchsorted(spoken, end)]
        answer = np.where(last >= first, last, end)
    after = np.minimum(answer + 1, end)
    for cuts in zip(*(bounds[each].tolist() for each in (first, answer, after, end)), strict=True):
        yield text[cuts[0] : cuts[1]], text[cuts[1] : cuts[2]], text[cuts[2] : cuts[3]]


def _ended(columns: Sequence[pa.Array | str]) -> tuple[memoryview, NDArray[np.int64]]:
    """The texts of `columns` row after row, each with END after it, and the bounds of the rows in that; none as empty."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_string()
    empty = pa.scalar("", kind)
    texts = [
        pa.scalar(column, kind) if isinstance(column, str) else pc.fill_null(column.cast(kind), empty)
        for column in columns
    ]
    joined = pc.binary_join_element_wise(*texts, empty, pa.scalar(END, kind))
    _, bounds, content = joined.buffers()
    return memoryview(content or b""), np.frombuffer(bounds, np.int64, len(joined) + 1)
