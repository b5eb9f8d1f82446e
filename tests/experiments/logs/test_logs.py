"""Log rows become observations: what is refused, what is told apart, and that the order of rows never matters."""

from __future__ import annotations

import gzip
import json
import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from ftops.errors import ChecksFailed, ExternalError, SpecError
from ftops.experiments.analysis.observations import Wanted
from ftops.experiments.assignment import Allocation, Gate, assign, ranges_by_weight
from ftops.experiments.logs.aggregate import _codes
from ftops.experiments.logs.files import LogFile, names
from ftops.experiments.logs.read_files import read
from ftops.experiments.metric_types import METRIC_TYPES

ALLOCATION = Allocation("chat", ranges_by_weight({"a": 5000, "b": 5000}))
HELD = {name: each.values for name, each in METRIC_TYPES.items()}
WANTED = Wanted("chat", ALLOCATION, {"rating": HELD["rating"], "response_time_ms": HELD["duration"]})
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
SECRET = "kim@example.com 900101-1234567"


def row(number=0, **changes):
    unit = changes.get("unit", f"user-{number % 7}")
    arm = assign(ALLOCATION, unit) if isinstance(unit, str) and unit else "a"
    return {
        "id": f"row-{number:08d}",
        "experiment": "chat",
        "unit": unit,
        "arm": arm,
        "time": (BEGIN + timedelta(minutes=number)).isoformat().replace("+00:00", "Z"),
        "query": SECRET,
        "response": '한국어 {답} "rating": 7',
        "rating": None if number % 3 == 0 else number % 5 + 1,
        "response_time_ms": 100.5 + number,
        "feedback": None,
        **changes,
    }


def without(name, number=0):
    found = row(number)
    del found[name]
    return found


def write(place, rows):
    place.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in rows)
    )
    return LogFile.named(place)


@pytest.fixture
def log(tmp_path):
    return lambda rows, name="log.jsonl": write(tmp_path / name, rows)


def table(observations):
    """What counts, comparable: the rows as a set, because the order in which they were read means nothing."""
    found = observations
    columns = [found.unit, found.day, *found.values.values()]
    return {
        "counts": found.rows,
        "arm": found.arm.tolist(),
        "fields": list(found.values),
        "rows": sorted(zip(*(map(repr, column.tolist()) for column in columns), strict=True)),
        "first": found.first,
        "last": found.last,
        "misassigned": found.misassigned_units,
        "simulated": found.simulated,
    }


def test_rows_become_columns(log):
    found = read([log([row(number) for number in range(3)])], WANTED)
    assert found.arms == ("a", "b")
    assert found.rows.read == found.rows.kept == 3
    assert found.units == len(set(found.unit.tolist())) == 3
    assert sorted(found.values["response_time_ms"].tolist()) == [100.5, 101.5, 102.5]
    assert np.isnan(found.values["rating"]).sum() == 1
    by_unit = {found.values["response_time_ms"][place]: found.arm[found.unit[place]] for place in range(3)}
    for number in range(3):
        assert ALLOCATION.arms[by_unit[100.5 + number]] == row(number)["arm"]
    assert set(found.day.tolist()) == {(BEGIN - datetime(1970, 1, 1, tzinfo=UTC)).days}
    assert found.first == BEGIN.timestamp()
    assert found.last == BEGIN.timestamp() + 120
    assert found.notes == found.faults == ()
    assert found.unit.dtype == np.int32
    assert found.day.dtype == np.int32
    assert found.arm.dtype == np.int8


