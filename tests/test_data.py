"""Reading of files that nobody vouches for: each fault is told with its place, and nothing of them is guessed."""

from __future__ import annotations

import hashlib
import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ftops.data import Column, DataFile, JsonlWriter, read
from ftops.errors import ChecksFailed, ExternalError

PAIR = (Column("instruction", "q", required=True), Column("output", "a", required=True))
CHAT = (Column("messages", "messages", required=True),)
MIB = 2**20


@pytest.fixture
def reading(tmp_path):
    def run(content, extension="csv", columns=PAIR, limit=100 * MIB, expected=None):
        path = tmp_path / f"rows.{extension}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(DataFile(tmp_path, path.name, extension, limit, expected), columns)

    return run


@pytest.fixture
def refusal(reading):
    def run(*args, **options):
        with pytest.raises(ChecksFailed) as caught:
            reading(*args, **options)
        return [(each.summary, each.where.line, each.detail) for each in caught.value.diagnostics]

    return run


def pairs(contents):
    return list(zip(contents.table["instruction"].to_pylist(), contents.table["output"].to_pylist(), strict=True))


def places(contents, column):
    return contents.table[column].to_pylist()


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


# ------------------------------------------------------------------------------------------------- CSV


def test_every_csv_column_is_text(reading):
    assert pairs(reading("q,a\n01012345678,NA\n1e5,null\n")) == [("01012345678", "NA"), ("1e5", "null")]


def test_quotes_commas_and_line_breaks_inside_of_csv_fields(reading):
    contents = reading('q,a\r\n"a, ""b""\r\nc",d\r\n"\rx",e\r\n')
    assert pairs(contents) == [('a, "b"\r\nc', "d"), ("\rx", "e")]
    assert (places(contents, "row"), places(contents, "line"), places(contents, "byte")) == ([1, 2], [2, 4], [5, 22])


def test_a_byte_order_mark_is_no_part_of_the_first_name(reading):
    contents = reading(b"\xef\xbb\xbfq,a\nb,c\n")
    assert pairs(contents) == [("b", "c")]
    assert places(contents, "byte") == [7]


def test_blank_csv_lines_are_no_rows(reading):
    assert places(reading("q,a\n\nb,c\n\n\n"), "line") == [3]


def test_ragged_csv_rows_are_refused_all_at_once(refusal):
    assert refusal("q,a\nb\nc,d\ne,f,g\n") == [
        ("expected 2 fields as in the header, found 1", 2, "at byte 4"),
        ("expected 2 fields as in the header, found 3", 4, "at byte 10"),
    ]


def test_only_the_first_faults_of_a_csv_are_told(refusal):
    assert len(refusal("q,a\n" + "b\n" * 100_000)) == 20


@pytest.mark.parametrize(
    ("content", "summary", "line", "place"),
    [
        ("", "the file is empty", None, ""),
        ("q,a,\nb,c,d\n", "column 3 has no name in the header", 1, ""),
        ("q,a,q\nb,c,d\n", "two columns are called 'q'", 1, ""),
        ('q,a\nb,"c\n', "not readable as CSV: unexpected end of data", 2, "at byte 4"),
        ('q,a\nb,"c"d\n', "not readable as CSV: ',' expected after '\"'", 2, "at byte 4"),
        (b"q,a\nb,c\nd,\xb0\xa1\n", "not UTF-8 text", 3, "at byte 10"),
        ("q,a\nb,c".encode("utf-16"), "not UTF-8 text", 1, "at byte 0"),
    ],
)
def test_csv_that_can_be_meant_in_two_ways_is_refused(refusal, content, summary, line, place):
    assert refusal(content) == [(summary, line, place)]


def test_a_csv_field_of_40_mb(reading):
    (pair,) = pairs(reading("q,a\n" + "x" * 40 * MIB + ",b\n"))
    assert len(pair[0]) == 40 * MIB


# ------------------------------------------------------------------------------------------------ JSON


