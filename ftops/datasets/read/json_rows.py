"""Rows of JSON (an array of objects) and of JSONL: what two parsers could read differently is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import orjson

from ftops.datasets.read.decompress import CHUNK, UTF8_BOM, RefusedError
from ftops.datasets.read.record_parser import Parse, Record
from ftops.digests import Json

SHOWN: Final = 40
"""The longest key that is shown: a longer one could be data."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def jsonl_rows(parse: Parse) -> Iterator[Record]:
    """One object a line; a line of spaces is none."""
    stream = parse.stream()
    byte = 0
    if parse.piece.start == 0:
        start = stream.peek(CHUNK)
        byte = len(stream.read(len(UTF8_BOM))) if start.startswith(UTF8_BOM) else 0
        if start[byte:].lstrip().startswith(b"["):
            raise RefusedError("the file holds an array, not one object a line", 1, byte, "say `format: json`")
    for line in stream:
        parse.lines += 1
        if not line.isspace():
            yield _record(line, parse, parse.lines, byte)
        byte += len(line)


def json_rows(parse: Parse) -> Iterator[Record]:
    """An array of objects, each cut out of the file by one parser and understood by the strict one.

    The first one reads bytes as if they were Latin-1: what a character is matters only to the second.
    """
    raw = parse.stream().read()
    text = raw.decode("latin-1")
    decode = json.JSONDecoder(parse_int=float).raw_decode
    at = _past_space(text, len(UTF8_BOM) if raw.startswith(UTF8_BOM) else 0)
    if text[at : at + 1] != "[":
        raise RefusedError("expected an array of objects", 1, at, "one object a line is `format: jsonl`")
    at = _past_space(text, at + 1)
    line, counted = 1, 0
    ended = text[at : at + 1] == "]"
    while not ended:
        line, counted = line + raw.count(b"\n", counted, at), at
        try:
            _, stop = decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _broken(raw, error, at) from error
        yield _record(raw[at:stop], parse, line, at)
        at = _past_space(text, stop)
        if text[at : at + 1] not in (",", "]"):
            raise _broken(raw, ValueError("expected , or ] after an element"), at)
        ended = text[at] == "]"
        if not ended:
            at = _past_space(text, at + 1)
    if (rest := _past_space(text, at + 1)) != len(text):
        raise _broken(raw, ValueError("something follows after the array"), rest)


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _broken(raw: bytes, error: Exception, at: int) -> RefusedError:
    words = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
    byte = getattr(error, "pos", at)
    return RefusedError(f"not readable as JSON: {words}", 1 + raw.count(b"\n", 0, byte), byte, "is the file whole?")


def _record(raw: bytes, parse: Parse, line: int, byte: int) -> Record:
    try:
        value = loads(raw)
    except ValueError as error:
        return line, byte, f"not readable as JSON: {error}"
    if not isinstance(value, dict):
        return line, byte, "not a JSON object"
    if not value.keys() <= parse.names.keys():
        parse.saw(value)
    return line, byte, value


def loads(raw: bytes) -> Json:
    """The JSON in `raw`; raises ValueError for NaN, half a surrogate pair, a key twice, or more than 254 levels."""
    value = orjson.loads(raw)
    # orjson keeps the last of equal keys. Written again, such an object has fewer quotes than it came with; only an
    # escape that spells a quote in another way could hide that, so there the slow parser looks at every key.
    if _quotes(value) != raw.count(b'"') or rb"\u0022" in raw:
        json.loads(raw, object_pairs_hook=_unique)
    return value


def _quotes(value: Json) -> int:
    """How many quotes there are in the JSON of `value`; raises ValueError when it is too deep to be written."""
    if isinstance(value, dict):
        try:
            return 4 * len(value) + "".join(value.values()).count('"') + "".join(value).count('"')
        except TypeError:  # not all values are text
            pass
    try:
        return orjson.dumps(value).count(b'"')
    except TypeError as error:
        raise ValueError("nested deeper than 254 levels") from error


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for key, value in pairs:
        if key in found:
            which = f"the key {key!r}" if len(key) <= SHOWN and key.isidentifier() else "a key"
            raise ValueError(f"{which} stands twice in one object")
        found[key] = value
    return found
