"""JSON lines. A block of lines is parsed at once where that is sure to find what a strict parser finds in each line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ftops.digests import Json
from ftops.experiments.logs.columns import Block, Part, judge_block, one_by_one
from ftops.experiments.logs.log_source import Source, in_order
from ftops.experiments.logs.row_schema import FLAG, KNOWN, REQUIRED, TEXTS, Rules

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BLOCK: Final = 8 << 20
LONGEST: Final = 64 << 20
"""Bytes of a line; what is longer is no log row."""
_DEEP: Final = 200
"""Brackets in a line from which a nesting may be too deep for one parser and not for the other."""
_NO_NUMBERS: Final = r"[:,\[\s-](NaN|Inf(inity)?)\s*[,}\]]"
"""What the fast parser takes for numbers."""
_TEXTS: Final = (*REQUIRED, *TEXTS)


def parts(source: Source) -> Iterator[tuple[int, Part]]:
    """What the lines are, stretch by stretch, each with the number of its first line."""
    first = 1
    for lines, part in in_order(source.pool, partial(read_block, rules=source.rules), _blocks(source)):
        yield first, part
        first += lines


def read_block(raw: bytes, rules: Rules, *, fast: bool = True) -> tuple[int, Part]:
    """How many lines are in `raw`, which ends with a line end, and what they are. `fast` changes nothing but the time."""
    import numpy as np

    data = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    starts = np.concatenate(([0], ends[:-1] + 1))
    if fast and (block := _parsed(raw, data, starts, ends, rules)) is not None:
        return len(ends), judge_block(block, rules)
    lines = raw.split(b"\n")
    filled = [place for place, line in enumerate(lines) if line.strip()]
    return len(ends), one_by_one(filled, lambda place: loads(lines[place], _documented(rules)), rules)


def loads(line: bytes, keys: Sequence[str]) -> Json:
    """The JSON in `line`. Raises ValueError, without the text, when it is none or has one of `keys` twice."""
    import orjson

    try:
        value = orjson.loads(line)
    except ValueError as error:
        # Its words begin with what is wrong, and end with where; none of the text is in between.
        raise ValueError(f"not JSON: {str(error).split(':', maxsplit=1)[0]}") from None
    if rb"\u" in line or any(line.count(f'"{key}"'.encode()) > 1 for key in keys):
        try:
            pairs = json.loads(line, object_pairs_hook=list)
        except RecursionError:
            raise ValueError("not JSON: nested too deep") from None
        named = [key for key, _ in pairs] if isinstance(value, dict) else []
        for key in keys:
            if named.count(key) > 1:
                raise ValueError(f"the field {key} stands twice")
    return value


def _documented(rules: Rules) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_TEXTS, FLAG, *KNOWN, *rules.fields)))


def _blocks(source: Source) -> Iterator[bytes]:
    """The bytes in whole lines. What follows the last line end is left for the next time where it is no row yet."""
    rest = b""
    for piece in source.pieces(BLOCK):
        end = piece.rfind(b"\n") + 1
        if end:
            yield source.hashed(rest + piece[:end])
            rest = piece[end:]
        else:
            rest += piece
        if len(rest) > LONGEST:
            raise source.refused(f"a line is longer than {LONGEST:,} bytes", "expected a row of JSON in each line")
    if rest.strip():
        try:
            loads(rest, ())
        except ValueError:
            source.notes.append(f"{source.file.path}: the last line is not complete yet; it was left out")
        else:
            yield source.hashed(rest, b"\n")


# ------------------------------------------------------------------------------------------------- whole blocks


def _parsed(
    raw: bytes, data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], rules: Rules
) -> Block | None:
    """The lines as columns; None where a strict parser could find something else, or some line is no row at all."""
    import pyarrow as pa

    last = ends - 1
    if not len(ends) or (last < starts).any() or (data[starts] != ord("{")).any():
        return None
    last = last - (data[last] == ord("\r"))
    if (data[last] != ord("}")).any():
        return None
    # An object that ends in one line and goes on in the next would need a comma between `}` and `{`: so each line end
    # is the end of an object, and as many objects as lines are one in each.
    try:
        _lines(raw, starts[:1]).validate(full=True)
        table, flat = _table(raw, _schema(raw, rules), data, starts)
    except pa.ArrowException:
        return None
    if table is None or len(table) != len(ends):
        return None
    lines, keys = _lines(raw, starts), _documented(rules)
    return Block(
        len(table),
        {name: table[name].chunk(0) for name in table.column_names},
        lambda place: loads(raw[starts[place] : ends[place]], keys),
        lambda name, null: _may_lack(name, null, lines, flat) if name in rules.fields else null & False,
    )


def _table(
    raw: bytes, schema: pa.Schema, data: NDArray[np.uint8], starts: NDArray[np.int64]
) -> tuple[pa.Table | None, bool]:
    """The fields of `schema`, and whether there are no others. None where others may hold what a strict parser refuses:
    not all of their form is looked at."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.json as fast

    def parse(others: str) -> pa.Table:
        options = fast.ParseOptions(schema, unexpected_field_behavior=others)
        reading = fast.ReadOptions(use_threads=False, block_size=len(raw) + 1)
        return fast.read_json(pa.BufferReader(raw), reading, options).combine_chunks()

    try:
        return parse("error"), True
    except pa.ArrowInvalid:
        odd = pc.match_substring_regex(_lines(raw, starts[:1]), _NO_NUMBERS)[0].as_py()
        return None if odd or _may_be_deep(data, starts) else parse("ignore"), False


