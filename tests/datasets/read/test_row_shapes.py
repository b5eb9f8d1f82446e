"""Rows as files have them, and what becomes of them: the forms of chats and preferences that are in use, and their faults."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from ftops.datasets.checks.format import fault
from ftops.datasets.read import detect_shape
from ftops.datasets.read.row_shapes import Shaper
from tests.support.reading import form_of, parquet, read_content, rows_of, told


def made(objects, **options):
    """What the fields of each row are, and all faults."""
    form = form_of(**options)
    shaper = Shaper(form)
    rows, faults = [], []
    for each in objects:
        values = shaper.fields(each, found := [])
        rows.append(dict(zip(form.fields, values, strict=True)))
        faults.append([(fault.field, fault.name) for fault in found])
    return rows, faults


def rows(*objects, shape="chat", **options):
    """Rows that have no faults, their messages without what they don't have."""
    found, faults = made(objects, shape=shape, **options)
    assert not any(faults)
    return [
        {**row, **({"messages": spoken(each._asdict() for each in row["messages"])} if "messages" in row else {})}
        for row in found
    ]


def faults(*objects, shape="chat", **options):
    """The faults of a row, after which come rows that have none."""
    first, *others = made(objects, shape=shape, **options)[1]
    assert not any(others)
    return first


def spoken(messages):
    """Messages without what they don't have, calls as what their JSON says."""
    kept = [{name: part for name, part in message.items() if part is not None} for message in messages]
    return [
        {**each, **({"tool_calls": json.loads(each["tool_calls"])} if "tool_calls" in each else {})} for each in kept
    ]


def say(role, content):
    return {"role": role, "content": content}


ASKED = [say("user", "a"), say("assistant", "b")]

# ------------------------------------------------------------------------------------------------ chat


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation"])
def test_a_chat_is_found_under_the_names_that_are_in_use(column):
    assert rows({column: ASKED})[0]["messages"] == ASKED
    assert rows({"talk": ASKED}, columns={"messages": "talk"})[0]["messages"] == ASKED


