"""Rows of two versions are told apart as multisets; what has the same prompt is one row that changed."""

from __future__ import annotations

import html
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.datasets.diff import compare, prepared_version, read_version, row_diff
from ftops.datasets.formats import lines, optional_fields
from ftops.datasets.read import DataFile, Form
from ftops.datasets.read.row_index import matched, read_index, row_index
from ftops.datasets.record import Counts, DatasetRecord, DatasetReport, DatasetStatus
from ftops.datasets.report.diff import diff_json, diff_text
from ftops.datasets.spec import DatasetSpec
from ftops.errors import PlanError, UsageError
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Plan
from ftops.plan.details import DatasetDetails, RowChanges
from ftops.plan.json import plan_from_json, plan_json
from ftops.plan.markdown import plan_markdown
from ftops.plan.text import plan_text
from ftops.resources.record import RecordMetadata
from ftops.store.store import Store


@pytest.fixture
def read(tmp_path):
    """Reads rows (dicts) of a shape, written as JSONL, as a version of that name."""

    def version(name, rows, shape="instruction", **source):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
        tree = {"source": {"path": f"{name}.jsonl", **source}, "shape": shape, "onInvalid": "skip"}
        scratch = tmp_path / f"{name}.rows"
        scratch.mkdir()
        form = Form.of(DatasetSpec.model_validate_json(json.dumps(tree)))
        return read_version(name, [DataFile(tmp_path, f"{name}.jsonl")], form, scratch)

    return version


def instruction(question, answer, **more):
    return {"instruction": question, "output": answer, **more}


def numbers(rows):
    return [row.row for row in rows]


def test_added_removed_changed_and_the_same(read):
    before = read("a", [instruction("1", "one"), instruction("2", "two"), instruction("3", "three")])
    after = read(
        "b", [instruction("3", "three"), instruction("2", "TWO"), instruction("4", "four"), instruction("5", "")]
    )
    diff = row_diff(before, after)
    assert (numbers(diff.removed), numbers(diff.added), diff.unchanged) == ([1], [3], 1)
    assert [(old.row, new.row) for old, new in diff.changed] == [(2, 2)]
    assert (diff.added[0].file, diff.added[0].line, diff.added[0].split) == ("b.jsonl", 3, None)
    assert (diff.after.rows, diff.after.left_out) == (3, 1)
    assert diff.moved == ()


def test_equal_rows_are_counted(read):
    one, two = instruction("1", "one"), instruction("2", "two")
    diff = row_diff(read("a", [one, two, one, one]), read("b", [two, one]))
    assert (numbers(diff.removed), numbers(diff.added), diff.unchanged) == ([3, 4], [], 2)


def test_the_order_of_rows_and_of_keys_is_no_change(read):
    rows = [instruction(str(number), "an answer", input="") for number in range(20)]
    turned = [dict(reversed(row.items())) for row in reversed(rows)]
    diff = row_diff(read("a", rows), read("b", turned))
    assert (diff.added, diff.removed, diff.changed, diff.unchanged) == ((), (), (), 20)


def test_an_empty_field_is_as_one_that_is_not_there(read):
    diff = row_diff(read("a", [instruction("1", "one")]), read("b", [instruction("1", "one", input="", system="")]))
    assert diff.unchanged == 1


def test_of_a_chat_the_last_answer_is_what_may_change(read):
    def chat(*texts):
        return {
            "messages": [{"role": "user" if n % 2 == 0 else "assistant", "content": t} for n, t in enumerate(texts)]
        }

    before = read("a", [chat("q", "a", "r", "b"), chat("only", "this")], "chat")
    after = read("b", [chat("q", "a", "r", "c"), chat("only", "this", "and")], "chat")
    diff = row_diff(before, after)
    assert [(old.row, new.row) for old, new in diff.changed] == [(1, 1)]
    assert (numbers(diff.removed), numbers(diff.added)) == ([2], [2])


def test_where_in_a_chat_the_answer_stands_counts(read):
    user, said = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
    diff = row_diff(
        read("a", [{"messages": [user, said, user]}], "chat"), read("b", [{"messages": [user, user, said]}], "chat")
    )
    assert diff.unchanged == 0


def test_a_preference_changes_by_its_answers(read):
    row = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    diff = row_diff(read("a", [row], "preference"), read("b", [{**row, "rejected": "worse"}], "preference"))
    assert len(diff.changed) == 1


def test_a_text_has_no_prompt_and_never_changes(read):
    diff = row_diff(read("a", [{"text": "one"}], "completion"), read("b", [{"text": "two"}], "completion"))
    assert (len(diff.added), len(diff.removed), diff.changed) == (1, 1, ())


def test_texts_that_only_look_the_same_when_joined_differ(read):
    diff = row_diff(
        read("a", [instruction("a", "c", input="b"), instruction("q", "r")]),
        read("b", [instruction("ab", "c", input=""), instruction("", "qr")]),
    )
    assert (diff.unchanged, diff.changed) == (0, ())


