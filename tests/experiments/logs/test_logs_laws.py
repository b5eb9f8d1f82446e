"""Laws of reading log rows: the fast way finds what the slow way finds, and the order of rows never matters."""

from __future__ import annotations

import json
import random
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftops.experiments.analysis.observations import Wanted
from ftops.experiments.assignment import Allocation, assign, ranges_by_weight
from ftops.experiments.logs.files import LogFile
from ftops.experiments.logs.hashes import hashes
from ftops.experiments.logs.jsonl import read_block
from ftops.experiments.logs.read_files import read
from ftops.experiments.logs.row_schema import Rules, microseconds
from ftops.experiments.metric_types import METRIC_TYPES

HELD = {name: each.values for name, each in METRIC_TYPES.items()}
FIELDS = MappingProxyType(
    {"rating": HELD["rating"], "clicked": HELD["binary"], "cost": HELD["continuous"], "tokens": HELD["count"]}
)
RULES = Rules("chat", ("a", "b"), FIELDS)
ALLOCATION = Allocation("chat", ranges_by_weight({"a": 5000, "b": 5000}))

odd_numbers = st.sampled_from([0, 1, 3, 5, 6, -1, 4.0, 4.5, 2**53 + 1, 10**30, 1e308, -0.0, 5e-324, True, False])
odd_times = st.sampled_from([
    "2026-01-05T00:00:00Z", "2026-01-05T00:00:00+09:00", "2026-01-05 00:00:00.5-01:30", "2026-01-05t00:00:00z",
    "2026-01-05T00:00:00.123456789Z", "2026-01-05T00:00:00", "2026-02-30T00:00:00Z", "2026-01-05T24:00:00Z",
    "2026-01-05T23:59:60Z", "2026-01-05T00:00Z", "2026-01-05T00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+09:00",
    "9999-12-31T23:59:59-09:00", "20260105T000000Z", "2026-01-05T00:00:00+0900", "2026-01-05T00:00:00+24:00", "1969-12-31T23:59:59.999999Z",
])  # fmt: skip
texts = st.text(max_size=12) | st.sampled_from(
    ["a", "b", "chat", "other", "", ', "rating":', '{"rating": 5}', "NaN", ": Infinity,"]
)
anything = st.recursive(
    st.none() | st.booleans() | odd_numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def mostly(strategy):
    return st.one_of(*[strategy] * 9, anything)


rows = st.fixed_dictionaries(
    {"id": mostly(texts), "experiment": mostly(st.just("chat")), "unit": mostly(texts), "arm": mostly(st.sampled_from("ab")),
     "time": mostly(odd_times), "rating": mostly(st.none() | odd_numbers), "clicked": mostly(st.booleans()),
     "cost": mostly(odd_numbers), "tokens": mostly(st.integers(0, 9))},
    optional={"query": mostly(texts), "feedback": mostly(texts), "simulated": mostly(st.booleans()), "more": anything,
              "response_time_ms": mostly(st.floats(0.001, 1e6))},
)  # fmt: skip


@st.composite
def lines(draw):
    """A line as a logger writes it, or with a field gone, a byte changed, or something in between."""
    found = draw(rows)
    for name in draw(
        st.lists(st.sampled_from(sorted(found)), max_size=1) if draw(st.integers(0, 4)) == 0 else st.just([])
    ):
        del found[name]
    spaced = draw(st.booleans())
    text = json.dumps(found, ensure_ascii=draw(st.booleans()), separators=None if spaced else (",", ":")).encode(
        "utf-8", "surrogatepass"
    )
    change = draw(st.sampled_from([None] * 12 + ["cut", "byte", "insert", "twice", "space", "return"]))
    at = draw(st.integers(0, max(len(text) - 1, 0)))
    pieces = [
        b"NaN",
        b"null",
        b"}",
        b"{",
        b"\\ud800",
        b"\xff",
        b'"',
        b",",
        b"1e999",
        b"[" * 300,
        b" ",
        b"\x00",
        b"-Inf",
        b'"rating": 5,',
    ]
    match change:
        case "cut":
            return text[:at]
        case "byte":
            return text[:at] + bytes([draw(st.integers(0, 255).filter(lambda byte: byte != 10))]) + text[at + 1 :]
        case "insert":
            return text[:at] + draw(st.sampled_from(pieces)) + text[at:]
        case "twice":
            return text + text
        case "space":
            return b" " + text + b"  "
        case "return":
            return text + b"\r"
    return text


def flat(part):
    """All that a part says, in an order of its own."""
    parts = [each for each in (part, part.extra) if each is not None]
    sound = sorted(
        repr((int(each.ids[0][place]), int(each.ids[1][place]), each.units[place].as_py(), int(each.unit_hashes[0][place]),
              int(each.arm[place]), int(each.time[place]), [float(column[place]) for column in each.values]))
        for each in parts
        for place in range(len(each.arm))
    )  # fmt: skip
    return {
        "sound": sound,
        "read": sum(each.read for each in parts),
        "foreign": sum(each.foreign for each in parts),
        "faulty": sum(each.faulty for each in parts),
        "faults": sorted(fault for each in parts for fault in each.faults),
        "others": set().union(*(each.others for each in parts)),
        "simulated": any(each.simulated for each in parts),
    }


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines(), min_size=1, max_size=6))
def test_the_fast_way_finds_what_the_slow_way_finds(written):
    raw = b"".join(line + b"\n" for line in written)
    counted, fast = read_block(raw, RULES)
    counted_slowly, slow = read_block(raw, RULES, fast=False)
    assert counted == counted_slowly
    assert flat(fast) == flat(slow)


