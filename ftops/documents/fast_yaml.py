"""Reads quickly the YAML that ftops writes: block style, with each entry in its own line or folded as PyYAML folds it.

Reading records takes most of the time of a plan. Text of the form that PyYAML's dumper gives without aliases is read
here without libyaml and PyYAML's constructor, several times as fast; what is of any other form is left to PyYAML.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final

import yaml

from ftops.digests import Json

# YAML's printable characters without those that it takes for blanks or line breaks.
_OTHER: Final = r"\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
# No number is so large that it would become infinite, which JSON hasn't got.
_NUMBER: Final = r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,20}(?:e(?:\+\d{1,2}|-\d{1,3}))?)?(?=\n)"

# Where a folded scalar goes on: below its key or its dash, two columns to the right; never at a blank.
_INDENT: Final = r"\1(?(2)  )(?(3)  )(?(4)  )(?(5)  )(?![ \n])"

# A plain scalar ends at a colon or before a hash sign beside a blank; no indicator of YAML begins one.
_FIRST: Final = rf"(?!---|\.\.\.)(?:[$()+./0-9;<=A-Z\\^_a-z~{_OTHER}]|[-:?](?=[!-~{_OTHER}]))"
_WORD: Final = rf"[!\"$-9;-~{_OTHER}]"
_INSIDE: Final = r":(?![ \n])|(?<! )#"
_PLAIN: Final = rf"(?:{_WORD}++|{_INSIDE}| ++(?![#\n]))"
_TEXT: Final = rf"{_FIRST}{_PLAIN}*+(?:\n{_INDENT}{_PLAIN}++)*+"

_ESCAPE: Final = r"\\(?:[0abtnvfre \"\\N_LP]|x[\dA-F]{2}|u(?!D[89A-F])[\dA-F]{4}|U(?:000[1-9A-F]|0010)[\dA-F]{4})"
_SINGLE: Final = rf"(?:[!-&(-~{_OTHER}]++|''| ++(?!\n))*+"
_DOUBLE: Final = rf"(?:[!#-\[\]-~{_OTHER}]++|{_ESCAPE}| ++(?!\n))*+"
_QUOTED: Final = rf"'{_SINGLE}(?:\n++{_INDENT}{_SINGLE})*+'|\"{_DOUBLE}(?:\n{_INDENT}{_DOUBLE})*+\""

# A key stands in one line, and is shorter than YAML allows at most.
_KEY: Final = (
    rf"{_FIRST}(?:{_WORD}|{_INSIDE}| (?![ #\n]|:[ \n])){{0,127}}+"
    rf"|'(?:[ -&(-~{_OTHER}]|''){{0,127}}+'|\"(?:[ !#-\[\]-~{_OTHER}]|{_ESCAPE}){{0,99}}+\""
)
_ENTRY: Final = re.compile(
    rf"((?:  ){{0,20}}+)(- )?+(- )?+(- )?+(?:({_KEY}):(?=[ \n]))?+"
    rf"(?:(?(5) )(?:({_NUMBER})|({_TEXT}|{_QUOTED}|{{}}|\[\])(?=\n)))?+\n"
    r"|[\s\S]++",  # of another form: an entry without a key and a dash, which nothing below takes
    re.ASCII,
)
_FOLD: Final = re.compile(r"\n(\n*) *")
_ESCAPED: Final = re.compile(r"\\(?:x(..)|u(....)|U(.{8})|(.))")
_ESCAPES: Final = dict(zip('0abtnvfre "\\N_LP', '\0\a\b\t\n\v\f\r\x1b "\\\x85\xa0\u2028\u2029', strict=True))
_WORDS: Final[Mapping[str, Json]] = {"true": True, "false": False, "null": None}
_RESOLVERS: Final[Mapping[str, list[tuple[str, re.Pattern[str]]]]] = yaml.CSafeLoader.yaml_implicit_resolvers
"""By a plain scalar's first character, what PyYAML may read it as instead of text; nothing, what is empty."""

_Entries = list[tuple[str, str, str, str, str, str, str]]
"""Indentation, three dashes, key, number, any other scalar; each "" where it is absent."""


def simple_tree(text: bytes) -> dict[str, Json] | None:
    """The tree of a text of this form; None of any other. None is no error: PyYAML may well read it."""
    try:
        entries: _Entries = _ENTRY.findall(text.decode())
        tree, end = _mapping(entries, 0, 0)
    except (ValueError, IndexError):
        return None
    return tree if entries and end == len(entries) else None


def _mapping(entries: _Entries, at: int, indent: int) -> tuple[dict[str, Json], int]:
    """The mapping that begins at entry `at`, and the entry after it. Raises ValueError or IndexError for another form."""
    tree: dict[str, Json] = {}
    while at < len(entries):
        spaces, dash, _, _, key, number, text = entries[at]
        if dash or len(spaces) != indent:
            break
        at += 1
        name = _text(key)
        if number or text:
            tree[name] = _scalar(number, text)
        elif entries[at][1] and len(entries[at][0]) == indent:
            tree[name], at = _list(entries, at, indent)
        elif not entries[at][1] and len(entries[at][0]) == indent + 2:
            tree[name], at = _mapping(entries, at, indent + 2)
        else:
            raise ValueError(key)
    return tree, at


def _list(entries: _Entries, at: int, indent: int) -> tuple[list[Json], int]:
    """The list that begins at entry `at`, and the entry after it; raises as `_mapping` does."""
    items: list[Json] = []
    while at < len(entries) and entries[at][1] and len(entries[at][0]) == indent:
        spaces, _, inner, innermost, key, number, text = entries[at]
        item: Json
        if inner or key:
            entries[at] = (spaces + "  ", inner, innermost, "", key, number, text)
            item, at = (_list if inner else _mapping)(entries, at, indent + 2)
        else:
            item, at = _scalar(number, text), at + 1
        items.append(item)
    return items, at


def _scalar(number: str, text: str) -> Json:
    if number:
        return float(number) if "." in number else int(number)
    if text in _WORDS:
        return _WORDS[text]
    if text == "{}":
        return {}
    return [] if text == "[]" else _text(text)


@functools.lru_cache(2048)  # keys, digests and words come again and again, in one record and the next
def _text(text: str) -> str:
    """What a scalar says; raises ValueError where it is not a text, or nothing."""
    if "\n" in text:
        text = _FOLD.sub(lambda fold: fold[1] or " ", text)
    if text[:1] == "'":
        return text[1:-1].replace("''", "'")
    if text[:1] == '"':
        return _ESCAPED.sub(_unescaped, text[1:-1])
    for _, other in _RESOLVERS.get(text[:1], ()):
        if other.match(text):
            raise ValueError(text)
    return text


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _ESCAPES[escape[4]]
