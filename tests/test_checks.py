"""Data checks: what each must find, what it must leave alone, and what it must never tell."""

from __future__ import annotations

import pyarrow as pa
import pytest

from ftops.checks import Check
from ftops.checks.duplicates import Duplicates
from ftops.checks.format import messages_fault, text_fault
from ftops.checks.rows import row_digests


def table(*pairs, **more):
    columns = {"instruction": [pair[0] for pair in pairs], "output": [pair[1] for pair in pairs], **more}
    return pa.table({"row": pa.array(range(1, len(pairs) + 1), pa.int64()), **columns})


def chats(*rows):
    return pa.table({"row": range(1, len(rows) + 1), "messages": list(rows)})


def said(role, content):
    return {"role": role, "content": content}


def test_the_lowest_of_equal_rows_is_kept():
    result = Duplicates().run(table(("a", "b"), ("c", "d"), ("a", "b"), ("a", "b"), ("c", "d")))
    assert result.table["row"].to_pylist() == [1, 2]
    assert result.summary == {"exactRows": 3, "clusters": 2}
    assert [(each.row, each.detail) for each in result.findings] == [
        (3, "says the same as row 1"), (4, "says the same as row 1"), (5, "says the same as row 2"),
    ]  # fmt: skip
    assert not result.failed


def test_texts_that_only_join_to_the_same_are_not_equal():
    pairs = [
        ("a,b", "c"),
        ("a", "b,c"),
        ("ab", "c"),
        ("a", "bc"),
        ('a","b', "c"),
        ("a", 'b","c'),
        ("a\x00b", "c"),
        ("a", "\x00bc"),
    ]
    assert Duplicates().run(table(*pairs)).findings == ()


def test_case_and_spaces_make_a_difference():
    assert Duplicates().run(table(("a", "b"), ("A", "b"), ("a ", "b"), ("a", "b\n"))).findings == ()


def test_an_empty_field_counts_as_none():
    plain = list(row_digests(table(("a", "b"))))
    assert plain == list(row_digests(table(("a", "b"), input=[""])))
    assert plain != list(row_digests(table(("a", "b"), input=["c"])))


def test_where_a_row_was_read_makes_no_difference():
    placed = table(("a", "b")).append_column("line", pa.array([7])).append_column("byte", pa.array([9]))
    assert list(row_digests(placed)) == list(row_digests(table(("a", "b"))))


@pytest.mark.parametrize(("exact", "rows", "failed"), [("report", 2, False), ("drop", 1, False), ("fail", 2, True)])
def test_a_spec_says_what_happens_to_a_duplicate(exact, rows, failed):
    result = Check.model_validate({"duplicates": {"exact": exact}}).run(table(("a", "b"), ("a", "b")))
    assert (result.table.num_rows, result.failed, len(result.findings)) == (rows, failed, 1)


def test_without_duplicates_nothing_fails():
    assert not Duplicates(exact="fail").run(table(("a", "b"))).failed


def test_chats_are_compared_by_roles_and_texts():
    first = [said("user", "a"), said("assistant", "b")]
    result = Duplicates().run(chats(first, [said("system", "a"), said("assistant", "b")], [said("user", "a")], first))
    assert [each.row for each in result.findings] == [4]


def test_a_finding_does_not_hold_the_text():
    secret = "900101-1234567"
    result = Duplicates().run(table((secret, secret), (secret, secret)))
    assert secret not in repr(result.findings)
    assert secret not in repr(result.summary)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "is missing"), ("", "is empty"), (" \n\u3000\t", "is empty"), (5, "must be text, found a number"),
        (True, "must be text, found true or false"), ([], "must be text, found a list"),
        ({}, "must be text, found an object"), ("x", None), (" x ", None),
    ],
)  # fmt: skip
def test_a_required_text(value, fault):
    assert text_fault(value, required=True) == fault


@pytest.mark.parametrize(("value", "fault"), [(None, None), ("", None), (5, "must be text, found a number")])
def test_an_optional_text(value, fault):
    assert text_fault(value, required=False) == fault


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "is missing"),
        ("hello", "must be a list of messages, found text"),
        ([], "has no message of the assistant: nothing could be learned"),
        ([said("user", "a")], "has no message of the assistant: nothing could be learned"),
        (["a"], "message 1 must be an object, found text"),
        ([said("user", "a"), said("bot", "b")], "message 2 has no role of system, user, assistant, tool"),
        ([said(["user"], "a")], "message 1 has no role of system, user, assistant, tool"),
        ([said("user", None)], "message 1 has content that is missing"),
        ([said("user", [])], "message 1 has content that must be text, found a list"),
        ([said("user", " ")], "message 1 has content that is empty"),
        ([{**said("assistant", ""), "tool_calls": [{}]}], "message 1 calls a tool, which is not supported"),
        ([said("user", "a"), said("assistant", "b"), said("tool", "c")], None),
    ],
)
def test_a_chat(value, fault):
    assert messages_fault(value) == fault
