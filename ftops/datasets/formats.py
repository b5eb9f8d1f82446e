"""Rows as lines of JSON, in each form that Axolotl reads; `training/axolotl/config.py` says how it is told to.

    alpaca      {"instruction", "input", "output"}
    messages    {"messages": [{"role", "content"?, "name"?, "tool_call_id"?, "tool_calls"?}], "tools"?}
    sharegpt    {"conversations": [{"from", "value"}], "tools"?}, from system, human, gpt, function_call or observation
    preference  {"messages": [{"role", "content"}], "chosen": {"role", "content"}, "rejected": {"role", "content"}}
    completion  {"text"}

Axolotl loads a file with the `datasets` library, which takes the type of every column from the first 10 MB and fails on a
key that only comes later. So what differs from row to row stands in the file as text (`tools`, a call's arguments: both as
OpenAI writes them), and what only some rows have is declared by every row: see `optional_fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from ftops.datasets.checks.rows import MESSAGES, TOOLS
from ftops.digests import Json

if TYPE_CHECKING:
    import pyarrow as pa

    from ftops.datasets.spec import OutputFormat

Row = Mapping[str, Any]
"""The fields of a row by name; `messages` is a list of dicts with a key for each part that is not null."""

OPTIONAL_FIELDS: Final = ("content", "name", "tool_call_id", "tool_calls")
SEEN_BYTES: Final = 10 * 2**20
"""How much of a file `datasets` (4.8) looks at before it decides what a column is."""
_SPEAKERS: Final = {"user": "human", "assistant": "gpt", "tool": "observation"}


def lines(batch: pa.RecordBatch, form: OutputFormat, declared: frozenset[str] = frozenset()) -> pa.LargeBinaryArray:
    """The rows of `batch`, each as a line with its end; `declared` is the union of the `optional_fields` of all batches."""
    import orjson
    import pyarrow as pa

    written = _alpaca(batch) if form == "alpaca" else map(_shape(form, declared), _rows(batch))
    made = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in written]
    return pa.array(made, pa.large_binary())


def optional_fields(batch: pa.RecordBatch) -> frozenset[str]:
    """What only some of the rows or messages of `batch` have: `tools`, and parts of messages other than their content."""
    import pyarrow.compute as pc

    found = set()
    if TOOLS in batch.schema.names and pc.any(pc.not_equal(batch.column(TOOLS), "")).as_py():
        found.add(TOOLS)
    if MESSAGES in batch.schema.names:
        messages = batch.column(MESSAGES).flatten()
        found |= {name for name in OPTIONAL_FIELDS[1:] if messages.field(name).null_count < len(messages)}
    return frozenset(found)


def read_as_times(file: BinaryIO) -> tuple[str, ...]:
    """The fields of a written file that Axolotl would change, because all of their texts are dates: `output`, `content`.

    `datasets` makes times of such a column (2026-01-02 becomes `2026-01-02 00:00:00`) when none of the first 10 MB is
    anything else, as it reads them with this very parser.
    """
    import pyarrow as pa
    import pyarrow.json

    head = file.read(SEEN_BYTES) + file.readline()
    if not head:
        return ()
    options = pyarrow.json.ReadOptions(block_size=len(head))
    found: list[str] = []

    def look(field: pa.Field) -> None:
        if pa.types.is_timestamp(field.type):
            found.append(field.name)
        for index in range(field.type.num_fields):
            look(field.type.field(index))

    for field in pyarrow.json.read_json(pa.BufferReader(head), read_options=options).schema:
        look(field)
    return tuple(found)


def _alpaca(batch: pa.RecordBatch) -> Iterator[Json]:
    """The objects of most rows that there are, without making a row first."""
    names = ("instruction", "input", "output")
    columns = [_values(batch.column(name)) if name in batch.schema.names else repeat("") for name in names]
    return ({"instruction": one, "input": two, "output": three} for one, two, three in zip(*columns, strict=False))


def _shape(
    form: Literal["messages", "sharegpt", "preference", "completion"], declared: frozenset[str]
) -> Callable[[Row], Json]:
    """What makes the object of a line from a row."""
    match form:
        case "messages":
            return lambda row: {MESSAGES: _declaring(_turns(row), declared), **_tools(row, declared)}
        case "sharegpt":
            return lambda row: {"conversations": list(_spoken(_turns(row))), **_tools(row, declared)}
        case "preference":
            return _preference
        case "completion":
            return lambda row: {"text": row["text"]}


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of `batch`, several times faster than `to_pylist`."""
    names = batch.schema.names
    columns = [_chats(column) if name == MESSAGES else _values(column) for name, column in zip(names, batch.columns)]  # noqa: B905
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _values(column: pa.Array) -> list[Any]:
    return column.to_numpy(zero_copy_only=False).tolist()  # type: ignore[no-any-return]


