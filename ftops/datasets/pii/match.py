"""What a detector finds, how sure it is, and the words around it that make it sure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

ENTITIES: Final = (
    "email", "phone", "kr_rrn", "kr_frn", "kr_brn", "credit_card", "passport", "driver_license", "bank_account",
)  # fmt: skip

VALIDATED: Final = 1.0
"""A check digit, an issuer's prefix or a numbering plan says that it is one."""
LIKELY: Final = 0.9
"""Its form is that of nothing else, or it has the form and a word beside it that names it."""
CONTEXT: Final = 0.6
"""Digits without a form of their own, and a word beside them that names them."""
SHAPE: Final = 0.4
"""Its form, which other things have too."""

LEFT: Final = r"(?<![0-9A-Za-zÀ-ɏ])(?<![0-9][.\-])"
"""No number begins inside of a word, a longer number, a version or a decimal. Hangul before it is as good as a space."""
RIGHT: Final = r"(?![0-9])(?![.\-][0-9])"
"""And none ends inside of a longer number."""
RIGHT_BARE: Final = r"(?![0-9A-Za-zÀ-ɏ])(?![.\-][0-9])"
"""Digits without punctuation could be the beginning of any code, too."""

_BEFORE, _AFTER = 40, 20
_PARAGRAPH = "\n\n"


class Candidate(NamedTuple):
    """A place in the scanned text; the first `keep` characters may be shown."""

    entity: str
    start: int
    end: int
    confidence: float
    keep: int = 0


class Hit(NamedTuple):
    """Personal data in a text, in code points of it; `masked` stands for it wherever it is shown, `confidence` is 0 to 1."""

    entity: str
    start: int
    end: int
    masked: str
    confidence: float


def words(*patterns: str) -> re.Pattern[str]:
    """What matches any of `patterns` in any case; Latin ones only as whole words."""
    return re.compile(
        "|".join(rf"(?<![a-z]){each}(?![a-z])" if each.isascii() else each for each in patterns), re.IGNORECASE
    )


def beside(text: str, start: int, end: int, naming: re.Pattern[str]) -> bool:
    """Whether a word of `naming` stands 40 characters before or 20 after, in the same paragraph."""
    before = text[max(0, start - _BEFORE) : start].rpartition(_PARAGRAPH)[2]
    return (
        naming.search(before) is not None
        or naming.search(text[end : end + _AFTER].partition(_PARAGRAPH)[0]) is not None
    )


def digits_of(text: str) -> str:
    """The digits of a piece of scanned text."""
    return "".join(filter(str.isdigit, text))


def starred(text: str, keep: int = 0) -> str:
    """`text` with a star for each letter and digit from character `keep` on; punctuation shows the shape."""
    hidden = ("*" if any(map(str.isalnum, unicodedata.normalize("NFKC", each))) else each for each in text[keep:])
    return text[:keep] + "".join(hidden)
