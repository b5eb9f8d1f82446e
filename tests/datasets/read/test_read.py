"""Reading of files that nobody vouches for: each fault is told with its place, and nothing of them is guessed."""

from __future__ import annotations

import hashlib
import json

import pyarrow as pa
import pytest

from ftops.datasets.read import JsonlWriter
from ftops.errors import ChecksFailed
from tests.support.reading import parquet, read_content, read_contents, rows_of, told

MIB = 2**20
COLUMNS = {"instruction": "q", "output": "a"}


@pytest.fixture
def reading(tmp_path):
    def run(content, extension="csv", columns=COLUMNS, **options):
        return read_content(tmp_path, content, extension, columns=columns, **options)

    return run


@pytest.fixture
def refusal(reading):
    def run(*args, **options):
        with pytest.raises(ChecksFailed) as caught:
            reading(*args, **options)
        return [(each.summary, each.where.line, each.detail) for each in caught.value.diagnostics]

    return run


def pairs(reading):
    return [(row["instruction"], row["output"]) for row in rows_of(reading)]


def places(reading):
    return [reading.rows.places([row["row"]])[row["row"]] for row in rows_of(reading)]


# ------------------------------------------------------------------------------------------------- CSV


def test_every_csv_column_is_text(reading):
    assert pairs(reading("q,a\n01012345678,NA\n1e5,null\n")) == [("01012345678", "NA"), ("1e5", "null")]


def test_quotes_commas_and_line_breaks_inside_of_csv_fields(reading):
    found = reading('q,a\r\n"a, ""b""\r\nc",d\r\n"\rx",e\r\n')
    assert pairs(found) == [('a, "b"\r\nc', "d"), ("\rx", "e")]
    assert places(found) == [(2, 5), (4, 22)]


def test_a_byte_order_mark_is_no_part_of_the_first_name(reading):
    found = reading(b"\xef\xbb\xbfq,a\nb,c\n")
    assert (pairs(found), places(found)) == ([("b", "c")], [(2, 7)])


def test_blank_csv_lines_are_no_rows(reading):
    found = reading("q,a\n\nb,c\n\n\n")
    assert (places(found), found.read) == ([(3, 5)], 1)


def test_ragged_csv_rows_are_faults_and_the_others_are_read(reading):
    found = reading("q,a\nb\nc,d\ne,f,g\n")
    assert pairs(found) == [("c", "d")]
    assert [(each.row, each.entity, each.detail, each.line, each.byte) for each in found.faults] == [
        (1, "unreadable", "expected 2 fields as in the header, found 1", 2, 4),
        (3, "unreadable", "expected 2 fields as in the header, found 3", 4, 10),
    ]


@pytest.mark.parametrize(
    ("content", "summary", "line", "place"),
    [
        ("", "the file is empty", None, ""),
        ("q,a,\nb,c,d\n", "column 3 has no name in the header", 1, ""),
        ("q,a,q\nb,c,d\n", "two columns are called 'q'", 1, ""),
        ('q,a\nb,"c\n', "not readable as CSV: unexpected end of data", 2, "at byte 4"),
        ('q,a\nb,"c"d\n', "not readable as CSV: ',' expected after '\"'", 2, "at byte 4"),
        (b"q,a\nb,c\nd,\xff\n", "not UTF-8 text", None, "at byte 10"),
        ("q,a\nb,It’s\n".encode("cp1252"), "not UTF-8 text", None, "at byte 8"),
        ("q,a\nb,c".encode("utf-16-le"), "a NUL byte: this is no text", None, "at byte 1"),
        (",".join(f"c{number}" for number in range(10_001)), "more than 10,000 different columns", None, ""),
    ],
)
def test_csv_that_can_be_meant_in_two_ways_is_refused(refusal, content, summary, line, place):
    assert refusal(content) == [(summary, line, place)]


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        ("q;a\n안녕;b, c\n".encode(), ("separated by semicolons",)),
        ("q\ta\n안녕\tb, c\n".encode("utf-8-sig"), ("separated by tabs",)),
        ('q,a\n안녕,"b, c"\n'.encode("cp949"), ("read as CP949",)),
        ("q|a\r\n안녕|b, c\r\n".encode("cp949"), ("read as CP949", "separated by vertical bars")),
        ("q\ta\n안녕\tb, c\n".encode("utf-16"), ("read as UTF-16", "separated by tabs")),
        (b"\xfe\xff" + "q;a\n안녕;b, c\n".encode("utf-16-be"), ("read as UTF-16", "separated by semicolons")),
        ('"q,1;a|2;x";q;a\n1;안녕;b, c\n'.encode(), ("separated by semicolons",)),
    ],
)
def test_what_excel_makes_is_recognised_and_said(reading, content, notes):
    found = reading(content)
    assert pairs(found) == [("안녕", "b, c")]
    assert found.files[0].notes == notes