def test_rows_of_different_shapes_are_not_compared(read):
    with pytest.raises(UsageError, match="of shape completion, b of shape instruction"):
        row_diff(read("a", [{"text": "one"}], "completion"), read("b", [instruction("1", "one")]))


def test_no_rows_at_all(read):
    diff = row_diff(read("a", [instruction("", "")]), read("b", [instruction("1", "one")]))
    assert (numbers(diff.added), diff.removed, diff.before.rows) == ([1], (), 0)


def test_texts_are_shown_only_when_asked_for_and_can_do_nothing_to_a_terminal(read):
    before = read("a", [instruction("secret \x1b[31m", "one")])
    after = read("b", [instruction("secret \x1b[31m", "two"), instruction("new", "row")])
    assert "secret" not in diff_text(row_diff(before, after)) + diff_json(row_diff(before, after))
    text = diff_text(row_diff(before, after, shown=10))
    assert "instruction: secret \\u001b[31m" in text
    assert "output - one" in text
    assert "output + two" in text
    assert "  + row 2 (b.jsonl:2)\n      instruction: new" in text
    tree = json.loads(diff_json(row_diff(before, after, shown=1)))
    assert tree["rows"]["changed"][0]["after"]["texts"]["output"] == "two"


def test_what_is_shown_is_bounded_and_the_json_has_all(read):
    before = read("a", [instruction("0", "zero")])
    after = read("b", [instruction(str(number), "an answer") for number in range(1, 31)])
    diff = row_diff(before, after)
    assert "and 20 more" in diff_text(diff)
    tree = json.loads(diff_json(diff))
    assert (tree["added"], len(tree["rows"]["added"]), tree["removed"], tree["unchanged"]) == (30, 30, 1, 0)
    assert tree["rows"]["added"][29] == {"row": 30, "file": "b.jsonl", "line": 30}


# ----------------------------------------------------------------------------------------------- prepared rows

CHAT = [
    {"role": "user", "content": "How warm is it?"},
    {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "warmth", "arguments": {}}}]},
    {"role": "tool", "content": "20", "tool_call_id": "1"},
    {"role": "assistant", "content": "20 degrees."},
]
SHORT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day."}]
WRITTEN = {
    "alpaca": ("instruction", [instruction("1", "one", input="i"), instruction("2", "two")]),
    "messages": ("chat", [{"messages": CHAT, "tools": [{"name": "warmth"}]}, {"messages": SHORT}]),
    "sharegpt": (
        "chat",
        [{"messages": [*CHAT[:2], {"role": "tool", "content": "20"}, *CHAT[3:]]}, {"messages": SHORT}],
    ),
    "preference": ("preference", [{"messages": SHORT[:1], "chosen": "Hi.", "rejected": "No."}] * 2),
    "completion": ("completion", [{"text": "one"}, {"text": "two"}]),
}


@pytest.fixture
def prepared(tmp_path):
    """Puts the rows of a version into a store as prepared ones, `sides` rows of them in each split, and reads them back."""

    def version(name, source, shape, form, sides):
        store, digest = Store(tmp_path / "store"), name * 64
        folder = store.data(digest)
        folder.mkdir(parents=True)
        batches = list(source.parts[0].reading.rows.batches())
        written = [line for batch in batches for line in lines(batch, form, optional_fields(batches[0]))]
        for split, count in zip(("train", "validation", "test"), sides, strict=True):
            (folder / f"{split}.jsonl").write_bytes(b"".join(written[:count]))
            written = written[count:]
        (folder / "manifest.json").write_text("{}")
        report = DatasetReport(shape=shape, files=(), rows=Counts(read=2, kept=2), valid=True)
        inputs = {"shape": shape, "output": {"format": form}}
        status = DatasetStatus(
            phase="prepared",
            digest=digest,
            inputs=inputs,
            sources={},
            report=report,
            prepared_at="2026-01-01T00:00:00Z",
        )
        record = DatasetRecord(metadata=RecordMetadata(name="chat"), status=status)
        scratch = tmp_path / f"read-{name}"
        scratch.mkdir()
        return prepared_version(name, record, store, scratch)

    return version


@pytest.mark.parametrize("form", WRITTEN)
def test_prepared_rows_are_read_back_as_the_rows_that_they_were(read, prepared, form):
    shape, rows = WRITTEN[form]
    source = read("source", rows, shape)
    diff = row_diff(source, prepared("a", source, shape, form, (1, 0, 1)))
    assert (diff.unchanged, diff.added, diff.removed, diff.changed, diff.moved) == (2, (), (), (), ())


