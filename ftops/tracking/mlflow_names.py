"""Texts as MLflow takes them: keys, values of a bounded length, a config as flat parameters, and no secret in any."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ftops.digests import Json

_KEY_LENGTH: Final = 250
_VALUE_LENGTH: Final = 1000
"""MLflow takes values of 6000 characters, but a request of 100 parameters must stay under 1 MB."""

_USER_INFO: Final = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY_SECRET: Final = re.compile(r"(?i)([?&][\w-]*(?:password|passwd|secret|token|key)[\w-]*=)[^&\s'\"]+")


def mask(text: str) -> str:
    """`text` with what stands before the host of a URL, and secrets of its query, replaced by `***`."""
    return _QUERY_SECRET.sub(r"\1***", _USER_INFO.sub("***@", text))


@lru_cache(4096)
def key(text: str) -> str:
    """`text` as a name of a metric, parameter or tag: the letters that MLflow takes, no path that leads elsewhere."""
    plain = posixpath.normpath(re.sub(r"[^\w\-. /]", "_", text)).lstrip("./")
    return plain[:_KEY_LENGTH] or "_"


def value(text: str, length: int = _VALUE_LENGTH) -> str:
    """`text` without secrets, cut to `length` characters."""
    masked = mask(text)
    return masked if len(masked) <= length else masked[: length - 1] + "…"


def flatten(tree: Mapping[str, Json]) -> dict[str, str]:
    """The leaves of `tree` by path (`datasets.0.path`) as texts; a list of plain values is one leaf."""
    return {key(".".join(path)): value(_text(leaf)) for path, leaf in _leaves(tree, ())}


def _leaves(tree: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Json]]:
    if isinstance(tree, Mapping) and tree:
        for name, branch in tree.items():
            yield from _leaves(branch, (*path, str(name)))
    elif isinstance(tree, list) and any(isinstance(each, Mapping | list) for each in tree):
        for position, branch in enumerate(tree):
            yield from _leaves(branch, (*path, str(position)))
    elif path:
        yield path, tree


def _text(leaf: Json) -> str:
    return leaf if isinstance(leaf, str) else json.dumps(leaf, ensure_ascii=False, default=str)
