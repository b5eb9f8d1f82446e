"""Text that is safe to show: control characters, secrets and lengths."""

from __future__ import annotations

import json
import re
from typing import Final

from ftops.digests import Json

LONGEST: Final = 100
"""A longer value is cut in text that people read."""


# Control characters start escape sequences; the marks of direction make a line read other than it is; half a surrogate
# pair cannot be written at all.
_ACTIVE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_USER_INFO: Final = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_DIGEST: Final = re.compile(r"\b((?:sha256:|md5:)?[0-9a-f]{12})[0-9a-f]{20,}\b")


def clean(text: str, *, lines: bool = False) -> str:
    """`text` with what could act on a terminal written as an escape, and user and password of a URI masked; line ends
    stay where `lines`."""
    masked = mask(text)
    return _ACTIVE.sub(lambda match: match[0] if lines and match[0] == "\n" else escape(match[0]), masked)


def escape(character: str) -> str:
    r"""A character as JSON writes it: `\n`, `\u001b`."""
    return json.dumps(character)[1:-1] if character < " " else f"\\u{ord(character):04x}"


def mask(text: str) -> str:
    """`text` without the user and password of its URIs."""
    return _USER_INFO.sub("***@", text)


def masked(value: Json) -> Json:
    """`mask` for every text of a tree."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {mask(key): masked(each) for key, each in value.items()}
        case list() | tuple():
            return [masked(each) for each in value]
        case _:
            return value


def shown(value: Json) -> str:
    """A value as a reason shows it: short, in one line, digests by their first twelve digits."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = _DIGEST.sub(r"\1…", clean(text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