FAULTY = [
    ({"rating": 6}, "rating", "expected a whole number from 1 to 5, or null, found 6"),
    ({"rating": 0}, "rating", "found 0"),
    ({"rating": "5"}, "rating", "found text"),
    ({"rating": 4.5}, "rating", "found 4.5"),
    ({"rating": True}, "rating", "found true"),
    ({"rating": [5]}, "rating", "found a list"),
    ({"rating": 8210101234567}, "rating", "found a number"),
    ({"response_time_ms": 0}, "response_time_ms", "expected a finite number above 0, or null, found 0"),
    ({"response_time_ms": -1.5}, "response_time_ms", "found -1.5"),
    ({"response_time_ms": "12"}, "response_time_ms", "found text"),
    ({"response_time_ms": False}, "response_time_ms", "found false"),
    ({"arm": "c"}, "arm", "expected an arm of the experiment (a, b), found 'c'"),
    ({"arm": SECRET}, "arm", "found another text"),
    ({"arm": None}, "arm", "expected text, found null"),
    ({"unit": ""}, "unit", "expected text, found empty text"),
    ({"unit": 5}, "unit", "expected text, found 5"),
    ({"id": ""}, "id", "found empty text"),
    ({"id": None}, "id", "found null"),
    ({"experiment": None}, "experiment", "expected text, found null"),
    ({"time": "2026-01-05T00:00:00"}, "time", "expected RFC 3339 with a zone"),
    ({"time": "2026-02-30T00:00:00Z"}, "time", "found another text"),
    ({"time": "yesterday"}, "time", "found another text"),
    ({"time": 1767571200}, "time", "found a number"),
    ({"time": "2026-01-05"}, "time", "found another text"),
    ({"query": 5}, "query", "expected text or null, found 5"),
    ({"feedback": {"text": SECRET}}, "feedback", "found an object"),
    ({"simulated": "yes"}, "simulated", "expected true, false or null, found text"),
]


@pytest.mark.parametrize(("change", "field", "detail"), FAULTY, ids=str)
def test_a_faulty_row_is_counted_and_listed(log, change, field, detail):
    found = read([log([row(1), row(2, **change), row(3)])], WANTED)
    assert (found.rows.read, found.rows.kept, found.rows.faulty) == (3, 2, 1)
    (fault,) = found.faults
    assert (fault.check, fault.row, fault.field) == ("log", 2, field)
    assert detail in fault.detail


LINES = [
    (b"{", "not JSON"),
    (b"[]", "expected an object, found a list"),
    (b"null", "expected an object, found null"),
    (b"\xff\xfe", "not JSON"),
    (b'"text"', "expected an object, found text"),
    (b"{}{}", "not JSON"),
    (json.dumps(row(2)).replace('"rating": 3', '"rating": NaN').encode(), "not JSON"),
    (json.dumps(row(2)).replace("102.5", "Infinity").encode(), "not JSON"),
    (json.dumps(row(2)).replace("102.5", "1e999").encode(), "not JSON"),
    (json.dumps(row(2)).replace("user-2", "\\ud800").encode(), "not JSON"),
    (json.dumps(row(2, other="x")).replace('"x"', "NaN").encode(), "not JSON"),
    (json.dumps(row(2)).replace("user-2", "user-\x01").encode(), "not JSON"),
    (json.dumps(row(2)).encode().replace(b"user-2", b"user-\xff"), "not JSON"),
    (json.dumps(row(2)).replace('"rating": 3', '"rating": 3, "rating": 4').encode(), "the field rating stands twice"),
    (
        json.dumps(row(2)).replace('"rating": 3', '"rating": 3, "r\\u0061ting": 4').encode(),
        "the field rating stands twice",
    ),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
    (b'{"a":"\\u0041","b":' + b"[" * 1000 + b"]" * 1000 + b"}", "not JSON: nested too deep"),
]


@pytest.mark.parametrize(("line", "detail"), LINES, ids=lambda value: repr(value)[:30])
def test_a_line_that_is_no_row_is_counted_and_listed(log, line, detail):
    found = read([log([row(1), line, row(3)])], WANTED)
    assert (found.rows.read, found.rows.kept, found.rows.faulty) == (3, 2, 1)
    assert found.faults[0].row == 2
    assert detail in found.faults[0].detail


@pytest.mark.parametrize("name", ["id", "unit", "arm", "time", "experiment", "rating", "response_time_ms"])
def test_a_missing_field_is_a_fault(log, name):
    found = read([log([row(1), without(name, 2), row(3)])], WANTED)
    assert found.rows.faulty == 1
    assert (found.faults[0].row, found.faults[0].field) == (2, name)
    assert "the field is missing" in found.faults[0].detail


