"""What a field must hold, for every shape: the rules that a row is measured by while it is read."""

from __future__ import annotations

from typing import Any, Final

ROLES: Final = ("system", "user", "assistant", "tool")


def text_fault(value: Any, *, required: bool) -> str | None:
    """What is wrong with the value of a text field, without the value; None when nothing is."""
    if value is None:
        return "is missing" if required else None
    if not isinstance(value, str):
        return f"must be text, found {_kind(value)}"
    return "is empty" if required and (not value or value.isspace()) else None


def messages_fault(value: Any) -> str | None:
    """What is wrong with a chat: a list of {role, content} in which the assistant speaks."""
    if value is None:
        return "is missing"
    if not isinstance(value, list):
        return f"must be a list of messages, found {_kind(value)}"
    for number, message in enumerate(value, 1):
        if (fault := _message_fault(message)) is not None:
            return f"message {number} {fault}"
    if not any(message["role"] == "assistant" for message in value):
        return "has no message of the assistant: nothing could be learned"
    return None


def _message_fault(message: Any) -> str | None:
    if not isinstance(message, dict):
        return f"must be an object, found {_kind(message)}"
    if message.get("role") not in ROLES:
        return f"has no role of {', '.join(ROLES)}"
    if message.get("tool_calls") or message.get("function_call"):
        return "calls a tool, which is not supported"
    fault = text_fault(message.get("content"), required=True)
    return None if fault is None else f"has content that {fault}"


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"
