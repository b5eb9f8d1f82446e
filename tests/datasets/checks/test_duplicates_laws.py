"""Laws of duplicates: order decides nothing, parts lose nothing in a whole, and later rows take nothing apart."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.datasets.checks.duplicates import Duplicates, Near
from ftops.datasets.checks.rows import TableRows
from ftops.datasets.checks.similarity import clusters as similar
from ftops.datasets.checks.similarity import join

words = st.sampled_from([f"{letter}{number}" for letter in "ab가" for number in range(4)])
texts = st.lists(words, max_size=9).map(" ".join) | st.sampled_from(["", "?!", "A0 a1!", "a1 A0"])
rows = st.lists(texts, max_size=30)
thresholds = st.sampled_from([0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
ngrams = st.sampled_from([None, 2, 5])


class Batched(TableRows):
    """Rows in batches of two."""

    def batches(self):
        return iter(self.table.to_batches(max_chunksize=2))


def rows_of(texts, kind=TableRows):
    numbers = pa.array(range(len(texts)), pa.int64())
    return kind(pa.table({"row": numbers, "text": pa.array(texts, pa.large_string())}))


def groups(texts, threshold, ngrams):
    """The clusters, as sets of places."""
    found = similar.clusters(rows_of(texts), threshold, ngrams)
    clusters: dict[int, set[int]] = {}
    for row, lowest in found.items():
        assert lowest < row
        clusters.setdefault(lowest, {lowest}).add(row)
    return {frozenset(cluster) for cluster in clusters.values()}


@given(rows, thresholds, ngrams, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_which_are_duplicates_of_which(texts, threshold, ngrams, chance):
    order = list(range(len(texts)))
    chance.shuffle(order)
    shuffled = groups([texts[place] for place in order], threshold, ngrams)
    assert {frozenset(order[place] for place in cluster) for cluster in shuffled} == groups(texts, threshold, ngrams)


@given(rows, rows, thresholds, ngrams)
def test_a_whole_has_all_duplicates_of_its_parts(first, second, threshold, ngrams):
    whole = groups(first + second, threshold, ngrams)
    parts = groups(first, threshold, ngrams)
    parts |= {frozenset(place + len(first) for place in cluster) for cluster in groups(second, threshold, ngrams)}
    assert all(any(part <= cluster for cluster in whole) for part in parts)


@given(rows, thresholds, ngrams)
def test_batches_change_nothing(texts, threshold, ngrams):
    check = Duplicates(exact="report", near=Near(threshold=threshold, ngrams=ngrams))
    assert check.run(rows_of(texts, Batched)) == check.run(rows_of(texts))


@given(rows, thresholds)
def test_what_is_dropped_leaves_no_duplicates(texts, threshold):
    check = Duplicates(near=Near(threshold=threshold, action="drop"))
    dropped = check.run(rows_of(texts)).dropped
    left = [text for row, text in enumerate(texts) if row not in dropped]
    assert check.run(rows_of(left)).findings == ()


@given(rows, thresholds, st.integers(0, 30))
def test_a_row_of_another_data_set_is_found_as_a_duplicate_of_one_would_be(texts, threshold, cut):
    own, other = texts[:cut], texts[cut:]
    found = similar.matches(rows_of(own), rows_of(other), threshold)
    pairs = {
        row
        for row, text in enumerate(own)
        for each in other
        if text.strip(" ?!") and each.strip(" ?!") and similar.clusters(rows_of([text, each]), threshold)
    }
    assert set(found) == pairs


@pytest.mark.parametrize("group", [2, 5])
@settings(max_examples=50)
@given(texts=rows, threshold=thresholds)
def test_how_a_join_divides_its_work_changes_nothing(group, texts, threshold):
    plain = groups(texts, threshold, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "GROUP", group)
        patch.setattr(join, "DIVIDING", 0)
        assert groups(texts, threshold, None) == plain
