"""The example's data as a clone has it: pointer, objects of the DVC remote, and the faults that the page names."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs/explanation/example-data.md").read_text(encoding="utf-8").split())

Row = dict[str, str]
Rows = dict[str, Row]


def pointer() -> Any:
    (out,) = yaml.safe_load((ROOT / "datasets.dvc").read_text(encoding="utf-8"))["outs"]
    return out


def remote_object(md5: str) -> bytes:
    return (ROOT / "dvc-remote/files/md5" / md5[:2] / md5[2:]).read_bytes()


@pytest.fixture(scope="module")
def rows() -> Rows:
    (entry,) = json.loads(remote_object(pointer()["md5"]))
    text = remote_object(entry["md5"]).decode("utf-8")
    table = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert [row["id"] for row in table] == [f"q{number:04d}" for number in range(1, len(table) + 1)]
    return {row["id"]: row for row in table}


def documented(fault: str) -> str:
    (ids,) = re.findall(rf"\| {fault} \| ([^|]+) \|", PAGE)
    return str(ids)


def ids_of(fault: str) -> set[str]:
    return set(re.findall(r"q\d{4}", documented(fault)))


def pairs_of(fault: str, sign: str) -> set[tuple[str, str]]:
    return set(re.findall(rf"(q\d{{4}}) {sign} (q\d{{4}})", documented(fault)))


def text_of(row: Row) -> str:
    return f"{row['question']}\n{row['answer']}"


def matches(rows: Rows, pattern: str) -> dict[str, str]:
    return {name: found[0] for name, row in rows.items() if (found := re.search(pattern, text_of(row)))}


def tokens(row: Row) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", unicodedata.normalize("NFKC", text_of(row)).lower()))


def luhn(number: str) -> bool:
    weighted = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(sum(divmod(value, 10)) for value in weighted) % 10 == 0


def test_pointer_and_remote_fit_together() -> None:
    out = pointer()
    folder = remote_object(out["md5"])
    (entry,) = json.loads(folder)
    data = remote_object(entry["md5"])
    assert hashlib.md5(folder).hexdigest() + ".dir" == out["md5"]
    assert hashlib.md5(data).hexdigest() == entry["md5"]
    assert entry["relpath"] == "fine-tuning-qa.csv"
    assert (out["path"], out["nfiles"], out["size"]) == ("datasets", 1, len(data))
    kept = [path for path in (ROOT / "dvc-remote/files").rglob("*") if path.is_file()]
    assert len(kept) == 2, "the remote holds what the pointer needs and nothing else"


def test_shape_and_figures_are_those_of_the_page(rows: Rows) -> None:
    assert 600 <= len(rows) <= 640
    for row in rows.values():
        assert list(row) == ["id", "question", "answer", "topic", "language"]
        assert all(value.strip() for value in row.values())
    languages = Counter(row["language"] for row in rows.values())
    assert set(languages) == {"en", "ko"}
    assert 0.4 <= languages["ko"] / len(rows) <= 0.6
    lengths = [len(row["question"]) + len(row["answer"]) for row in rows.values()]
    assert f"holds {len(rows)} questions" in PAGE
    assert f"{languages['en']} rows are tagged English, {languages['ko']} Korean" in PAGE
    assert f"{sum(lengths) / len(rows):.0f} characters on average and {max(lengths)} at most" in PAGE
    assert f"one of {len({row['topic'] for row in rows.values()})}" in PAGE
    for mark in "\n", '"', ",":
        assert any(mark in row["answer"] for row in rows.values()), "the file exercises CSV quoting"


def test_exact_duplicates_are_those_of_the_page(rows: Rows) -> None:
    groups = defaultdict(list)
    for name, row in rows.items():
        groups[row["question"], row["answer"]].append(name)
    assert {tuple(group) for group in groups.values() if len(group) > 1} == pairs_of("exact duplicate", "=")
    assert len(pairs_of("exact duplicate", "=")) == 8


def test_near_duplicates_are_those_of_the_page(rows: Rows) -> None:
    sets = {name: tokens(row) for name, row in rows.items()}
    near = {
        (first, second)
        for first, second in combinations(sets, 2)
        if 20 * len(sets[first] & sets[second]) >= 19 * len(sets[first] | sets[second])
    }
    assert near - pairs_of("exact duplicate", "=") == pairs_of("near-duplicate", "~")
    assert len(pairs_of("near-duplicate", "~")) == 6
    assert all(len(sets[name]) >= 20 for name in ids_of("near-duplicate"))


def test_personal_data_is_that_of_the_page(rows: Rows) -> None:
    emails = matches(rows, r"[\w.+-]+@[A-Za-z0-9.]+")
    assert set(emails) == ids_of("email")
    assert all(re.fullmatch(r".*@example\.(com|org)", email) for email in emails.values())

    phones = matches(rows, r"\b01\d[- .]?\d{3,4}[- .]?\d{4}")
    assert set(phones) == ids_of("phone")
    assert all(phone.startswith("010-0000-") for phone in phones.values())

    cards = matches(rows, r"\d{4}([ -])\d{4}\1\d{4}\1\d{4}")
    passing = {name for name, card in cards.items() if luhn(re.sub(r"\D", "", card))}
    assert passing == ids_of("credit_card")
    assert set(cards) - passing == {"q0359"}, "the look-alike"


def test_resident_numbers_have_a_real_date_and_were_never_issued(rows: Rows) -> None:
    numbers = matches(rows, r"\d{6}-[1-4]\d{6}")
    assert set(numbers) - {"q0071"} == ids_of("kr_rrn")
    for name, number in numbers.items():
        digits = [int(digit) for digit in number if digit.isdigit()]
        born = (1900 + int(number[:2]), int(number[2:4]), int(number[4:6]))
        if name == "q0071":
            with pytest.raises(ValueError, match="day"):
                date(*born)
        else:
            assert date(*born) < date(2020, 10, 5), "older than the numbers without a check digit"
            weighted = sum(digit * weight for digit, weight in zip(digits, [*range(2, 10), *range(2, 6)], strict=False))
            assert digits[-1] != (11 - weighted % 11) % 10


def test_poor_answers_are_those_of_the_page(rows: Rows) -> None:
    answers = {name: row["answer"] for name, row in rows.items()}
    assert {name for name, answer in answers.items() if len(answer) < 5} == ids_of("very short")
    assert {answers[name] for name in ids_of("very short")} == {".", "N/A"}

    refusing = re.compile(r"I cannot help|답할 수 없습니다")
    assert {name for name, answer in answers.items() if refusing.search(answer)} == ids_of("refusal")

    words = {name: re.findall(r"\w+", answer) for name, answer in answers.items()}
    assert {name for name, each in words.items() if len(each) > 10 * len(set(each))} == ids_of("repetition")


def test_one_row_is_in_the_wrong_language(rows: Rows) -> None:
    korean = set(matches(rows, "[가-힣]"))
    tagged = {name for name, row in rows.items() if row["language"] == "ko"}
    assert korean ^ tagged == ids_of("wrong language")
