"""Passports, driver's licences and bank accounts: digits that only the words beside them tell from others.

Passports: a letter for the kind and eight digits, since December 2021 a letter among them (M123A4567), as Korea's Ministry of
Foreign Affairs writes them. Licences: 2-2-6-2 with the number of the issuing authority, 11 to 26 or 28, or its name before 2-6-2.
Accounts have 10 to 14 digits and no public check; some banks write theirs in a form of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ftops.datasets.pii.match import (
    CONTEXT,
    LEFT,
    LIKELY,
    RIGHT,
    RIGHT_BARE,
    SHAPE,
    Candidate,
    beside,
    digits_of,
    words,
)
from ftops.datasets.pii.normalize import Scan

_PASSPORT: Final = re.compile(rf"{LEFT}[MSRODGmsrodg](?:[0-9]{{8}}|[0-9]{{3}}[A-Za-z][0-9]{{4}}){RIGHT_BARE}")
_PASSPORT_NAMED: Final = words("여권", "passports?")

_AUTHORITY = r"(?:1[1-9]|2[0-68])"
_LICENCE: Final = re.compile(
    rf"{LEFT}(?:(?P<written>{_AUTHORITY}-[0-9]{{2}}-[0-9]{{6}}-[0-9]{{2}}{RIGHT})"
    rf"|{_AUTHORITY} [0-9]{{2}} [0-9]{{6}} [0-9]{{2}}{RIGHT}|{_AUTHORITY}[0-9]{{10}}{RIGHT_BARE}"
    rf"|(?P<old>[0-9]{{2}}-[0-9]{{6}}-[0-9]{{2}}{RIGHT}))"
)
_LICENCE_NAMED: Final = words("면허", r"driv(?:er'?s?|er’s|ing) ?licen[cs]es?", "dl no")
_AUTHORITIES: Final = re.compile(
    "(?:서울|부산|경기|강원|충북|충남|전북|전남|경북|경남|제주|대구|인천|광주|대전|울산|남부|북부) ?$"
)

_ACCOUNT: Final = re.compile(
    rf"{LEFT}(?:[0-9]{{10,14}}{RIGHT_BARE}|[0-9]{{2,6}}(?P<sep>[ \-])[0-9]{{1,8}}(?:(?P=sep)[0-9]{{1,8}}){{0,3}}{RIGHT})"
)
_LEAST, _MOST = 10, 14
_OWN_FORM: Final = re.compile(
    r"1[0-6][0-9]-[0-9]{3}-[0-9]{6}"  # Shinhan
    r"|[0-9]{6}-0[124]-[0-9]{6}"  # KB Kookmin
    r"|100[2-6]-[0-9]{3}-[0-9]{6}"  # Woori
    r"|35[1-6]-[0-9]{4}-[0-9]{4}-[0-9]{2}|30[12]-[0-9]{4}-[0-9]{4}-[0-9]{2}"  # NongHyup
    r"|3333-[0-9]{2}-[0-9]{7}"  # KakaoBank
)
_ACCOUNT_NAMED: Final = words(
    "계좌", "통장", "입금", "송금", "이체", "예금", "은행", "뱅크",
    "bank", "account (?:number|no|#)", "acct", "a/c", "(?:savings|checking|deposit) account", "wire transfer",
)  # fmt: skip
_AMOUNT: Final = re.compile(r" ?(?:원|달러|엔|위안|유로|won|krw|usd|dollars?)", re.IGNORECASE)
_TIME: Final = re.compile(
    r"(?:19|20)[0-9]{2}-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12][0-9]|3[01])(?:[ \-]|(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){0,2}$)"
)


def find(scanned: Scan) -> Iterator[Candidate]:
    """What its form and the words beside it make likely."""
    text = scanned.text
    if "여권" in text or "passport" in text.lower():
        for match in _PASSPORT.finditer(text):
            if beside(text, *match.span(), _PASSPORT_NAMED):
                yield Candidate("passport", *match.span(), LIKELY, keep=1)
    for match in scanned.matches(_LICENCE):
        yield from _licence(match)
    for match in scanned.matches(_ACCOUNT):
        yield from _account(match)


def _licence(match: re.Match[str]) -> Iterator[Candidate]:
    text, (start, end) = match.string, match.span()
    named = beside(text, start, end, _LICENCE_NAMED)
    if named or (match["old"] and _AUTHORITIES.search(text[max(0, start - 3) : start])):
        yield Candidate("driver_license", start, end, LIKELY)
    elif match["written"]:
        yield Candidate("driver_license", start, end, SHAPE)


def _account(match: re.Match[str]) -> Iterator[Candidate]:
    text, number, start = match.string, match[0], match.start()
    while match["sep"] == " " and len(digits_of(number)) > _MOST:
        number = number.rpartition(" ")[0]  # another number stands behind it
    end = start + len(number)
    if not _LEAST <= len(digits_of(number)) <= _MOST or _TIME.match(number) or _AMOUNT.match(text, end):
        return
    if beside(text, start, end, _ACCOUNT_NAMED):
        yield Candidate("bank_account", start, end, CONTEXT)
    elif _OWN_FORM.fullmatch(number):
        yield Candidate("bank_account", start, end, SHAPE)