def test_every_name_of_a_role_is_known():
    turns = [
        ("system", "s"), ("human", "h"), ("gpt", "g"), ("user", "u"), ("model", "m"), ("observation", "o"),
        ("tool", "t"), ("function_response", "f"), ("assistant", "a"),
    ]  # fmt: skip
    (row,) = rows({"conversations": [{"from": role, "value": text} for role, text in turns]})
    assert [message["role"] for message in row["messages"]] == [
        "system", "user", "assistant", "user", "assistant", "tool", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert [message["content"] for message in row["messages"]] == [text for _, text in turns]
    assert rows({"messages": [say("developer", "d"), *ASKED]})[0]["messages"][0] == say("system", "d")


CALL = {"type": "function", "function": {"name": "f", "arguments": {"z": [1, "안"], "a": None}}}


@pytest.mark.parametrize(
    ("turn", "calls"),
    [
        ({"from": "function_call", "value": json.dumps(CALL["function"])}, [CALL]),
        ({"from": "function_call", "value": json.dumps([CALL["function"]] * 2)}, [CALL, CALL]),
        ({"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "1"}]}, [{"id": "1", **CALL}]),
        (
            {
                "role": "assistant",
                "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"z": 1}'}}],
            },
            [{"type": "function", "function": {"name": "f", "arguments": {"z": 1}}}],
        ),
        (
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            [{"type": "function", "function": {"name": "f", "arguments": {}}}],
        ),
    ],
)
def test_calls_of_tools_have_one_form(turn, calls):
    (row,) = rows({"messages": [say("user", "a"), turn]})
    assert row["messages"][1] == {"role": "assistant", "tool_calls": calls}


def test_the_order_of_keys_in_a_call_stays(tmp_path):
    turn = {"from": "function_call", "value": '{"arguments": {"b": 1, "a": 2}, "name": "f"}'}
    (row,) = rows_of(read_content(tmp_path, json.dumps({"messages": [turn]}), shape="chat"))
    assert row["messages"][0]["tool_calls"] == '[{"type":"function","function":{"name":"f","arguments":{"b":1,"a":2}}}]'


def test_what_a_tool_says_keeps_its_name_and_call():
    message = {"role": "tool", "content": "", "name": "f", "tool_call_id": "1"}
    assert rows({"messages": [say("user", "a"), message, say("assistant", "b")]})[0]["messages"][1] == message


def test_tools_are_json_of_a_list():
    tools = [{"type": "function", "function": {"name": "f", "description": "안"}}]
    found = rows(*({"messages": ASKED, "tools": each} for each in (tools, json.dumps(tools), "", "[]", None, [])))
    compact = '[{"type":"function","function":{"name":"f","description":"안"}}]'
    assert [row["tools"] for row in found] == [compact, compact, "", "", "", ""]


def test_parts_of_a_text_are_one_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert rows({"messages": [say("user", parts), say("assistant", "c")]})[0]["messages"][0] == say("user", "ab")


def test_a_system_column_goes_before_all():
    (first, second) = rows({"conversations": ASKED, "system": "s"}, {"conversations": ASKED, "system": ""})
    assert first["messages"] == [say("system", "s"), *ASKED]
    assert second["messages"] == ASKED
    assert faults({"messages": [say("system", "s"), *ASKED], "system": "t"}) == [("system", "two systems")]
    assert faults({"messages": ASKED, "system": 5}) == [("system", "not text")]


def test_a_chat_in_the_text_of_a_column_is_one(tmp_path):
    text = json.dumps(ASKED).replace('"', '""')
    found = read_content(tmp_path, f'messages\n"{text}"\n', "csv", shape="chat")
    assert spoken(rows_of(found)[0]["messages"]) == ASKED
    assert faults({"messages": "no list"}) == [("messages", "no list")]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (None, [("messages", "missing")]),
        ({"role": "user"}, [("messages", "no list")]),
        ([], [("messages", "no answer")]),
        ([say("user", "a")], [("messages", "no answer")]),
        (["a", 1], [("messages[0]", "no object"), ("messages[1]", "no object")]),
        ([say("alien", "a"), {"content": "b"}], [("messages[0].role", "role"), ("messages[1].role", "role")]),
        ([{"role": ["user"], "content": "b"}], [("messages[0].role", "role")]),
        (
            [say("user", ""), say("assistant", None)],
            [("messages[0].content", "empty"), ("messages[1].content", "missing")],
        ),
        (
            [say("user", 5), say("assistant", "\0")],
            [("messages[0].content", "not text"), ("messages[1].content", "NUL")],
        ),
        ([say("user", [{"type": "image_url"}]), ASKED[1]], [("messages[0].content[0]", "not text")]),
        ([{**ASKED[0], "name": 7}, ASKED[1]], [("messages[0].name", "not text")]),
        ([{"from": "function_call", "value": "f(x)"}], [("messages[0].tool_calls", "tool call")]),
        ([{"from": "function_call", "value": "{}"}], [("messages[0].tool_calls", "tool call")]),
        ([{"from": "function_call", "value": "[]"}], [("messages[0].tool_calls", "tool call")]),
        ([{"from": "function_call"}], [("messages[0].tool_calls", "tool call")]),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
            [("messages[0].tool_calls", "tool call")],
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f\0", "arguments": {}}}]}],
            [("messages[0].tool_calls", "NUL")],
        ),
        ([{"role": "user", "tool_calls": [CALL], "content": "a"}, ASKED[1]], [("messages[0].tool_calls", "tool call")]),
        ([say("user", "")] * 9, [(f"messages[{index}].content", "empty") for index in range(5)]),
    ],
)
def test_faults_of_a_chat_are_told_with_their_place(messages, expected):
    assert faults({"messages": messages}, {"messages": ASKED}) == expected


def test_the_text_of_a_nul_is_no_nul():
    turn = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "\\u0000"}}}]}
    assert rows({"messages": [turn]})


def test_tools_that_are_no_list_are_a_fault():
    for tools in ("{", '{"name": "f"}', {"name": "f"}, ["f"], 5):
        assert faults({"messages": ASKED, "tools": tools}) == [("tools", "tools")]


def test_parts_of_messages_that_nobody_reads_are_told(tmp_path):
    messages = [ASKED[0], {**ASKED[1], "weight": 0, "reasoning_content": None}]
    found = read_content(tmp_path, json.dumps([{"messages": messages, "id": 1}]), "json", shape="chat")
    assert found.unused == ("id", "messages[].weight")


def test_a_chat_of_parquet_reads_as_that_of_json(tmp_path):
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    chats = [{"messages": ASKED}, {"messages": [ASKED[0], call]}, {"messages": [say("user", None)]}]
    both = [
        read_content(tmp_path, content, extension, shape="chat")
        for content, extension in ((json.dumps(chats), "json"), (parquet(pa.Table.from_pylist(chats)), "parquet"))
    ]
    assert rows_of(both[0]) == rows_of(both[1])
    assert told(both[0]) == told(both[1]) == [(3, "messages[0].content", "missing")]


