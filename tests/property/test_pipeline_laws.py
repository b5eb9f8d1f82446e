"""Laws of the pipeline: what may and what may not depend on order, on later rows, and on the form of a file."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.data import Column, DataFile, read
from ftops.errors import ChecksFailed
from ftops.kinds.dataset import DatasetSpec
from ftops.pipeline import prepare
from ftops.store import open_store

SPLITS = ("train", "validation", "test")
COLUMNS = (Column("instruction", "instruction", required=True), Column("output", "output", required=True))
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.isspace())
few = st.sampled_from(["a", "b", "a,b", "b,c", '"', "안녕", "\r\n.", "\x00", "x" * 300])
pairs = st.lists(st.tuples(few | texts, few | texts), min_size=1, max_size=40)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""What is published is synced to its disk, which would be most of the time here."""
seeds = st.integers(0, 2**70)
quick = settings(max_examples=60, deadline=None)


def as_csv(rows):
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([("instruction", "output"), *rows])
    return file.getvalue().encode()


def as_objects(rows):
    return [{"output": output, "instruction": instruction} for instruction, output in rows]


def as_parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(as_objects(rows)), file)
    return file.getvalue()


FORMS = {
    "csv": as_csv,
    "json": lambda rows: json.dumps(as_objects(rows), indent=1).encode(),
    "jsonl": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in as_objects(rows)).encode(),
    "parquet": as_parquet,
}


def prepared(rows, seed=42, form="jsonl", action="drop"):
    """The bytes of each split; none where the split of a few rows left nothing to train on."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder)
        (root / f"rows.{form}").write_bytes(FORMS[form](rows))
        spec = DatasetSpec.model_validate({
            "source": {"path": f"rows.{form}"},
            "split": {"train": 0.5, "validation": 0.25, "test": 0.25, "seed": seed},
            "checks": ({"duplicates": {"exact": action}},),
        })  # fmt: skip
        store = open_store(root / "store")
        try:
            prepare(spec, "a" * 64, root, {}, store)
        except ChecksFailed as error:
            assert "train" in str(error)  # noqa: PT017
            return None
        return {name: (store.data("a" * 64) / f"{name}.jsonl").read_bytes() for name in SPLITS}


def sides(splits):
    return {name: sorted(split.splitlines()) for name, split in splits.items()}


@quick
@given(pairs, pairs, seeds)
def test_appended_rows_move_no_row(rows, more, seed):
    before, after = prepared(rows, seed), prepared(rows + more, seed)
    if before is not None:
        assert after is not None
        for name in SPLITS:
            assert after[name].startswith(before[name])


@quick
@given(pairs, seeds, st.randoms())
def test_order_makes_no_difference_to_what_is_on_which_side(rows, seed, chance):
    shuffled = list(rows)
    chance.shuffle(shuffled)
    before, after = prepared(rows, seed), prepared(shuffled, seed)
    assert (before is None) == (after is None)
    if before is not None:
        assert sides(before) == sides(after)


@quick
@given(pairs)
def test_what_is_kept_are_the_distinct_texts(rows):
    splits = prepared(rows)
    if splits is not None:
        kept = [json.loads(line) for split in splits.values() for line in split.splitlines()]
        assert sorted((row["instruction"], row["output"]) for row in kept) == sorted(set(rows))


@quick
@given(pairs)
def test_equal_texts_are_on_one_side(rows):
    splits = prepared(rows + rows, action="report")
    if splits is not None:
        found = [set(split.splitlines()) for split in splits.values()]
        assert sum(map(len, found)) == len(set.union(*found)) == len(set(rows))


@quick
@given(pairs)
def test_every_form_of_the_same_rows_gives_the_same_bytes_twice(rows):
    first = prepared(rows)
    for form in FORMS:
        assert prepared(rows, form=form) == first


@quick
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=20))
def test_any_text_comes_through_every_form(rows):
    with tempfile.TemporaryDirectory() as folder:
        for form, write in FORMS.items():
            (Path(folder) / f"rows.{form}").write_bytes(write(rows))
            table = read(DataFile(Path(folder), f"rows.{form}", form, 10**8), COLUMNS).table
            assert list(zip(*(table[each.field].to_pylist() for each in COLUMNS), strict=True)) == rows


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode), st.sampled_from(sorted(FORMS)))
def test_any_bytes_are_read_or_refused(content, form):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows").write_bytes(content)
        try:
            contents = read(DataFile(Path(folder), "rows", form, 10**6), COLUMNS)
        except ChecksFailed:
            return
        assert contents.table.column_names == ["row", "line", "byte", "instruction", "output"]


@quick
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
), st.booleans())  # fmt: skip
def test_json_without_double_keys_is_never_refused_for_them(value, ascii_only):
    row = json.dumps({"instruction": "a", "output": "b", "other": value}, ensure_ascii=ascii_only)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows").write_text(f"{row}\n")
        assert read(DataFile(Path(folder), "rows", "jsonl", 10**7), COLUMNS).table.num_rows == 1
