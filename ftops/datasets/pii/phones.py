"""Telephone numbers: Korean ones in every form, those of other countries by their numbering plans.

Korean prefixes are those of the numbering plan of the Ministry of Science and ICT (전기통신번호관리세칙): 010, 011, 016 to 019
mobile, 02 and 031 to 064 by area, 050X personal, 070 internet. 15XX, 16XX and 18XX are companies, as 080 is, and are left alone.
Whether a block is assigned is not asked: nobody's number today is somebody's tomorrow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ftops.datasets.pii.match import LEFT, LIKELY, RIGHT, SHAPE, VALIDATED, Candidate, beside, digits_of, words
from ftops.datasets.pii.normalize import Scan

_AREA = r"10|1[16-9]|2|50[2-8]|[3-6][0-9]|70"
_BETWEEN = r"(?:[ ]?[.)\-][ ]?|[ ])?"
_KOREAN: Final = re.compile(
    rf"{LEFT}(?:(?P<abroad>(?:\+|00[12]?|011[ \-]?)82(?:\)|{_BETWEEN})(?:\(0\)[ ]?|0)?)(?P<far>{_AREA})|0(?P<near>{_AREA}))"
    rf"(?P<first>{_BETWEEN})(?P<middle>[0-9]{{3,4}})(?P<second>{_BETWEEN})[0-9]{{4}}{RIGHT}"
)
_COMPANY: Final = re.compile(r"1[568][0-9]{2}\Z")
_LANDLINE: Final = re.compile(r"2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50[2-8]")
_CODE_FOLLOWS: Final = re.compile(r"[A-Za-zÀ-ɏ]")

_FOREIGN: Final = re.compile(
    rf"{LEFT}(?P<prefix>\+|00[ \-]?|011[ \-])(?P<number>[1-9](?:(?:[ ().\-]{{0,2}}| - )[0-9]){{7,14}})"
)
_AMERICAN: Final = re.compile(
    rf"(?<![0-9A-Za-zÀ-ɏ])(?P<area>\([2-9][0-9]{{2}}\) ?)[0-9]{{3}}-[0-9]{{4}}{RIGHT}"
    rf"|{LEFT}(?:1-)?[2-9][0-9]{{2}}-[0-9]{{3}}-[0-9]{{4}}{RIGHT}"
)
"""As North Americans write theirs at home: with parentheses nothing else looks so, without them many things do."""
_GROUP_END: Final = re.compile(r"[0-9](?![0-9])")
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]")
_PHONE: Final = words(
    "전화", "연락처", "휴대폰", "핸드폰", "휴대전화", "모바일", "팩스",
    "(?:tele)?phones?", "tel", "mobile", "cell", "call", "fax", "whatsapp", "contact",
)  # fmt: skip


def find(scanned: Scan) -> Iterator[Candidate]:
    """Numbers of people; those of companies that call at their own cost are none."""
    for match in scanned.matches(_KOREAN):
        yield from _korean(match)
    for match in scanned.matches(_AMERICAN):
        if match["area"] or beside(scanned.text, *match.span(), _PHONE):
            yield Candidate("phone", *match.span(), SHAPE)
    for match in scanned.matches(_FOREIGN):
        yield from _foreign(scanned.text, match)


def _korean(match: re.Match[str]) -> Iterator[Candidate]:
    area = match["far"] or match["near"]
    middle, bare = match["middle"], not (match["first"] or match["second"])
    mobile = area[0] == "1"
    if not mobile and _COMPANY.match(middle):
        return
    keep = match.start("first") - match.start()
    if match["abroad"] or not bare:
        yield Candidate("phone", *match.span(), LIKELY, keep)
        return
    follows = match.string[match.end() : match.end() + 1]
    if _CODE_FOLLOWS.match(follows) or set(match[0]) <= {"0", "1"} or (area == "10" and len(middle) == 3):
        return  # a code, a binary number, or a digit too few
    if mobile or _LANDLINE.fullmatch(area):
        yield Candidate("phone", *match.span(), LIKELY if mobile else SHAPE, keep)


def _foreign(text: str, match: re.Match[str]) -> Iterator[Candidate]:
    """The longest piece of `match`, from its beginning to the end of a group of digits, that its country's plan knows."""
    number, start = match["number"], match.start("number")
    if number.startswith("82") or _DATE.match(number):
        return
    dialled = match["prefix"] != "+"
    likely = None
    for each in reversed([*_GROUP_END.finditer(text, start, match.end() + 2)]):
        piece = text[start : each.end()]
        grouped = not piece.isdigit()
        # Identifiers are padded with zeros, too; a number that is dialled so is written in groups, or named.
        if dialled and not grouped and not beside(text, match.start(), each.end(), _PHONE):
            continue
        known, country = _by_plan(digits_of(piece))
        found = Candidate("phone", match.start(), each.end(), known, start - match.start() + country)
        if known == VALIDATED:
            yield found
            return
        if known and grouped and not dialled:
            likely = likely or found
    if likely is not None:
        yield likely


def _by_plan(digits: str) -> tuple[float, int]:
    """How sure it is that `digits`, from the country's code on, are a person's number; and how many the code has."""
    import phonenumbers  # 30 ms, and a millisecond for each country: only for a text that has a candidate
    from phonenumbers import PhoneNumberType as Type

    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return 0.0, 0
    code = len(str(number.country_code))
    kind = phonenumbers.number_type(number)
    if kind in {Type.FIXED_LINE, Type.MOBILE, Type.FIXED_LINE_OR_MOBILE, Type.PERSONAL_NUMBER, Type.PAGER, Type.VOIP}:
        return VALIDATED, code
    possible = phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return (SHAPE if kind == Type.UNKNOWN and possible else 0.0), code
