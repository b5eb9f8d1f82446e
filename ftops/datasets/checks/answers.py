"""What makes an answer no answer: empty, a refusal, a repetition, or another language than the question's.

Rules that are sure rather than complete: each looks at a bounded part of a text, or takes time linear in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from ftops.datasets.checks.scripts import count_letters

_EMPTY: Final = frozenset({
    "", "n/a", "na", "nan", "null", "nil", "tbd", "todo", "undefined", "no answer", "no response", "no output", "empty",
    "없음", "해당없음", "해당 없음", "답변없음", "답변 없음", "내용없음", "내용 없음", "모름", "미정",
})  # fmt: skip
_AROUND: Final = " \t\r\n.,;:!?-–—_*~…·()[]<>{}'\"“”‘’`#。"
PLACEHOLDER: Final = 24
"""No placeholder is longer."""

BEGINNING: Final = 120
"""A refusal is looked for in so many characters: data that talk of refusals do it later."""
_CANNOT: Final = r"(?:can['’]?t|can ?not|could ?n['’]?t|won['’]?t|will not|unable to|not able to|not allowed to|not permitted to|must decline)"
_HELP: Final = (
    r"(?:help|assist|answer|provide|comply|respond|fulfil|generate|create|write|discuss|do (?:that|this)|support|engage|participate|"
    r"access|browse|share|offer|continue|complete|process|perform|see |view |translate|tell you|give you|book|order|make (?:a|any)|schedule|predict)"
)
_MACHINE: Final = r"(?:an? )?(?:ai|artificial intelligence|(?:large )?language model|virtual assistant|chat ?bot)"
_UNABLE: Final = r"(?:수(?:가|는|도)? ?없(?:습니다|어요|네요|는|을|지만)|어렵습니다|어려워요|불가능합니다|불가합니다|못합니다|못해요|않습니다)"
_REFUSAL: Final = re.compile(
    r"[\s\"'“‘*]*(?:"
    rf"(?:i['’]?m|i am) (?:\w+ )?(?:sorry|afraid)\b[^.\n]{{0,60}}?\b{_CANNOT}"
    rf"|(?:(?:i['’]?m |i am )?(?:\w+ )?sorry|unfortunately|my apologies|i apologi[sz]e)\b[^.\n]{{0,20}}\bi (?:am |['’]m )?{_CANNOT}"
    rf"|i(?: am|['’]m)? (?:sorry,? )?{_CANNOT} {_HELP}"
    rf"|(?:i am |i['’]m |as )(?:just |only )?{_MACHINE}\b[^.\n]{{0,80}}?\b(?:{_CANNOT}|do not have|don['’]?t have|do not possess|don['’]?t possess|not capable of)"
    r"|i (?:do not|don['’]?t) (?:have|possess) (?:the (?:ability|capability)|access|real-time|personal (?:opinions|beliefs|feelings|preferences))"
    rf"|(?:정말 |대단히 |매우 )?(?:죄송|미안|유감)[^.\n]{{0,60}}?{_UNABLE}"
    rf"|(?:저는 |제가 )?(?:ai|인공 ?지능|언어 ?모델|대규모 언어|챗봇)[^.\n]{{0,60}}?{_UNABLE}"
    rf"|(?:그|이|해당|말씀하신|요청하신)? ?(?:질문|요청|내용|주제|정보|답변|대답|도움)[^.\n]{{0,25}}(?:답|대답|도와|도움|응|제공|처리|말씀|알려)[^.\n]{{0,12}}{_UNABLE}"
    rf"|(?:도와|알려|답해|답변해|대답해|말씀)[^.\n]{{0,4}}드릴 {_UNABLE}"
    r")",
    re.IGNORECASE,
)
_IGNORANT: Final = re.compile(
    r"\s*(?:(?:sorry,? )?i (?:do not|don['’]?t) know|모르겠(?:습니다|어요|네요)|잘 모르겠(?:습니다|어요|네요))[\s.!]*",
    re.IGNORECASE,
)


def missing_answer(start: str) -> str | None:
    """Why an answer is none, by its first BEGINNING characters; None where it is one."""
    if len(start) <= PLACEHOLDER and start.strip(_AROUND).lower() in _EMPTY:
        return "holds no answer"
    return "begins with a refusal" if _REFUSAL.match(start) or _IGNORANT.fullmatch(start) else None


# ---------------------------------------------------------------------------------------------- repetition

SHARE: Final = 0.5
"""An answer repeats itself where so many of its pieces stood in it before."""
_WORDS: Final = 12
_LETTERS: Final = 40
"""Less is too little to tell."""
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_TIMES: Final = 3


def may_repeat(text: bytes) -> bool:
    """Whether `repeated` could be large: what stands in the middle, or at three quarters, stands there three times.

    Fast, for nearly all texts: who says the same again and again for half of a text says there what was said before.
    """
    if len(text) < _LETTERS:
        return False
    width = min(24, len(text) // 6)
    half, later = len(text) // 2, len(text) * 3 // 4
    return text.count(text[half : half + width]) >= _TIMES or text.count(text[later : later + width]) >= _TIMES


def repeated(text: str) -> float:
    """The share of the pieces of `text` that stood in it before: of three words, or of six characters where there are few words.

    Without code, which repeats itself by its nature. 0 where it is short. After Rae et al. 2021 (Gopher, A1.1: shares of
    repeated n-grams); pages of the web are left out there from 0.18 on, answers are shorter, and so they must repeat more.
    """
    prose = _CODE.sub(" ", text)
    words = prose.split()
    pieces: list[Any]
    if len(words) >= _WORDS:
        pieces = list(zip(words, words[1:], words[2:], strict=False))
    elif len(joined := "".join(words)) >= _LETTERS:
        pieces = [joined[at : at + 6] for at in range(len(joined) - 5)]
    else:
        return 0.0
    return 1 - len(set(pieces)) / len(pieces)


# ------------------------------------------------------------------------------------------------ language

_OURS: Final = 0.1
_THEIRS: Final = 0.8
_FEW: Final = 10
PART: Final = 1000
"""The language of a text is told by so many characters: it takes long to look at, where questions and answers often differ."""
_ASIDE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|<[^<>\n]{1,200}>", re.DOTALL)
_CODE_LINE: Final = re.compile(r"[{}=;|\\_]")
_ADDRESS: Final = re.compile(r"://|@|www\.")
_PROSE: Final = frozenset({
    "the", "is", "are", "was", "of", "to", "and", "in", "you", "it", "that", "for", "with", "this", "can", "le", "la", "les", "des", "est", "et", "un", "une", "der",
    "die", "das", "und", "ist", "nicht", "el", "los", "que", "en", "es", "por", "il", "che", "di", "non", "não", "uma", "em",
})  # fmt: skip
"""Words that prose in Latin letters has, and names, code and formulas have not."""
_ASKS: Final = re.compile(
    r"translat|language|korean|english|chinese|japanese|russian|arabic|french|german|spanish|hindi|hangul|kanji|"
    r"번역|통역|옮겨|옮기|언어|영어|영문|영작|국어|한글|한자|중국|일본|일어|러시아|아랍|프랑스|불어|독일|독어|스페인|로마자|외국어|"
    r"翻译|翻譯|翻訳|英文|英语|英語|日语|日本語|中文|汉语|韩语|韓国語|перев|язык|английск",
    re.IGNORECASE,
)
_JOINT: Final = frozenset({"Han", "Kana"})

LANGUAGES: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(("ko", "kor", "korean"), frozenset({"Hangul"})),
    **dict.fromkeys(("ja", "jpn", "japanese"), _JOINT),
    **dict.fromkeys(("zh", "zho", "chi", "chinese"), frozenset({"Han"})),
    **dict.fromkeys(("ru", "rus", "uk", "bg", "russian"), frozenset({"Cyrillic"})),
    **dict.fromkeys(("ar", "ara", "fa", "ur", "arabic"), frozenset({"Arabic"})),
    **dict.fromkeys(("hi", "bn", "ta", "te", "mr", "hindi"), frozenset({"Indic"})),
    **dict.fromkeys(
        ("en", "eng", "english", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "vi", "id", "cs", "ro", "fi", "da", "no"),
        frozenset({"Latin"}),
    ),
}  # fmt: skip
"""The scripts of languages, by ISO 639 code and some names."""


def asks_for_language(question: str) -> bool:
    """Whether a question speaks of languages: then an answer in another one may be meant."""
    return _ASKS.search(question, 0, PART) is not None


def foreign_writing(question: str, answer: str) -> str | None:
    """The writing of an answer in which the question is not: nearly all of the answer is in it, nearly nothing of the question."""
    writing = None if asks_for_language(question) else _prose_writing(answer)
    if writing is None:
        return None
    counts = count_letters(_prose(question))
    asked = sum(counts.values())
    together = _JOINT if writing in _JOINT else {writing}
    return writing if asked and sum(counts[each] for each in together) <= _OURS * asked else None


def unexpected_writing(question: str, answer: str, expected: Collection[str]) -> str | None:
    """The writing of an answer that should be in one of `expected`, unless the question asks for another."""
    writing = _prose_writing(answer)
    return None if writing is None or writing in expected or asks_for_language(question) else writing


def _prose_writing(answer: str) -> str | None:
    """The writing of nearly all of an answer, None where it is mixed, short, or no prose."""
    prose = _prose(answer)
    counts = count_letters(prose)
    writing, count = max(counts.items(), key=lambda each: each[1])
    if count < max(_FEW, _THEIRS * sum(counts.values())):
        return None
    return (
        None if writing == "Latin" and len([word for word in prose.lower().split() if word in _PROSE]) < 3 else writing
    )


def _prose(text: str) -> str:
    """`text` without code, marks and addresses, which are in no language."""
    lines = _ASIDE.sub(" ", text[:PART]).splitlines()
    prose = " ".join(line for line in lines if not _CODE_LINE.search(line))
    if not _ADDRESS.search(prose):
        return prose
    return " ".join(word for word in prose.split() if not _ADDRESS.search(word))