def test_what_the_spec_says_is_not_guessed(reading, refusal):
    assert pairs(reading("q;a,1\nb;c,2\n", encoding="cp949", delimiter=";", columns={**COLUMNS, "output": "a,1"}))
    assert refusal("q,a\n안녕,b\n".encode("cp949"), encoding="utf-8") == [("not UTF-8 text", 2, "at byte 4")]
    assert refusal("q,a\nb,c\n", encoding="utf-16")[0][0] == "not UTF-16 text"


def test_a_syllable_cut_by_the_end_of_a_block_is_one(reading):
    text = "가" * 1_000_001
    for encoding in ("utf-8", "cp949"):
        assert pairs(reading(f"q,a\nxx,{text}\n".encode(encoding))) == [("xx", text)]


def test_a_csv_field_of_40_mb(reading):
    (pair,) = pairs(reading("q,a\n" + "x" * 40 * MIB + ",b\n"))
    assert len(pair[0]) == 40 * MIB


# ------------------------------------------------------------------------------------------------ JSON


def test_a_json_line_is_a_row_with_its_place(reading):
    found = reading(b'\xef\xbb\xbf{"q":"b","a":"c"}\n\n {"a": "\\u0022\\n", "q": "\\uc548", "z": 1}\r\n', "jsonl")
    assert pairs(found) == [("b", "c"), ("안", '"\n')]
    assert places(found) == [(1, 3), (3, 22)]
    assert found.unused == ("z",)


def test_an_element_of_an_array_is_a_row_with_its_place(reading):
    found = reading('\n [\n{"q":"b","a":"안"}\n,\r\n  {"q":"c","a":"d","z":[{"x":"]"}]}] \n', "json")
    assert pairs(found) == [("b", "안"), ("c", "d")]
    assert places(found) == [(3, 4), (5, 29)]


HOSTILE = {
    "NaN": ('{"q":NaN}', "unexpected character"),
    "Infinity": ('{"q":Infinity}', "unexpected character"),
    "half a surrogate pair": (r'{"q":"\ud800"}', "surrogate"),
    "key twice": ('{"q":"b","a":"c","q":"d"}', "the key 'q' stands twice in one object"),
    "key twice inside": ('{"q":[{"z":1,"z":1}]}', "the key 'z' stands twice in one object"),
    "key twice, one spelled otherwise": (r'{"q":"b","\u0071":"c"}', "the key 'q' stands twice in one object"),
    "key twice, quotes made up for by escapes": (r'{"q":1,"q":"\u0022\u0022"}', "the key 'q' stands twice"),
    "key twice that may be data": ('{"a b@c.d":1,"a b@c.d":1}', "a key stands twice in one object"),
    "not UTF-8": (b'{"q":"\xff"}', "not valid UTF-8"),
    "deep enough for the parser": ('{"q":' + "[" * 300 + "]" * 300 + "}", "nested deeper than 254 levels"),
    "a number": ("7", "not a JSON object"),
}
BROKEN = {
    "two objects": ('{"q":"b"} {"q":"c"}', "unexpected content after document"),
    "control character": ('{"q":"\x01"}', "unexpected control character"),
    "deep": ("[" * 100_000, "depth limit"),
    "cut off": ('{"q":"b', ""),
}