def test_the_fast_way_is_taken():
    """The law above could be kept by always going slowly."""
    sound = {"id": "1", "experiment": "chat", "unit": "u", "arm": "a", "time": "2026-01-05T00:00:00Z", "rating": None,
             "clicked": True, "cost": 1.5, "tokens": 3}  # fmt: skip
    for more in (
        {},
        {"query": "{x} NaN, [y]", "feedback": None},
        {"model": {"name": "x", "rating": 1}, "tags": [1, "한국어"]},
    ):
        raw = (json.dumps({**sound, **more}) + "\n").encode() * 3
        _, part = read_block(raw, RULES)
        nested = "model" in more  # its own null may be the nested one's, so those rows are judged one by one
        assert (len(part.arm), part.extra is None) == ((0, False) if nested else (3, True))


some_rows = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 4), st.integers(0, 3), st.sampled_from([None, 1, 5, 6]), st.sampled_from(["chat", "other"])),
    min_size=1, max_size=25,
)  # fmt: skip


def observed(folder, files):
    made = []
    for number, found in enumerate(files):
        place = Path(folder) / f"{number}.jsonl"
        place.write_text("".join(json.dumps(each) + "\n" for each in found))
        made.append(LogFile.named(place))
    wanted = Wanted("chat", ALLOCATION, {"rating": HELD["rating"]}, since=60.0, until=180.0)
    found = read(made, wanted)
    columns = [found.unit, found.day, *found.values.values()]
    rows = sorted(zip(*(map(repr, column.tolist()) for column in columns), strict=True))
    return found.rows, found.first, found.last, found.misassigned_units, found.arm.tolist(), rows


def written(tuples):
    sound = {
        "id": "sure",
        "experiment": "chat",
        "unit": "u0",
        "arm": assign(ALLOCATION, "u0"),
        "time": "1970-01-01T00:02:00Z",
        "rating": 1,
    }
    return [sound] + [
        {"id": str(number), "experiment": experiment, "unit": f"u{unit}", "arm": assign(ALLOCATION, f"u{unit % 3}"),
         "time": f"1970-01-01T00:0{minute}:00Z", "rating": rating}
        for number, unit, minute, rating, experiment in tuples
    ]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tuples=some_rows, seed=st.integers(0, 99))
def test_the_order_of_rows_and_files_changes_nothing(tmp_path_factory, tuples, seed):
    rows = written(tuples)
    folder = tmp_path_factory.mktemp("logs")
    expected = observed(folder, [rows])
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    cut = seed % (len(rows) + 1)
    assert observed(folder, [shuffled]) == expected
    assert observed(folder, [shuffled[cut:], shuffled[:cut]]) == expected


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tuples=some_rows)
def test_rows_written_twice_change_nothing_but_the_counts(tmp_path_factory, tuples):
    rows = written(tuples)
    folder = tmp_path_factory.mktemp("logs")
    once, twice = observed(folder, [rows]), observed(folder, [rows, rows])
    assert twice[1:] == once[1:]
    assert twice[0].kept == once[0].kept
    sound = once[0].read - once[0].faulty - once[0].foreign
    assert twice[0].duplicates == 2 * once[0].duplicates + (sound - once[0].duplicates)
    for counts in (once[0], twice[0]):
        parts = (
            counts.kept,
            counts.faulty,
            counts.duplicates,
            counts.foreign,
            counts.early,
            counts.late,
            counts.misassigned,
        )
        assert counts.read == sum(parts)


@given(st.lists(st.text(string.printable + "é한\U0001f600", max_size=40), max_size=40))
def test_texts_hash_alike_when_they_are_equal_and_only_then(found):
    found = [text for text in found if text] or ["x"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        array = pa.array(["pad", *found]).cast(kind)[1:]
        first, second = hashes(array)
        assert first.dtype == np.uint64
        assert second.dtype == np.uint32
        by_hash = dict(zip(first.tolist(), found, strict=True))
        assert [by_hash[each] for each in first.tolist()] == found
        alone = [hashes(pa.array([text]))[0][0] for text in found]
        assert first.tolist() == alone


@given(odd_times | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"))
def test_a_time_is_read_as_python_reads_it(text):
    from datetime import datetime

    found = microseconds(text)
    if found is not None:
        whole = text.upper().replace("Z", "+00:00")
        head, dot, rest = whole.partition(".")
        if dot:
            digits = rest[: next((place for place, each in enumerate(rest) if not each.isdigit()), len(rest))]
            whole = f"{head}.{digits[:6]}{rest[len(digits) :]}"
        moment = datetime.fromisoformat(whole)
        assert found / 1e6 == moment.timestamp() or abs(found / 1e6 - moment.timestamp()) < 1e-3


def test_many_readers_at_once_agree():
    texts_ = pa.array([f"user-{number}" for number in range(100_000)])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: hashes(texts_)[1].tolist(), range(4)))
    assert all(each == found[0] for each in found)
    assert len(set(hashes(texts_)[0].tolist())) == 100_000