def test_a_json_line_is_a_row_with_its_place(reading):
    contents = reading(b'\xef\xbb\xbf{"q":"b","a":"c"}\n\n {"a": "\\u0022\\n", "q": "\\uc548", "z": 1}\r\n', "jsonl")
    assert pairs(contents) == [("b", "c"), ("안", '"\n')]
    assert (places(contents, "line"), places(contents, "byte")) == ([1, 3], [3, 22])
    assert contents.unused == ("z",)


HOSTILE = {
    "NaN": ('{"q":NaN}', "unexpected character"),
    "Infinity": ('{"q":Infinity}', "unexpected character"),
    "two objects": ('{"q":"b"} {"q":"c"}', "unexpected content after document"),
    "half a surrogate pair": (r'{"q":"\ud800"}', "surrogate"),
    "key twice": ('{"q":"b","a":"c","q":"d"}', "the key 'q' stands twice in one object"),
    "key twice inside": ('{"q":[{"z":1,"z":1}]}', "the key 'z' stands twice in one object"),
    "key twice, one spelled otherwise": (r'{"q":"b","\u0071":"c"}', "the key 'q' stands twice in one object"),
    "key twice, quotes made up for by escapes": (r'{"q":1,"q":"\u0022\u0022"}', "the key 'q' stands twice"),
    "not UTF-8": (b'{"q":"\xff"}', "not valid UTF-8"),
    "control character": ('{"q":"\x01"}', "unexpected control character"),
    "cut off": ('{"q":"b', ""),
    "deep": ("[" * 100_000, "depth limit"),
    "deep enough for the parser": ('{"q":' + "[" * 300 + "]" * 300 + "}", "nested deeper than 254 levels"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_lines_are_refused_with_line_and_byte(refusal, case):
    content, words = HOSTILE[case]
    content = content if isinstance(content, bytes) else content.encode()
    ((summary, line, detail),) = refusal(b'{"q":"b","a":"c"}\n' + content + b"\n", "jsonl")
    assert summary.startswith("not a JSON object: ")
    assert words in summary
    assert (line, detail) == (2, "at byte 18")


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_files_are_refused(refusal, case):
    content, words = HOSTILE[case]
    content = content if isinstance(content, bytes) else content.encode()
    ((summary, _, _),) = refusal(b"[" + content + b"]", "json")
    assert summary.startswith("not readable as JSON: ")
    assert words in summary or case == "two objects"


def test_a_json_line_of_40_mb(reading):
    contents = reading(b'{"q":"' + b"x" * 40 * MIB + b'","a":"b"}', "jsonl")
    assert len(pairs(contents)[0][0]) == 40 * MIB


def test_what_is_no_object_is_refused(refusal):
    assert refusal('[]\n1\n{"q":"b"}\n', "jsonl") == [
        ("not a JSON object: expected an object", 1, "at byte 0"),
        ("not a JSON object: expected an object", 2, "at byte 3"),
    ]
    assert refusal('[{"q":"b","a":"c"}, null]', "json") == [("row 2: expected an object", None, "")]
    assert refusal('{"q":"b"}', "json") == [("expected an array of objects", None, "")]


def test_values_that_are_no_text_are_faults_of_their_row(reading):
    contents = reading('[{"q":"b","a":5},{"q":" ","a":"c"},{"a":"d"},{"q":"e","a":"f"}]', "json")
    assert [(each.row, each.field, each.detail) for each in contents.faults] == [
        (1, "output", "must be text, found a number"), (2, "instruction", "is empty"), (3, "instruction", "is missing"),
    ]  # fmt: skip
    assert pairs(contents)[3] == ("e", "f")


def test_an_optional_field_is_empty_where_it_is_absent(reading):
    columns = (*PAIR, Column("input", "i", required=False))
    contents = reading('{"q":"b","a":"c","i":null}\n{"q":"d","a":"e"}\n{"q":"f","a":"g","i":"h"}', "jsonl", columns)
    assert contents.table["input"].to_pylist() == ["", "", "h"]
    assert not contents.faults
    assert reading("q,a\nb,c\n", columns=columns).table["input"].to_pylist() == [""]


# --------------------------------------------------------------------------------------------- Parquet


def test_parquet_text_of_every_kind(reading):
    kinds = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    for kind in kinds:
        table = pa.table(
            {"q": pa.array(["b", "b"]).cast(kind), "a": ["c", "d"], "when": pa.array([1, 2], pa.timestamp("s"))}
        )
        assert pairs(reading(parquet(table), "parquet")) == [("b", "c"), ("b", "d")]


def test_parquet_numbers_are_faults_and_other_types_refused(reading, refusal):
    contents = reading(parquet(pa.table({"q": [1], "a": [True]})), "parquet")
    assert [each.detail for each in contents.faults] == [
        "must be text, found a number", "must be text, found true or false",
    ]  # fmt: skip
    for value, kind in (([b"x"], "binary"), ([["x"]], "list<element: string>"), ([{"x": 1}], "struct<x: int64>")):
        ((summary, _, _),) = refusal(parquet(pa.table({"q": value, "a": ["b"]})), "parquet")
        assert summary == f"column 'q' holds {kind}, expected text or a list of messages"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 10, b"not parquet at all"])