# ------------------------------------------------------------------------------------------ preference

ANSWERED = {"messages": [say("user", "a")], "chosen": "b", "rejected": "c"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"question": "a", "chosen": "b", "rejected": "c"},
        {"instruction": "a", "input": "", "chosen": "b", "rejected": "c"},
        {"prompt": [say("user", "a")], "chosen": [say("assistant", "b")], "rejected": [say("assistant", "c")]},
        {
            "conversations": [{"from": "human", "value": "a"}],
            "chosen": {"from": "gpt", "value": "b"}, "rejected": {"from": "gpt", "value": "c"},
        },
        {"chosen": [say("user", "a"), say("assistant", "b")], "rejected": [say("user", "a"), say("assistant", "c")]},
        {
            "prompt": "beside", "messages": ["beside"],
            "chosen": [say("user", "a"), say("assistant", "b")], "rejected": [say("user", "a"), say("assistant", "c")],
        },
    ],
)  # fmt: skip
def test_every_form_of_a_preference_is_one(row):
    (found,) = rows(row, shape="preference")
    assert {name: found[name] for name in ANSWERED} == ANSWERED


def test_columns_of_a_preference_can_be_named():
    columns = {"messages": "q", "chosen": "yes", "rejected": "no"}
    (found,) = rows({"q": "a", "yes": "b", "no": "c", "prompt": "beside"}, shape="preference", columns=columns)
    assert {name: found[name] for name in ANSWERED} == ANSWERED


def test_an_instruction_with_an_input_and_a_system_is_one_prompt():
    row = {"system": "s", "instruction": "a", "input": "x", "chosen": "b", "rejected": "c"}
    (found,) = rows(row, shape="preference")
    assert found["messages"] == [say("system", "s"), say("user", "a\nx")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "", "chosen": "b", "rejected": None}, [("rejected", "missing"), ("messages", "empty")]),
        ({"chosen": "b", "rejected": 5}, [("rejected", "not text"), ("messages", "missing")]),
        (
            {"prompt": "a", "chosen": {"from": "gpt"}, "rejected": "c"},
            [("chosen.content", "missing")],
        ),
        ({"prompt": "a", "chosen": {"from": "human", "value": "b"}, "rejected": "c"}, [("chosen", "no answer")]),
        (
            {"chosen": ASKED, "rejected": [say("user", "z"), say("assistant", "c")]},
            [("rejected", "prompt")],
        ),
        ({"prompt": ASKED, "chosen": "b", "rejected": "c"}, [("messages", "no question")]),
        ({"prompt": "a", "chosen": [], "rejected": "c"}, [("chosen", "no answer")]),
    ],
)
def test_faults_of_a_preference_are_told_with_their_place(row, expected):
    assert faults(row, {"prompt": "a", "chosen": "b", "rejected": "c"}, shape="preference") == expected


# ---------------------------------------------------------------------------------------------- others


def test_a_completion_is_a_text():
    assert rows({"text": "a"}, shape="completion") == [{"text": "a"}]
    assert faults({"text": " "}, {"text": "a"}, shape="completion") == [("text", "empty")]


def test_faults_have_a_name_to_be_counted_under(tmp_path):
    chats = [
        {"messages": [say("user", ""), say("user", "")]},
        {"messages": [say("user", " "), say("x", "a")]},
        {"messages": ASKED},
    ]
    found = read_content(tmp_path, "\n".join(["{", *map(json.dumps, chats)]), shape="chat")
    assert {fault(each) for each in found.faults} == {
        "messages[].content is empty",
        "messages[].role is unknown",
        "unreadable",
    }


@pytest.mark.parametrize(
    ("columns", "mapped", "shape"),
    [
        (["Q", "A", "label"], {"instruction": "Q", "output": "A"}, "instruction"),
        (["instruction", "input", "output", "text"], {}, "instruction"),
        (["conversations", "tools"], {}, "chat"),
        (["conversations", "chosen", "rejected"], {}, "preference"),
        (["talk"], {"messages": "talk"}, "chat"),
        (["text", "id"], {}, "completion"),
        (["instruction", "answer"], {}, None),
    ],
)
def test_a_shape_is_told_by_the_columns(columns, mapped, shape):
    assert detect_shape(columns, mapped) == shape
