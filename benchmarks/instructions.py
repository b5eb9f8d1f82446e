"""Makes rows to tune on, half of them Korean, with everything planted that `data.py` lets be found, and says where.

python benchmarks/instructions.py FILE ROWS      FILE of JSONL, and beside it FILE.truth.json

Words follow Zipf's law over 50,000 forms a language. Of a hundred rows five are an earlier row with one word of at least forty
replaced, or with other punctuation and case; one is an earlier row again; three hold personal data, Korean particles right
beside it; three hold a number that is none. The same rows for the same count, and the first rows of a longer file too.
"""

from __future__ import annotations

import json
import random
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FORMS = 50_000
STRETCH = 5000
TOKENS = 40
KOREAN, ENGLISH = "korean", "english"
Row = dict[str, str]


@dataclass
class Truth:
    """What was planted where: numbers of rows, from 1. `pii` and `traps` say by row what it is."""

    rows: int
    exact: list[int] = field(default_factory=list)
    near: list[int] = field(default_factory=list)
    pii: dict[int, str] = field(default_factory=dict)
    traps: dict[int, str] = field(default_factory=dict)


def make(file: Path, count: int) -> Truth:
    """Write `count` rows, and what is known of them."""
    truth = Truth(count)
    with file.open("w", encoding="utf-8") as stream:
        for row in planted(count, truth):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    truth_file(file).write_text(json.dumps(vars(truth)))
    return truth


def read_truth(file: Path, count: int) -> Truth:
    """What is known of the first `count` rows of a file that `make` wrote."""
    known = json.loads(truth_file(file).read_text())
    lists = {name: [row for row in known[name] if row <= count] for name in ("exact", "near")}
    maps = {
        name: {int(row): what for row, what in known[name].items() if int(row) <= count} for name in ("pii", "traps")
    }
    return Truth(count, **lists, **maps)


def truth_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.truth.json")


def planted(count: int, truth: Truth) -> Iterator[Row]:
    """Rows, and `truth` filled as they come."""
    draw = random.Random(4)
    kept: list[Row] = []  # a tenth of the plain rows: what is copied, without holding all in memory
    for number, (language, row) in enumerate(plain(count), 1):
        kind = draw.random()
        made = row
        if kind < 0.06 and kept:
            made = draw.choice(kept)
            if kind < 0.01:
                truth.exact.append(number)
            else:
                made = nearly(made, draw)
                truth.near.append(number)
        elif 0.06 <= kind < 0.09:
            truth.pii[number] = draw.choice(list(PII))
            made = with_number(row, PII[truth.pii[number]](draw), CONTEXT[truth.pii[number]], language, draw)
        elif 0.09 <= kind < 0.12:
            truth.traps[number] = draw.choice(list(TRAPS))
            made = with_number(row, TRAPS[truth.traps[number]](draw), ("번호", "number"), language, draw)
        elif draw.random() < 0.1 and len(set(re.findall(r"\w+", " ".join(row.values()).lower()))) >= TOKENS:
            kept.append(row)
        yield made


def nearly(row: Row, draw: random.Random) -> Row:
    """Another row that says nearly the same."""
    text = row["output"]
    if draw.random() < 0.3:
        return row | {"output": text.replace(".", " !").replace(",", ""), "instruction": row["instruction"].upper()}
    words = text.split(" ")
    place = draw.randrange(len(words))
    word = words[place].rstrip(".,?…")
    words[place] = words[place].replace(word, f"{word[::-1]}x" if word.isascii() else f"{word}{word[0]}")
    return row | {"output": " ".join(words)}


def with_number(row: Row, number: str, words: tuple[str, str], language: str, draw: random.Random) -> Row:
    """`row` with a number in its output, as people write it into a sentence."""
    sentences = re.split(r"(?<=[.?]) ", row["output"])
    if language == KOREAN:
        particle = draw.choice(["으로", "입니다", "은", "을", "에서", "이고", "번입니다"])
        said = f"{words[0]}{draw.choice([' ', ': ', '는 '])}{number}{particle} 알려 주세요."
    else:
        said = f"The {words[1]}{draw.choice([' is ', ': '])}{number}{draw.choice(['.', ', as ever.', ' (new).'])}"
    sentences.insert(draw.randrange(len(sentences) + 1), said)
    return row | {"output": " ".join(sentences)}


