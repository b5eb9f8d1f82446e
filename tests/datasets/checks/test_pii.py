"""The check for personal data: what it says of rows, and what becomes of them."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ftops.datasets.checks.pii import Pii, candidates
from ftops.datasets.checks.rows import TableRows, field_type
from tests.support.example import example_rows

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared/data"


def rows(*texts: str, **others: list[str]) -> TableRows:
    numbers = pa.array(range(1, len(texts) + 1), pa.int64())
    fields = {name: pa.array(values, pa.large_string()) for name, values in {"output": list(texts), **others}.items()}
    return TableRows(pa.table({"row": numbers, **fields}))


def test_a_finding_says_where_and_never_what() -> None:
    result = Pii().run(rows("nothing", "메일a@b.com과 010-1234-5678", "x 11-22-333333-44", "계좌 123-45-6789012"))
    first, second, third, fourth = result.findings
    assert (first.check, first.row, first.field, first.entity, first.start, first.end, first.masked) == (
        "pii", 2, "output", "email", 2, 9, "<EMAIL>",
    )  # fmt: skip
    assert (second.row, second.start, second.end, second.masked) == (2, 11, 24, "010-****-****")
    assert [each.detail for each in result.findings] == [
        "e-mail address",
        "telephone number",
        "driver's licence number, by its form alone",
        "bank account number, by the words beside it",
    ]
    assert (third.row, fourth.row) == (3, 4)
    assert "1234" not in repr(result)
    assert "a@b" not in repr(result)
    assert result.summary == {"email": 1, "phone": 1, "driver_license": 1, "bank_account": 1}
    assert (result.dropped, result.changed, result.failed) == (frozenset(), None, False)


def test_each_entity_has_its_action() -> None:
    check = Pii(entities={"email": "mask", "phone": "mask", "kr_rrn": "drop", "credit_card": "report"}, others="ignore")
    result = check.run(
        rows(
            "a@b.com, 010-1234-5678 and 4111111111111111",
            "a@b.com of 900101-1234567",
            "123-45-67891",
            "plain",
            instruction=["x 02-123-4567", "x", "x", "x"],
        )
    )
    assert result.dropped == {2}
    assert result.changed is not None
    assert result.changed.to_pylist() == [
        {"row": 1, "instruction": "x 02-***-****", "output": "<EMAIL>, 010-****-**** and 4111111111111111"}
    ]
    assert result.summary == {"email": 2, "phone": 2, "kr_rrn": 1, "credit_card": 1}
    assert [(each.row, each.field, each.entity) for each in result.findings] == [
        (1, "instruction", "phone"), (1, "output", "email"), (1, "output", "phone"), (1, "output", "credit_card"),
        (2, "output", "email"), (2, "output", "kr_rrn"),
    ]  # fmt: skip
    assert result.findings[1].detail == "e-mail address, masked"
    assert result.findings[5].detail == "Korean resident registration number, row dropped"
    assert not result.failed


def test_fail_stops_everything_only_where_something_is_found() -> None:
    assert Pii(entities={"kr_rrn": "fail"}).run(rows("900101-1234567")).failed
    assert not Pii(entities={"kr_rrn": "fail"}).run(rows("a@b.com")).failed
    assert Pii(others="fail").run(rows("a@b.com")).failed
    assert not Pii(others="ignore").run(rows("a@b.com")).findings


def test_wrong_parameters_are_refused() -> None:
    for wrong in (
        {"entities": {"e-mail": "mask"}},
        {"entities": {"email": "hide"}},
        {"entities": {"email": "ignore"}},
        {"action": "mask"},
    ):
        with pytest.raises(ValidationError):
            Pii.model_validate(wrong)


def chat() -> TableRows:
    call = '[{"function":{"arguments":{"phone":1012345678,"to":"a@b.com"},"name":"send"},"type":"function"}]'
    message = {"role": "user", "content": None, "name": None, "tool_call_id": None, "tool_calls": None}
    chats = [
        [message | {"content": "hello"}],
        [
            message | {"content": "전화 010-1234-5678"},
            message | {"role": "assistant", "tool_calls": call},
            message | {"content": "끝 c@d.org"},
        ],
    ]
    tools = ["", '[{"description":"Calls 4111111111111111","name":"send"}]']
    return TableRows(
        pa.table({
            "row": pa.array([7, 9], pa.int64()),
            "messages": pa.array(chats, field_type("messages")),
            "tools": pa.array(tools, pa.large_string()),
        })
    )  # fmt: skip


def test_chats_calls_and_tools_are_looked_through_and_masked() -> None:
    result = Pii(others="mask").run(chat())
    assert sorted((each.row, each.field, each.entity) for each in result.findings) == [
        (9, "messages[0].content", "phone"),
        (9, "messages[1].tool_calls[0].function.arguments.to", "email"),
        (9, "messages[2].content", "email"),
        (9, "tools[0].description", "credit_card"),
    ]
    assert result.changed is not None
    (row,) = result.changed.to_pylist()
    assert row["row"] == 9
    assert [message["content"] for message in row["messages"]] == ["전화 010-****-****", None, "끝 <EMAIL>"]
    (called,) = json.loads(row["messages"][1]["tool_calls"])
    assert called["function"]["arguments"] == {"phone": 1012345678, "to": "<EMAIL>"}
    assert json.loads(row["tools"]) == [{"description": "Calls ****************", "name": "send"}]
    assert Pii().run(TableRows(result.changed)).findings == ()


def test_a_number_in_a_call_is_a_text_too() -> None:
    call = '[{"description":4111111111111111}]'
    table = pa.table({"row": pa.array([1], pa.int64()), "tools": pa.array([call], pa.large_string())})
    result = Pii(others="mask").run(TableRows(table))
    assert result.changed is not None
    assert result.changed["tools"].to_pylist() == ['[{"description":"****************"}]']


def test_rows_are_the_same_in_any_batches() -> None:
    texts = [f"a{number}@b.com" if number % 3 == 0 else "nothing" for number in range(100)]
    whole = rows(*texts).table
    parts = pa.concat_tables([whole.slice(start, 7) for start in range(0, 100, 7)])
    first, second = (Pii(others="mask").run(TableRows(table)) for table in (whole, parts))
    assert first.findings == second.findings
    assert first.changed is not None
    assert second.changed is not None
    assert first.changed.equals(second.changed)


# ------------------------------------------------------------------------------ which texts are read at all


def test_every_character_that_becomes_a_digit_or_an_at_or_nothing_is_noticed() -> None:
    def matters(letter: str) -> bool:
        unified = unicodedata.normalize("NFKC", letter)
        squared = unified[0].isascii() and unified[0].isalpha()  # ㎡: no number goes on after its m
        return (
            not squared and any(each in "0123456789@" for each in unified)
        ) or letter in "\u00ad\u200b\u200c\u200d\u2060\ufeff"

    letters = [each for each in map(chr, [*range(0x80, 0xD800), *range(0xE000, sys.maxunicode + 1)]) if matters(each)]
    assert len(letters) >= 288
    assert len(candidates(pa.array(letters, pa.large_string()))) == len(letters)


def test_a_number_is_noticed_wherever_blocks_end() -> None:
    for size in range((1 << 18) - 24, (1 << 18) + 8):
        assert candidates(pa.array(["x" * size + " 010-1234-5678 " + "y" * 40], pa.large_string())).tolist() == [0], (
            size
        )
        assert candidates(pa.array(["x" * size, "²", "y" * 40], pa.large_string())).tolist() == [1], size


@pytest.mark.parametrize(
    "text",
    [
        "In 1999 there were 12 of 3,000 left",
        "2024년 1월 15일",
        "",
        "가나다라 12 마바사 34",
        "“quotes” – and … dots",
        "1.5 ㎡, 20 ℃",
    ],
)
def test_plain_text_is_not_read_twice(text: str) -> None:
    assert candidates(pa.array([text], pa.large_string())).tolist() == []


def test_no_texts_none_read() -> None:
    assert candidates(pa.array([], pa.large_string())).tolist() == []


def test_texts_without_a_candidate_are_hardly_looked_at() -> None:
    plain = [
        "그리고 이 문장은 길게 이어지며 아무것도 담고 있지 않습니다. " * 9,
        "A sentence that goes on and holds nothing of anybody. " * 6,
    ]
    texts = [
        f"전화 010-1234-{number % 10000:04} {plain[number % 2]}" if number % 16 == 0 else plain[number % 2]
        for number in range(3200)
    ]
    assert candidates(pa.array(texts, pa.large_string())).tolist() == list(range(0, 3200, 16))
    assert Pii(others="mask").run(rows(*texts)).summary == {"phone": 200}


def test_a_long_text_is_masked_in_time_that_grows_with_it() -> None:
    text = "메일 a@b.com, 전화 010-1234-5678, 계좌 123-45-6789012. " * 20_000
    result = Pii(others="mask").run(rows(text))
    assert len(result.findings) == 60_000
    assert result.changed is not None
    assert Pii().run(TableRows(result.changed)).findings == ()


# --------------------------------------------------------------------------------------------- real data


def example() -> TableRows:
    table = example_rows()
    return rows(*(row["answer"] for row in table), instruction=[row["question"] for row in table])


def test_the_example_holds_what_its_page_says() -> None:
    page = (ROOT / "docs/explanation/example-data.md").read_text(encoding="utf-8")
    planted: dict[str | None, set[int]] = {}
    for entity in ("email", "phone", "kr_rrn", "credit_card"):
        (ids,) = re.findall(rf"\| {entity} \| ([^|]+) \|", page)
        planted[entity] = {int(each) for each in re.findall(r"q(\d{4})", ids)}
    result = Pii().run(example())
    seen: dict[str | None, set[int]] = defaultdict(set)
    for each in result.findings:
        seen[each.entity].add(each.row)
    assert seen == planted
    assert result.summary == {"email": 2, "phone": 2, "kr_rrn": 2, "credit_card": 2}
    assert not {359, 71} & {each.row for each in result.findings}, "what only looks like personal data"


def texts_of(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for each in value.values() for text in texts_of(each)]
        case list():
            return [text for each in value for text in texts_of(each)]
        case _:
            return []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data is not at hand")
@pytest.mark.parametrize(
    ("file", "summary"),
    [
        ("llama-factory/alpaca_en_demo.json", {"email": 5, "phone": 1}),
        ("llama-factory/dpo_en_demo.json", {"email": 3}),
        ("llama-factory/glaive_toolcall_en_demo.json", {"email": 25}),
    ],
)
def test_public_data_has_no_false_alarm(file: str, summary: dict[str, int]) -> None:
    texts = texts_of(json.loads((SHARED / file).read_text(encoding="utf-8")))
    assert Pii().run(rows(*texts)).summary == summary


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public data is not at hand")
def test_a_public_chat_has_none() -> None:
    lines = (SHARED / "korean-chatbot/ChatbotData.csv").read_text(encoding="utf-8").splitlines()
    assert Pii().run(rows(*lines)).summary == {}
