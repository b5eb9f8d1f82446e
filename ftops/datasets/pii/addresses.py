"""E-mail addresses, as RFC 5321 bounds them (64 characters before the @, 63 in a label) and as people write them.

Only ASCII: what follows an address directly in Korean is a particle and no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Final

from ftops.datasets.pii.match import VALIDATED, Candidate
from ftops.datasets.pii.normalize import Scan

_LOCAL: Final = ascii_letters + digits + "._%+-"
_LONGEST: Final = 64
_DOMAIN: Final = re.compile(
    r"@((?:[A-Za-z0-9][A-Za-z0-9\-]{0,62}\.){1,8})(xn--[A-Za-z0-9]{2,59}|[A-Za-z]{2,24})(?![A-Za-z0-9_])"
)
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.")
_FILES: Final = frozenset(
    ["bmp", "css", "gif", "html", "ico", "jpeg", "jpg", "js", "json", "pdf", "png", "svg", "txt", "webp", "xml"]
)
"""No top-level domains: `icon@2x.png` is a picture."""
_CALL: Final = 5
"""`q@k.transpose(` multiplies matrices. So long a name with a parenthesis after it is taken for a method, `com(` is not."""


def find(scanned: Scan) -> Iterator[Candidate]:
    """Addresses with a domain of two labels or more."""
    text = scanned.text
    if "@" not in text:
        return
    ended = 0
    for domain in _DOMAIN.finditer(text):
        at, end = domain.span()
        before = text[max(ended, at - _LONGEST - 1) : at]
        local = before[len(before.rstrip(_LOCAL)) :].rpartition("..")[2].lstrip(".-")
        if not local or len(local) > _LONGEST or local.endswith(".") or _is_other(local, domain, text[end : end + 1]):
            continue
        yield Candidate("email", at - len(local), end, VALIDATED)
        ended = end


def _is_other(local: str, domain: re.Match[str], following: str) -> bool:
    """Whether it is a picture's name, a package with its version, a git remote, or a product of matrices."""
    top = domain[2].lower()
    return (
        top in _FILES
        or _VERSION.match(domain[1]) is not None
        or (local == "git" and following in {":", "/"})
        or (len(top) >= _CALL and following in {"(", "["})
    )
