"""Laws of personal data: masking ends it, places are true, and what is found doesn't depend on what stands around it."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ftops.datasets.checks.pii import Pii, candidates
from ftops.datasets.checks.rows import TableRows
from ftops.datasets.pii import ENTITIES, find, masked

DIGITS = st.text("0123456789", min_size=1, max_size=8)
KNOWN = st.sampled_from([
    "a@b.com", "kim.x@mail.example.co.kr", "010-1234-5678", "01012345678", "+82 10 1234 5678", "02)123-4567", "+1 202 555 0123",
    "900101-1234567", "9001011234567", "900101-5234567", "123-45-67891", "1234567891", "4111111111111111", "4111 1111 1111 1111",
    "378282246310005", "M12345678", "M123A4567", "11-22-333333-44", "112233333344", "110-123-456789", "12345678901", "1588-1234",
    "０１０－１２３４－５６７８", "ａ＠ｂ．ｃｏｍ", "010–1234–5678", "1732291200", "550e8400-e29b-41d4-a716-446655440000",
])  # fmt: skip
WORD = st.sampled_from([
    "전화", "주민번호", "카드", "여권", "면허", "계좌", "사업자", "passport", "account number", "call", "서울", "x", "은", "입니다",
])  # fmt: skip
MARK = st.sampled_from([
    "", " ", "-", ".", ", ", " - ", "(", ")", "+", "00", "0", "@", "*", "**", "-*", "\n", "\n\n", "/", "…", "①", "²", "\u200b", "é", "원",
])  # fmt: skip
CROWDED = st.lists(st.one_of(KNOWN, DIGITS, WORD, MARK), max_size=14).map("".join)
TEXT = st.one_of(CROWDED, st.text(max_size=60))
SOME = st.frozensets(st.sampled_from(ENTITIES))


@given(TEXT, SOME)
@settings(max_examples=1500, deadline=None)
@example("계좌 1234567 010 1234 5678", frozenset(ENTITIES))
def test_masking_leaves_nothing_and_does_nothing_twice(text: str, entities: frozenset[str]) -> None:
    once = masked(text, find(text, entities), entities)
    assert find(once, entities) == []
    assert masked(once, find(once, entities), entities) == once


@given(TEXT, SOME)
@settings(max_examples=500, deadline=None)
def test_what_is_found_is_in_order_apart_and_of_what_was_asked_for(text: str, entities: frozenset[str]) -> None:
    hits = find(text, entities)
    assert all(0 <= hit.start < hit.end <= len(text) and hit.entity in entities for hit in hits)
    assert all(one.end <= other.start for one, other in pairwise(hits))
    assert hits == [hit for hit in find(text) if hit.entity in entities]


@given(CROWDED)
@settings(max_examples=500, deadline=None)
def test_a_place_holds_the_number_and_nothing_else(text: str) -> None:
    for hit in find(text):
        there = unicodedata.normalize("NFKC", text[hit.start : hit.end])
        assert there[0].isalnum() or there[0] in "+(_%"
        assert there[-1].isalnum()
        if hit.entity == "email":
            assert "@" in there
            assert hit.masked == "<EMAIL>"
        else:
            assert sum(letter.isdigit() for letter in there) >= 7
            assert len(hit.masked) == hit.end - hit.start
            assert sum(letter.isdigit() for letter in hit.masked) <= 8, "a country, an area and no more"


@given(TEXT, TEXT)
@settings(max_examples=500, deadline=None)
def test_paragraphs_are_looked_at_each_for_itself(one: str, other: str) -> None:
    between = "\n\n"
    moved = len(one) + len(between)
    apart = find(one) + [hit._replace(start=hit.start + moved, end=hit.end + moved) for hit in find(other)]
    assert find(one + between + other) == apart


@given(st.lists(TEXT, max_size=8), st.integers(0, 3))
@settings(max_examples=500, deadline=None)
def test_no_text_is_passed_over_that_holds_something(texts: list[str], skipped: int) -> None:
    column = pa.array(texts, pa.large_string())[skipped:]
    looked_at = candidates(column).tolist()
    assert looked_at == sorted(set(looked_at))
    assert {index for index, text in enumerate(texts[skipped:]) if find(text)} <= set(looked_at)


@given(st.lists(TEXT, min_size=1, max_size=6), st.lists(TEXT, min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_row_is_looked_at_for_itself(one: list[str], other: list[str]) -> None:
    def found(texts: list[str], first: int) -> list[object]:
        rows = pa.table(
            {"row": pa.array(range(first, first + len(texts)), pa.int64()), "text": pa.array(texts, pa.large_string())}
        )
        return list(Pii().run(TableRows(rows)).findings)

    assert found(one + other, 1) == found(one, 1) + found(other, 1 + len(one))