def test_a_nested_field_of_the_same_name_does_not_stand_in(log):
    nested = {**without("rating", 2), "more": {"rating": 5}}
    spelled = {**without("rating", 3), "query": ', "rating": null'}
    found = read([log([nested, spelled, row(4), row(6)])], WANTED)
    assert [(each.row, each.field) for each in found.faults] == [(1, "rating"), (2, "rating")]


def test_known_fields_are_checked_where_they_are_not_wanted(log):
    wanted = replace(WANTED, fields={"clicked": HELD["binary"]})
    rows = [
        row(1, clicked=True),
        row(2, clicked=0, rating=9),
        row(3, clicked=None),
        row(4, clicked="yes"),
        row(5, clicked=2),
    ]
    found = read([log(rows)], wanted)
    assert [each.field for each in found.faults] == ["rating", "clicked", "clicked"]
    assert sorted(map(repr, found.values["clicked"].tolist())) == ["1.0", "nan"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("rating", [1, 5, 4.0, None], [0, 6, 4.5, "4", True]),
        ("binary", [True, False, 1, 0, 1.0, None], [2, "true", 0.5]),
        ("continuous", [-1.5, 0, 10**400 // 10**390, None], ["1", True, [1]]),
        ("duration", [0.001, 10**20, None], [0, -1, "1", True]),
        ("count", [0, 7, 7.0, None], [-1, 0.5, "1", True]),
    ],
)
def test_what_a_field_may_hold(log, kind, good, bad):
    wanted = replace(WANTED, fields={"figure": HELD[kind]})
    found = read([log([row(number, figure=value) for number, value in enumerate([*good, *bad])])], wanted)
    assert (found.rows.kept, found.rows.faulty) == (len(good), len(bad))
    expected = sorted(float(value) for value in good if value is not None)
    assert sorted(value for value in found.values["figure"] if value == value) == expected


def test_only_the_first_faults_are_listed(log):
    found = read([log([*(row(number, rating=9) for number in range(50)), row(51)])], WANTED)
    assert found.rows.faulty == 50
    assert [each.row for each in found.faults] == list(range(1, 21))


def test_with_several_files_a_fault_names_its_file(log):
    found = read([log([row(1), row(2, rating=9)], "one.jsonl"), log([row(3)], "two.jsonl")], WANTED)
    assert "one.jsonl: expected a whole number" in found.faults[0].detail


def test_no_personal_text_is_repeated(log):
    rows = [row(number, **change) for number, (change, *_) in enumerate(FAULTY)]
    rows += [row(100, **{name: SECRET}) for name in ("rating", "response_time_ms", "time", "arm")]
    rows += [line.replace(b"user-2", SECRET.encode()) for line, _ in LINES]
    found = read([log([*rows, row(200)])], WANTED)
    assert found.rows.faulty > 20
    with pytest.raises(ChecksFailed) as error:
        read([log(rows)], WANTED)
    told = repr(found.faults) + repr(found.notes) + repr(error.value.diagnostics)
    assert not any(part in told for part in (*SECRET.split(), "한국어"))


# ---------------------------------------------------------------------------------------------- what is told apart


def test_rows_of_another_experiment_are_not_judged_further(log):
    others = [{"experiment": "other", "rating": "x"}, {"experiment": "third"}]
    found = read([log([row(1), *others])], WANTED)
    assert (found.rows.kept, found.rows.foreign, found.rows.faulty) == (1, 2, 0)
    with pytest.raises(ChecksFailed) as error:
        read([log(others)], WANTED)
    (told,) = error.value.diagnostics
    assert told.summary == "no row is of the experiment 'chat'"
    assert told.detail == "the 2 rows are of 'other', 'third'"


def test_where_every_row_is_faulty_the_first_are_told(log):
    with pytest.raises(ChecksFailed) as error:
        read([log([row(1, rating=6), row(2, arm="c")])], WANTED)
    (told,) = error.value.diagnostics
    assert "none of the 2 rows" in told.summary
    assert "row 1: rating: expected a whole number from 1 to 5" in told.detail
    assert "row 2: arm: " in told.detail


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv"])
def test_an_empty_file_has_no_rows(log, name):
    found = read([log([], name)], WANTED)
    assert (found.rows.read, found.units, len(found.unit)) == (0, 0, 0)
    assert found.first is None
    assert set(found.values) == {"rating", "response_time_ms"}


def test_no_files_are_no_rows():
    assert read([], WANTED).rows.read == 0


def test_duplicates_are_dropped_and_what_is_kept_depends_on_no_order(log):
    rows = [row(number) for number in range(20)]
    early = row(5, time="2026-01-04T00:00:00Z", rating=1)
    other = row(6, rating=5)
    found = read([log([*rows, *rows[:4], early, other])], WANTED)
    assert (found.rows.duplicates, found.rows.conflicting, found.rows.kept) == (6, 2, 20)
    assert found.first == datetime(2026, 1, 4, tzinfo=UTC).timestamp()  # of the two rows, the one with the earlier time
    for seed in range(5):
        shuffled = [*rows, *rows[:4], early, other]
        random.Random(seed).shuffle(shuffled)
        again = read([log(shuffled[:9], f"{seed}.jsonl"), log(shuffled[9:], f"x{seed}.jsonl")], WANTED)
        assert table(again) == table(found)


def test_rows_before_and_after_the_phase_are_told_apart(log):
    wanted = replace(WANTED, since=BEGIN.timestamp() + 60, until=BEGIN.timestamp() + 180)
    found = read([log([row(number) for number in range(6)])], wanted)
    assert (found.rows.early, found.rows.kept, found.rows.late) == (1, 2, 3)
    assert (found.first, found.last) == (BEGIN.timestamp() + 60, BEGIN.timestamp() + 120)


def test_times_may_go_backwards_and_have_any_zone(log):
    times = [
        "2026-01-05T09:00:00+09:00",
        "2026-01-04T23:00:00-01:00",
        "2026-01-05T00:00:00.000000Z",
        "2026-01-05t00:00:00.0000009z",
    ]
    rows = [row(number, time=each) for number, each in enumerate(times)]
    found = read([log([row(9), *reversed(rows)])], WANTED)
    assert found.rows.kept == 5
    assert found.first == BEGIN.timestamp()
    assert (found.day == (BEGIN - datetime(1970, 1, 1, tzinfo=UTC)).days).all()


def test_rows_dated_ahead_are_said(log):
    ahead = datetime.now(UTC) + timedelta(days=3)
    found = read([log([row(1), row(2, time=ahead.isoformat())])], WANTED)
    assert found.rows.kept == 2
    assert found.notes == ("1 rows are dated more than a day ahead of now: a clock is wrong",)


def test_arms_are_audited(log):
    wrong = {"a": "b", "b": "a"}
    rows = [row(number) for number in range(14)]
    rows[3]["arm"], rows[4]["arm"] = wrong[rows[3]["arm"]], wrong[rows[4]["arm"]]
    found = read([log(rows)], WANTED)
    assert (found.rows.misassigned, found.misassigned_units, found.rows.kept) == (2, 2, 12)
    assert found.units == 7
    gated = replace(WANTED, allocation=replace(ALLOCATION, gates=(Gate("chat:coverage", 0, 0),)))
    nobody = read([log(rows)], gated)
    assert (nobody.rows.misassigned, nobody.units, nobody.rows.kept) == (14, 0, 0)


def test_a_unit_that_is_only_misassigned_is_no_unit(log):
    rows = [row(0), row(1), row(8)]
    for each in rows[1:]:
        each["arm"] = {"a": "b", "b": "a"}[each["arm"]]
    found = read([log(rows)], WANTED)
    assert (found.units, found.unit.tolist(), found.misassigned_units) == (1, [0], 1)


def test_a_unit_with_most_rows_is_said(log):
    rows = [row(number, unit="robot") for number in range(900)] + [
        row(number, unit=f"u{number}") for number in range(900, 2000)
    ]
    found = read([log(rows)], WANTED)
    assert found.notes == ("one unit has 45% of all rows: it may be no person",)


def test_units_may_be_in_any_script(log):
    units = ["é", "👩‍🚀", "사용자-1", "x" * 5000, "x" * 5001, "a", "a\x00", "\x00", "a" * 8, "a" * 9, "a" * 16]
    found = read([log([row(number, unit=unit) for number, unit in enumerate(units)])], WANTED)
    assert (found.rows.kept, found.units) == (len(units), len(units))


def test_simulated_rows_are_said(log):
    assert read([log([row(1, simulated=True), row(2)])], WANTED).simulated
    assert not read([log([row(1, simulated=False), row(2, simulated=None)])], WANTED).simulated
    assert not read([log([row(1), {"experiment": "other", "simulated": True}])], WANTED).simulated


def test_the_digest_is_of_the_contents(log, tmp_path):
    one, two = [row(1), row(2)], [row(3)]
    found = read([log(one, "a.jsonl"), log(two, "b.jsonl")], WANTED)
    renamed = read([log(one, "z.jsonl"), log(two, "c.jsonl")], WANTED)
    other = read([log(one, "a.jsonl"), log([row(4)], "b.jsonl")], WANTED)
    assert found.digest == renamed.digest != other.digest
    assert len(found.digest) == 64
    assert len(found.sources) == 2


def test_a_last_line_that_is_being_written_is_left_for_the_next_time(tmp_path):
    place = tmp_path / "log.jsonl"
    whole = json.dumps(row(1)).encode() + b"\n"
    place.write_bytes(whole + json.dumps(row(2)).encode()[:40])
    found = read([LogFile.named(place)], WANTED)
    assert (found.rows.read, found.rows.faulty) == (1, 0)
    assert "the last line is not complete yet" in found.notes[0]
    place.write_bytes(whole)
    assert read([LogFile.named(place)], WANTED).digest == found.digest
    place.write_bytes(whole + json.dumps(row(2)).encode())
    assert read([LogFile.named(place)], WANTED).rows.kept == 2


def test_a_file_that_grows_is_read_as_far_as_it_went(log):
    from ftops.experiments.logs import read_files

    file = log([row(number) for number in range(100)])

    def grow(_):
        with file.place.open("a") as stream:
            stream.write(json.dumps(row(1000)) + "\n")

    assert read_files.read([file], WANTED, progress=grow).rows.read == 100
    assert read([file], WANTED).rows.read > 100


def test_progress_adds_up_to_the_size(log):
    file, told = log([row(number) for number in range(100)]), []
    read([file], WANTED, progress=told.append)
    assert sum(told) == file.place.stat().st_size


@pytest.mark.slow
def test_one_unit_with_a_million_rows(tmp_path):
    line = json.dumps(row(0, id="ID", unit="robot"))
    place = tmp_path / "log.jsonl"
    place.write_text("".join(line.replace("ID", f"{number:x}") + "\n" for number in range(1_000_000)))
    found = read([LogFile.named(place)], WANTED)
    assert (found.rows.kept, found.units) == (1_000_000, 1)
    assert "one unit has 100% of all rows" in found.notes[0]


# --------------------------------------------------------------------------------------------------- other formats


def arrow(rows, **columns):
    made = {
        name: [each.get(name) for each in rows]
        for name in ("id", "experiment", "unit", "arm", "rating", "response_time_ms", "query")
    }
    times = [datetime.fromisoformat(each["time"]) for each in rows]
    return pa.table({**made, "time": pa.array(times, pa.timestamp("us", "UTC")), **columns})


def test_every_format_says_the_same(tmp_path, log):
    rows = [row(number) for number in range(50)]
    rows[7]["rating"], rows[9]["unit"], rows[11]["arm"], rows[12]["experiment"] = 6, "", "c", "other"
    expected = read([log(rows)], WANTED)
    assert (expected.rows.faulty, expected.rows.foreign) == (3, 1)
    pq.write_table(arrow(rows), tmp_path / "log.parquet", row_group_size=10)
    written = [{**each, "query": 'a,\n"b"', "feedback": None} for each in rows]
    pa_csv.write_csv(pa.Table.from_pylist(written), tmp_path / "log.csv")
    packed = gzip.compress(log(rows).place.read_bytes())
    (tmp_path / "log.jsonl.gz").write_bytes(packed)
    (tmp_path / "log.ndjson.zst").write_bytes(pa.compress(log(rows).place.read_bytes(), "zstd", asbytes=True))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes()))
    for name in ("log.parquet", "log.csv", "log.jsonl.gz", "log.ndjson.zst", "log.csv.gz"):
        found = read([LogFile.named(tmp_path / name)], WANTED)
        assert table(found) == table(expected), name
        assert [(each.row, each.field) for each in found.faults] == [(8, "rating"), (10, "unit"), (12, "arm")], name