def _chats(column: pa.LargeListArray) -> list[list[dict[str, str]]]:
    flat = column.flatten()
    names = ("role", *OPTIONAL_FIELDS)
    used = [name for name in names if flat.field(name).null_count < len(flat)]
    texts = [_values(flat.field(name)) for name in used]
    messages = [
        {name: text for name, text in zip(used, each, strict=True) if text is not None}
        for each in zip(*texts, strict=True)
    ]
    first = column.offsets[0].as_py()
    bounds = [bound - first for bound in _values(column.offsets)]
    return [messages[start:end] for start, end in pairwise(bounds)]


def _turns(row: Row) -> list[dict[str, Json]]:
    """A chat as it is; an instruction as one exchange, its input on a line of its own, as LLaMA-Factory joins them."""
    if MESSAGES in row:
        return [_with_calls(message) if "tool_calls" in message else message for message in row[MESSAGES]]
    question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
    said = (("system", row.get("system")), ("user", question), ("assistant", row["output"]))
    return [{"role": role, "content": content} for role, content in said if content]


def _with_calls(message: Mapping[str, str]) -> dict[str, Json]:
    """`message` with its calls as a list, the arguments of each as text."""
    import orjson

    calls = orjson.loads(message["tool_calls"])
    for call in calls:
        function = call["function"]
        if not isinstance(function.get("arguments"), str):
            function["arguments"] = orjson.dumps(function.get("arguments") or {}).decode()
    return {**message, "tool_calls": calls}


def _declaring(turns: list[dict[str, Json]], declared: frozenset[str]) -> list[dict[str, Json]]:
    """`turns`, of which the first one names what others in the data set may have.

    Messages with different keys near the beginning of a file make `datasets` take them as they come, instead of by columns.
    """
    absent = [name for name in OPTIONAL_FIELDS if name in declared and name not in turns[0]]
    return [{**turns[0], **dict.fromkeys(absent)}, *turns[1:]] if absent else turns


def _tools(row: Row, declared: frozenset[str]) -> dict[str, str]:
    tools: str = row.get(TOOLS, "")
    return {TOOLS: tools or "[]"} if tools or TOOLS in declared else {}


def _spoken(turns: list[dict[str, Json]]) -> Iterator[dict[str, str]]:
    """Turns as ShareGPT has them: a message that speaks and calls becomes two; names and call numbers have no place."""
    for turn in turns:
        role: str = turn["role"]
        calls = turn.get("tool_calls")
        if turn.get("content") or not calls:
            yield {"from": _SPEAKERS.get(role, role), "value": turn.get("content", "")}
        if calls:
            yield {"from": "function_call", "value": _called(calls)}


def _called(calls: Sequence[Json]) -> str:
    """Calls as text: `{"name", "arguments"}`, a list of these where they are several, nothing where there is none."""
    import orjson

    if not calls:
        return ""
    plain = [
        {"name": call["function"]["name"], "arguments": orjson.loads(call["function"]["arguments"])} for call in calls
    ]
    return orjson.dumps(plain[0] if len(plain) == 1 else plain).decode()


def _preference(row: Row) -> Json:
    """A message that only calls stands as the text of its calls: Axolotl reads role and content of preferences, no more."""
    turns = [
        {"role": turn["role"], "content": turn.get("content") or _called(turn.get("tool_calls", ()))}
        for turn in _turns(row)
    ]
    answers = {field: {"role": "assistant", "content": row[field]} for field in ("chosen", "rejected")}
    return {MESSAGES: turns, **answers}
