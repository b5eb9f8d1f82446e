"""Personal data in a text: where it is, and what may be shown of it.

Each family of identifiers has its file, and its detectors look at the text for themselves; where what they found overlaps,
the surest is kept. Nothing here knows rows, files or the time. A detector takes the text as it is scanned (`normalize.py`)
and gives candidates (`match.py`), in time that grows with the text and no faster.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Final

from ftops.datasets.pii import addresses, cards, context_numbers, phones, registrations
from ftops.datasets.pii.match import CONTEXT, ENTITIES, SHAPE, Candidate, Hit, starred
from ftops.datasets.pii.normalize import Scan, scan

__all__ = ["CONTEXT", "ENTITIES", "SHAPE", "Hit", "find", "masked"]

_EMAIL: Final = "<EMAIL>"


def find(text: str, entities: frozenset[str] | None = None) -> list[Hit]:
    """What `text` holds of `entities` (of all when None): in order, without overlaps.

    Every detector runs whatever is asked for, so that a telephone number is no bank account because nobody asked for telephones.
    """
    scanned = scan(text)
    found = [
        each for family in (addresses, phones, registrations, cards, context_numbers) for each in family.find(scanned)
    ]
    return [_hit(text, scanned, each) for each in _apart(found) if entities is None or each.entity in entities]


def masked(text: str, hits: Sequence[Hit], entities: frozenset[str]) -> str:
    """`text` with `hits` masked, and whatever else of `entities` comes to light then, until none is found.

    A number may stand so close to another that neither can be read alone until one of them is gone.
    """
    while hits:
        pieces, at = [], 0
        for hit in hits:
            pieces += [text[at : hit.start], hit.masked]
            at = hit.end
        text = "".join([*pieces, text[at:]])
        hits = find(text, entities)
    return text


def _hit(text: str, scanned: Scan, found: Candidate) -> Hit:
    start, end = scanned.place(found.start, found.end)
    kept = scanned.place(found.start, found.start + found.keep)[1] - start if found.keep else 0
    shown = _EMAIL if found.entity == "email" else starred(text[start:end], kept)
    return Hit(found.entity, start, end, shown, found.confidence)


def _apart(found: list[Candidate]) -> list[Candidate]:
    """Of candidates that overlap the surest, of equally sure ones the longest, of these the first by entity."""
    if len(found) < 2:
        return found  # most often
    kept: list[Candidate] = []
    starts: list[int] = []
    for each in sorted(found, key=_rank):
        place = bisect(starts, each.start)
        if (place == 0 or kept[place - 1].end <= each.start) and (place == len(kept) or each.end <= kept[place].start):
            kept.insert(place, each)
            starts.insert(place, each.start)
    return kept


def _rank(found: Candidate) -> tuple[float, int, int, int]:
    return -found.confidence, found.start - found.end, ENTITIES.index(found.entity), found.start