def test_parquet_of_other_types_says_the_same(tmp_path):
    rows = [row(number) for number in range(20)]
    pq.write_table(arrow(rows), tmp_path / "plain.parquet")
    expected = read([LogFile.named(tmp_path / "plain.parquet")], WANTED)
    coded = pa.dictionary(pa.int32(), pa.string())
    for column in (
        {
            "unit": pa.array([each["unit"] for each in rows]).cast(coded),
            "arm": pa.array([each["arm"] for each in rows]).cast(coded),
        },
        {"rating": pa.array([each["rating"] for each in rows], pa.float32())},
        {"id": pa.array([each["id"] for each in rows], pa.large_string())},
        {"unit": pa.array([each["unit"] for each in rows], pa.string_view())},
        {"time": pa.array([each["time"] for each in rows])},
        {"time": pa.array([datetime.fromisoformat(each["time"]) for each in rows], pa.timestamp("ns", "Asia/Seoul"))},
    ):
        pq.write_table(arrow(rows, **column), tmp_path / "other.parquet")
        assert table(read([LogFile.named(tmp_path / "other.parquet")], WANTED)) == table(expected), list(column)
    naive = [datetime.fromisoformat(each["time"]).replace(tzinfo=None) for each in rows]
    pq.write_table(arrow(rows, time=pa.array(naive, pa.timestamp("us"))), tmp_path / "naive.parquet")
    found = read([LogFile.named(tmp_path / "naive.parquet")], WANTED)
    assert table(found) == table(expected)
    assert "its times have no zone; they were taken as UTC" in found.notes[0]