# ----------------------------------------------------------------------------------------------- plain text


def plain(count: int) -> Iterator[tuple[str, Row]]:
    """Rows in which nothing is planted, with their language."""
    rng = np.random.default_rng(4)
    texts = {KOREAN: Text(hangul(), 9), ENGLISH: Text(latin(), 13.5)}
    for start in range(0, count, STRETCH):
        # A whole stretch is drawn even where less is needed, so that a shorter file begins as a longer one does.
        sources = {language: text.sentences(rng, STRETCH * 12) for language, text in texts.items()}
        shape = zip(rng.random(STRETCH), rng.random(STRETCH), rng.integers(3, 9, STRETCH), strict=True)
        for _, (half, given, long) in zip(range(min(STRETCH, count - start)), shape, strict=False):
            language = KOREAN if half < 0.5 else ENGLISH
            sentences = sources[language]
            row = {"instruction": next(sentences), "input": "", "output": ""}
            if given < 0.5:
                row["input"] = " ".join(next(sentences) for _ in range(1 + (given < 0.25)))
            row["output"] = " ".join(next(sentences) for _ in range(long))
            yield language, row


class Text:
    """Sentences of a language's words: the n-th word comes with a chance like 1/(n + 2.7), as Zipf and Mandelbrot have it."""

    def __init__(self, words: list[str], length: float) -> None:
        self.length = length
        chances = 1 / (np.arange(len(words)) + 2.7)
        self.chances = np.cumsum(chances / chances.sum())
        ends = [
            f"{word}{'?' if place % 7 == 3 else '…' if place % 50 == 1 else '.'}" for place, word in enumerate(words)
        ]
        self.forms = words + [word[0].upper() + word[1:] for word in words] + ends + [f"{word}," for word in words]

    def sentences(self, rng: np.random.Generator, count: int) -> Iterator[str]:
        lengths = rng.integers(int(self.length * 0.5), int(self.length * 1.5) + 1, count)
        stops = np.cumsum(lengths)
        words = np.searchsorted(self.chances, rng.random(stops[-1])).clip(max=FORMS - 1)
        kinds = np.where(rng.random(len(words)) < 0.05, 3, 0)
        kinds[stops - 1] = 2
        kinds[stops - lengths] = 1
        forms = self.forms
        text = [forms[place] for place in (words + kinds * FORMS).tolist()]
        for stop, length in zip(stops.tolist(), lengths.tolist(), strict=True):
            yield " ".join(text[stop - length : stop])


def latin() -> list[str]:
    """Words of one to four syllables, the frequent ones short; one in a hundred a number."""
    onsets = "b c d f g h l m n p r s t v w th st br ch tr".split()  # noqa: SIM905
    syllables = [
        f"{a}{b}{c}" for a in onsets for b in ("a", "e", "i", "o", "u", "ea") for c in ("", "", "n", "r", "s", "t")
    ]
    return forms(syllables, (150, 3000, 40_000), [""])


def hangul() -> list[str]:
    """Stems of one to four syllables with a particle or none."""
    syllables = [
        chr(0xAC00 + (initial * 21 + vowel) * 28 + final)
        for initial in (0, 2, 3, 5, 6, 7, 9, 11, 12, 14, 16, 17, 18)
        for vowel in (0, 4, 6, 8, 13, 18, 20)
        for final in (0, 0, 4, 8, 21)
    ]
    return forms(
        syllables, (60, 12_000, 45_000), ["", "", "은", "는", "이", "가", "을", "를", "에서", "으로", "하고", "했다"]
    )


def forms(syllables: list[str], limits: tuple[int, int, int], endings: list[str]) -> list[str]:
    draw, found = random.Random(5), {}
    while len(found) < FORMS:
        size = 1 + sum(len(found) >= limit for limit in limits)
        word = "".join(draw.choices(syllables, k=size)) + draw.choice(endings)
        found[str(draw.randrange(2100)) if draw.random() < 0.01 else word] = None
    return list(found)


# -------------------------------------------------------------------------------- personal data, and what looks like it


def digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choices("0123456789", k=count))


