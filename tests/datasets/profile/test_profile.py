"""Statistics of rows: lengths, histograms, writings, turns, and tokens with their error."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from ftops.datasets.checks.rows import TableRows, message_type
from ftops.datasets.profile import count_tokens, distribution, measure
from ftops.datasets.profile.lengths import BINS
from ftops.datasets.profile.tokens import SAMPLE, interval, sample
from ftops.errors import SpecError

TEXT = pa.large_string()


def table(**columns):
    count = len(next(iter(columns.values())))
    return pa.table({"row": pa.array(range(1, count + 1), pa.int64()), **columns})


def texts(**columns):
    return TableRows(table(**{name: pa.array(values, TEXT) for name, values in columns.items()}))


def said(*contents, calls=None):
    return [
        {"role": "user", "content": each, "name": None, "tool_call_id": None, "tool_calls": calls} for each in contents
    ]


@pytest.fixture
def tokenizer(tmp_path):
    """Every word is a token."""
    encoder = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    encoder.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    encoder.enable_truncation(3)
    encoder.enable_padding(length=7)
    path = tmp_path / "tokenizer.json"
    encoder.save(str(path))
    return path


# ------------------------------------------------------------------------------------------------- lengths


def test_lengths_are_code_points_by_field_and_of_whole_rows():
    found = measure(texts(instruction=["가나", "a"], input=["", ""], output=["abc", "👍"])).statistics
    assert {name: (each.min, each.max, each.total) for name, each in found.characters.items()} == {
        "instruction": (1, 2, 3), "output": (1, 3, 4), "row": (2, 5, 7),
    }  # fmt: skip
    assert found.scripts == {"Latin": 2}
    assert found.turns is None


def test_chats_have_turns_and_all_that_is_said():
    chats = pa.array([said("abc", "가"), said(None, calls="12345"), []], pa.large_list(message_type()))
    found = measure(TableRows(table(messages=chats, tools=pa.array(["", "[]", ""], TEXT)))).statistics
    assert (found.turns.min, found.turns.max, found.turns.total) == (0, 2, 3)
    assert (found.characters["messages"].total, found.characters["tools"].total, found.characters["row"].max) == (
        9,
        2,
        7,
    )
    assert found.scripts == {"none": 2, "Latin": 1}


def test_splits_are_measured_one_by_one():
    rows = texts(text=["a", "bb", "ccc", "dddd"])
    found = measure(
        rows, {"train": np.array([4, 1]), "test": np.array([2]), "validation": np.array([], np.int64)}
    ).characters
    assert {name: (each.rows, each.total) for name, each in found.items()} == {
        "train": (2, 5),
        "test": (1, 2),
        "validation": (0, 0),
    }


def test_no_rows_have_no_figures():
    found = measure(texts(text=[])).statistics
    assert found.characters == {}
    assert found.scripts == {}


@given(st.lists(st.text("ab 가나漢", max_size=150), max_size=40), st.integers(1, 15))
def test_batches_change_no_figure(values, size):
    whole = texts(text=values)
    pieces = [whole.table.slice(first, size) for first in range(0, len(values), size)] or [whole.table]
    assert measure(TableRows(pa.concat_tables(pieces))) == measure(whole)


# ----------------------------------------------------------------------------------------------- histograms


@given(st.lists(st.integers(0, 10**7) | st.integers(0, 300), min_size=1, max_size=200))
def test_every_row_stands_in_one_bin(values):
    found = distribution(np.array(values, np.int64))
    assert sum(found.counts) == found.rows == len(values)
    assert found.edges[0] <= found.min
    assert found.edges[-1] >= found.max
    assert len(found.counts) == len(found.edges) - 1 <= BINS + 1
    widths = [high - low for low, high in itertools.pairwise(found.edges)]
    assert all(width > 0 for width in widths)
    assert len(set(widths[:-1])) <= 1
    assert {found.min, found.p50, found.p95, found.max} <= set(values)
    assert sum(each <= found.p50 for each in values) * 2 >= len(values)
    assert sum(each < found.p50 for each in values) * 2 <= len(values)


def test_edges_are_round_and_the_tail_is_one_bin():
    found = distribution(np.array([*range(1000), 250_000]))
    assert found.edges[:3] == (0, 50, 100)
    assert found.edges[-2:] == (1000, 250_000)
    assert found.counts[-1] == 1


def test_equal_lengths_have_one_bin():
    found = distribution(np.array([7, 7, 7]))
    assert (found.edges, found.counts) == ((7, 8), (3,))


# --------------------------------------------------------------------------------------------------- tokens


def test_tokens_of_all_rows_whatever_the_tokenizer_cuts(tokenizer):
    chats = pa.array([said("a a a a a", "b"), said(None, calls="x y")], pa.large_list(message_type()))
    rows = TableRows(table(messages=chats, tools=pa.array(["", "t"], TEXT)))
    found = count_tokens(rows, tokenizer, "base", sides={"train": np.array([1]), "test": np.array([2])})
    assert found.report.total == 9
    assert found.report.total_interval == (9, 9)
    assert found.report.mean_interval == (4.5, 4.5)
    assert found.report.sampled == 2
    assert {name: each.total for name, each in found.sides.items()} == {"train": 6, "test": 3}
    assert found.report.distribution.max == 6


def test_a_sample_says_its_error_and_is_the_same_each_time(tokenizer):
    values = np.random.default_rng(1).integers(1, 60, 8000)
    rows = texts(text=["a " * count for count in values])
    sides = {"train": np.arange(1, 7001), "test": np.arange(7001, 8001), "few": np.array([], np.int64)}
    found = count_tokens(rows, tokenizer, "base", sides=sides)
    assert found == count_tokens(rows, tokenizer, "base", sides=sides)
    low, high = found.report.mean_interval
    assert found.report.sampled == SAMPLE
    assert low < values.mean() < high
    assert found.report.total_interval[0] < values.sum() < found.report.total_interval[1]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / SAMPLE**0.5 * (3 / 4) ** 0.5, rel=0.05)
    assert found.sides["train"].sampled + found.sides["test"].sampled == SAMPLE
    assert found.sides["few"].sampled == 0
    whole = count_tokens(rows, tokenizer, "base", everything=True)
    assert (whole.report.total, whole.report.sampled) == (values.sum(), 8000)


def test_nineteen_of_twenty_intervals_hold_the_mean():
    generator = np.random.default_rng(7)
    values = generator.lognormal(4, 0.7, 3000).astype(np.int64)
    for size, least in ((2000, 0.93), (60, 0.9), (15, 0.87)):
        hits = 0
        for _ in range(400):
            low, high = interval(generator.choice(values, size, replace=False), len(values))
            hits += low <= values.mean() <= high
        assert least <= hits / 400 <= 0.985


def test_appended_rows_leave_most_of_a_sample():
    before, after = (sample(np.arange(1, count + 1), SAMPLE) for count in (20_000, 22_000))
    assert len(set(before.tolist()) & set(after.tolist())) > 0.85 * SAMPLE
    assert (np.diff(after) > 0).all()
    # Every part of the file is in it about as often as any other.
    assert np.histogram(after, 10)[0].min() > 150


def test_no_rows_have_no_tokens(tokenizer):
    assert count_tokens(texts(text=[]), tokenizer, "base").report.total == 0


@pytest.mark.parametrize("content", [b"{}", b"no json", b"\xff\xfe", None])
def test_what_is_no_tokenizer_is_refused_by_name(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=r"models/tokenizer\.json is no tokenizer") as refused:
        count_tokens(texts(text=["a"]), path, "models/tokenizer.json")
    assert str(tmp_path) not in refused.value.diagnostics[0].summary
