"""Laws of records: text and value are one, and merging loses nothing and is the same in any grouping."""

from __future__ import annotations

import orjson
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.datasets.record import DatasetRecord
from ftops.documents.fast_yaml import simple_tree
from ftops.errors import RecordConflict
from ftops.models.record import ModelRecord
from ftops.plan.run import RunState
from ftops.registry.merge import merge
from ftops.registry.record_files import HEADER, _Dumper, dump, is_record, parse
from ftops.resources.record import FileEntry
from ftops.training.record import Attempt, RunEntry, RunRecord, RunStatus

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PHASES = st.sampled_from([RunState.RUNNING, RunState.FAILED, RunState.CANCELLED])
DIGESTS = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def entries(draw, digest):
    """An account of a run that a machine can give: all its attempts, the last of which decides how the run stands."""
    numbers = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True))
    attempts = {str(n): Attempt(phase=draw(PHASES), step=draw(st.integers(0, 9))) for n in numbers}
    phase = attempts[str(max(numbers))].phase
    weights = {}
    if draw(st.booleans()):
        phase = RunState.SUCCEEDED
        last = str(max(numbers))
        attempts[last] = attempts[last].model_copy(update={"phase": phase})
        weights = {"model.safetensors": FileEntry(sha256=digest, size=8)}
    return RunEntry(
        id=f"base-{digest[:12]}", phase=phase, inputs={"of": digest}, engine="axolotl==0.19.0", config_digest="0" * 64,
        attempts=attempts, weights=weights,
    )  # fmt: skip


@st.composite
def run_records(draw):
    digests = draw(st.sets(DIGESTS, min_size=1))
    runs = {digest: draw(entries(digest)) for digest in sorted(digests)}
    current = draw(st.sampled_from(sorted(digests)))
    status = RunStatus(phase=runs[current].phase, current=current, runs=runs)
    return RunRecord(metadata={"name": "base"}, status=status)


@st.composite
def dataset_records(draw):
    digest = draw(DIGESTS)
    return DatasetRecord.model_validate(
        {
            "metadata": {"name": "chat"},
            "status": {
                "phase": "prepared",
                "digest": digest,
                "inputs": draw(st.dictionaries(TEXTS, JSON, max_size=4)),
                "sources": {"a.csv": {"digest": draw(TEXTS)}},
                "report": {
                    "shape": "instruction",
                    "files": ({"path": draw(TEXTS), "sha256": digest, "bytes": 1, "rows": 9, "notes": (draw(TEXTS),)},),
                    "rows": {"read": 9, "kept": draw(st.integers(0, 9))},
                    "valid": draw(st.booleans()),
                    "splits": {"train": {"rows": 9, "bytes": 1, "sha256": digest}},
                },
                "preparedAt": draw(TEXTS),
            },
        }
    )


@st.composite
def model_records(draw):
    digest = draw(DIGESTS)
    labels = st.lists(st.sampled_from(["staging", "production", "archived"]), unique=True)
    return ModelRecord.model_validate(
        {
            "metadata": {"name": "chat", "version": "1.0.0"},
            "status": {
                "phase": "registered",
                "run": "base",
                "runDigest": digest,
                "runId": f"base-{digest[:12]}",
                "method": "full",
                "baseModel": {"hub": "some/model"},
                "size": 8,
                "digests": {"data": digest, "config": digest, "weights": {}},
                "output": "runs/x/attempt-1/output",
                "mlflow": "models:/chat@1-0-0",
                "aliases": tuple(draw(labels)),
                "tags": tuple(draw(st.lists(TEXTS, max_size=2))),
                "registeredAt": draw(TEXTS),
            },
        }
    )


RECORDS = run_records() | dataset_records() | model_records()


@given(RECORDS)
@settings(max_examples=150, deadline=None)
def test_dump_and_parse_are_inverse(record):
    text = dump(record)
    assert is_record(record.path)
    assert parse(record.path, text) == record
    assert dump(parse(record.path, text)) == text


@given(run_records())
@settings(max_examples=60, deadline=None)
def test_the_same_record_has_the_same_bytes_whatever_the_order_of_its_keys(record):
    turned = record.status.model_copy(update={"runs": dict(reversed(record.status.runs.items()))})
    assert dump(record.model_copy(update={"status": turned})) == dump(record)
    tree = yaml.safe_load(dump(record))
    assert list(tree) == sorted(tree)
    assert b"&id" not in dump(record)


def attempted(merge_them):
    """A merge, or None where it is a conflict."""
    try:
        return merge_them()
    except RecordConflict:
        return None


@given(RECORDS)
@settings(max_examples=60, deadline=None)
def test_merging_the_same_again_changes_nothing(record):
    assert merge(None, record) == record
    assert dump(merge(record, record)) == dump(record)


@given(run_records(), run_records())
@settings(max_examples=150, deadline=None)
def test_merging_twice_is_merging_once(tip, mine):
    once = merge(tip, mine)
    assert merge(once, mine) == once


@given(
    st.tuples(run_records(), run_records(), run_records())
    | st.tuples(model_records(), model_records(), model_records())
)
@settings(max_examples=300, deadline=None)
def test_merging_is_associative(three):
    a, b, c = three
    left = attempted(lambda: merge(merge(a, b), c))
    right = attempted(lambda: merge(a, merge(b, c)))
    assert left == right


@given(run_records(), run_records())
@settings(max_examples=200, deadline=None)
def test_no_run_and_no_attempt_is_lost_and_no_success(tip, mine):
    merged = merge(tip, mine).status
    assert merged.current == mine.status.current
    assert merged.phase is merged.runs[merged.current].phase
    for record in (tip, mine):
        for digest, entry in record.status.runs.items():
            kept = merged.runs[digest]
            assert entry.attempts.keys() <= kept.attempts.keys()
            if entry.phase is RunState.SUCCEEDED:
                assert (kept.phase, kept.weights) == (entry.phase, entry.weights)
                assert any(each.phase is RunState.SUCCEEDED for each in kept.attempts.values())