def birthday(draw: random.Random) -> str:
    return f"{draw.randrange(50, 100)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}"


def email(draw: random.Random) -> str:
    return f"{draw.choice(['kim', 'lee.js', 'anna_b', 'p-k'])}{draw.randrange(999)}@{draw.choice(['example.com', 'mail.example.co.kr'])}"


def phone(draw: random.Random) -> str:
    first, middle, last = draw.choice(["010", "011", "02", "031", "070"]), digits(draw, 4), digits(draw, 4)
    middle = f"{draw.randrange(2, 10)}{middle[1:]}"
    if first == "010":
        return draw.choice(
            [f"010-{middle}-{last}", f"010{middle}{last}", f"010.{middle}.{last}", f"+82 10 {middle} {last}"]
        )
    return f"{first}-{middle[:3]}-{last}"


def resident(draw: random.Random) -> str:
    return f"{birthday(draw)}-{draw.choice('12')}{digits(draw, 6)}"


def foreigner(draw: random.Random) -> str:
    return f"{birthday(draw)}-{draw.choice('56')}{digits(draw, 6)}"


def business(draw: random.Random) -> str:
    first = f"{draw.randrange(101, 899)}{draw.randrange(1, 80):02}{digits(draw, 4)}"
    total = sum(int(digit) * weight for digit, weight in zip(first, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True))
    total += int(first[8]) * 5 // 10
    return f"{first[:3]}-{first[3:5]}-{first[5:]}{-total % 10}"


def luhn(text: str) -> str:
    """The digit that makes `text` a number that passes Luhn's test."""
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(text)))
    return str(-total % 10)


def card(draw: random.Random) -> str:
    first = f"{draw.choice(['4', '51', '55', '2221', '9410'])}{digits(draw, 15)}"[:15]
    whole = first + luhn(first)
    return draw.choice(["-", " ", ""]).join(whole[place : place + 4] for place in (0, 4, 8, 12))


def broken_card(draw: random.Random) -> str:
    first = f"4{digits(draw, 14)}"
    return first + str((int(luhn(first)) + draw.randrange(1, 10)) % 10)


PII: dict[str, Callable[[random.Random], str]] = {
    "email": email,
    "phone": phone,
    "kr_rrn": resident,
    "kr_frn": foreigner,
    "kr_brn": business,
    "credit_card": card,
    "passport": lambda draw: f"M{digits(draw, 8)}",
    "driver_license": lambda draw: f"{draw.randrange(11, 27)}-{digits(draw, 2)}-{digits(draw, 6)}-{digits(draw, 2)}",
    "bank_account": lambda draw: f"110-{digits(draw, 3)}-{digits(draw, 6)}",
}
CONTEXT = {
    "email": ("이메일", "e-mail address"),
    "phone": ("전화번호", "phone number"),
    "kr_rrn": ("주민등록번호", "resident registration number"),
    "kr_frn": ("외국인등록번호", "alien registration number"),
    "kr_brn": ("사업자등록번호", "business registration number"),
    "credit_card": ("카드번호", "credit card"),
    "passport": ("여권번호", "passport number"),
    "driver_license": ("운전면허번호", "driver's license"),
    "bank_account": ("계좌번호", "bank account"),
}
TRAPS: dict[str, Callable[[random.Random], str]] = {
    "epoch": lambda draw: str(draw.randrange(1_600_000_000, 1_790_000_000)),
    "epoch in ms": lambda draw: str(draw.randrange(1_600_000_000_000, 1_790_000_000_000)),
    "GUID": lambda draw: str(uuid.UUID(int=draw.getrandbits(128), version=4)),
    "database id": lambda draw: str(draw.randrange(10**7, 10**12)),
    "date id": lambda draw: (
        f"202{draw.randrange(6)}{draw.randrange(1, 13):02}{draw.randrange(1, 29):02}-{digits(draw, 4)}"
    ),
    "version": lambda draw: ".".join(digits(draw, size).lstrip("0") or "0" for size in (2, 3, 4, 4)),
    "card that fails Luhn": broken_card,
}


if __name__ == "__main__":
    made = make(Path(sys.argv[1]), int(sys.argv[2]))
    print({name: len(value) if isinstance(value, (list, dict)) else value for name, value in vars(made).items()})
