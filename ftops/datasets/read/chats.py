"""Chats as they are found, and as they are kept: OpenAI's messages, ShareGPT's turns, calls of tools in either form."""

from __future__ import annotations

import contextlib
import re
from typing import Final, NamedTuple

from ftops.datasets.read.json_rows import loads
from ftops.datasets.read.row_errors import Fault, kind, text_of
from ftops.digests import Json

ROLES: Final = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
"""Who speaks, by the names that files give them."""
PARTS: Final = frozenset(
    ("role", "from", "content", "value", "name", "tool_call_id", "tool_calls", "function_call")
)  # fmt: skip
"""What is read of a message."""
_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""How a NUL character stands in JSON."""


class Message(NamedTuple):
    """A message as `checks.rows` describes it; `tool_calls` is JSON."""

    role: str
    content: str | None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: str | None = None


def messages_of(turns: Json, field: str, faults: list[Fault], unread: dict[str, None]) -> list[Message]:
    """The messages that `turns` is a list of; what is wrong is added to `faults`, the parts that nobody reads to `unread`."""
    if isinstance(turns, str):
        with contextlib.suppress(ValueError):  # text that is no JSON is told as what it is
            turns = loads(turns.encode())
    if turns is None:
        faults.append(Fault(field, "missing", "is missing"))
    elif not isinstance(turns, list):
        faults.append(Fault(field, "no list", f"must be a list of messages, found {kind(turns)}"))
    else:
        found = [message_of(turn, f"{field}[{index}]", faults, unread) for index, turn in enumerate(turns)]
        return [message for message in found if message is not None]
    return []


def message_of(turn: Json, field: str, faults: list[Fault], unread: dict[str, None]) -> Message | None:
    """The message that `turn` is, None when it is none; see `messages_of`."""
    if not isinstance(turn, dict):
        faults.append(Fault(field, "no object", f"must be an object, found {kind(turn)}"))
        return None
    if not turn.keys() <= PARTS:
        unread.update((f"messages[].{name}", None) for name in turn if name not in PARTS and turn[name] is not None)
    spoken = turn.get("role", turn.get("from"))
    role = ROLES.get(spoken) if isinstance(spoken, str) else None
    if role is None:
        known = "system, user, assistant, tool, or a name of ShareGPT for one of them"
        faults.append(Fault(f"{field}.role", "role", f"must be {known}"))
        return None
    content = turn.get("content", turn.get("value"))
    calls = turn.get("tool_calls") or turn.get("function_call")
    if spoken == "function_call":
        content, calls = None, content
    if calls and role != "assistant":
        faults.append(Fault(f"{field}.tool_calls", "tool call", "is a call by somebody who is not the assistant"))
    calling = bool(calls) or spoken == "function_call"
    called = _calls(calls, f"{field}.tool_calls", faults) if calling else None
    # A tool may have nothing to say, and whoever calls one has said enough. Of others something is expected.
    silent = calling or role == "tool"
    return Message(
        role,
        None if calling and content is None else _content(content, f"{field}.content", faults, silent=silent),
        text_of(turn["name"], f"{field}.name", faults) if turn.get("name") else None,
        text_of(turn["tool_call_id"], f"{field}.tool_call_id", faults) if turn.get("tool_call_id") else None,
        called,
    )


def _content(content: Json, field: str, faults: list[Fault], *, silent: bool) -> str:
    if isinstance(content, list):
        for index, part in enumerate(content):
            if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                faults.append(Fault(f"{field}[{index}]", "not text", "must be a part of type text"))
                return ""
        content = "".join(part["text"] for part in content)
    return text_of(content, field, faults, required=not (silent and content == ""))


def _calls(calls: Json, field: str, faults: list[Fault]) -> str | None:
    """The JSON of a list of `{"type": "function", "function": {"name", "arguments"}}`, whatever form `calls` has."""
    if isinstance(calls, str):
        try:
            calls = loads(calls.encode())
        except ValueError:
            faults.append(Fault(field, "tool call", "must be JSON with a name and arguments"))
            return None
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, dict) else None
        arguments = _arguments(function)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or arguments is None:
            faults.append(Fault(field, "tool call", "must have the name of a function, and an object of arguments"))
            return None
        known = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        found.append({**known, "type": "function", "function": {"name": function["name"], "arguments": arguments}})
    if not found:
        faults.append(Fault(field, "tool call", "calls nothing"))
        return None
    return _compact(found, field, "tool call", faults)


def _arguments(function: Json) -> Json:
    """The object that the arguments of a call are, or that they are the JSON of; None when they are neither."""
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = loads(arguments.encode())
        except ValueError:
            return None
    if not arguments and not isinstance(arguments, list):
        return {}
    return arguments if isinstance(arguments, dict) else None


def tools_of(value: Json, field: str, faults: list[Fault]) -> str:
    """The JSON of the list of functions that `value` is, or is the JSON of; empty where there are none."""
    if isinstance(value, str) and value and not value.isspace():
        try:
            value = loads(value.encode())
        except ValueError:
            faults.append(Fault(field, "tools", "must be JSON"))
            return ""
    if not value or isinstance(value, str):
        return ""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        faults.append(Fault(field, "tools", "must be a list of objects"))
        return ""
    return _compact(value, field, "tools", faults) or ""


def _compact(value: Json, field: str, name: str, faults: list[Fault]) -> str | None:
    """JSON without spaces, keys in the order in which they came: a model sees them in that order."""
    import orjson

    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        faults.append(Fault(field, name, "is nested deeper than 254 levels"))
        return None
    if _NUL.search(text):
        faults.append(Fault(field, "NUL", "has a NUL character"))
    return text
