"""What is opened, what is refused before it is opened, and what stops while it is read: always with a way on."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys

import pyarrow as pa
import pytest

from ftops.datasets.read import DataFile, peek, read_rows
from ftops.errors import ChecksFailed, ExternalError
from tests.support.reading import form_of, parquet, read_content, rows_of

MIB = 2**20
ROW = b'{"instruction":"b","output":"c"}\n'


@pytest.fixture
def read(tmp_path):
    """What is read of a file that is there already."""

    def run(root, path, expected=None, **options):
        target = tmp_path / f"rows-{len(list(tmp_path.iterdir()))}"
        target.mkdir()
        return read_rows([DataFile(root, path, expected)], form_of(**options), target, lambda done, total: None)

    return run


def refused(read, *args, **options):
    """Summary, detail and hint of the one reason for which nothing is read."""
    with pytest.raises((ChecksFailed, ExternalError)) as caught:
        read(*args, **options)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.summary, diagnostic.detail, diagnostic.hint


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


# ----------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "path",
    ["link.jsonl", "folder/rows.jsonl", "pipe", "inner", "gone.jsonl", "rows.jsonl/x", "inner/../../x", "..", "."],
)
def test_only_regular_files_below_the_root_are_read(read, tmp_path, path):
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "rows.jsonl").write_bytes(ROW)
    (root / "rows.jsonl").write_bytes(ROW)
    (root / "link.jsonl").symlink_to(tmp_path / "rows.jsonl")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    assert path in refused(read, root, path, format="jsonl")[0]


def test_a_root_that_is_a_link_is_the_users_own_choice(read, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/rows.jsonl").write_bytes(ROW)
    (tmp_path / "root").symlink_to("real")
    assert read(tmp_path / "root", "rows.jsonl").read == 1


@pytest.mark.parametrize("name", ["a b.jsonl", "행.jsonl", "a\0.jsonl", "a;b.jsonl", "a\n.jsonl", "*.jsonl"])
def test_a_name_has_few_kinds_of_characters(read, tmp_path, name):
    summary, detail, hint = refused(read, tmp_path, f"folder/{name}")
    assert "only letters, digits, _ - and ." in summary
    assert "\n" not in summary + detail
    assert hint


@pytest.mark.parametrize(
    "name", ["rows.exe", "rows", "rows.gz", "rows.jsonl.zip", "rows.jsonl.gz.gz", "rows.pkl", ".jsonl"]
)
def test_a_format_is_one_of_a_list(read, tmp_path, name):
    (tmp_path / name).write_bytes(ROW)
    summary, detail, hint = refused(read, tmp_path, name)
    assert "cannot tell the format" in summary
    assert ".parquet" in detail
    assert "source.format" in hint


def test_the_format_that_the_spec_names_needs_no_extension(read, tmp_path):
    (tmp_path / "rows.txt").write_bytes(ROW)
    (tmp_path / "rows.txt.gz").write_bytes(gzip.compress(ROW))
    assert [read(tmp_path, name, format="jsonl").read for name in ("rows.txt", "rows.txt.gz")] == [1, 1]


# ----------------------------------------------------------------------------------------- compression


@pytest.mark.parametrize(("extension", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_a_compressed_file_reads_as_what_it_decodes_to(tmp_path, extension, compress):
    rows = "".join(f'{{"instruction":"질문 {number}","output":"답 {number}"}}\n' for number in range(10_000)).encode()
    plain = rows_of(read_content(tmp_path, rows))
    packed = compress(rows)
    found = read_content(tmp_path, packed, f"jsonl.{extension}")
    assert rows_of(found) == plain
    assert found.files[0].notes == ({"gz": "gzip", "zst": "zstd"}[extension],)
    assert (found.files[0].sha256, found.files[0].bytes) == (hashlib.sha256(packed).hexdigest(), len(packed))
    assert found.rows.places([10_000]) == {10_000: (10_000, rows.rindex(b"{"))}
    assert rows_of(read_content(tmp_path, packed + packed, f"jsonl.{extension}"))[10_000:] == [
        {**row, "row": row["row"] + 10_000} for row in plain
    ]


@pytest.mark.parametrize(("extension", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_a_compressed_file_that_is_broken_is_refused(tmp_path, extension, compress):
    packed = compress(ROW * 1000)
    for content in (packed[:-3], packed[:20], packed + b"and more", ROW):
        summary, _, hint = refused(read_content, tmp_path, content, f"jsonl.{extension}")
        assert summary.startswith("not readable as ")
        assert hint == "is the file whole?"


@pytest.mark.parametrize("extension", ["jsonl.gz", "json.zst", "csv.gz", "csv.zst", "parquet.gz"])
def test_a_bomb_is_stopped_at_the_limit(tmp_path, extension):
    bomb = (gzip.compress if extension.endswith("gz") else zstd)(b" " * 200 * MIB)
    summary, _, hint = refused(read_content, tmp_path, bomb, extension, decodedLimit="20MiB", memoryLimit="370MiB")
    assert summary == "decodes to more than the limit of 20,971,520 bytes"
    assert "source.decodedLimit" in hint
    assert "--decoded-limit" in hint


# ---------------------------------------------------------------------------------------------- limits


def test_a_file_over_its_limit_is_refused(tmp_path):
    size = len(ROW)
    assert read_content(tmp_path, ROW, sizeLimit=f"{size}B").files[0].bytes == size
    summary, detail, hint = refused(read_content, tmp_path, ROW, sizeLimit=f"{size - 1}B")
    assert (summary, detail) == (f"larger than the limit of {size - 1} bytes", f"it has {size} bytes")
    assert "source.sizeLimit" in hint
    assert "--size-limit" in hint


def test_what_needs_more_memory_than_it_may_is_refused_and_this_process_lives(tmp_path):
    content = b"[" + b",".join([b'{"instruction":"%s","output":"c"}' % (b"x" * 1000)] * 90_000) + b"]"
    summary, _, hint = refused(read_content, tmp_path, content, "json", memoryLimit="370MiB")
    assert summary == "reading was stopped: it needs more than 370 MiB of memory"
    assert "source.memoryLimit" in hint
    assert "--memory-limit" in hint


def test_a_nul_byte_is_no_text(tmp_path):
    for extension in ("csv", "json", "jsonl"):
        summary, detail, hint = refused(read_content, tmp_path, ROW + b"ab\0", extension)
        assert (summary, detail) == ("a NUL byte: this is no text", f"at byte {len(ROW) + 2}")
        assert "UTF-8" in hint


def test_more_faults_than_anybody_reads_are_one(tmp_path):
    summary, _, hint = refused(read_content, tmp_path, b"{}\n" * 500_001)
    assert summary.startswith("more than 1,000,000 faults")
    assert "source.columns" in hint


def test_more_columns_than_anybody_has_are_refused(tmp_path):
    rows = b"".join(b'{"key%d":"b"}\n' % number for number in range(20_000))
    assert refused(read_content, tmp_path, rows)[0] == "more than 10,000 different columns"


# --------------------------------------------------------------------------------------------- changes


@pytest.mark.parametrize(
    ("algorithm", "words"), [("sha256", "since it was planned"), ("md5", "since its .dvc pointer was written")]
)
def test_a_file_that_is_not_the_planned_one_is_refused(read, tmp_path, algorithm, words):
    expected = f"{algorithm}:{hashlib.new(algorithm, ROW).hexdigest()}"
    (tmp_path / "rows.jsonl").write_bytes(ROW)
    assert read(tmp_path, "rows.jsonl", expected).files[0].sha256 == hashlib.sha256(ROW).hexdigest()
    (tmp_path / "rows.jsonl").write_bytes(ROW + ROW)
    assert words in refused(read, tmp_path, "rows.jsonl", expected)[0]


def test_a_large_file_is_hashed_whole(read, tmp_path):
    rows = b"".join(b'{"instruction":"%d","output":"%s"}\n' % (number, b"x" * 1000) for number in range(12_000))
    (tmp_path / "rows.jsonl").write_bytes(rows)
    for algorithm in ("sha256", "md5"):
        expected = f"{algorithm}:{hashlib.new(algorithm, rows).hexdigest()}"
        found = read(tmp_path, "rows.jsonl", expected)
        assert len(found.rows.parts) > 1 or len(os.sched_getaffinity(0)) == 1
        assert found.files[0].sha256 == hashlib.sha256(rows).hexdigest()


def test_a_file_that_is_swapped_after_it_was_opened_is_read_as_it_was(read, tmp_path, monkeypatch):
    """Another file under the same name is not looked at: everything uses the one descriptor."""
    import ftops.datasets.read.parser_pool as children

    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW)
    opened = children.opened

    def swapped(*args):
        source = opened(*args)
        path.unlink()
        path.write_bytes(b"something else")
        return source

    monkeypatch.setattr(children, "opened", swapped)
    assert rows_of(read(tmp_path, "rows.jsonl"))[0]["instruction"] == "b"


def test_a_file_that_changes_in_place_between_hash_and_parse_is_refused(read, tmp_path, monkeypatch):
    import ftops.datasets.read.parser_pool as children

    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW)
    add = children._Digests.add

    def changing(self, piece):
        found = add(self, piece)
        return ("0" * 64, found[1])

    monkeypatch.setattr(children._Digests, "add", changing)
    assert refused(read, tmp_path, "rows.jsonl")[0] == "rows.jsonl: changed while it was read"


def test_progress_goes_up_to_all_bytes(tmp_path):
    content = ROW * 400_000
    (tmp_path / "rows.jsonl").write_bytes(content)
    (tmp_path / "rows").mkdir()
    told = []
    read_rows(
        [DataFile(tmp_path, "rows.jsonl")], form_of(), tmp_path / "rows", lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (len(content), len(content))
    assert len({done for done, _ in told}) > 2


def test_an_interruption_ends_the_children(tmp_path, monkeypatch):
    import ftops.datasets.read.parser_pool as children

    (tmp_path / "rows.jsonl").write_bytes(ROW * 400_000)
    (tmp_path / "rows").mkdir()
    made = []
    job = children._Job.__init__
    monkeypatch.setattr(children._Job, "__init__", lambda self, *args: (job(self, *args), made.append(self))[0])

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_rows([DataFile(tmp_path, "rows.jsonl")], form_of(), tmp_path / "rows", interrupt)
    assert made
    assert all(each.child._process.returncode is not None for each in made)


# ------------------------------------------------------------------------------------------------ peek


def test_columns_are_known_without_a_spec(tmp_path):
    contents = {
        "a.csv": "Q;A;label\n1;2;3\n".encode("cp949"),
        "b.jsonl": b'{"q":1}\nbroken\n{"a":2}\n',
        "c.json.gz": gzip.compress(b'[{"q":1},{"a":2}]'),
        "d.parquet": parquet(pa.table({"q": [1], "a": [b"x"]})),
    }
    found = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        found[name] = peek(DataFile(tmp_path, name), form_of())
    assert found == {"a.csv": ("Q", "A", "label"), **dict.fromkeys(("b.jsonl", "c.json.gz", "d.parquet"), ("q", "a"))}
    assert refused(peek, DataFile(tmp_path, "gone.csv"), form_of())[0] == "gone.csv: no such file"


# -------------------------------------------------------------------------------------------- far away


def test_a_file_of_an_s3_bucket(read, bucket):
    packed = gzip.compress(ROW)
    bucket.put_object(Bucket="bucket", Key="folder/rows.jsonl.gz", Body=packed)
    url = "s3://bucket/folder/rows.jsonl.gz"
    found = read(None, url)
    assert rows_of(found)[0]["instruction"] == "b"
    assert (found.files[0].path, found.files[0].sha256) == (url, hashlib.sha256(packed).hexdigest())
    assert peek(DataFile(None, url), form_of()) == ("instruction", "output")
    bucket.put_object(Bucket="bucket", Key="folder/rows.jsonl.gz", Body=gzip.compress(ROW + ROW))
    assert read(None, url).read == 2
    assert "changed since it was planned" in refused(read, None, url, f"sha256:{hashlib.sha256(packed).hexdigest()}")[0]
    assert "larger than the limit of 10 bytes" in refused(read, None, url, sizeLimit="10B")[0]


def test_what_is_not_there_or_not_allowed_is_told_without_what_opens_it(read, bucket):
    for url in ("s3://bucket/gone.jsonl", "s3://none/rows.jsonl"):
        summary, _, hint = refused(read, None, url)
        assert summary == f"{url}: no such file"
        assert "do-not-tell" not in summary + hint


def test_a_store_that_does_not_answer(read, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    summary, _, hint = refused(read, None, "s3://bucket/rows.jsonl")
    assert summary.startswith("s3://bucket/rows.jsonl: cannot be read: ")
    assert "environment" in hint
    assert "do-not-tell" not in summary + hint


def test_what_is_not_installed_is_named(read, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    import fsspec  # noqa: F401

    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    assert refused(read, None, "s3://bucket/rows.jsonl")[2] == "pip install 'ftops[s3]'"
    assert "a store behind another" in refused(read, None, "zip://rows.jsonl::file:///a.zip/rows.jsonl")[0]
    assert "cannot be read: ValueError" in refused(read, None, "nothing://bucket/rows.jsonl")[0]


def test_a_file_url_is_a_file_and_no_link(read, tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(ROW)
    (tmp_path / "link.jsonl").symlink_to("rows.jsonl")
    assert read(None, f"file://{tmp_path}/rows.jsonl").read == 1
    assert "links are not followed" in refused(read, None, f"file://{tmp_path}/link.jsonl")[1]