@given(run_records(), run_records())
@settings(max_examples=200, deadline=None)
def test_a_terminal_result_is_written_once(tip, mine):
    """What has ended stays as it was told first; only a success stands above another end."""
    merged = merge(tip, mine).status
    for digest, entry in tip.status.runs.items():
        for number, attempt in entry.attempts.items():
            kept = merged.runs[digest].attempts[number]
            if attempt.phase is not RunState.RUNNING and kept.phase is not RunState.SUCCEEDED:
                assert kept == attempt
            if attempt.phase is RunState.SUCCEEDED:
                assert kept == attempt


def succeeded(entry):
    """The same account, of a run whose last attempt went well: such a run has weights."""
    last = max(entry.attempts, key=int)
    attempts = {**entry.attempts, last: entry.attempts[last].model_copy(update={"phase": RunState.SUCCEEDED})}
    weights = {"model.safetensors": FileEntry(sha256="a" * 64, size=8)}
    return entry.model_copy(update={"phase": RunState.SUCCEEDED, "attempts": attempts, "weights": weights})


@given(entries("a" * 64).map(succeeded), entries("a" * 64).map(succeeded))
@settings(max_examples=100, deadline=None)
def test_two_different_successes_are_a_conflict(one, other):
    weights = {"model.safetensors": FileEntry(sha256="f" * 64, size=8)}

    def record(entry):
        status = RunStatus(phase=entry.phase, current="a" * 64, runs={"a" * 64: entry})
        return RunRecord(metadata={"name": "base"}, status=status)

    assert attempted(lambda: merge(record(one), record(other))) is not None
    assert attempted(lambda: merge(record(one), record(other.model_copy(update={"weights": weights})))) is None


WORDS = st.sampled_from(
    [
        *(
            "a",
            "b-c",
            "null",
            "~",
            "true",
            "True",
            "yes",
            "off",
            "n",
            "0",
            "07",
            "1",
            "-3",
            "1.5",
            "1.0.0",
            "1e5",
            "2.5e-06",
            "1.0e+999",
            "-9.75e+308",
            "1.0e-999",
        ),
        *(
            "1_0",
            "0x1f",
            "0b11",
            "12:30",
            ".inf",
            "=",
            "<<",
            "{}",
            "[]",
            "'x'",
            "'a: b'",
            "''",
            '"q"',
            "'it''s'",
            "a:b",
        ),
        *("a:", "#c", "&d", "*d", "!e", "|", "a #b", "a b", "한국", "2026-01-01"),
        *(
            "a b, c 0.96",
            "a, masked (93% of it)",
            "a  b",
            "a b ",
            "a -b",
            "a #",
            "a: b",
            "a b:",
            "a, b: c",
            "yes b",
            "a *b",
            "a 'b'",
        ),
        *("<EMAIL>", "<A b>", "010-****-****", "****-1", "1*", "1-2*", "12:30*", "1 2*", "010-****-**** x"),
        *("a" * 40, "0b" + "1" * 38, "1" * 40, "1e" + "0" * 62),
    ]
)
LINES = st.builds(
    lambda indent, dash, key, value: " " * indent + dash + key + value,
    st.sampled_from([0, 0, 0, 2, 2, 4, 1]),
    st.sampled_from(["", "", "- "]),
    st.one_of(st.just(""), WORDS.map(lambda word: f"{word}:"), st.sampled_from(["a:", "b:", "c:"])),
    st.one_of(st.just(""), WORDS.map(lambda word: f" {word}")),
)


def body(record):
    """A record's text without the comment at its top."""
    return dump(record).removeprefix(HEADER.encode())


@given(st.one_of(RECORDS.map(body), st.lists(LINES, max_size=8).map(lambda lines: "\n".join([*lines, ""]).encode())))
@settings(max_examples=600, deadline=None)
def test_reading_quickly_is_reading_or_none(text):
    quick = simple_tree(text)
    if quick is not None:
        assert repr(quick) == repr(yaml.load(text, Loader=yaml.CSafeLoader))
        assert orjson.loads(orjson.dumps(quick)) == quick, "JSON says the same"


PIECES = st.sampled_from(
    [
        *"ab01 -:#'\"\\\n\t,.[]{}&*!|>%@`?~=<",
        *"é한\x85\xa0\u2028\ufeff😀\x7f",
        "a b",
        "---",
        "...",
        "null",
        "x" * 30 + " ",
    ]
)
LONG_TEXTS = st.lists(PIECES, max_size=30).map("".join)
TREES = st.dictionaries(
    TEXTS | LONG_TEXTS,
    st.recursive(
        JSON | LONG_TEXTS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | LONG_TEXTS, inner, max_size=4),
        max_leaves=12,
    ),
    min_size=1,
    max_size=4,
)


@st.composite
def torn(draw):
    """What ftops writes, or something near: a little of it is left out, and something else put in."""
    text = yaml.dump(
        draw(TREES), Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=120, default_flow_style=False
    )
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(PIECES | st.just("")) + text[start + draw(st.integers(0, 3)) :]
    return text.encode()


@given(torn())
@settings(max_examples=600, deadline=None)
def test_reading_quickly_what_was_written_is_reading_or_none(text):
    quick = simple_tree(text)
    if quick is not None:
        assert repr(quick) == repr(yaml.load(text, Loader=yaml.CSafeLoader))
        assert orjson.loads(orjson.dumps(quick)) == quick, "JSON says the same"
