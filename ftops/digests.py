"""The JSON tree, its one canonical encoding, and the digest that is taken of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

Json = Any
"""A tree of dict, list, str, int, float, bool and None."""
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Json) -> bytes:
    """The one encoding of a JSON tree that digests are taken of: sorted keys, no spaces, UTF-8, no NaN."""
    return _CANONICAL.encode(value).encode()


def digest(value: Json) -> str:
    """sha256 (64 hex digits) of the canonical encoding of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()