def hostile(cases):
    return [text if isinstance(text, bytes) else text.encode() for text, _ in cases.values()]


def test_hostile_json_lines_are_faults_with_line_and_byte(reading):
    cases = HOSTILE | BROKEN
    sound = b'{"q":"b","a":"c"}'
    lines = [sound, *hostile(cases), sound]
    found = reading(b"\n".join(lines) + b"\n", "jsonl")
    assert pairs(found) == [("b", "c")] * 2
    assert [each.row for each in found.faults] == list(range(2, 2 + len(cases)))
    for fault, (name, (_, words)) in zip(found.faults, cases.items(), strict=True):
        assert words in fault.detail, name
        assert fault.entity == "unreadable"
        assert (fault.line, fault.byte) == (fault.row, sum(len(line) + 1 for line in lines[: fault.row - 1]))


def test_hostile_elements_of_an_array_are_faults_with_line_and_byte(reading):
    sound = b'{"q":"b","a":"c"}'
    elements = [sound, *hostile(HOSTILE), sound]
    found = reading(b"[" + b",\n".join(elements) + b"]", "json")
    assert pairs(found) == [("b", "c")] * 2
    for fault, (name, (_, words)) in zip(found.faults, HOSTILE.items(), strict=True):
        assert words in fault.detail, name
        assert (fault.line, fault.byte) == (fault.row, 1 + sum(len(each) + 2 for each in elements[: fault.row - 1]))


@pytest.mark.parametrize(
    ("content", "summary", "line"),
    [
        ('[\n{"q":"b"}\n {"q":"c"}]', "not readable as JSON: expected , or ] after an element", 3),
        ('[{"q":"b"},\n]', "not readable as JSON: Expecting value", 2),
        ('[{"q":"b"}] []', "not readable as JSON: something follows after the array", 1),
        ('[{"q":"b"}', "not readable as JSON: expected , or ] after an element", 1),
        ('[{"q":"\x01"}]', "not readable as JSON: Invalid control character at", 1),
        ("[" * 100_000, "not readable as JSON: nested too deeply", 1),
        ('{"q":"b"}', "expected an array of objects", 1),
        ("", "expected an array of objects", 1),
    ],
)
def test_an_array_that_is_broken_is_refused(refusal, content, summary, line):
    assert [told[:2] for told in refusal(content, "json")] == [(summary, line)]


def test_an_array_in_lines_is_told_from_lines(refusal):
    assert refusal('[{"q":"b"}]', "jsonl") == [("the file holds an array, not one object a line", 1, "at byte 0")]


def test_a_row_of_40_mb(reading):
    for content, extension in ((b'{"q":"%s","a":"b"}', "jsonl"), (b'[{"q":"%s","a":"b"}]', "json")):
        assert len(pairs(reading(content % (b"x" * 40 * MIB), extension))[0][0]) == 40 * MIB


def test_a_number_of_5000_digits_is_no_reason_to_stop(reading):
    found = reading('[{"q":%s,"a":"b"},{"q":"c","a":"d"}]' % ("1" * 5000), "json")
    assert pairs(found) == [("c", "d")]
    assert [fault.row for fault in found.faults] == [1]


def test_values_that_are_no_text_are_faults_of_their_row(reading):
    found = reading('[{"q":"b","a":5},{"q":" ","a":null},{"a":"d"},{"q":"e","a":"f"},{"q":"\\u0000","a":"g"}]', "json")
    assert told(found) == [
        (1, "output", "not text"), (2, "instruction", "empty"), (2, "output", "missing"), (3, "instruction", "missing"),
        (5, "instruction", "NUL"),
    ]  # fmt: skip
    assert found.faults[0].detail == "must be text, found a number"
    assert pairs(found) == [("e", "f")]