def test_rows_that_moved_to_another_split(read, prepared):
    source = read("source", [instruction(str(n), f"answer {n}") for n in range(4)])
    before = prepared("a", source, "instruction", "alpaca", (2, 1, 1))
    after = prepared("b", source, "instruction", "alpaca", (3, 0, 1))
    diff = row_diff(before, after)
    assert diff.unchanged == 3
    (moved,) = diff.moved
    assert [(row.split, row.file, row.line) for row in moved] == [
        ("validation", "validation.jsonl", 1),
        ("train", "train.jsonl", 3),
    ]
    assert "1 in another split, 3 the same" in diff_text(diff)
    assert row_diff(source, after).moved == ()


# --------------------------------------------------------------------------------------------------- laws

KEYS = st.lists(st.integers(0, 5), max_size=12)


def keys(values):
    import numpy as np

    return np.array([[value, value // 3] for value in values], np.uint64).reshape(-1, 2)


@given(KEYS, KEYS)
def test_law_matching_pairs_the_first_with_the_first(before, after):
    left, expected = list(enumerate(after)), []
    for position, value in enumerate(before):
        found = next((each for each in left if each[1] == value), None)
        if found is not None:
            left.remove(found)
            expected.append((position, found[0]))
    assert list(zip(*(each.tolist() for each in matched(keys(before), keys(after))), strict=True)) == expected


ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=10)


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_law_counts_are_those_of_multisets_and_turn_with_the_sides(before, after):
    import pyarrow as pa

    from ftops.datasets.checks.rows import TableRows

    def index(rows):
        columns = {"row": pa.array(range(1, len(rows) + 1), pa.int64())}
        for place, name in enumerate(("instruction", "output")):
            columns[name] = pa.array([row[place] for row in rows], pa.large_string())
        return read_index(row_index(TableRows(pa.table(columns))))

    found, turned = compare(index(before), index(after)), compare(index(after), index(before))
    mine, theirs = Counter(before) - Counter(after), Counter(after) - Counter(before)
    prompts = Counter(row[0] for row in mine.elements()) & Counter(row[0] for row in theirs.elements())
    assert len(found.changed[0]) == prompts.total()
    assert len(found.removed) == mine.total() - prompts.total()
    assert len(found.added) == theirs.total() - prompts.total()
    assert len(found.same[0]) == (Counter(before) & Counter(after)).total()
    assert (len(turned.added), len(turned.removed)) == (len(found.removed), len(found.added))


# --------------------------------------------------------------------------------------------- words in a plan


@pytest.mark.parametrize("rows", [RowChanges(12, 3, 5), RowChanges(), "larger than 32 MiB", None])
def test_a_plan_with_rows_is_worded_and_read_back(rows):
    change = Change(
        Address("Dataset", "chat"),
        Action.UPDATE,
        ChangeClass.PREPARE,
        details=None if rows is None else DatasetDetails(rows=rows),
    )
    plan = Plan((change,))
    text, markdown, tree = plan_text(plan), plan_markdown(plan), json.loads(plan_json(plan))["changes"][0]
    assert plan_from_json(plan_json(plan)) == plan
    match rows:
        case None:
            assert "rows" not in text + markdown
            assert "rows" not in tree
        case RowChanges():
            counts = f"+{rows.added} \N{MINUS SIGN}{rows.removed} ~{rows.changed}" if rows.added else "the same"
            assert f"\n      rows: {counts}" in text
            assert f"rows: {counts}" in html.unescape(markdown)
            assert tree["rows"] == {"added": rows.added, "removed": rows.removed, "changed": rows.changed}
        case why:
            assert f"rows: not compared ({why})" in text
            assert tree["rows"] == {"notCompared": why}


@pytest.fixture
def saved():
    """A plan as JSON, of a data set to which a row was added."""
    details = DatasetDetails(rows=RowChanges(1))
    return plan_json(Plan((Change(Address("Dataset", "chat"), Action.UPDATE, ChangeClass.PREPARE, details=details),)))


def test_rows_of_another_form_are_no_saved_plan(saved):
    with pytest.raises(PlanError, match="not a plan"):
        plan_from_json(saved.replace('"added": 1', '"added": "1"'))


@pytest.mark.parametrize(
    "rows",
    [{}, {"added": 1, "removed": 0}, {"added": True, "removed": 0, "changed": 0}, {"notCompared": 5}, [], 5, "x"],
)
def test_no_other_rows_are_read_from_a_saved_plan(saved, rows):
    tree = json.loads(saved)
    tree["changes"][0]["rows"] = rows
    with pytest.raises(PlanError):
        plan_from_json(json.dumps(tree))


def test_rows_that_are_nested_without_an_end_are_refused(saved):
    """At each depth: one that is still read may be too deep for what reads on."""
    before, after = saved.replace('"added": 1', '"added": DEEP').split("DEEP")
    for depth in range(1, 1100):
        with pytest.raises(PlanError):
            plan_from_json(f"{before}{'[' * depth}{']' * depth}{after}")