@pytest.mark.parametrize(
    ("column", "summary"),
    [
        ({"unit": pa.array([1, 2])}, "column 'unit' holds int64, expected text"),
        ({"rating": pa.array(["5", "4"])}, "column 'rating' holds string, expected numbers"),
        ({"rating": pa.array([True, False])}, "column 'rating' holds bool, expected numbers"),
        ({"time": pa.array([1, 2])}, "column 'time' holds int64, expected timestamps or text"),
        ({"query": pa.array([1, 2])}, "column 'query' holds int64, expected text"),
    ],
    ids=["unit", "rating as text", "rating as flag", "time", "query"],
)
def test_parquet_of_a_wrong_type_is_refused(tmp_path, column, summary):
    pq.write_table(arrow([row(1), row(2)], **column), tmp_path / "log.parquet")
    with pytest.raises(ChecksFailed) as error:
        read([LogFile.named(tmp_path / "log.parquet")], WANTED)
    assert error.value.diagnostics[0].summary == summary


def test_parquet_with_faulty_numbers(tmp_path):
    rows = [row(number) for number in range(4)]
    values = pa.array([float("nan"), float("inf"), -1.0, 5.0])
    pq.write_table(arrow(rows, response_time_ms=values), tmp_path / "log.parquet")
    found = read([LogFile.named(tmp_path / "log.parquet")], WANTED)
    assert (found.rows.faulty, found.rows.kept) == (3, 1)