def _lines(raw: bytes, starts: NDArray[np.int64]) -> pa.Array:
    """The text from each start to the next."""
    import numpy as np
    import pyarrow as pa

    bounds = np.append(starts, len(raw)).astype(np.int64)
    return pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(bounds), pa.py_buffer(raw))


def _may_be_deep(data: NDArray[np.uint8], starts: NDArray[np.int64]) -> bool:
    import numpy as np

    opening = (data == ord("[")) | (data == ord("{"))
    if np.count_nonzero(opening) <= len(starts) + _DEEP:
        return False
    return bool(np.add.reduceat(opening, starts, dtype=np.int64).max() > _DEEP)


def _schema(raw: bytes, rules: Rules) -> pa.Schema:
    """What a column must hold for the block to be parsed at once. A field that may hold
    booleans is told by the first row that has it."""
    import pyarrow as pa

    kinds: dict[str, pa.DataType] = {name: pa.float64() for name in (*rules.fields, *KNOWN)}
    unknown = {name for name, values in rules.fields.items() if values.booleans}
    start = 0
    while unknown and start < len(raw):
        end = raw.index(b"\n", start)
        try:
            row = loads(raw[start:end], ())
        except ValueError:
            break
        told = {name for name in unknown if isinstance(row, dict) and row.get(name) is not None}
        kinds |= {name: pa.bool_() for name in told if isinstance(row[name], bool)}
        unknown -= told
        start = end + 1
    kinds |= {FLAG: pa.bool_()} | dict.fromkeys(_TEXTS, pa.string())
    return pa.schema(list(kinds.items()))


def _may_lack(name: str, null: NDArray[np.bool_], lines: pa.Array, flat: bool) -> NDArray[np.bool_]:
    """Which of the lines whose field is null may not have it at all, which the parsed columns don't tell apart.

    After a bracket or a comma a quote begins a text: were it the end of one, no name could follow. So a line that
    matches has a field of that name, which is the row's own where there is no object within (`flat`).
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    key = rf'"{re.escape(name)}"\s*:'
    pattern = rf"[{{,]\s*{key}" if flat else rf"^\{{([^{{]*,)?\s*{key}[^{{]*$"
    has = pc.match_substring_regex(lines.filter(pa.array(null)), pattern)
    lacks = np.zeros(len(lines), np.bool_)
    lacks[null] = ~has.to_numpy(zero_copy_only=False)
    return lacks
