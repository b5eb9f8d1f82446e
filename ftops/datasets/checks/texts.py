"""All texts of a batch of rows, flat, wherever they are nested; and the way back, for checks that change some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as _field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftops.datasets.checks.rows import MESSAGES, TOOLS, text_fields
from ftops.digests import Json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PLAIN = ("content", "name")
"""Parts of a message that are text; `tool_calls` is JSON, and `role` and `tool_call_id` are no texts."""
CALLS = "tool_calls"
KEY = 40
"""The longest key of JSON that a path names; one that is longer, or no plain word, could hold data itself."""


@dataclass(frozen=True)
class Leaf:
    """The texts of one place in the rows of a batch.

    `field` is their column, `part` what of a message it is ("" in other fields). `texts` has no nulls. `rows` has for each
    text the index of its row in the batch, rising; several texts of a row stand in the order in which a model reads them.
    """

    field: str
    part: str
    texts: pa.LargeStringArray
    rows: NDArray[np.int64]
    places: Sequence[str] | Callable[[int], str] = _field(default=(), repr=False)

    def path(self, index: int) -> str:
        """Where text `index` stands in its row, as `jq` would write it: `output`, `messages[2].content`."""
        if callable(self.places):
            return self.field + self.places(index)
        return self.field + self.places[index] if self.places else self.field


def leaves(batch: pa.RecordBatch) -> list[Leaf]:
    """Every text of `batch`: columns in alphabetical order, of a chat first content, then names, then calls."""
    found: list[Leaf] = []
    for name in text_fields(batch.schema.names):
        column = batch.column(batch.schema.get_field_index(name))
        if name == MESSAGES:
            chat = _Chat(column)
            found += [chat.leaf(part) for part in PLAIN]
            found.append(_json_leaf(name, CALLS, chat.part(CALLS), chat.parents, chat.place))
        elif name == TOOLS:
            found.append(_json_leaf(name, "", column, None, None))
        else:
            found.append(Leaf(name, "", column, _count(len(column))))
    return [leaf for leaf in found if len(leaf.texts)]


def replaced(batch: pa.RecordBatch, texts: Mapping[tuple[str, str], Mapping[int, str]]) -> pa.RecordBatch:
    """`batch` with other texts: for a leaf (`field`, `part`), the new text of each index that changes.

    A number inside of JSON becomes text where it changes.
    """
    import pyarrow as pa

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        parts = {part: new for (field, part), new in texts.items() if field == name and new}
        if not parts:
            columns.append(column)
        elif name == MESSAGES:
            columns.append(_Chat(column).replaced(parts))
        elif name == TOOLS:
            columns.append(_json_replaced(column, parts[""]))
        else:
            columns.append(_patched(column, parts[""]))
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _count(number: int) -> NDArray[np.int64]:
    import numpy as np

    return np.arange(number, dtype=np.int64)


def _patched(column: pa.Array, new: Mapping[int, str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = [False] * len(column)
    for index in new:
        mask[index] = True
    values = pa.array([new[index] for index in sorted(new)], column.type)
    return pc.replace_with_mask(column, pa.array(mask, pa.bool_()), values)


class _Chat:
    """A column of chats, with its messages one after the other."""

    def __init__(self, column: pa.LargeListArray) -> None:
        self.column = column
        self.messages = column.flatten()

    @cached_property
    def parents(self) -> NDArray[np.int64]:
        return self.column.value_parent_indices().to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        import numpy as np

        return np.searchsorted(self.parents, self.parents)

    def place(self, message: int) -> str:
        return f"[{message - int(self._firsts[message])}]"

    def part(self, name: str) -> pa.Array:
        return self.messages.field(name)

    def leaf(self, part: str) -> Leaf:
        column = self.part(part)
        valid = column.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
        return Leaf(
            MESSAGES, part, column.drop_null().cast("large_string"), self.parents[valid],
            lambda index: f"{self.place(int(valid[index]))}.{part}",
        )  # fmt: skip

    def replaced(self, parts: Mapping[str, Mapping[int, str]]) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        names = [self.messages.type.field(index).name for index in range(self.messages.type.num_fields)]
        columns = []
        for name in names:
            column, new = self.part(name), parts.get(name)
            if new and name == CALLS:
                column = _json_replaced(column, new)
            elif new:
                valid = column.is_valid().to_numpy(zero_copy_only=False).nonzero()[0]
                column = _patched(column, {int(valid[index]): text for index, text in new.items()})
            columns.append(column)
        offsets = self.column.offsets
        start = offsets[0].as_py()
        if start:
            offsets = pc.subtract(offsets, start)
        return pa.LargeListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, names), self.column.type)


# -------------------------------------------------------------------------------------------------- JSON


def _json_leaf(
    field: str,
    part: str,
    column: pa.Array,
    parents: NDArray[np.int64] | None,
    place: Callable[[int], str] | None,
) -> Leaf:
    """The texts inside of a column of JSON. Numbers are texts too: a telephone number can be one."""
    import numpy as np
    import orjson
    import pyarrow as pa

    texts: list[str] = []
    rows: list[int] = []
    places: list[str] = []
    for index, value in enumerate(column.to_pylist()):
        if value:
            above = f"{place(index)}.{part}" if place else ""
            for inner, text in _walk(orjson.loads(value), above):
                texts.append(text)
                rows.append(index if parents is None else int(parents[index]))
                places.append(inner)
    return Leaf(field, part, pa.array(texts, pa.large_string()), np.array(rows, np.int64), places)


def _walk(value: Json, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case bool() | None:
            pass
        case str():
            yield path, value
        case int() | float():
            yield path, str(value)
        case list():
            for index, each in enumerate(value):
                yield from _walk(each, f"{path}[{index}]")
        case _:
            for key, each in value.items():
                yield from _walk(each, f"{path}.{key}" if len(key) <= KEY and key.isidentifier() else f"{path}[*]")


def _json_replaced(column: pa.Array, new: Mapping[int, str]) -> pa.Array:
    import orjson
    import pyarrow as pa

    at = 0

    def rewritten(value: Json) -> Any:
        nonlocal at
        match value:
            case bool() | None:
                return value
            case str() | int() | float():
                at += 1
                return new.get(at - 1, value)
            case list():
                return [rewritten(each) for each in value]
            case _:
                return {key: rewritten(each) for key, each in value.items()}

    texts = [value and orjson.dumps(rewritten(orjson.loads(value))).decode() for value in column.to_pylist()]
    return pa.array(texts, column.type)
