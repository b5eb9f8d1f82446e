"""Rows that say the same, exactly or nearly, here or in another data set: compared with every row against every other."""

from __future__ import annotations

import csv
import random
import re
import unicodedata
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ftops.datasets.checks.contamination import Contamination
from ftops.datasets.checks.duplicates import Duplicates, Near
from ftops.datasets.checks.rows import TableRows, field_type
from ftops.datasets.checks.similarity import clusters as similar
from ftops.datasets.checks.similarity import join, tokens
from ftops.datasets.checks.texts import leaves
from ftops.datasets.finding import Finding
from tests.support.example import example_rows

ROOT = Path(__file__).parents[3]
CHATBOT = ROOT.parent / "shared/data/korean-chatbot/ChatbotData.csv"
THRESHOLDS = (0.7, 0.8, 0.9, 0.95, 1.0)
SENTENCE = "a model learns from the rows that it is given and so it learns what they say twice better than once"


def rows_of(rows, fields=None, **other):
    """Rows of texts, or of objects, numbered from 1."""
    rows = [row if isinstance(row, dict) else {"text": row} for row in rows]
    names = fields or sorted({name for row in rows for name in row}) or ["text"]
    columns = {name: pa.array([row.get(name, "") for row in rows], field_type(name)) for name in names}
    return TableRows(pa.table({"row": pa.array(range(1, len(rows) + 1), pa.int64()), **columns}), **other)


def message(role, content, **more):
    return {"role": role, "content": content, "name": None, "tool_call_id": None, "tool_calls": None, **more}


def defined(text, ngrams=None):
    """What the tokens of a text are, as the specification words it."""
    found = re.findall(r"\w+", unicodedata.normalize("NFKC", text).lower())
    joined = " ".join(found)
    return (
        set(found)
        if ngrams is None
        else {joined[at : at + ngrams] for at in range(max(1, len(joined) - ngrams + 1))} - {""}
    )


def alike(one, other, threshold):
    both = len(one & other)
    return both > 0 and Fraction(both, len(one | other)) >= Fraction(str(threshold))


def compared(texts, threshold, ngrams=None):
    """The lowest row of each row's cluster, of rows that aren't the lowest, by comparing every row with every other."""
    sets = [defined(text, ngrams) for text in texts]
    lowest = list(range(len(texts)))
    for high in range(len(texts)):
        near = {
            lowest[low] for low in range(high) if alike(sets[low], sets[high], threshold) or texts[low] == texts[high]
        }
        if near:
            lowest = [min(near) if root in near or row == high else root for row, root in enumerate(lowest)]
    return {row + 1: root + 1 for row, root in enumerate(lowest) if root != row}


def varied(draw, start, count, vocabulary, most):
    """Texts that are `start` with some words replaced."""
    for _ in range(count):
        some = list(start)
        for _ in range(draw.randrange(most)):
            some[draw.randrange(len(some))] = draw.choice(vocabulary)
        yield " ".join(some)


