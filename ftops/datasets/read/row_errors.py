"""What a text must be, and the words for what it isn't: without the text, for faults are shown and committed."""

from __future__ import annotations

from typing import Final, NamedTuple

from ftops.digests import Json

FAULTS: Final = 1_000_000
TOO_MANY: Final = f"more than {FAULTS:,} faults: the rows are not what they are taken for"
WHICH_SHAPE: Final = "look at shape and source.columns of the data set"


class Fault(NamedTuple):
    """A reason why a row is none: its field as a path, a short name to count it under, and words for people."""

    field: str
    name: str
    words: str


def text_of(value: Json, field: str, faults: list[Fault], *, required: bool = True) -> str:
    """`value` when it is text; else, and when a `required` one is empty, a fault is added."""
    if isinstance(value, str):
        if "\0" in value:
            faults.append(Fault(field, "NUL", "has a NUL character"))
        elif required and (not value or value.isspace()):
            faults.append(Fault(field, "empty", "is empty"))
        return value
    if value is not None:
        faults.append(Fault(field, "not text", f"must be text, found {kind(value)}"))
    elif required:
        faults.append(Fault(field, "missing", "is missing"))
    return ""


def kind(value: Json) -> str:
    """What `value` is, for people."""
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