def test_broken_parquet_is_refused(refusal, content):
    ((summary, _, _),) = refusal(content, "parquet")
    assert summary.startswith("not readable as Parquet: ")


def test_a_cut_parquet_file_is_refused(refusal):
    whole = parquet(pa.table({"q": ["b"] * 1000, "a": ["c"] * 1000}))
    broken = whole[:8] + bytes(40) + whole[48:]
    for content in (whole[:-20], broken):
        assert refusal(content, "parquet")


def test_parquet_with_text_that_is_not_utf8_is_refused(refusal):
    bad = pa.array([b"\xff\xfe"]).view(pa.string())
    ((summary, _, _),) = refusal(parquet(pa.table({"q": bad, "a": ["b"]})), "parquet")
    assert "utf-8" in summary.lower()


def test_a_small_parquet_file_that_decodes_to_2_gb_is_refused_before_it_does(refusal):
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000]))
    content = parquet(pa.table({"q": values, "a": values}), compression="zstd", dictionary_pagesize_limit=10**8)
    assert len(content) < 2000
    before = pa.total_allocated_bytes()
    ((summary, _, _),) = refusal(content, "parquet")
    assert summary == "decodes to more than 1,048,576,000 bytes"
    assert pa.default_memory_pool().max_memory() - before < 200 * MIB


def test_a_small_parquet_chat_that_decodes_to_1_gb_is_refused(refusal):
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 1_000_000]))
    message = pa.StructArray.from_arrays([pa.array(["user"] * 1000), text], ["role", "content"])
    chat = pa.ListArray.from_arrays(pa.array([0, 1000], pa.int32()), message)
    content = parquet(pa.table({"messages": chat}), compression="zstd", dictionary_pagesize_limit=10**8)
    assert refusal(content, "parquet", CHAT, limit=90 * MIB)[0][0] == "decodes to more than 943,718,400 bytes"


def test_parquet_whose_pages_are_too_large_is_refused_by_its_footer(refusal):
    content = parquet(pa.table({"q": ["x" * 20 * MIB], "a": ["b"]}), compression="zstd", use_dictionary=False)
    assert refusal(content, "parquet", limit=MIB)[0][0] == "decodes to more than 10,485,760 bytes"


def test_a_parquet_file_of_empty_rows_is_refused(refusal):
    content = parquet(pa.table({"q": pa.nulls(1_000_000, pa.string()), "a": pa.nulls(1_000_000, pa.string())}))
    assert refusal(content, "parquet", limit=MIB)[0][0] == "decodes to more than 10,485,760 bytes"


# ------------------------------------------------------------------------------------------------ chat