def test_an_optional_field_is_empty_where_it_is_absent(reading):
    columns = {**COLUMNS, "input": "i"}
    found = reading('{"q":"b","a":"c","i":null}\n{"q":"d","a":"e"}\n{"q":"f","a":"g","i":"h"}', "jsonl", columns)
    assert [row["input"] for row in rows_of(found)] == ["", "", "h"]
    assert not found.faults
    assert rows_of(reading("q,a\nb,c\n"))[0]["input"] == ""


# --------------------------------------------------------------------------------------------- Parquet


def test_parquet_text_of_every_kind(reading):
    kinds = [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
    for kind in kinds:
        table = pa.table(
            {"q": pa.array(["b", "b"]).cast(kind), "a": ["c", "d"], "when": pa.array([1, 2], pa.timestamp("s"))}
        )
        found = reading(parquet(table), "parquet")
        assert pairs(found) == [("b", "c"), ("b", "d")]
        assert (places(found), found.unused) == ([(None, None)] * 2, ("when",))


def test_parquet_numbers_are_faults_and_other_types_refused(reading, refusal):
    found = reading(parquet(pa.table({"q": [1, None], "a": [True, None]})), "parquet")
    assert [each.detail for each in found.faults] == [
        "must be text, found a number", "must be text, found true or false", "is missing", "is missing",
    ]  # fmt: skip
    for value, kind in ((b"x", "binary"), ([b"x"], "list<element: binary>")):
        ((summary, _, _),) = refusal(parquet(pa.table({"q": [value], "a": ["b"]})), "parquet")
        assert summary == f"column 'q' holds {kind}"


def test_broken_parquet_is_refused(refusal):
    whole = parquet(pa.table({"q": ["b"] * 1000, "a": ["c"] * 1000}))
    broken = whole[:8] + bytes(40) + whole[48:]
    not_text = parquet(pa.table({"q": pa.array([b"\xff\xfe"]).view(pa.string()), "a": ["b"]}))
    for content in (b"", b"PAR1", b"PAR1" * 10, b"not parquet at all", whole[:-20], broken, not_text):
        ((summary, _, _),) = refusal(content, "parquet")
        assert summary.startswith("not readable as Parquet: ")


def large_column():
    return pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000]))


def test_a_small_parquet_file_that_decodes_to_2_gb_is_refused_before_it_does(refusal):
    table = pa.table({"q": large_column(), "a": large_column()})
    content = parquet(table, compression="zstd", dictionary_pagesize_limit=10**8)
    assert len(content) < 2000
    assert refusal(content, "parquet", memoryLimit="600MiB") == [
        ("decodes to more than the limit of 1,048,576,000 bytes", None, "")
    ]


def test_a_small_parquet_chat_that_decodes_to_2_gb_is_refused(refusal):
    message = pa.StructArray.from_arrays([pa.array(["user"] * 2000), large_column()], ["role", "content"])
    chat = pa.ListArray.from_arrays(pa.array([0, 2000], pa.int32()), message)
    content = parquet(pa.table({"messages": chat}), compression="zstd", dictionary_pagesize_limit=10**8)
    ((summary, _, _),) = refusal(content, "parquet", {}, shape="chat", memoryLimit="600MiB")
    assert summary == "decodes to more than the limit of 1,048,576,000 bytes"


def test_parquet_that_decodes_to_more_than_its_limit_is_refused(refusal):
    page = parquet(pa.table({"q": ["x" * 20 * MIB], "a": ["b"]}), compression="zstd", use_dictionary=False)
    rows = parquet(pa.table({"q": pa.nulls(1_000_000, pa.string()), "a": pa.nulls(1_000_000, pa.string())}))
    for content in (page, rows):
        ((summary, _, _),) = refusal(content, "parquet", sizeLimit="1MiB")
        assert summary == "decodes to more than the limit of 10,485,760 bytes"


