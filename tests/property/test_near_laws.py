"""Laws of near-duplicates: what comparing every pair would give, whatever the order, the batches and the threshold."""

from __future__ import annotations

import random
import re
import unicodedata
from fractions import Fraction
from itertools import combinations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.checks.contamination import Contamination
from ftops.checks.duplicates import Duplicates, Near
from ftops.checks.rows import TableRows
from ftops.checks.similar import clusters

THRESHOLDS = [0.7, 0.8, 0.9, 0.95, 1.0]


def rows(texts, **more):
    columns = {
        "instruction": pa.array(["q"] * len(texts), pa.large_string()),
        "output": pa.array(texts, pa.large_string()),
    }
    return TableRows(pa.table({"row": pa.array(range(1, len(texts) + 1), pa.int64()), **columns}), **more)


def tokens(text, ngrams=None):
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    if ngrams is None or not words:
        return set(words)
    joined = " ".join(words)
    return {joined[at : at + ngrams] for at in range(max(1, len(joined) - ngrams + 1))}


def by_brute_force(texts, threshold, ngrams=None):
    """Row → lowest row of its cluster, by comparing every pair."""
    bound = Fraction(str(threshold))
    sets = [tokens("q", ngrams) | tokens(text, ngrams) for text in texts]
    number = {token: index for index, token in enumerate(set().union(*sets))}
    masks = [sum(1 << number[token] for token in each) for each in sets]
    sizes = [len(each) for each in sets]
    lowest = list(range(len(texts)))

    def root(row):
        while lowest[row] != row:
            row = lowest[row]
        return row

    for one, other in combinations(range(len(texts)), 2):
        both = (masks[one] & masks[other]).bit_count()
        either = sizes[one] + sizes[other] - both
        if texts[one] == texts[other] or (either and both * bound.denominator >= bound.numerator * either):
            low, high = sorted((root(one), root(other)))
            lowest[high] = low
    return {row + 1: root(row) + 1 for row in range(len(texts)) if root(row) != row}


WORDS = ["a", "b", "c", "d", "e", "가", "나다", "Ａ", "É", "e\u0301", "ß", "1", "①", "x_y", "Σ", "σς", "."]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=14)


@given(TEXTS, st.sampled_from(THRESHOLDS), st.sampled_from([None, 2, 5]))
def test_clusters_are_those_of_brute_force(texts, threshold, ngrams):
    assert clusters(rows(texts), threshold, ngrams) == by_brute_force(texts, threshold, ngrams)


@given(TEXTS, st.randoms(use_true_random=False), st.sampled_from(THRESHOLDS))
def test_the_order_of_rows_makes_no_difference(texts, chance, threshold):
    order = list(range(len(texts)))
    chance.shuffle(order)

    def groups(found, names):
        members = {}
        for row in range(1, len(texts) + 1):
            members.setdefault(found.get(row, row), set()).add(names[row - 1])
        return {frozenset(each) for each in members.values()}

    plain = groups(clusters(rows(texts), threshold), range(len(texts)))
    assert groups(clusters(rows([texts[index] for index in order]), threshold), order) == plain


@given(TEXTS, TEXTS)
def test_a_concatenation_has_what_its_parts_had(first, second):
    whole = clusters(rows([*first, *second]), 0.8)
    for offset, part in ((0, first), (len(first), second)):
        for row, lowest in clusters(rows(part), 0.8).items():
            assert whole[row + offset] == whole.get(lowest + offset, lowest + offset)


@given(TEXTS, TEXTS, st.sampled_from(THRESHOLDS))
def test_contamination_is_that_of_brute_force(ours, theirs, threshold):
    other = rows(theirs).table.drop_columns(["row"]).to_batches()
    found = Contamination(against=("other",), threshold=threshold).run(rows(ours, others={"other": other}))
    bound = Fraction(str(threshold))
    sets = [tokens("q") | tokens(text) for text in theirs]
    expected = {
        row
        for row, text in enumerate(ours, 1)
        if any(
            Fraction(len(own & each), len(own | each)) >= bound for own in [tokens("q") | tokens(text)] for each in sets
        )
    }
    assert found.dropped == expected


def varied(count, seed, vocabulary=3000):
    """Texts of which many are like each other in all degrees."""
    chance = random.Random(seed)
    names = [f"{'word' if index % 2 else '낱말'}{index}" for index in range(vocabulary)]
    texts = []
    for _ in range(count):
        if texts and chance.random() < 0.3:
            words = chance.choice(texts).split()
            for _ in range(chance.choice([0, 1, 1, 2, 4, 8])):
                words[chance.randrange(len(words))] = chance.choice(names)
        else:
            words = chance.choices(names, k=chance.randint(3, 60))
        texts.append(" ".join(words))
    return texts


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_many_texts_of_all_degrees(threshold):
    texts = varied(700, seed=int(threshold * 100))
    assert clusters(rows(texts), threshold) == by_brute_force(texts, threshold)


@pytest.mark.slow
def test_five_thousand_rows():
    texts = varied(5000, seed=5)
    assert clusters(rows(texts), 0.95) == by_brute_force(texts, 0.95)


@pytest.mark.parametrize("template", ["", "please translate this number into words and say nothing else at all ever "])
def test_a_small_vocabulary_and_a_shared_template(template):
    texts = [template + text for text in varied(600, seed=7, vocabulary=60)]
    assert clusters(rows(texts), 0.8) == by_brute_force(texts, 0.8)


def test_a_family_of_rows_costs_no_square():
    texts = [f"please translate the number {index} into words and say nothing else at all to me or to anybody {'x ' * 3}end of the text" for index in range(20_000)]  # fmt: skip
    assert set(clusters(rows(texts), 0.8).values()) == {1}


@given(TEXTS)
@settings(max_examples=50)
def test_what_is_dropped_leaves_no_duplicates(texts):
    check = Duplicates(exact="drop", near=Near(threshold=0.8, action="drop"))
    given_rows = rows(texts)
    result = check.run(given_rows)
    left = [text for row, text in enumerate(texts, 1) if row not in result.dropped]
    again = check.run(rows(left))
    assert again.findings == ()
    assert result.summary["exactRows"] + result.summary["nearRows"] == len(result.dropped)