def test_parquet_with_text_that_is_not_utf8(tmp_path):
    rows = [row(1), row(2)]
    units = pa.array([b"\xff\xfe", rows[1]["unit"].encode()]).view(pa.string())
    pq.write_table(arrow(rows, unit=units), tmp_path / "log.parquet")
    found = read([LogFile.named(tmp_path / "log.parquet")], WANTED)
    assert (found.rows.faulty, found.rows.kept) == (1, 1)
    assert found.faults[0].detail == "expected text in UTF-8"


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_a_missing_column_is_named(tmp_path, name):
    made = pa.table({"id": ["1"], "experiment": ["chat"], "unit": ["u"], "arm": ["a"], "time": ["x"], "ratings": [5]})
    (pq.write_table if name.endswith("parquet") else pa_csv.write_csv)(made, tmp_path / name)
    with pytest.raises(ChecksFailed) as error:
        read([LogFile.named(tmp_path / name)], WANTED)
    assert error.value.diagnostics[0].summary == "no column 'rating'"
    assert error.value.diagnostics[0].hint == "did you mean 'ratings'?"


def test_damaged_and_lying_parquet_is_refused(tmp_path):
    place = tmp_path / "log.parquet"
    place.write_bytes(b"PAR1 this is no parquet PAR1")
    with pytest.raises(ChecksFailed, match="not readable as Parquet"):
        read([LogFile.named(place)], WANTED)
    many = 2_000_000
    one = row(1)
    same = {
        name: pa.array([one[name]]).dictionary_encode().take(pa.array(np.zeros(many, np.int32)))
        for name in ("id", "experiment", "unit", "arm", "time")
    }
    nothing = pa.nulls(many, pa.float64())
    pq.write_table(pa.table({**same, "rating": nothing, "response_time_ms": nothing}), place, compression="zstd")
    assert place.stat().st_size < 200_000
    with pytest.raises(ChecksFailed, match="it says that it has 2,000,000 rows"):
        read([LogFile.named(place)], WANTED)