# --------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("extension", ["csv", "json", "jsonl", "parquet"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(reading, extension):
    row = {"Q": "b", "question": "c", "a": "d"}
    content = {
        "csv": "Q,question,a\nb,c,d\n", "json": json.dumps([row]), "jsonl": json.dumps(row),
        "parquet": parquet(pa.Table.from_pylist([row])),
    }[extension]  # fmt: skip
    with pytest.raises(ChecksFailed) as caught:
        reading(content, extension, {"instruction": "qestion", "output": "a"})
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.summary == "no column 'qestion' for the field 'instruction'"
    assert diagnostic.detail == "the file has Q, question, a"
    assert diagnostic.hint == "did you mean 'question'?"
    assert diagnostic.where.file == f"rows.{extension}"


def test_an_optional_column_must_be_there_when_the_spec_names_it(refusal):
    assert refusal("q,a\nb,c\n", columns={**COLUMNS, "input": "i"})[0][0] == "no column 'i' for the field 'input'"


def test_the_column_that_is_stratified_by_goes_along(reading, refusal):
    found = reading(
        '{"q":"b","a":"c","s":1}\n{"q":""}\n{"q":"d","a":"e"}\n{"q":"f","a":"g","s":"x"}',
        "jsonl",
        split={"stratify": "s"},
    )
    (batch,) = found.rows.batches()
    assert batch.column("stratum").to_pylist() == ["1", None, "x"]
    assert found.unused == ()
    assert refusal("q,a\nb,c\n", split={"stratify": "s"})[0][0] == "no column 's' for 'split.stratify'"


@pytest.mark.parametrize(("extension", "content"), [("csv", "q,a\n"), ("json", "[]"), ("jsonl", "\n"), ("jsonl", "")])
def test_a_file_without_rows(reading, extension, content):
    found = reading(content, extension)
    assert (found.read, found.rows.count, rows_of(found)) == (0, 0, [])


# --------------------------------------------------------------------------------------- several files


def test_rows_and_places_of_several_files_go_on(tmp_path):
    found = read_contents(
        tmp_path,
        [
            '{"q":"b","a":"c"}\n{"q":"","a":"d"}\n',
            '\n{"q":"e","a":"f","z":1}',
            "",
            '{"q":"g","a":1}\n{"q":"h","a":"i"}',
        ],
        columns=COLUMNS,
    )
    assert [(row["row"], row["instruction"]) for row in rows_of(found)] == [(1, "b"), (3, "e"), (5, "h")]
    assert found.rows.places([1, 3, 4, 5]) == {1: (1, 0), 3: (2, 1), 5: (2, 16)}
    assert [(each.row, each.line, each.byte) for each in found.faults] == [(2, 2, 18), (4, 1, 0)]
    assert [(file.path, file.rows) for file in found.files] == [
        ("rows-0.jsonl", 2), ("rows-1.jsonl", 1), ("rows-2.jsonl", 0), ("rows-3.jsonl", 2),
    ]  # fmt: skip
    assert (found.first_rows, found.read, found.unused) == ((1, 3, 4, 4), 5, ("z",))


def test_more_files_than_are_open_at_one_time(tmp_path):
    found = read_contents(tmp_path, [f'{{"q":"b{number}","a":"c"}}' for number in range(130)], columns=COLUMNS)
    assert pairs(found) == [(f"b{number}", "c") for number in range(130)]


# --------------------------------------------------------------------------------------------- writing


def test_jsonl_knows_its_bytes(tmp_path):
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path) as writer:
        for lines in ([b"a\n", "안\n".encode()], [], [b"b\n"]):
            writer.write(pa.array(lines, pa.large_binary()))
    expected = "a\n안\nb\n".encode()
    assert path.read_bytes() == expected
    assert (writer.rows, writer.bytes, writer.sha256) == (3, len(expected), hashlib.sha256(expected).hexdigest())
