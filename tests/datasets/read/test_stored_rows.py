"""Rows in files with what checks did to them laid over: never written, never all in memory."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from ftops.datasets.checks.rows import BATCH, CheckResult
from ftops.datasets.finding import Finding
from ftops.datasets.read import Reading
from tests.support.reading import read_content, read_contents, rows_of


def texts(rows):
    return {row["row"]: row["output"] for batch in rows.batches() for row in batch.to_pylist()}


def lines(first, count):
    return "".join(f'{{"instruction":"q","output":"{number}"}}\n' for number in range(first, first + count))


@pytest.fixture
def rows(tmp_path):
    """Rows 1 to 20000 of two files, whose output is their number; row 5 has a fault."""
    contents = [lines(1, 4) + "{}\n" + lines(6, 9_995), lines(10_001, 10_000)]
    return read_contents(tmp_path, contents).rows


def changed(new):
    table = pa.table({"row": list(new), "output": list(new.values())})
    return table.append_column("instruction", pa.array(["new"] * len(new))).append_column(
        "input", pa.array([""] * len(new))
    )


def test_rows_come_in_order_in_batches_that_are_not_too_large(rows):
    assert texts(rows) == {number: str(number) for number in range(1, 20_001) if number != 5}
    assert (rows.count, rows.read, rows.fields) == (19_999, 20_000, ("input", "instruction", "output"))
    assert {batch.num_rows for batch in rows.batches()} == {BATCH, 10_000 % BATCH, 9_999 % BATCH}
    assert next(rows.batches()).schema.names == ["row", "input", "instruction", "output"]
    assert [finding.row for finding in rows.found] == [5, 5]


def test_what_a_check_drops_and_changes_is_gone_and_changed_for_the_next(rows):
    found = (Finding("pii", 3, "output", "is personal"),)
    left = rows.after(
        CheckResult(found, dropped=frozenset({1, 10_001}), changed=changed({3: "x", 20_000: "y", 1: "z"}))
    )
    assert (left.count, left.read) == (19_997, 20_000)
    assert left.found == (*rows.found, *found)
    expected = {number: str(number) for number in range(2, 20_001) if number not in (5, 10_001)}
    assert texts(left) == {**expected, 3: "x", 20_000: "y"}
    last = left.after(CheckResult(dropped=frozenset({2, 20_000}), changed=changed({3: "xx", 9_000: "w"})))
    assert texts(last) == {
        **{number: text for number, text in expected.items() if number not in (2, 20_000)},
        3: "xx",
        9_000: "w",
    }
    assert texts(rows)[3] == "3"


def test_nothing_is_left_when_all_is_dropped(rows):
    left = rows.after(CheckResult(dropped=frozenset(range(1, 20_001)) - {5}))
    assert (left.count, texts(left)) == (0, {})


def test_other_data_sets_are_those_that_were_given_last(rows):
    assert rows.after(CheckResult(), {"a": ()}).after(CheckResult()).others == {"a": ()}
    assert rows.after(CheckResult(), {"a": ()}).after(CheckResult(), {"b": ()}).others == {"b": ()}


def test_places_are_those_of_the_files(rows):
    start = len(lines(1, 4)) + 3
    assert rows.places([1, 6, 10_001, 10_002]) == {
        1: (1, 0),
        6: (6, start),
        10_001: (1, 0),
        10_002: (2, len(lines(10_001, 1))),
    }
    assert rows.places([]) == {}


def test_strata_go_with_the_rows_that_are_left(tmp_path):
    content = "".join(
        json.dumps({"instruction": "a", "output": "b", "s": "xyz"[number % 3]}) + "\n" for number in range(9)
    )
    rows = read_content(tmp_path, content, split={"stratify": "s"}).rows
    left = rows.after(CheckResult(dropped=frozenset({1, 9}), changed=changed({4: "w"})))
    (batch,) = left.batches()
    assert batch.column("stratum").to_pylist() == list("yzxyzxy")
    assert batch.column("output").to_pylist() == list("bbwbbbb")
    (batch,) = read_content(tmp_path, content).rows.batches()
    assert batch.schema.names == ["row", *rows.fields]


def test_changed_chats_are_put_in_place(tmp_path):
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    rows = read_content(tmp_path, f"{json.dumps(chat)}\n" * 3, shape="chat").rows
    batch = next(rows.batches()).slice(1, 1)
    new = pa.Table.from_pylist([{**batch.to_pylist()[0], "tools": "[]"}], batch.schema)
    left = rows.after(CheckResult(changed=new))
    assert [row["tools"] for part in left.batches() for row in part.to_pylist()] == ["", "[]", ""]


def test_a_reading_comes_back_from_its_json(tmp_path):
    found = read_content(
        tmp_path, "Q;A;label\na;b;0\nc;\n\nd;e\nf;g;1\n", "csv", columns={"instruction": "Q", "output": "A"}
    )
    again = Reading.from_json(json.loads(json.dumps(found.to_json())), found.rows.folder)
    assert again == found
    assert rows_of(again) == rows_of(found)
    assert len(found.faults) == 2