def test_small_parquet_that_decodes_to_much_is_refused_before_it_does(tmp_path):
    rows = [row(number) for number in range(3000)]
    unit = pa.DictionaryArray.from_arrays(pa.array([0] * len(rows), pa.int32()), pa.array(["x" * 2**20]))
    pq.write_table(arrow(rows, unit=unit), tmp_path / "log.parquet", compression="zstd")
    assert (tmp_path / "log.parquet").stat().st_size < 200_000
    before = pa.default_memory_pool().bytes_allocated()
    with pytest.raises(ChecksFailed, match="a text of 1,048,576 bytes"):
        read([LogFile.named(tmp_path / "log.parquet")], WANTED)
    assert pa.default_memory_pool().bytes_allocated() - before < 100 * 2**20


CSV = "id,experiment,unit,arm,time,rating,response_time_ms\n"


def test_csv_cells(tmp_path):
    unit, arm = "user-1", assign(ALLOCATION, "user-1")
    cells = [
        ("5", "12.5"), ("", ""), ("5.0", "1e2"), ("6", "1"), ("05", "1"), (" 5", "1"), ("five", "1"), ("4", "nan"),
        ("4", "inf"), ("4", "0x1p3"), ("4", "0"), ("4", "1e999"), ("+4", "1"), ("true", "1"),
    ]  # fmt: skip
    lines = [
        f"{number},chat,{unit},{arm},2026-01-05T00:00:00Z,{rating},{ms}\n" for number, (rating, ms) in enumerate(cells)
    ]
    place = tmp_path / "log.csv"
    place.write_text(CSV + "".join(lines))
    found = read([LogFile.named(place)], WANTED)
    assert (found.rows.kept, found.rows.faulty) == (3, 11)
    assert [each.row for each in found.faults] == list(range(4, 15))
    assert sorted(value for value in found.values["response_time_ms"] if value == value) == [12.5, 100.0]


def test_csv_with_ragged_rows_and_flags(tmp_path):
    unit, arm = "user-1", assign(ALLOCATION, "user-1")
    begin = f"chat,{unit},{arm},2026-01-05T00:00:00Z,5,1"
    place = tmp_path / "log.csv"
    rows = [
        f"1,{begin},True",
        f"2,{begin}",
        f"3,{begin},maybe",
        f"4,{begin},,,",
        f"5,{begin},0",
        f"6,{begin},\xff".encode("latin1").decode("latin1"),
    ]
    place.write_text(CSV.replace("\n", ",simulated\n") + "\n".join(rows) + "\n7,chat,cut of")
    found = read([LogFile.named(place)], WANTED)
    assert (found.rows.kept, found.rows.faulty) == (2, 4)
    assert {(each.row, each.field) for each in found.faults} == {(2, ""), (3, "simulated"), (4, ""), (6, "simulated")}
    assert found.simulated
    assert "the last line has no line end yet" in found.notes[0]


