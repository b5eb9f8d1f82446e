"""What a line of each form holds, and what Axolotl's reader would make of a file. That it reads them: test_axolotl_data.py."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pytest

from ftops.datasets import formats
from ftops.datasets.checks.rows import field_type
from ftops.datasets.spec import OUTPUTS
from ftops.training.axolotl.config import dataset_entry

CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "서울", "days": 2}}}]
TOOLS = '[{"name":"weather","parameters":{"type":"object"}}]'
CHAT = [
    {"role": "user", "content": "서울 날씨?"},
    {"role": "assistant", "content": "볼게요.", "tool_calls": json.dumps(CALLS, ensure_ascii=False)},
    {"role": "tool", "content": '{"sky":"맑음"}', "name": "weather", "tool_call_id": "c1"},
    {"role": "assistant", "content": "맑아요."},
]
PLAIN = [{"role": "user", "content": 'say "hi"\n'}, {"role": "assistant", "content": "hi"}]


def batch(*rows):
    """Rows as a check has them."""
    names = list(rows[0])
    columns = [pa.array([row[name] for row in rows], field_type(name)) for name in names]
    return pa.RecordBatch.from_arrays([pa.array(range(1, len(rows) + 1)), *columns], ["row", *names])


def written(form, *rows, declared=frozenset()):
    lines = formats.lines(batch(*rows), form, declared).to_pylist()
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def test_alpaca_has_its_three_fields_in_order():
    (line,) = formats.lines(batch({"output": "네", "instruction": "물어", "input": ""}), "alpaca").to_pylist()
    assert line.decode() == '{"instruction":"물어","input":"","output":"네"}\n'
    assert written("alpaca", {"output": "b", "instruction": "a"}) == [{"instruction": "a", "input": "", "output": "b"}]


def test_an_instruction_is_one_exchange():
    row = {"instruction": "Translate", "input": "안녕", "system": "Be brief.", "output": "Hi"}
    assert written("messages", row) == [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Translate\n안녕"},
                {"role": "assistant", "content": "Hi"},
            ]
        }
    ]
    (bare,) = written("sharegpt", row | {"input": "", "system": ""})
    assert bare == {"conversations": [{"from": "human", "value": "Translate"}, {"from": "gpt", "value": "Hi"}]}


def test_a_chat_keeps_every_part_and_writes_arguments_as_text():
    (found,) = written("messages", {"messages": CHAT, "tools": TOOLS})
    assert found["tools"] == TOOLS
    (call,) = found["messages"][1].pop("tool_calls")
    assert json.loads(call["function"].pop("arguments")) == {"city": "서울", "days": 2}
    assert call == {"id": "c1", "type": "function", "function": {"name": "weather"}}
    assert found["messages"] == [{k: v for k, v in each.items() if k != "tool_calls"} for each in CHAT]


def test_a_chat_without_tools_has_no_trace_of_them():
    rows = batch({"messages": PLAIN, "tools": ""})
    assert formats.optional_fields(rows) == frozenset()
    assert written("messages", {"messages": PLAIN, "tools": ""}) == [{"messages": PLAIN}]


def test_what_some_rows_have_is_announced_by_all():
    some = batch({"messages": PLAIN, "tools": ""}, {"messages": CHAT, "tools": TOOLS})
    found = formats.optional_fields(some)
    assert found == {"tools", "name", "tool_call_id", "tool_calls"}
    (plain,) = written("messages", {"messages": PLAIN, "tools": ""}, declared=found)
    assert plain == {"messages": [{**PLAIN[0], **dict.fromkeys(found - {"tools"})}, PLAIN[1]], "tools": "[]"}


def test_sharegpt_turns():
    (found,) = written("sharegpt", {"messages": CHAT, "tools": TOOLS})
    assert found == {
        "conversations": [
            {"from": "human", "value": "서울 날씨?"},
            {"from": "gpt", "value": "볼게요."},
            {"from": "function_call", "value": '{"name":"weather","arguments":{"city":"서울","days":2}}'},
            {"from": "observation", "value": '{"sky":"맑음"}'},
            {"from": "gpt", "value": "맑아요."},
        ],
        "tools": TOOLS,
    }


def test_sharegpt_writes_several_calls_as_a_list_and_a_silent_tool_as_nothing():
    chat = [
        {"role": "assistant", "content": None, "tool_calls": json.dumps(CALLS * 2)},
        {"role": "tool", "content": ""},
    ]
    (found,) = written("sharegpt", {"messages": chat, "tools": ""})
    called, silent = found["conversations"]
    assert [each["arguments"]["days"] for each in json.loads(called["value"])] == [2, 2]
    assert silent == {"from": "observation", "value": ""}


def test_every_speaker_of_sharegpt_is_one_that_axolotl_is_told_of():
    roles = dataset_entry("x", "sharegpt", "lora")["roles"]
    known = {source: role for role, sources in roles.items() for source in sources}
    chat = [{"role": role, "content": role} for role in ("system", "user", "assistant", "tool")]
    (found,) = written("sharegpt", {"messages": chat})
    assert [known[turn["from"]] for turn in found["conversations"]] == ["system", "user", "assistant", "tool"]
    assert known["function_call"] == "assistant"


def test_preferences():
    chat = [
        *PLAIN,
        {"role": "assistant", "content": None, "tool_calls": json.dumps(CALLS)},
        {"role": "tool", "content": ""},
    ]
    (found,) = written("preference", {"messages": chat, "chosen": "좋아", "rejected": "싫어"})
    assert found["messages"][:2] == PLAIN
    assert [turn["role"] for turn in found["messages"][2:]] == ["assistant", "tool"]
    assert json.loads(found["messages"][2]["content"])["name"] == "weather"
    assert found["messages"][3]["content"] == ""
    assert found["chosen"] == {"role": "assistant", "content": "좋아"}
    assert found["rejected"] == {"role": "assistant", "content": "싫어"}


def test_completions():
    assert written("completion", {"text": "옛날 옛적에"}) == [{"text": "옛날 옛적에"}]


def test_a_part_of_a_batch_is_written_as_that_part():
    rows = [
        {"messages": [{"role": "assistant", "content": str(number)}] * number, "tools": ""} for number in range(1, 6)
    ]
    whole = formats.lines(batch(*rows), "messages").to_pylist()
    assert formats.lines(batch(*rows).slice(2, 2), "messages").to_pylist() == whole[2:4]
    assert formats.lines(batch(*rows).slice(5), "messages").to_pylist() == []


def test_every_form_of_every_shape_can_be_told_to_axolotl():
    for form in {form for forms in OUTPUTS.values() for form in forms}:
        assert dataset_entry("data.jsonl", form, "dpo")["path"] == "data.jsonl"
        assert written(
            form, {"instruction": "a", "output": "b", "messages": CHAT, "chosen": "c", "rejected": "d", "text": "e"}
        )


# ---------------------------------------------------------------------------------------- what would be read


def file_of(*objects):
    return io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in objects))


@pytest.mark.parametrize(
    ("texts", "changed"),
    [
        (["2026-01-02", "1999-12-31"], ("output",)),
        (["2026-01-02 10:00:00", "2026-01-02T10:00:00Z"], ("output",)),
        (["2026-01-02", "soon"], ()),
        (["2026-01-02", ""], ()),
        (["20260102", "10:00"], ()),
        (["12", "13"], ()),
        ([], ()),
    ],
)
def test_texts_that_are_all_dates_would_be_read_as_times(texts, changed):
    assert (
        formats.read_as_times(file_of(*({"instruction": "a", "input": "", "output": text} for text in texts)))
        == changed
    )


def test_texts_in_chats_are_looked_at_too():
    days = [{"role": role, "content": "2026-01-02"} for role in ("user", "assistant")]
    assert formats.read_as_times(file_of({"messages": days}, {"messages": days})) == ("content",)
    assert formats.read_as_times(file_of({"messages": days}, {"messages": PLAIN})) == ()


def test_only_the_beginning_counts_as_it_does_for_axolotl():
    long = {"output": "2026-01-02", "input": "x" * 1_000_000}
    assert formats.read_as_times(file_of(*[long] * 11, {"output": "later", "input": ""})) == ("output",)
    assert formats.read_as_times(file_of(*[long] * 5, {"output": "later", "input": ""})) == ()
