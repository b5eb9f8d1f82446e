"""Reads the plainest YAML quickly: nothing but keys, dashes and short scalars, each in its own line.

Reading records takes most of the time of a plan. Lines of the form that `records.dump` gives them are read here without
libyaml and PyYAML's constructor, four times as fast; what is of any other form is left to PyYAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from ftops.digests import Json

# A scalar stands here only when YAML 1.1 surely reads it so.
_KEY: Final = r"(?:[A-Za-z/][-\w./=+@]{0,127}+|(?=[0-9b]*[ac-f])[0-9a-f]{40}(?:[0-9a-f]{24})?)"
_QUOTED: Final = r"'[ -&(-~]{0,127}'"
_NUMBER: Final = r"-?(?:0|[1-9]\d{0,17}+)(?:\.\d{1,20}+(?:e[-+]\d{1,2})?)?"
_PHRASE: Final = r"[A-Za-z][-\w./=+@,%();]*+(?: (?=[-\w./=+@%(;])[-\w./=+@,%();]++)*+"
_MASKED: Final = r"<[A-Z_]{1,40}>|\d[-\d]{0,20}\*[-\d*]{0,40}"
_VERSION: Final = r"\d{1,9}\.\d{1,9}\.\d{1,9}"
_LINE: Final = re.compile(
    rf"^( {{0,40}})(- )?(?:({_KEY}|{_QUOTED}):(?= |$))?"
    rf"(?: ?(?:({_NUMBER})|({_KEY}(?::[-\w./=+@]++)*+|{_QUOTED}|{_VERSION}|{_PHRASE}|{_MASKED})|({{}}|\[\])))?$",
    re.MULTILINE | re.ASCII,
)
_WORDS: Final[Mapping[str, Json]] = {"true": True, "false": False, "null": None}
_OTHER_WORDS: Final = frozenset({"yes", "no", "on", "off", *_WORDS})
_LONGEST_WORD: Final = max(map(len, _OTHER_WORDS))
_Lines = list[tuple[str, str, str, str, str, str]]
"""Indentation, dash, key, number, text, empty collection; each "" where it is absent."""


def simple_tree(text: bytes) -> dict[str, Json] | None:
    """The tree of a text of this form; None of any other. None is no error: PyYAML may well read it."""
    body = text.decode("utf-8", "replace")
    lines: _Lines = _LINE.findall(body)
    if not body.endswith("\n") or len(lines) != body.count("\n") + 1:
        return None
    lines.pop()  # what stands after the last end of line: nothing
    try:
        tree, end = _mapping(lines, 0, 0)
    except (ValueError, IndexError):
        return None
    return tree if lines and end == len(lines) else None


def _mapping(lines: _Lines, at: int, indent: int) -> tuple[dict[str, Json], int]:
    """The mapping that begins in line `at`, and the line after it. Raises ValueError or IndexError for another form."""
    tree: dict[str, Json] = {}
    while at < len(lines):
        spaces, dash, key, number, text, empty = lines[at]
        if dash or len(spaces) != indent:
            break
        at += 1
        if key in _WORDS:
            raise ValueError(key)
        name = _name(key)
        if number or text or empty:
            tree[name] = _scalar(number, text, empty)
        elif lines[at][1] and len(lines[at][0]) == indent:
            tree[name], at = _list(lines, at, indent)
        elif not lines[at][1] and len(lines[at][0]) == indent + 2:
            tree[name], at = _mapping(lines, at, indent + 2)
        else:
            raise ValueError(key)
    return tree, at


def _list(lines: _Lines, at: int, indent: int) -> tuple[list[Json], int]:
    items: list[Json] = []
    while at < len(lines) and lines[at][1] and len(lines[at][0]) == indent:
        spaces, _, key, number, text, empty = lines[at]
        if key:
            lines[at] = (spaces + "  ", "", key, number, text, empty)
            item, at = _mapping(lines, at, indent + 2)
        else:
            item, at = _scalar(number, text, empty), at + 1
        items.append(item)
    return items, at


def _scalar(number: str, text: str, empty: str) -> Json:
    if number:
        return float(number) if "." in number else int(number)
    if empty:
        return {} if empty == "{}" else []
    return _text(text)


def _text(text: str) -> Json:
    """A text, true, false or null; raises ValueError for what YAML 1.1 may take for one of these, and for nothing."""
    if len(text) > _LONGEST_WORD and text[0] != "'":
        return text  # most are
    if text.startswith("'"):
        return text[1:-1]
    if text in _WORDS:
        return _WORDS[text]
    if not text or text.lower() in _OTHER_WORDS:
        raise ValueError(text)
    return text


_name: Final = lru_cache(maxsize=1024)(_text)  # records have few keys, each many times
