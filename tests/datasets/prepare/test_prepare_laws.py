"""Laws of the pipeline: what may and what may not depend on order, on later rows, and on the form of a file."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftops.datasets.checks.rows import TableRows
from ftops.datasets.prepare.prepare import Origin, prepare
from ftops.datasets.prepare.split import BLOCK, SPLITS, assign
from ftops.datasets.spec import DatasetSpec, Split
from ftops.errors import ChecksFailed
from ftops.store.store import open_store

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: not text.isspace())
few = st.sampled_from(["a", "b", "a,b", "b,c", '"', "안녕", "\r\n.", "x" * 300])
pairs = st.lists(st.tuples(few | texts, few | texts), min_size=1, max_size=40)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""What is published is synced to its disk, which would be most of the time here."""
seeds = st.integers(0, 2**70)


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


def prepared(rows, form="jsonl", **fields):
    """The bytes of each split; none where the split of a few rows left nothing to train on."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        root = Path(folder)
        (root / f"rows.{form}").write_bytes(FORMS[form](rows))
        spec = DatasetSpec.model_validate({
            "source": {"path": f"rows.{form}"},
            "split": {"train": 0.5, "validation": 0.25, "test": 0.25},
            "checks": ({"duplicates": {}},),
            **fields,
        })  # fmt: skip
        store = open_store(root / "store")
        try:
            prepare(spec, "a" * 64, Origin(root), store)
        except ChecksFailed as error:
            assert "train" in str(error)  # noqa: PT017
            return None
        return {name: (store.data("a" * 64) / f"{name}.jsonl").read_bytes() for name in SPLITS}


# A child reads each file, so these are few.


@settings(max_examples=4, deadline=None)
@given(pairs)
@example([("a", "b"), ("a,b", "c"), ("a", "b")])
def test_what_is_kept_are_the_distinct_texts_whatever_the_form_of_the_file(rows):
    first = prepared(rows)
    for form in FORMS:
        assert prepared(rows, form) == first
    if first is not None:
        kept = [json.loads(line) for split in first.values() for line in split.splitlines()]
        assert sorted((row["instruction"], row["output"]) for row in kept) == sorted(set(rows))


@settings(max_examples=4, deadline=None)
@given(pairs, pairs)
def test_what_comes_later_is_written_later(rows, more):
    before, after = prepared(rows), prepared(rows + more)
    if before is not None:
        assert after is not None
        for name in SPLITS:
            assert after[name].startswith(before[name])


# ------------------------------------------------------------------------------------------------ the split

words = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=8).map(" ".join)
rows_of_words = st.lists(words, min_size=1, max_size=60)
ratios = st.sampled_from(
    [(0.9, 0.05, 0.05), (0.5, 0.5, 0.0), (0.34, 0.33, 0.33), (0.6, 0.1, 0.3), (1 / 3, 1 / 3, 1 / 3)]
)
quick = settings(max_examples=150, deadline=None)


def table(texts, strata=None):
    columns = {
        "row": pa.array(range(1, len(texts) + 1), pa.int64()),
        "text": pa.array(texts, pa.large_string()),
        "stratum": pa.array(strata or [None] * len(texts), pa.large_string()),
    }
    return TableRows(pa.table(columns))


def split(ratio, **fields):
    return Split(**dict(zip(SPLITS, ratio, strict=True)), **fields)


def sides(texts, options, strata=None):
    return assign(table(texts, strata), options, None)


@quick
@given(rows_of_words, rows_of_words, ratios, seeds)
def test_appended_rows_move_no_row_that_they_do_not_join(texts, more, ratio, seed):
    options = split(ratio, seed=seed, near=0.7)
    before, after = sides(texts, options), sides(texts + more, options)
    same_group = before.firsts == after.firsts[: len(texts)]
    assert (before.sides == after.sides[: len(texts)])[same_group].all()
    joined = set(after.firsts[: len(texts)][~same_group].tolist())
    added = set(after.firsts[len(texts) :].tolist())
    assert joined <= added, "only a new row brings groups together"


@quick
@given(rows_of_words, ratios, seeds, st.sampled_from([None, 0.7, 0.8, 1.0]), st.booleans())
def test_rows_that_are_alike_are_on_one_side(texts, ratio, seed, near, stratified):
    options = split(ratio, seed=seed, near=near, stratify="language" if stratified else None)
    found = sides(texts, options, [text[0] for text in texts])
    tokens = [set(text.split()) for text in texts]
    for one in range(len(texts)):
        for other in range(one):
            shared = len(tokens[one] & tokens[other]) / len(tokens[one] | tokens[other])
            if texts[one] == texts[other] or (near is not None and shared >= near):
                assert found.sides[one] == found.sides[other]
                assert found.firsts[one] == found.firsts[other]
    assert (found.firsts <= found.rows).all()


@quick
@given(st.lists(words, min_size=1, max_size=60, unique=True), ratios, seeds, st.randoms())
def test_the_order_makes_no_difference_to_rows_that_are_like_no_other(texts, ratio, seed, chance):
    options = split(ratio, seed=seed, near=None)
    shuffled = list(texts)
    chance.shuffle(shuffled)
    before = dict(zip(texts, sides(texts, options).sides.tolist(), strict=True))
    assert dict(zip(shuffled, sides(shuffled, options).sides.tolist(), strict=True)) == before


@quick
@given(st.integers(1, 300), ratios, seeds, st.integers(1, 4))
def test_a_stratified_split_has_its_ratios_after_every_block_and_nearly_so_between(count, ratio, seed, strata):
    texts = [str(number) for number in range(count)]
    names = [f"s{number % strata}" for number in range(count)]
    found = sides(texts, split(ratio, seed=seed, near=None, stratify="s"), names).sides
    for name in set(names):
        members = found[np.array(names) == name]
        for many in range(BLOCK, len(members) + 1, BLOCK):
            here = np.bincount(members[:many], minlength=3)
            assert all(abs(here[side] - many * ratio[side]) < 1.0001 for side in range(3))
        counts = np.bincount(members, minlength=3)
        assert all(abs(counts[side] - len(members) * ratio[side]) < 1 + BLOCK / 4 for side in range(3))


@quick
@given(rows_of_words, st.lists(st.sampled_from([None, "en", "ko"]), min_size=120, max_size=120), rows_of_words, seeds)
def test_appended_rows_move_no_row_of_a_stratified_split(texts, strata, more, seed):
    options = split((0.6, 0.2, 0.2), seed=seed, near=None, stratify="language")
    before = sides(texts, options, strata[: len(texts)])
    after = sides(texts + more, options, strata[: len(texts) + len(more)])
    assert (before.sides == after.sides[: len(texts)]).all()


@settings(max_examples=20, deadline=None)
@given(ratios, seeds)
def test_the_hash_meets_the_ratios_in_the_mean(ratio, seed):
    count = 4000
    found = Counter(sides([str(number) for number in range(count)], split(ratio, seed=seed, near=None)).sides.tolist())
    for side, share in enumerate(ratio):
        assert abs(found[side] - count * share) <= 6 * (count * share * (1 - share)) ** 0.5


@quick
@given(seeds)
def test_another_seed_gives_another_split(seed):
    texts = [str(number) for number in range(60)]
    one, other = (sides(texts, split((0.5, 0.5, 0.0), seed=each, near=None)).sides for each in (seed, seed + 1))
    assert (one != other).any()
