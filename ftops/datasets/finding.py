"""What data checks find."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

NAMED: Final = 20
"""Rows that a sentence names; of more it says how many."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a data check found: in which row (from 1, of the source), which field, and a text without the data.

    `field` is a path in the row as `jq` would write it: `output`, `messages[2].content`. `entity` is which of the check's
    kinds it is (`email`, `repetition`), `start` and `end` count code points of the field's text as it was read, and
    `masked` stands for what is there. `line` and `byte` (of the file, where the row starts) are known of format faults.
    """

    check: str
    row: int
    field: str
    detail: str
    entity: str | None = None
    start: int | None = None
    end: int | None = None
    masked: str | None = None
    line: int | None = None
    byte: int | None = None


def row_list(numbers: Collection[int]) -> str:
    """`numbers` of rows in words, the first ones at least."""
    more = f" and {len(numbers) - NAMED:,} more" if len(numbers) > NAMED else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)[:NAMED]))}{more}"