def test_other_formats_are_refused(tmp_path):
    for name in ("log.json", "log.txt", "log", "log.parquet.gz", "log.xlsx"):
        (tmp_path / name).write_text("{}\n")
        with pytest.raises(ExternalError, match="not a format of logs"):
            read([LogFile.named(tmp_path / name)], WANTED)


def test_damaged_compression_is_refused(tmp_path, log):
    packed = gzip.compress(log([row(number) for number in range(1000)]).place.read_bytes())
    (tmp_path / "log.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ChecksFailed, match="cannot be decompressed"):
        read([LogFile.named(tmp_path / "log.jsonl.gz")], WANTED)


# ----------------------------------------------------------------------------------------------------------- files


def test_links_and_other_files_are_not_read(tmp_path, log):
    file = log([row(1)])
    (tmp_path / "project" / "logs").mkdir(parents=True)
    (tmp_path / "project" / "logs" / "log.jsonl").symlink_to(file.place)
    with pytest.raises(ExternalError, match="link"):
        read([LogFile.of_project(tmp_path / "project", "logs/log.jsonl")], WANTED)
    with pytest.raises(ExternalError):
        read([LogFile.of_project(tmp_path / "project", "../log.jsonl")], WANTED)
    assert read([LogFile.named(tmp_path / "project" / "logs" / "log.jsonl")], WANTED).rows.kept == 1
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ExternalError, match="not a regular file"):
        read([LogFile.named(tmp_path / "pipe.jsonl")], WANTED)
    with pytest.raises(ExternalError, match="No such file"):
        read([LogFile.named(tmp_path / "gone.jsonl")], WANTED)


def test_names_of_a_pattern(tmp_path):
    for name in (
        "logs/b.jsonl",
        "logs/a.jsonl",
        "logs/deep/er/c.jsonl",
        "logs/d.csv",
        "logs/.hidden.jsonl",
        "else/e.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "logs" / "link.jsonl").symlink_to(tmp_path / "else" / "e.jsonl")
    (tmp_path / "linked").symlink_to(tmp_path / "else")
    assert names(tmp_path, "logs/*.jsonl") == ("logs/a.jsonl", "logs/b.jsonl")
    assert names(tmp_path, "logs/**/*.jsonl") == ("logs/a.jsonl", "logs/b.jsonl", "logs/deep/er/c.jsonl")
    assert names(tmp_path, "logs/[ab].jsonl") == ("logs/a.jsonl", "logs/b.jsonl")
    assert names(tmp_path, "logs/?.*") == ("logs/a.jsonl", "logs/b.jsonl", "logs/d.csv")
    assert names(tmp_path, "logs/a.jsonl") == ("logs/a.jsonl",)
    assert names(tmp_path, "logs/z.jsonl") == names(tmp_path, "linked/*.jsonl") == names(tmp_path, "none/*") == ()
    with pytest.raises(SpecError):
        names(tmp_path, "../*.jsonl")


def test_units_whose_hashes_begin_alike_are_told_apart():
    """With a million units some always do: rows are sorted by as many bits of the hash as leave room for their places."""
    random_ = np.random.default_rng(3)
    beginnings = random_.integers(0, 2**63, 40, dtype=np.uint64) & ~np.uint64(0xFFFF)
    hashes = beginnings[random_.integers(0, 40, 500)] | random_.integers(0, 3, 500, dtype=np.uint64)
    checks = random_.integers(0, 2, 500).astype(np.uint32)
    units = np.array([f"{one}-{other}" for one, other in zip(hashes, checks, strict=True)])
    parts = [
        SimpleNamespace(arm=range(part.start, part.stop), unit_hashes=(hashes[part], checks[part]))
        for part in (slice(0, 200), slice(200, 500))
    ]
    codes, first = _codes(parts)
    assert len(first) == len(set(units)) > 100
    assert (units[first][codes] == units).all()
    order = random_.permutation(500)
    again, _ = _codes([SimpleNamespace(arm=range(500), unit_hashes=(hashes[order], checks[order]))])
    assert (again == codes[order]).all(), "the numbers do not depend on the order of rows"
