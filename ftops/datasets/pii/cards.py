"""Card numbers: the issuer's prefix, its lengths, and the check digit (ISO/IEC 7812-1, Luhn).

94 is Korea's own: 9 stands for a national scheme, and 410 is the country; cards that are good only in Korea begin with 94.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ftops.datasets.pii.match import LEFT, RIGHT, RIGHT_BARE, VALIDATED, Candidate, beside, digits_of, words
from ftops.datasets.pii.normalize import Scan

_CARD: Final = re.compile(
    rf"{LEFT}(?:(?P<four>[0-9]{{4}}(?P<sep>[ \-])[0-9]{{4}}(?P=sep)[0-9]{{4}}(?P=sep)[0-9]{{4}})(?:(?P=sep)[0-9]{{1,3}}{RIGHT})?{RIGHT}"
    rf"|[0-9]{{4}}(?P<other>[ \-])[0-9]{{6}}(?P=other)[0-9]{{4,5}}{RIGHT}"
    rf"|[0-9]{{13,19}}{RIGHT_BARE})"
)
_ISSUERS: Final = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"6011|64[4-9]|65"), (16, 17, 18, 19)),  # Discover
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),  # JCB
    (re.compile(r"30[0-5]|3095|3[689]"), (14, 16)),  # Diners Club
    (re.compile(r"62|81"), (16, 17, 18, 19)),  # UnionPay
    (re.compile(r"94"), (16,)),  # Korea
)
_SHORT = 13
"""Visa gave out numbers of 13 digits long ago; a time in milliseconds or a barcode has as many."""
_NAMED: Final = words("카드", "cards?", "visa", "비자")


def find(scanned: Scan) -> Iterator[Candidate]:
    """Numbers that an issuer could have given out, in groups or without."""
    for match in scanned.matches(_CARD):
        # Three digits after four groups are of the number, or the code on the back.
        for end in dict.fromkeys((match.end(), match.end("four"))):
            if end > 0 and _is_card(match, end):
                yield Candidate("credit_card", match.start(), end, VALIDATED)
                break


def _is_card(match: re.Match[str], end: int) -> bool:
    digits = digits_of(match.string[match.start() : end])
    known = any(prefix.match(digits) and len(digits) in lengths for prefix, lengths in _ISSUERS)
    if not known or not luhn(digits):
        return False
    return len(digits) != _SHORT or beside(match.string, match.start(), end, _NAMED)


def luhn(digits: str) -> bool:
    """Whether the check digit of `digits` is right (ISO/IEC 7812-1, annex B)."""
    odd = sum(int(digit) for digit in digits[-1::-2])
    return (odd + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10 == 0
