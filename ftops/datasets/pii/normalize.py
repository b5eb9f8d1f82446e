"""The form of a text that detectors look at, and the way back to the text itself."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_STABLE = r" -~\n가-힣一-鿿ぁ-ゖァ-ヺ"
"""Characters that are their own NFKC form and do not join with what stands before them."""
_UNSTABLE: Final = re.compile(rf"[^{_STABLE}]+")
_MARK = r"\u0300-\u036f\u1160-\u11ff\u20d0-\u20ff\u3099\u309a\uff9e\uff9f\uffa0-\uffdc\ufe00-\ufe2f"
_MARKS: Final = re.compile(rf"[{_MARK}]")
_JOINED: Final = re.compile(rf"[\s\S][{_MARK}]*")
"""A character with what may join it: accents, and the vowels and finals of Hangul written in parts."""
_PLAIN: Final = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff")
)
"""Dashes that people write for a hyphen, and characters that nobody sees."""

_RUN: Final = re.compile(r"[0-9](?:[ ().\-]{0,4}[0-9]){6,}")
"""Enough digits for a number of something, with what may stand between them. No number that is looked for reaches further."""
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_HIDDEN: Final = "x" * 36


@dataclass(frozen=True, slots=True)
class Scan:
    """`text` is the NFKC form, dashes being hyphens and GUIDs hidden; `runs` are the places where a number may be.

    `pieces` says which characters became which: for each piece its place in `text`, then its first and one-past-last
    character in the original, and whether it changed. () when nothing did.
    """

    text: str
    runs: tuple[tuple[int, int], ...]
    pieces: tuple[tuple[int, int, int, bool], ...] = ()

    def matches(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Where `pattern` matches at a place where a number may be: from every beginning, for two may share digits."""
        for start, end in self.runs:
            at = start
            while match := pattern.search(self.text, at, end):
                yield match
                at = match.start() + 1

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end) of the scanned text stands in the original."""
        return (self._of(start)[0], self._of(end - 1)[1]) if self.pieces else (start, end)

    def _of(self, index: int) -> tuple[int, int]:
        at, first, last, changed = self.pieces[bisect(self.pieces, index, key=lambda piece: piece[0]) - 1]
        return (first, last) if changed else (first + index - at, first + index - at + 1)


def scan(text: str) -> Scan:
    """`text` as detectors see it."""
    pieces: tuple[tuple[int, int, int, bool], ...] = ()
    if not text.isascii():
        text, pieces = _unified(text)
    if text.count("-") >= 4:
        text = _GUID.sub(_HIDDEN, text)
    # A margin on both sides: a plus and a parenthesis before, and after it what a number must not be followed by.
    runs = tuple((max(0, each.start() - 6), each.end() + 3) for each in _RUN.finditer(text))
    return Scan(text, runs, pieces)


def _unified(text: str) -> tuple[str, tuple[tuple[int, int, int, bool], ...]]:
    """The NFKC form of `text`, piece by piece, because only then is it known what came from where."""
    made: list[str] = []
    pieces: list[tuple[int, int, int, bool]] = []
    length = at = 0

    def add(new: str, first: int, last: int, *, changed: bool) -> None:
        nonlocal length
        if new:
            made.append(new)
            pieces.append((length, first, last, changed))
            length += len(new)

    for run in _UNSTABLE.finditer(text):
        start = run.start() - (run.start() > at and _MARKS.match(text, run.start()) is not None)
        add(text[at:start], at, start, changed=False)
        for piece in _JOINED.finditer(text, start, run.end()):
            new = unicodedata.normalize("NFKC", piece[0]).translate(_PLAIN)
            add(new, piece.start(), piece.end(), changed=True)
        at = run.end()
    add(text[at:], at, len(text), changed=False)
    whole = "".join(made)
    return (whole, ()) if whole == text else (whole, tuple(pieces))
