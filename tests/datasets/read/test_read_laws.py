"""Laws of reading: whatever way the same rows come in, the same rows come out, and nothing that comes in ends this process."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.datasets.read import parser_pool, parser_process
from ftops.datasets.read.json_rows import loads
from ftops.datasets.read.row_shapes import Shaper
from ftops.datasets.read.source import Opened
from ftops.errors import ChecksFailed
from tests.support.reading import DataFile, form_of, read_content, rows_of

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20)
ROW = st.fixed_dictionaries({"instruction": LINE, "output": LINE}, optional={"input": TEXT})
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def parsed(content: bytes, extension: str, cuts: list[int] | None = None, compression: str | None = None, **options):
    """Rows with their places, and faults, of the same code that runs in children; cut into pieces at the ends of lines."""
    form = form_of(extension, **options)
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as slot:
        folder = Path(name)
        file.write(content)
        file.flush()
        source = Opened(DataFile(folder, "rows"), file.fileno(), len(content), extension, compression)
        bounds = [0, *(cuts or []), len(content)]
        rows, faults, before = [], [], (0, 0)
        for index, (start, stop) in enumerate(itertools.pairwise(bounds)):
            piece = parser_pool.Piece(source, start, stop, f"{index}.arrow")
            out = os.open(folder / piece.name, os.O_RDWR | os.O_CREAT)
            try:
                (learned,) = parser_process.parse_pieces(parser_pool._payload([piece], [out], form, slot.fileno()))
            finally:
                os.close(out)
            if "refused" in learned:
                return learned["refused"], learned["byte"]
            with pa.OSFile(str(folder / piece.name)) as stored:
                for row in pa.ipc.open_file(stored).read_all().to_pylist():
                    row["row"] += before[0]
                    row["line"] = None if row["line"] is None else row["line"] + before[1]
                    row["byte"] = None if row["byte"] is None else row["byte"] + start
                    rows.append(row)
            faults += [
                (row + before[0], line + before[1], byte + start, *learned["kinds"][kind])
                for row, line, byte, kind in learned["faults"]
            ]
            before = (before[0] + learned["read"], before[1] + learned["lines"])
    return rows, faults


def without_places(rows):
    return [{name: value for name, value in row.items() if name not in ("line", "byte")} for row in rows]


LINES = st.lists(
    st.builds(lambda row: json.dumps(row, ensure_ascii=False), ROW)
    | st.sampled_from(["", " ", "{}", "{", "[1]", '{"instruction":1}']),
    max_size=12,
)


@given(LINES, st.data())
def test_a_file_read_in_pieces_reads_as_in_one(lines, data):
    content = "".join(f"{line}\n" for line in lines).encode()
    ends = [index + 1 for index, byte in enumerate(content) if byte == 10]
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends), max_size=4))) if ends else []
    assert parsed(content, "jsonl", cuts) == parsed(content, "jsonl")


@given(LINES)
def test_a_compressed_file_reads_as_the_plain_one(lines):
    content = "\n".join(lines).encode()
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    plain = parsed(content, "jsonl")
    assert parsed(gzip.compress(content), "jsonl", compression="gzip") == plain
    assert parsed(sink.getvalue().to_pybytes(), "jsonl", compression="zstd") == plain


@given(st.lists(ROW, min_size=1, max_size=8))
def test_the_same_rows_read_equal_in_every_format(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["instruction", "output", "input"], restval="")
    writer.writeheader()
    writer.writerows(rows)
    table = io.BytesIO()
    pa.parquet.write_table(
        pa.Table.from_pylist(rows, pa.schema([(name, "string") for name in writer.fieldnames])), table
    )
    jsonl, faults = parsed("\n".join(map(json.dumps, rows)).encode(), "jsonl")
    assert (len(jsonl), faults) == (len(rows), [])
    for content, extension in (
        (text.getvalue().encode(), "csv"),
        (text.getvalue().encode("utf-16"), "csv"),
        (json.dumps(rows, indent=1).encode(), "json"),
        (table.getvalue(), "parquet"),
    ):
        assert without_places(parsed(content, extension)[0]) == without_places(jsonl)


@given(st.lists(ROW, min_size=1, max_size=8), st.sampled_from([None, 1, "  "]))
def test_where_a_row_starts_is_where_it_starts(rows, indent):
    content = json.dumps(rows, indent=indent, ensure_ascii=False).encode()
    for row, expected in zip(parsed(content, "json")[0], rows, strict=True):
        rest = content[row["byte"] :]
        assert json.JSONDecoder().raw_decode(rest.decode())[0] == expected
        assert row["line"] == 1 + content[: row["byte"]].count(b"\n")


@given(JSON)
def test_sound_json_is_read_as_it_is(value):
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=4), st.data())
def test_a_key_that_stands_twice_is_always_seen(tree, data):
    key = data.draw(st.sampled_from(sorted(tree)))
    twice = json.dumps(tree)[:-1] + f",{json.dumps(key)}:{json.dumps(data.draw(JSON))}}}"
    with pytest.raises(ValueError, match="twice"):
        loads(twice.encode())


@given(st.sampled_from(["instruction", "chat", "preference", "completion"]), st.lists(JSON, max_size=5), st.data())
def test_whatever_a_row_holds_it_is_a_row_or_has_faults(shape, values, data):
    names = [
        "messages",
        "conversations",
        "chosen",
        "rejected",
        "prompt",
        "instruction",
        "output",
        "text",
        "tools",
        "system",
    ]
    row = {data.draw(st.sampled_from(names)): value for value in values}
    if data.draw(st.booleans()):
        row["messages"] = [
            {data.draw(st.sampled_from(["role", "from", "content", "value", "tool_calls", "name"])): value}
            for value in values
        ]
    faults = []
    made = Shaper(form_of(shape=shape)).fields(row, faults)
    assert len(made) == len(form_of(shape=shape).fields)
    assert len(faults) <= 5


@given(
    st.sampled_from(["csv", "json", "jsonl", "parquet"]),
    st.binary(max_size=300),
    st.sampled_from([None, "gzip", "zstd"]),
)
def test_any_bytes_are_rows_or_faults_or_refused(extension, content, compression):
    made, _ = parsed(content, extension, compression=compression)
    assert isinstance(made, (str, list))
    if isinstance(made, list):
        assert all(row["instruction"] and row["output"] for row in made)


@given(st.sampled_from(["csv", "json", "jsonl"]), st.text(st.sampled_from('{}[]",:;\\u0022\n\r \t1aé가'), max_size=60))
def test_any_text_is_rows_or_faults_or_refused(extension, content):
    made, _ = parsed(content.encode(), extension)
    assert isinstance(made, (str, list))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(["csv.gz", "json", "jsonl", "parquet", "jsonl.zst"]), st.binary(max_size=300))
def test_any_file_is_rows_or_refused_and_this_process_lives(extension, content):
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ChecksFailed):
        assert rows_of(read_content(Path(folder), content, extension)) == []
