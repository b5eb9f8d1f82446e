"""Fields that are too short or too long."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ftops.datasets.checks.lengths import Lengths
from ftops.datasets.checks.rows import TableRows, message_type
from ftops.errors import SpecError


def rows(*pairs, **more):
    columns = {"row": pa.array(range(1, len(pairs) + 1), pa.int64())}
    for place, name in enumerate(("instruction", "output")):
        columns[name] = pa.array([pair[place] for pair in pairs], pa.large_string())
    return TableRows(pa.table({**columns, **more}))


def chat(*contents, calls=None):
    return [
        {"role": "user", "content": each, "name": None, "tool_call_id": None, "tool_calls": calls} for each in contents
    ]


def test_bounds_are_allowed_lengths_in_code_points():
    found = Lengths(min=2, max=3).run(rows(("ab", "abc"), ("한글", "한"), ("👍👍", "abcd")))
    assert [(each.row, each.field, each.entity) for each in found.findings] == [
        (2, "output", "short"),
        (3, "output", "long"),
    ]
    assert found.findings[0].detail == "has 1 character, min is 2"
    assert found.dropped == {2, 3}
    assert dict(found.summary) == {"short": 1, "long": 1}
    assert not found.failed


def test_optional_fields_may_be_empty_unless_they_are_named():
    given = rows(("ab", "cd"), input=pa.array([""], pa.large_string()))
    assert Lengths().run(given).findings == ()
    assert [each.field for each in Lengths(fields=("input",)).run(given).findings] == ["input"]


def test_a_chat_is_as_long_as_all_that_is_said_and_called():
    chats = [chat("abc", "de"), [], chat("a", None, calls="12345")]
    table = pa.table(
        {"row": pa.array([1, 2, 3], pa.int64()), "messages": pa.array(chats, pa.large_list(message_type()))}
    )
    for part in (table, table.slice(0)):
        found = Lengths(min=1, max=5).run(TableRows(part)).findings
        assert [(each.row, each.detail) for each in found] == [
            (2, "has 0 characters, min is 1"),
            (3, "has 11 characters, max is 5"),
        ]
    assert [each.row for each in Lengths(min=1, max=5).run(TableRows(table.slice(1))).findings] == [2, 3]


@pytest.mark.parametrize(
    ("action", "dropped", "failed"), [("report", set(), False), ("drop", {1}, False), ("fail", set(), True)]
)
def test_what_becomes_of_a_row(action, dropped, failed):
    found = Lengths(min=5, action=action).run(rows(("long enough", "no")))
    assert (found.dropped, found.failed) == (dropped, failed)
    assert not Lengths(min=2, action="fail").run(rows(("ok", "ok"))).failed


def test_batches_change_nothing():
    pairs = [("a" * (1 + index % 7), "b" * (1 + index % 5)) for index in range(200)]
    whole = rows(*pairs)
    pieces = TableRows(pa.concat_tables([whole.table.slice(first, 13) for first in range(0, 200, 13)]))
    assert Lengths(min=3).run(pieces).findings == Lengths(min=3).run(whole).findings


def test_a_field_that_is_not_there_is_named():
    with pytest.raises(SpecError, match="no field 'outptu'") as refused:
        Lengths(fields=("outptu",)).run(rows(("a", "b")))
    assert "did you mean 'output'" in refused.value.diagnostics[0].hint


def test_bounds_that_no_text_meets_are_refused():
    with pytest.raises(ValidationError, match="min is more than max"):
        Lengths(min=5, max=4)