def test_a_chat_keeps_roles_and_texts_only(reading):
    rows = [[{"role": "user", "content": "a", "id": 7}, {"content": "b", "role": "assistant"}], [{"role": "user"}]]
    expected = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], None]
    text = json.dumps([{"messages": row} for row in rows])
    table = parquet(pa.table({"messages": rows}))
    for contents in (reading(text, "json", CHAT), reading(table, "parquet", CHAT)):
        assert contents.table["messages"].to_pylist() == expected
        assert [(each.row, each.detail) for each in contents.faults] == [(2, "message 1 has content that is missing")]


# --------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("extension", ["csv", "json", "jsonl", "parquet"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(reading, extension):
    row = {"Q": "b", "question": "c", "a": "d"}
    content = {
        "csv": "Q,question,a\nb,c,d\n", "json": json.dumps([row]), "jsonl": json.dumps(row),
        "parquet": parquet(pa.Table.from_pylist([row])),
    }[extension]  # fmt: skip
    with pytest.raises(ChecksFailed) as caught:
        reading(
            content, extension, (Column("instruction", "qestion", required=True), Column("output", "a", required=True))
        )
    (told,) = caught.value.diagnostics
    assert told.summary == "no column 'qestion' for the field 'instruction'"
    assert told.detail == "the file has Q, question, a"
    assert told.hint == "did you mean 'question'?"
    assert told.where.file == f"rows.{extension}"


def test_an_optional_column_must_be_there_when_the_spec_names_it(refusal):
    columns = (*PAIR, Column("input", "i", required=False, mapped=True))
    assert refusal("q,a\nb,c\n", columns=columns)[0][0] == "no column 'i' for the field 'input'"


@pytest.mark.parametrize(("extension", "content"), [("csv", "q,a\n"), ("json", "[]"), ("jsonl", "\n")])
def test_a_file_without_rows(reading, extension, content):
    assert reading(content, extension).table.num_rows == 0


# --------------------------------------------------------------------------------------------- opening


def test_a_file_over_its_limit_is_refused(refusal):
    assert refusal("q,a\nb,c\n", limit=7) == [("larger than the limit of 7 bytes", None, "it has 8 bytes")]


def test_a_file_of_just_its_limit_is_read(reading):
    assert reading("q,a\nb,c\n", limit=8).size == 8


@pytest.mark.parametrize(
    "path", ["link.csv", "folder/rows.csv", "pipe", "inner", "gone.csv", "rows.csv/x", "inner/../../x"]
)
def test_only_regular_files_below_the_root_are_read(tmp_path, path):
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "rows.csv").write_text("q,a\nb,c\n")
    (root / "rows.csv").write_text("q,a\nb,c\n")
    (root / "link.csv").symlink_to(tmp_path / "rows.csv")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    with pytest.raises(ExternalError) as caught:
        read(DataFile(root, path, "csv", MIB), PAIR)
    assert path in str(caught.value)


def test_a_root_that_is_a_link_is_the_users_own_choice(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/rows.csv").write_text("q,a\nb,c\n")
    (tmp_path / "root").symlink_to("real")
    assert read(DataFile(tmp_path / "root", "rows.csv", "csv", MIB), PAIR).table.num_rows == 1


@pytest.mark.parametrize(
    ("algorithm", "words"), [("sha256", "since it was planned"), ("md5", "since its .dvc pointer was written")]
)
def test_a_file_that_is_not_the_planned_one_is_refused(reading, algorithm, words):
    content = b"q,a\nb,c\n"
    expected = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert reading(content, expected=expected).sha256 == hashlib.sha256(content).hexdigest()
    with pytest.raises(ExternalError, match=words):
        reading(content + b"d,e\n", expected=expected)


# --------------------------------------------------------------------------------------------- writing


def test_jsonl_has_fixed_bytes_and_knows_them(tmp_path):
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path) as writer:
        writer.write([{"b": "안\u2028\n", "a": 1}])
        writer.write([])
        writer.write([{"a": "\x00"}])
    expected = '{"b":"안\u2028\\n","a":1}\n{"a":"\\u0000"}\n'.encode()
    assert path.read_bytes() == expected
    assert (writer.rows, writer.bytes, writer.sha256) == (2, len(expected), hashlib.sha256(expected).hexdigest())
