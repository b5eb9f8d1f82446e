"""The quality score: what each component finds, what it leaves alone, and how they add up."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftops.datasets.checks.answers import foreign_writing, may_repeat, missing_answer, repeated, unexpected_writing
from ftops.datasets.checks.quality import WEIGHTS, Quality
from ftops.datasets.checks.rows import STRATUM, TableRows, message_type
from ftops.datasets.checks.scripts import SCRIPTS, SEEN, count_letters, letters, main_script
from ftops.datasets.finding import Finding
from ftops.errors import SpecError
from tests.support.example import example_rows

RAN = ("pii", "duplicates")


def rows(*pairs, checked=RAN, found=(), **more):
    columns = {"row": pa.array(range(1, len(pairs) + 1), pa.int64())}
    for place, name in enumerate(("instruction", "output")):
        columns[name] = pa.array([pair[place] for pair in pairs], pa.large_string())
    return TableRows(pa.table({**columns, **more}), found=tuple(found), checked=checked)


def chats(*conversations, **more):
    turns = [
        [
            {"role": role, "content": content, "name": None, "tool_call_id": None, "tool_calls": None}
            for role, content in each
        ]
        for each in conversations
    ]
    columns = {
        "row": pa.array(range(1, len(turns) + 1), pa.int64()),
        "messages": pa.array(turns, pa.large_list(message_type())),
    }
    return TableRows(pa.table({**columns, **more}), checked=RAN)


def found(result):
    return [(each.row, each.field, each.entity) for each in result.findings]


# ------------------------------------------------------------------------------------------------ the score


def test_weights_add_up():
    assert sum(WEIGHTS.values()) == pytest.approx(1)


def test_the_score_is_the_weighted_mean_of_what_is_sound():
    before = [
        Finding("pii", 1, "output", "x"),
        Finding("pii", 1, "output", "x"),
        Finding("duplicates", 2, "", "x"),
        Finding("lengths", 2, "", "x"),
    ]
    given = rows(("What is it?", "A thing."), ("And that?", "N/A"), ("a?", "b b"), ("c?", "d d"), found=before)
    result = Quality().run(given)
    parts = result.summary["components"]
    assert {name: each["rows"] for name, each in parts.items()} == {
        "pii": 1, "duplicates": 1, "answers": 1, "format": 0, "length": 1, "language": 0, "repetition": 0,
    }  # fmt: skip
    assert parts["pii"] == {"weight": 0.2, "value": 0.75, "rows": 1}
    assert result.summary["score"] == pytest.approx(1 - 0.25 * (0.2 + 0.2 + 0.15 + 0.1))


def test_rows_that_never_came_here_count():
    class Reading(TableRows):
        read = 10

    table = rows(("a?", "b b")).table
    before = tuple(Finding("format", row, "", "is empty") for row in range(2, 10))
    result = Quality().run(Reading(table, found=before, checked=RAN))
    assert result.summary["components"]["format"] == {"weight": 0.15, "value": pytest.approx(0.2), "rows": 8}


@pytest.mark.parametrize(("action", "failed"), [("warn", False), ("fail", True)])
def test_a_low_score_fails_where_it_shall(action, failed):
    poor = rows(("a?", "N/A"))
    assert Quality(min_score=0.9, action=action).run(poor).failed is failed
    assert not Quality(min_score=0.5, action=action).run(poor).failed


def test_what_was_not_checked_is_no_part_of_the_score():
    result = Quality().run(rows(("a?", "N/A"), checked=("pii",)))
    assert result.summary["leftOut"] == ["duplicates"]
    assert "duplicates" not in result.summary["components"]
    assert result.summary["score"] == pytest.approx(1 - 0.15 / 0.8, abs=1e-6)


def test_weights_of_ones_own():
    assert Quality(weights={"answers": 1.0}).run(rows(("a?", "N/A"))).summary["score"] == pytest.approx(
        1 - 1 / 1.85, abs=1e-6
    )
    assert "answers" not in Quality(weights={"answers": 0}).run(rows(("a?", "N/A"))).summary["components"]
    with pytest.raises(SpecError, match="no component has a weight"):
        Quality(weights=dict.fromkeys(WEIGHTS, 0)).run(rows(("a?", "b")))


def test_no_rows_are_no_bad_rows():
    assert Quality().run(rows()).summary["score"] == 1


# -------------------------------------------------------------------------------------------- the example


def test_the_planted_faults_of_the_example_are_found_and_nothing_else():
    lines = example_rows()
    tags = pa.array([line["language"] for line in lines], pa.large_string())
    given = rows(*((line["question"], line["answer"]) for line in lines), **{STRATUM: tags})
    assert found(Quality().run(given)) == [
        (37, "output", "answers"), (81, "output", "language"), (320, "output", "repetition"), (339, "output", "answers"),
        (471, "output", "answers"), (471, "output", "length"), (549, "output", "answers"),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("text", [
    "", ".", "...", "N/A", "n/a.", " - ", "없음", "(없음)", "해당 없음.", "TODO",
    "I cannot help with that.", "I can't assist with this request.", "I’m sorry, but I can’t do that.", "I'm really sorry, but I am unable to provide it.",
    "Sorry, I can't answer this.", "Unfortunately, I cannot open links.", "As an AI language model, I don't have personal opinions.",
    "I'm just an AI, so I am not able to feel.", "I don't have access to the internet.", "I don't know.", "\n\"I'm sorry, but I won't write that.\"",
    "죄송하지만 그 질문에는 답할 수 없습니다.", "죄송합니다만, 도와드릴 수 없습니다.", "미안하지만 알려드리기 어렵습니다.", "저는 AI라서 그런 일은 할 수 없어요.",
    "인공지능 모델로서 개인적인 의견을 드릴 수 없습니다.", "그 질문에는 답변해 드릴 수 없습니다.", "도와드릴 수 없습니다.", "잘 모르겠어요.",
])  # fmt: skip
def test_no_answers(text):
    assert missing_answer(text) is not None


@pytest.mark.parametrize("text", [
    "네", "A", "4", "None", "No.", "I can help with that.", "Sorry to hear that! Try a warm drink.", "I cannot wait to see you.",
    "You cannot divide by zero.", "I'm sorry for the delay; your parcel is on its way.", "The model cannot see the test set.",
    "미안해하지 않아도 돼요.", "미안하지만 확실한 표현을 전하는게 좋겠어요.", "저는 위로해드리는 로봇이에요.", "모르는 게 당연해요.", "없어요. 일시적인 감정이에요.",
    "저는 고민이 없어요.", "질문이 좋네요. 답은 3입니다.", "AI는 컴퓨터가 배우는 기술입니다.", "I don't know much about him, but the book is from 1905.",
])  # fmt: skip
def test_answers_that_only_look_like_none(text):
    assert missing_answer(text) is None


# ---------------------------------------------------------------------------------------------- repetition


@pytest.mark.parametrize("text", [
    "the loss " * 16, "네 " * 30, "아니요 그렇지 않습니다. " * 5, "ㅋ" * 60, "我喜欢你" * 15, "Right. " * 20,
    "First the model is loaded, then it learns what we show it. " + "and again and again " * 12,
])  # fmt: skip
def test_repetition(text):
    assert may_repeat(text.encode())
    assert repeated(text) > 0.5
    assert found(Quality().run(rows(("1 + 1 = ?", text)))) == [(1, "output", "repetition")]


@pytest.mark.parametrize("text", [
    "no no no", "하하하하", "Yes, yes, yes: do it now, and do it well.", "```\n" + "x = 1\n" * 50 + "```",
    "One fish, two fish, red fish, blue fish. Black fish, blue fish, old fish, new fish. This one has a little star.",
    "| a | 1 |\n| b | 2 |\n| c | 3 |\n| d | 4 |\n| e | 5 |\n| f | 6 |",
])  # fmt: skip
def test_what_repeats_a_little(text):
    assert found(Quality().run(rows(("Why is it so, and what follows from it?", text)))) == []


@given(st.text("abc 가나", min_size=3, max_size=20), st.integers(12, 40), st.text(max_size=40))
def test_the_quick_look_misses_no_loop(word, times, before):
    text = before + f"{word} " * times
    if repeated(text) > 0.5 and len((f"{word} " * times).encode()) >= 0.6 * len(text.encode()):
        assert may_repeat(text.encode())


# ------------------------------------------------------------------------------------------------ language

KOREAN = "커밋은 바뀐 내용을 한 번에 묶어 기록한 것입니다."
ENGLISH = "A commit is a record of the changes that you made to it."


@pytest.mark.parametrize(("question", "answer", "writing"), [
    ("What is a commit?", KOREAN, "Hangul"), ("커밋이 무엇인가요?", ENGLISH, "Latin"), ("커밋이 무엇인가요?", KOREAN, None),
    ("Что такое коммит в системе?", ENGLISH, "Latin"), ("What is a commit?", "コミットとは変更をまとめた記録のことです。", "Kana"),
    ("Translate to Korean: what is a commit?", KOREAN, None), ("Say it in Korean: a commit.", KOREAN, None), ("영어로 뭐라고 해요?", ENGLISH, None),
    ("이 문장을 번역해 줘: 커밋", ENGLISH, None), ("LoRA가 뭔가요?", "Low-Rank Adaptation, LoRA", None),
    ("설정의 예를 보여 주세요.", "learning_rate: 2.0e-4\nnum_epochs: 1\n", None), ("반복문을 보여 주세요.", "```\nfor each of the rows in it: is that the one\n```", None),
    ("漢字について", "これはひらがなだけのぶんしょうです。", None), ("1 + 1 = ?", KOREAN, None), ("Who wrote it?", "김철수", None),
])  # fmt: skip
def test_answers_in_another_writing_than_their_question(question, answer, writing):
    assert foreign_writing(question, answer) == writing
    expected = [(1, "output", "language")] if writing else []
    assert found(Quality().run(rows((question, answer)))) == expected


def test_japanese_mixes_two_writings():
    assert (
        foreign_writing(
            "学習率とは何ですか。教えてください。", "学習率は一回の更新で重みをどれだけ動かすかを決める値です。"
        )
        is None
    )


@pytest.mark.parametrize(
    ("tag", "answer", "wrong"),
    [
        ("en", KOREAN, True),
        ("ko", KOREAN, False),
        ("ko-KR", ENGLISH, True),
        ("en", ENGLISH, False),
        ("lora", KOREAN, False),
        (None, KOREAN, False),
    ],
)
def test_answers_in_another_language_than_their_row_is_tagged_with(tag, answer, wrong):
    question = "이것은 무엇인가요?" if answer is KOREAN else "What is this thing?"
    result = Quality().run(rows((question, answer), **{STRATUM: pa.array([tag], pa.large_string())}))
    assert [each.detail for each in result.findings] == (
        [f"is written in {'Hangul' if answer is KOREAN else 'Latin'}, unlike the language of the row"] if wrong else []
    )
    assert unexpected_writing("", KOREAN, {"Hangul"}) is None


@given(st.text(max_size=SEEN))
def test_writings_of_columns_are_those_of_each_text(text):
    exact = count_letters(text)
    quick = letters(pa.array([text], pa.large_string()))[0]
    # The column's count takes blocks of 64 code points as a whole, so it may count a few signs beside the letters.
    assert all(
        int(quick[index]) >= exact[name] for index, name in enumerate(SCRIPTS) if name in ("Latin", "Hangul", "Kana")
    )


@given(st.lists(st.text("abc가나漢字かなприעв ไท123.,", max_size=300), min_size=1, max_size=20), st.integers(0, 19))
def test_writings_of_a_slice_are_those_of_its_texts(texts, first):
    column = pa.array(texts, pa.large_string())
    whole = letters(column)
    assert (letters(column.slice(first)) == whole[first:]).all()
    for text, counts in zip(texts, whole, strict=True):
        assert dict(zip(SCRIPTS, counts.tolist(), strict=True)) == count_letters(text[:SEEN])
    assert [int(each) < 0 for each in main_script(whole.T)] == [
        not any(count_letters(text[:SEEN]).values()) for text in texts
    ]


# --------------------------------------------------------------------------------------------- other shapes


def test_chats_are_looked_at_message_by_message():
    given = chats(
        [("system", "."), ("user", "What is a commit?"), ("assistant", ENGLISH), ("user", "And a branch?"), ("assistant", "I cannot help with that.")],
        [("user", "What is a commit?"), ("assistant", KOREAN)],
        [("user", "?"), ("assistant", "It is one of those things.")],
    )  # fmt: skip
    assert found(Quality().run(given)) == [
        (1, "messages[4].content", "answers"), (2, "messages[1].content", "language"), (3, "messages[0].content", "length"),
    ]  # fmt: skip


def test_a_call_is_no_empty_answer():
    call = {"role": "assistant", "content": "", "name": None, "tool_call_id": None, "tool_calls": "[{}]"}
    asked = {"role": "user", "content": "What is the time?", "name": None, "tool_call_id": None, "tool_calls": None}
    table = pa.table(
        {"row": pa.array([1], pa.int64()), "messages": pa.array([[asked, call]], pa.large_list(message_type()))}
    )
    assert found(Quality().run(TableRows(table, checked=RAN))) == []


def test_of_preferences_the_chosen_answer_counts():
    given = chats(
        [("user", "What is a commit?")],
        chosen=pa.array(["I cannot help with that."], pa.large_string()), rejected=pa.array(["."], pa.large_string()),
    )  # fmt: skip
    assert found(Quality().run(given)) == [(1, "chosen", "answers"), (1, "rejected", "length")]


def test_plain_text_answers_nothing():
    table = pa.table(
        {"row": pa.array([1, 2], pa.int64()), "text": pa.array(["N/A", "the loss " * 20], pa.large_string())}
    )
    result = Quality().run(TableRows(table, checked=RAN))
    assert result.summary["leftOut"] == ["language", "answers"]
    assert found(result) == [(2, "text", "repetition")]


# -------------------------------------------------------------------------------------------- laws and limits


PAIRS = st.tuples(
    st.sampled_from(["What is a commit?", "커밋이 무엇인가요?", "?", "1 + 1"]),
    st.sampled_from([ENGLISH, KOREAN, ".", "N/A", "the loss " * 16, "I cannot help with that.", "2"]),
)


@given(st.lists(PAIRS, max_size=12), st.lists(PAIRS, max_size=12))
def test_a_concatenation_has_the_findings_of_its_parts(first, second):
    def flat(pairs, offset=0):
        return [(each.row + offset, each.field, each.entity) for each in Quality().run(rows(*pairs)).findings]

    assert flat([*first, *second]) == flat(first) + flat(second, len(first))


HOSTILE = ("I", "sorry ", "죄송", "a b ", "{", "www.", "`", "<")


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_hostile_texts_and_no_faster(piece):
    def seconds(size):
        text = piece * (size // len(piece))
        start = time.process_time()
        Quality().run(rows(("무엇인가요?", text), (text, KOREAN)))
        return time.process_time() - start

    seconds(1000)
    short, long = min(seconds(50_000) for _ in range(3)), seconds(400_000)
    assert long < 24 * max(short, 0.01), f"8 times the text took {long / short:.0f} times as long"


def test_findings_hold_no_text():
    secret = "내 비밀번호는 호랑이입니다. " * 20
    result = Quality().run(rows(("What is it?", secret)))
    assert result.findings
    assert "호랑이" not in repr(result.findings)