def corpora(count):
    draw = random.Random(4)
    words = [f"w{number}" for number in range(2000)]
    template = [f"t{number}" for number in range(60)]
    uniform = [" ".join(draw.choices(words, k=draw.randrange(5, 40))) for _ in range(count)]
    yield "uniform words", [*uniform, *(text.rsplit(" ", 1)[0] for text in uniform[: count // 10])]
    yield "three words", [" ".join(draw.choices(words[:40], k=draw.randrange(1, 5))) for _ in range(count)]
    yield "few words", [" ".join(draw.choices(words[:12], k=draw.randrange(1, 12))) for _ in range(count)]
    yield "template", list(varied(draw, template, count, words, 12))
    yield "family", [f"Translate number {number} of {number % 7}: {SENTENCE}" for number in range(count)]
    yield (
        "long and short",
        [*varied(draw, template, count // 2, words, 20), *varied(draw, template[:30], count // 2, words[:9], 9)],
    )


CORPORA = dict(corpora(300))


# ------------------------------------------------------------------------------------------- near, as brute force


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_clusters_are_those_of_comparing_every_row_with_every_other(corpus, threshold):
    assert similar.clusters(rows_of(CORPORA[corpus]), threshold) == compared(CORPORA[corpus], threshold)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_so_they_are_where_rows_are_divided_at_every_step(monkeypatch, corpus, threshold):
    monkeypatch.setattr(join, "GROUP", 5)
    monkeypatch.setattr(join, "DIVIDING", 0)
    assert similar.clusters(rows_of(CORPORA[corpus]), threshold) == compared(CORPORA[corpus], threshold)


@pytest.mark.parametrize("ngrams", [2, 5])
@pytest.mark.parametrize("threshold", [0.7, 0.95])
def test_runs_of_characters_compare_texts_without_spaces(threshold, ngrams):
    draw = random.Random(5)
    letters = ["".join(draw.choices("가나다라마바사아자차", k=30)) for _ in range(20)]
    texts = [each.replace(each[3], "하", draw.randrange(4)) for each in letters for _ in range(8)]
    expected = compared(texts, threshold, ngrams)
    assert len(expected) > 20
    assert similar.clusters(rows_of(texts), threshold, ngrams) == expected


def test_no_hash_decides_alone(monkeypatch):
    """With hashes of six bits nearly all is proposed, and the tokens themselves refuse it."""
    real = tokens.token_sets

    def weak(batch, ngrams=None):
        found = real(batch, ngrams)
        return tokens.TokenSets(found.tokens & np.uint32(63), found.sizes, found.signatures & np.uint64(15))

    monkeypatch.setattr(similar, "token_sets", weak)
    texts = CORPORA["three words"][:60]
    assert similar.clusters(rows_of(texts), 0.8) == compared(texts, 0.8)
    eval_set = rows_of(texts[40:])
    found = similar.matches(rows_of(texts[:40]), eval_set, 0.8)
    sets = list(map(defined, texts))
    assert set(found) == {own + 1 for own in range(40) if any(alike(sets[own], other, 0.8) for other in sets[40:])}


@pytest.mark.slow
def test_clusters_of_5000_rows():
    texts = [text for corpus in dict(corpora(830)).values() for text in corpus]
    assert len(texts) > 5000
    sets = list(map(defined, texts))
    columns = {token: column for column, token in enumerate(sorted(set().union(*sets)))}
    member = np.zeros((len(sets), len(columns)), np.float32)
    for row, each in enumerate(sets):
        member[row, [columns[token] for token in each]] = 1
    shared = (member @ member.T).astype(np.int64)  # how many tokens each row shares with every other
    sizes = np.diag(shared)
    for percent in (70, 75, 80, 85, 90, 95, 100):
        pairs = np.argwhere(np.tril(100 * shared >= percent * (sizes[:, None] + sizes - shared), -1))
        lowest = np.arange(len(texts))
        while (lowest[pairs[:, 0]] != lowest[pairs[:, 1]]).any():  # the lowest number spreads along the pairs
            np.minimum.at(lowest, pairs, lowest[pairs].min(axis=1)[:, None])
        expected = {row + 1: int(root) + 1 for row, root in enumerate(lowest) if row != root}
        assert similar.clusters(rows_of(texts), percent / 100) == expected


@pytest.mark.slow
def test_a_family_of_50000_rows_takes_no_quadratic_time():
    family = [f"Translate number {number} of {number % 7}: {SENTENCE}" for number in range(50_000)]
    found = similar.clusters(rows_of(family), 0.8)
    assert found == dict.fromkeys(range(2, 50_001), 1)


def test_a_threshold_means_its_decimals():
    """19 of 20 tokens are 0.95, although the number next to it that a computer has is a bit less or more."""
    texts = [" ".join(f"w{number}" for number in range(count)) for count in (20, 19, 17)]
    assert similar.clusters(rows_of(texts), 0.95) == {2: 1}
    assert similar.clusters(rows_of(texts), 0.950000001) == {}
    assert similar.clusters(rows_of(texts), 0.85) == {2: 1, 3: 1}


# ------------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize("ngrams", [None, 2, 7])
def test_tokens_are_those_of_the_definition(ngrams):
    draw = random.Random(6)
    plain = [chr(code) for code in (*range(32, 0x250), *range(0xAC00, 0xAD00), *range(0x4E00, 0x4F00), 0x1F600, 0x2026)]
    ranges = [
        range(0x300, 0x400),
        range(0x900, 0xE00),
        range(0x1100, 0x1200),
        range(0x3130, 0x3190),
        range(0xFB00, 0xFFF0),
    ]
    hard = [chr(code) for codes in ranges for code in codes] + list("ΣΑabİ½ﬁ ㅏ\u3099\U0001d400\U00010400")
    texts = ["".join(draw.choices(draw.choice([plain, hard, plain + hard]), k=draw.randrange(60))) for _ in range(3000)]
    texts += ["ΑΣ ΑΣΑ Σ.", "ㅋㅋㅋ ㄱㅏ", "", "…!?", "x" * 300_000, "x" * 299_999 + "y", "_a_ b-c"]
    found = tokens.token_sets(rows_of(texts).table.combine_chunks().to_batches()[0], ngrams)
    expected = [defined(text, ngrams) for text in texts]
    assert found.sizes.tolist() == [len(each) for each in expected]
    assert [tokens.words(text, ngrams) for text in texts] == expected
    groups = Counter(map(frozenset, expected))
    assert sorted(Counter(found.signatures.tolist()).values()) == sorted(groups.values())


def test_only_marks_and_parts_of_syllables_combine_with_what_stands_before():
    """What `_folded_alone` relies on, of all of Unicode."""
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            assert unicodedata.category(chr(int(parts[1], 16))).startswith("M")


def test_what_is_said_is_compared_and_not_who_may_be_called():
    tools = '[{"function":{"name":"search","description":"' + " ".join(f"word{number}" for number in range(99)) + '"}}]'
    chats = [
        {"messages": [message("user", f"Where is {place}?"), message("assistant", f"In {country}.")], "tools": tools}
        for place, country in [("Seoul", "Korea"), ("Lyon", "France"), ("Seoul", "korea")]
    ]
    assert Duplicates(near=Near()).run(rows_of(chats)).clusters == {3: 1}


# ------------------------------------------------------------------------------------------------ exact


def exact(rows, **parameters):
    return Duplicates(**parameters).run(rows_of(rows))


def test_the_lowest_of_equal_rows_stays():
    found = exact(
        [{"instruction": q, "output": a} for q, a in [("a", "b"), ("c", "d"), ("a", "b"), ("a", "b"), ("c", "d")]]
    )
    assert found.findings == tuple(
        Finding("duplicates", row, "", f"says the same as row {first}", "exact")
        for row, first in [(3, 1), (4, 1), (5, 2)]
    )
    assert found.summary == {"exactRows": 3, "nearRows": 0, "clusters": 2}
    assert found.dropped == {3, 4, 5}
    assert found.clusters == {3: 1, 4: 1, 5: 2}


@pytest.mark.parametrize(
    "rows",
    [
        [{"instruction": "a,b", "output": "c"}, {"instruction": "a", "output": "b,c"}],
        [{"instruction": "a", "input": "b", "output": "c"}, {"instruction": "a", "input": "", "output": "c"}],
        [
            {"instruction": "A", "output": "b"},
            {"instruction": "a", "output": "b"},
            {"instruction": "a", "output": "b "},
        ],
        [{"messages": [message("user", "a"), message("assistant", "b")]}, {"messages": [message("user", "ab")]}],
        [{"messages": [message("user", "a")]}, {"messages": [message("system", "a")]}],
        [{"messages": [message("user", "a", name="b")]}, {"messages": [message("user", "a", tool_call_id="b")]}],
        [{"messages": [message("user", "a")]}, {"messages": [message("user", "a"), message("", "")]}],
        [{"messages": [message("user", "a")], "tools": "[1]"}, {"messages": [message("user", "a")], "tools": "[2]"}],
    ],
)
def test_rows_that_only_look_equal_are_not(rows):
    assert exact(rows).findings == ()


def test_an_empty_part_is_one_that_is_absent():
    chats = [{"messages": [message("user", "a", name=name)]} for name in (None, "")]
    assert exact(chats).dropped == {2}
    texts = [{"instruction": "a", "output": "b"}, {"instruction": "a", "input": "", "output": "b"}]
    assert exact(texts).dropped == {2}


def test_rows_are_compared_over_batches():
    rows = [{"instruction": f"i{number % 20_000}", "output": "o"} for number in range(20_003)]
    assert exact(rows).dropped == {20_001, 20_002, 20_003}


def test_rows_without_words_are_only_equal_exactly():
    found = exact(["?!", "…", "?!", "!?"], near=Near(action="drop"))
    assert found.dropped == {3}


def test_no_rows_have_no_duplicates():
    assert exact([], near=Near()).summary == {"exactRows": 0, "nearRows": 0, "clusters": 0}


# ------------------------------------------------------------------------------------------------ actions

NEARLY = [SENTENCE, "something else", f"{SENTENCE}!", SENTENCE, f"{SENTENCE}!", SENTENCE.replace("twice", "often")]
"""Row 4 equals row 1, row 5 equals row 3, which has the words of row 1; row 6 shares 18 of 20 words with it."""


@pytest.mark.parametrize(
    ("parameters", "dropped", "clusters", "failed"),
    [
        ({"exact": "drop"}, {4, 5}, {4: 1, 5: 3}, False),
        ({"exact": "report"}, set(), {4: 1, 5: 3}, False),
        ({"exact": "fail"}, set(), {4: 1, 5: 3}, True),
        ({"exact": "drop", "near": Near(threshold=0.85)}, {4, 5}, {3: 1, 4: 1, 5: 1, 6: 1}, False),
        ({"exact": "drop", "near": Near(threshold=0.85, action="drop")}, {3, 4, 5, 6}, {3: 1, 4: 1, 5: 1, 6: 1}, False),
        ({"exact": "report", "near": Near(threshold=0.85, action="drop")}, {3, 5, 6}, {3: 1, 4: 1, 5: 1, 6: 1}, False),
        ({"exact": "drop", "near": Near(threshold=0.85, action="fail")}, {4, 5}, {3: 1, 4: 1, 5: 1, 6: 1}, True),
        ({"exact": "drop", "near": Near(action="drop")}, {3, 4, 5}, {3: 1, 4: 1, 5: 1}, False),
    ],
)
def test_a_spec_says_what_happens_to_a_duplicate(parameters, dropped, clusters, failed):
    found = exact(NEARLY, **parameters)
    assert (found.dropped, found.clusters, found.failed) == (dropped, clusters, failed)


def test_nothing_fails_without_duplicates():
    assert not exact(["a", "b"], exact="fail", near=Near(action="fail")).failed


def test_a_finding_says_how_alike_rows_are_and_not_what_they_say():
    found = exact(NEARLY, near=Near(threshold=0.85))
    assert [(each.row, each.entity, each.detail) for each in found.findings] == [
        (3, "near", "is nearly the same as row 1, Jaccard 1.00"),
        (4, "exact", "says the same as row 1"),
        (5, "exact", "says the same as row 3"),
        (6, "near", "is nearly the same as row 1, Jaccard 0.90"),
    ]
    assert found.summary == {"exactRows": 2, "nearRows": 2, "clusters": 1}
    assert "model" not in str(found)


def test_a_cluster_is_what_chains_of_rows_connect():
    words = [f"w{number}" for number in range(22)]
    texts = [" ".join(words[:20]), " ".join(words[:22]), " ".join(words[:21])]
    found = exact(texts, near=Near())
    assert [(each.row, each.detail) for each in found.findings] == [
        (2, "is nearly the same as a row that leads to row 1, which it has a Jaccard index of 0.90 with"),
        (3, "is nearly the same as row 1, Jaccard 0.95"),
    ]
    assert found.clusters == {2: 1, 3: 1}


# ------------------------------------------------------------------------------------------------ contamination


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("corpus", CORPORA)
@pytest.mark.parametrize("divided", [False, True])
def test_rows_that_another_data_set_has_are_those_of_comparing_all(monkeypatch, corpus, threshold, divided):
    if divided:
        monkeypatch.setattr(join, "GROUP", 5)
        monkeypatch.setattr(join, "DIVIDING", 0)
    texts = CORPORA[corpus]
    own, other = texts[:200], texts[200:]
    found = similar.matches(rows_of(own), rows_of(other), threshold)
    sets = list(map(defined, other))
    expected = {row for row, text in enumerate(own, 1) if any(alike(defined(text), each, threshold) for each in sets)}
    assert set(found) == expected


def test_an_evaluation_set_does_not_come_back_in_training():
    questions = rows_of([{"question": SENTENCE, "answer": "yes"}, {"question": "why", "answer": "because"}])
    other = {"eval": questions, "more": rows_of(["nothing of it"])}
    rows = rows_of([f"{SENTENCE.upper()}? Yes.", "why not", "Why? Because!"], others=other)
    found = Contamination(against=("eval", "more")).run(rows)
    assert found.findings == tuple(
        Finding("contamination", row, "", "is nearly the same as a row of eval, Jaccard 1.00", "eval") for row in (1, 3)
    )
    assert found.summary == {"eval": 2, "more": 0}
    assert found.dropped == {1, 3}
    assert not found.failed
    reported = Contamination(against=("eval",), action="report").run(rows)
    assert (reported.dropped, reported.failed, len(reported.findings)) == (frozenset(), False, 2)
    failed = Contamination(against=("eval",), action="fail").run(rows)
    assert (failed.dropped, failed.failed) == (frozenset(), True)
    assert not Contamination(against=("more",), action="fail").run(rows).failed


def test_an_empty_evaluation_set_has_nothing():
    rows = rows_of([SENTENCE], others={"eval": rows_of([])})
    assert Contamination(against=("eval",)).run(rows).summary == {"eval": 0}


# ------------------------------------------------------------------------------------------------ real data


def fields_of(file, columns):
    with file.open(encoding="utf-8", newline="") as stream:
        return [{field: row[column] for field, column in columns.items()} for row in csv.DictReader(stream)]


@pytest.mark.skipif(not CHATBOT.exists(), reason="ChatbotData is not at hand")
def test_chatbot_data_has_73_exact_duplicates():
    rows = fields_of(CHATBOT, {"instruction": "Q", "output": "A"})
    found = exact(rows, near=Near())
    assert found.summary["exactRows"] == 73
    texts = [f"{row['instruction']}\n{row['output']}" for row in rows]
    groups = Counter(frozenset(defined(text)) for text in texts)
    # Rows of up to 19 tokens are alike at 0.95 only where their words are the same, and few are longer.
    near = sum(count - 1 for each, count in groups.items() if each)
    assert found.summary["exactRows"] + found.summary["nearRows"] >= near


def test_the_example_has_the_duplicates_that_its_page_names():
    page = (ROOT / "docs/explanation/example-data.md").read_text(encoding="utf-8")
    (exactly,) = re.findall(r"\| exact duplicate \| ([^|]+) \|", page)
    (nearly,) = re.findall(r"\| near-duplicate \| ([^|]+) \|", page)
    rows = [{"instruction": row["question"], "output": row["answer"]} for row in example_rows()]
    found = exact(rows, near=Near())
    pairs = {"exact": re.findall(r"q(\d+) = q(\d+)", exactly), "near": re.findall(r"q(\d+) ~ q(\d+)", nearly)}
    assert len(pairs["exact"]) == 8
    assert len(pairs["near"]) == 6
    for entity, named in pairs.items():
        assert {each.row for each in found.findings if each.entity == entity} == {int(high) for _, high in named}
    lows = {int(high): int(low) for named in pairs.values() for low, high in named}
    assert similar.clusters(rows_of(rows), 0.95) == lows


def test_texts_of_all_parts_of_a_chat_make_it_alike():
    call = '[{"function":{"arguments":{"city":"Seoul"},"name":"weather"}}]'
    other = call.replace("Seoul", "Busan")
    chats = [{"messages": [message("assistant", "let me look", tool_calls=each)]} for each in (call, other, call)]
    batch = rows_of(chats).table.to_batches()[0]
    assert {text for leaf in leaves(batch) for text in leaf.texts.to_pylist()} >= {"Seoul", "Busan"}
    assert exact(chats, near=Near(threshold=0.9)).clusters == {3: 1}
