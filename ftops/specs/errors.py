"""What pydantic finds in a document, in our words: what was expected, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ftops.digests import Json
from ftops.documents.yaml_positions import ABSENT, NUMBER, Path, child
from ftops.errors import did_you_mean, nearest
from ftops.plan.address import API_VERSION
from ftops.resources.fields import NAME_PATTERN, SEMVER_PATTERN
from ftops.specs.kinds import declared
from ftops.specs.schema import at

MOST: Final = 100
"""So many faults of one document are worded; the rest is counted."""

_PATTERNS: Final = {
    NAME_PATTERN: "a name of lower-case letters, digits and '-'",
    SEMVER_PATTERN: "a semantic version such as 1.0.0",
}
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_TYPES: Final = {
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_MISSING: Final[dict[Path, str]] = {
    ("apiVersion",): f"begin the document with `apiVersion: {API_VERSION}`",
    ("kind",): f"say what the document is: one of {', '.join(declared())}",
    ("metadata",): "give it a name: `metadata: {name: …}`",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at `path` of a document; `at_key` where the key is meant, not its value."""

    path: Path
    summary: str
    hint: str = ""
    detail: str = ""
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a document an error is. `union` is the path at which pydantic tried several types."""

    path: Path
    value: Json
    at_key: bool
    union: Path | None


def faults(kind: str, tree: Json, error: ValidationError) -> Iterator[Fault]:
    """The faults of a document of `kind`, in the order of its fields."""
    meant = _meant([(each, _locate(tree, each)) for each in error.errors()])
    seen: set[tuple[Path, str]] = set()
    for each, place in meant[:MOST]:
        fault = _word(kind, each, place)
        if (key := (fault.path, fault.summary)) not in seen:
            seen.add(key)
            yield fault
    if len(meant) > MOST:
        yield Fault((), f"and {len(meant) - MOST} further errors in this document")


def _meant(errors: list[tuple[ErrorDetails, _Place]]) -> list[tuple[ErrorDetails, _Place]]:
    """Without those that only follow from others: of several types the one whose inside is wrong was meant, so that the others
    do not fit says nothing; a list whose entries are wrong is not too short."""
    entered = {place.union for _, place in errors if place.union is not None and place.path != place.union}
    holding = {place.path[:-1] for _, place in errors if place.path}
    return [
        (each, place)
        for each, place in errors
        if (place.path not in entered or place.path != place.union)
        and (place.path not in holding or each["type"] != "too_short")
    ]


def spell(path: Path) -> str:
    """`spec.checks[0].duplicates`: a path as people write it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def found(value: Json) -> str:
    """A value as a message quotes it."""
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:57]}…")
    if isinstance(value, dict | list):
        return "none" if not value else "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)[:60]


def _locate(tree: Json, error: ErrorDetails) -> _Place:
    """The location that pydantic gives without the names of types that it puts between the keys."""
    path: list[str | int] = []
    node, at_key, union = tree, False, None
    for position, part in enumerate(error["loc"], 1):
        if (below := child(node, part)) is not ABSENT:
            node = below
        elif part == "[key]":
            at_key = True
            continue
        elif not (error["type"] == "missing" and position == len(error["loc"])):
            union = tuple(path)
            continue
        path.append(part)
    return _Place(tuple(path), node, at_key, union)


def _word(kind: str, error: ErrorDetails, place: _Place) -> Fault:
    name, path, ctx = error["type"], place.path, error.get("ctx", {})
    here = f"{spell(path)}: " if path else ""
    if name == "missing":
        detail = next((each["description"] for each in at(kind, path) if "description" in each), "")
        return Fault(path, f"{spell(path)} is missing", _MISSING.get(path, ""), detail)
    if name == "extra_forbidden":
        valid = tuple(dict.fromkeys(key for each in at(kind, path[:-1]) for key in each.get("properties", ())))
        inside = f" in {spell(path[:-1])}" if path[:-1] else ""
        return Fault(path, f"unknown key {path[-1]!r}{inside}", did_you_mean(str(path[-1]), valid), at_key=True)
    if place.at_key:
        return Fault(path, f"{spell(path[:-1])}: expected {_key_expected(ctx)}, found {path[-1]!r}", at_key=True)
    if "url" not in error:
        return Fault(path, here + error["msg"])
    expected = _expected(kind, name, ctx, path)
    if expected is None:
        return Fault(path, here + error["msg"][:1].lower() + error["msg"][1:])
    if name == "literal_error" and isinstance(place.value, str):
        match = nearest(place.value, _choices(kind, path))  # the others are named by what is expected
        hint = "" if match is None else f"did you mean {match!r}?"
    else:
        hint = _hint(expected, place.value)
    return Fault(path, f"{here}expected {expected}, found {found(place.value)}", hint)


def _expected(kind: str, name: str, ctx: Mapping[str, Any], path: Path) -> str | None:
    """What should stand at `path`; None where only pydantic's own words say it."""
    if name == "string_pattern_mismatch":
        return _PATTERNS.get(ctx["pattern"], f"a text that matches {ctx['pattern']}")
    if name in _BOUNDS:
        words, key = _BOUNDS[name]
        return f"{words} {ctx[key]:g}"
    if name in ("string_too_long", "string_too_short"):
        return (
            f"at most {ctx['max_length']} characters"
            if "max_length" in ctx
            else f"at least {ctx['min_length']} characters"
        )
    if name in ("too_short", "too_long"):
        return (
            f"at least {ctx['min_length']} of them" if name == "too_short" else f"at most {ctx['max_length']} of them"
        )
    if name == "literal_error" or name.endswith(("_type", "_from_float", "_parsing")):
        return _types(kind, path)
    return None


def _key_expected(ctx: Mapping[str, Any]) -> str:
    if "pattern" in ctx:
        return f"{_PATTERNS.get(ctx['pattern'], 'a text that matches ' + ctx['pattern'])} as key"
    if "expected" in ctx:
        return f"{ctx['expected']} as key".replace("'", "")
    return f"a key of at most {ctx['max_length']} characters" if "max_length" in ctx else "a text as key"


def _choices(kind: str, path: Path) -> tuple[str, ...]:
    return tuple(
        str(choice)
        for each in at(kind, path)
        for choice in (each.get("enum", ()) if "const" not in each else (each["const"],))
    )


def _types(kind: str, path: Path) -> str | None:
    """`an integer`, `a text or a mapping`, `full or lora`: what the schema wants at `path`."""
    open_types = [each for each in at(kind, path) if "enum" not in each and "const" not in each]
    names = [_TYPES[each["type"]] for each in open_types if each.get("type") in _TYPES]
    words = list(dict.fromkeys((*_choices(kind, path), *names)))
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0] if words else None


def _hint(expected: str, value: Json) -> str:
    """What often lies behind a wrong type: quotes too many or too few, or the booleans of YAML 1.1."""
    if isinstance(value, str):
        if expected == "true or false" and value.lower() in ("yes", "no", "on", "off", "y", "n"):
            return "write true or false"
        if expected in ("an integer", "a number") and NUMBER.fullmatch(value):
            return "leave out the quotes"
        if expected == "a list":
            return "write it as a list: [a, b]"
    elif expected == "a text" and isinstance(value, int | float):
        return "put it in quotes"
    return ""
