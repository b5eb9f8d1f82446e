"""Numbers that Korea gives to residents, foreigners and businesses.

Resident and foreigner numbers are YYMMDD-SNNNNNC: S is 1 or 2 for those born in 19XX, 3 or 4 in 20XX, 9 or 0 in 18XX, and
for foreigners 5 or 6 and 7 or 8 (주민등록법 시행규칙). C was a check digit until October 2020; since then the last six are
random, so a digit that doesn't fit clears nobody. Business numbers are 3-2-5 with a check digit that always fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from ftops.datasets.pii.match import (
    LEFT,
    LIKELY,
    RIGHT,
    RIGHT_BARE,
    SHAPE,
    VALIDATED,
    Candidate,
    beside,
    digits_of,
    words,
)
from ftops.datasets.pii.normalize import Scan

PLAUSIBLE_UNTIL: Final = date(2030, 12, 31)
"""Nobody is born after this day. A check knows no clock, or it would find other things tomorrow in the same rows; move it in time."""
_ALIVE: Final = 1920
"""Thirteen digits that nothing else speaks for are nobody's who was born before."""
_CENTURIES: Final = {**dict.fromkeys("1256", 1900), **dict.fromkeys("3478", 2000), **dict.fromkeys("90", 1800)}
_FOREIGN: Final = frozenset("5678")
_WEIGHTS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)

_PERSON: Final = re.compile(
    rf"{LEFT}[0-9]{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    rf"(?:(?P<hyphen>[ ]?-[ ]?)[0-9]{{7}}{RIGHT}|[ ]?[0-9]{{7}}{RIGHT_BARE})"
)
_NAMED: Final = words("주민", "외국인", "거소", "resident", "alien", "foreigner", "rrn", "arc", "frn")
_CORPORATE: Final = words("법인", "corporat(?:e|ion)")
_OTHER_CODE: Final = re.compile(r"1[0-9]{12}|880[0-9]{10}")
"""What thirteen digits also are: a time in milliseconds (until 2033), a Korean barcode (GS1 prefix 880)."""

_BUSINESS: Final = re.compile(rf"{LEFT}(?:[0-9]{{3}}-[0-9]{{2}}-[0-9]{{5}}{RIGHT}|[0-9]{{10}}{RIGHT_BARE})")
_BUSINESS_WEIGHTS: Final = (1, 3, 7, 1, 3, 7, 1, 3)
_BUSINESS_NAMED: Final = words("사업자", "business (?:registration|number|id)", "business no", "brn", "tax id")


def find(scanned: Scan) -> Iterator[Candidate]:
    """Resident and foreigner numbers with a real date, business numbers with the right check digit."""
    for match in scanned.matches(_PERSON):
        yield from _person(match)
    for match in scanned.matches(_BUSINESS):
        yield from _business(match)


def _person(match: re.Match[str]) -> Iterator[Candidate]:
    digits = digits_of(match[0])
    born = _born(digits)
    if born is None:
        return
    text, (start, end) = match.string, match.span()
    foreign = digits[6] in _FOREIGN
    checked = person_digit(digits, foreign=foreign) == digits[12]
    sure = VALIDATED if checked else LIKELY
    if not beside(text, start, end, _NAMED):
        if match["hyphen"]:
            # Who was born before 1900 never got a new number without a check digit: this is a date and a count.
            other = not checked and (born.year < 1900 or beside(text, start, end, _CORPORATE))
        else:
            likely = checked or (match[0].isdigit() and born.year >= _ALIVE)
            other = not likely or _OTHER_CODE.fullmatch(match[0]) is not None
            sure = LIKELY if checked else SHAPE
        if other:
            return
    yield Candidate("kr_frn" if foreign else "kr_rrn", start, end, sure)


def _born(digits: str) -> date | None:
    try:
        day = date(_CENTURIES[digits[6]] + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None
    return day if day <= PLAUSIBLE_UNTIL else None


def person_digit(digits: str, *, foreign: bool) -> str:
    """The last digit of a resident or foreigner number of which `digits` are at least the first twelve."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=False))
    return str(((13 if foreign else 11) - total % 11) % 10)


def _business(match: re.Match[str]) -> Iterator[Candidate]:
    digits = digits_of(match[0])
    if business_digit(digits) != digits[9] or len(set(digits)) == 1:
        return
    if len(match[0]) > len(digits):
        yield Candidate("kr_brn", *match.span(), VALIDATED)
    elif beside(match.string, *match.span(), _BUSINESS_NAMED):
        yield Candidate("kr_brn", *match.span(), LIKELY)


def business_digit(digits: str) -> str:
    """The last digit of a business number of which `digits` are at least the first nine."""
    total = sum(int(digit) * weight for digit, weight in zip(digits, _BUSINESS_WEIGHTS, strict=False))
    return str(-(total + int(digits[8]) * 5 + int(digits[8]) * 5 // 10) % 10)
