"""What a check tells of what it found, in its own words: text, pages and JSON show it, and know no check."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ftops.digests import Json


class Count(NamedTuple):
    """How many there are of something. `words` are what a page calls rows of that kind, "" where no rows are counted."""

    name: str
    number: int
    words: str


class Part(NamedTuple):
    """A part of a score: `value` is the share of rows in which nothing is found, `rows` the number of the others, and `words`
    what a row is in which nothing is found."""

    name: str
    value: float
    rows: int
    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Score:
    """One figure from 0 to 1 for all rows, the least that is asked for, the parts that it is the mean of, and a sentence that says so."""

    value: float
    least: float | None
    parts: tuple[Part, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Told:
    """What is shown of a check.

    `forbids` says why rows may not be trained on where it failed. `counts` is None for a check that gives a score instead.
    `remark` is a sentence about the rows that are left, "" where there is nothing to say.
    """

    forbids: str
    counts: tuple[Count, ...] | None = None
    score: Score | None = None
    remark: str = ""


def flat_counts(summary: Json, above: str = "") -> Iterator[tuple[str, int]]:
    """The counts of a check's summary by name; those within another name as `outer: inner`."""
    if not isinstance(summary, Mapping):
        return
    for name, value in summary.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield f"{above}{name}", value
        else:
            yield from flat_counts(value, f"{above}{name}: ")


def score_text(score: float) -> str:
    """Three digits, the rest cut off: never more than it is, so that what is less than a bound reads as less."""
    return f"{math.floor(round(score * 1000, 6)) / 1000:.3f}"
