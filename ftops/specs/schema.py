"""The JSON Schema of each kind: for editors, for the reference, and to say what was expected at a place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from ftops.digests import Json
from ftops.executors.registry import PROJECT
from ftops.files import read_shipped
from ftops.resources.declaration import Declaration
from ftops.resources.fields import Duration, Size
from ftops.specs.kinds import declared
from ftops.training import axolotl
from ftops.training.axolotl.keys import AXOLOTL_VERSION, RETIRED, owner

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def models() -> dict[str, type[Declaration]]:
    """The model of every kind of document by name, the project's own included."""
    return {PROJECT.kind_name: PROJECT, **{name: kind.resource for name, kind in declared().items()}}


_PLAIN: Final[dict[str, Json]] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "str": {"type": "string"},
    "None": {"type": "null"},
    "list": {"type": "array"},
    "tuple": {"type": "array"},
    "Any": True,
}
"""JSON Schemas of the snapshot's plain types; every other name is a nested mapping."""


@cache
def json_schema(kind: str) -> Json:
    """The JSON Schema (2020-12) of documents of `kind`. Shared: not to be changed. Raises KeyError for no kind."""
    schema = models()[kind].model_json_schema(by_alias=True)
    _tidy(schema)
    for each in schema["$defs"].values():
        _tidy(each)
    if (run := schema["$defs"].get("TrainingRunSpec")) is not None:
        run["properties"]["hyperparameters"] |= {"properties": _hyperparameters(), "additionalProperties": False}
    return {"$schema": DIALECT, "$id": f"urn:ftops:v1:{kind}", "title": kind, **schema}


def _tidy(schema: Json) -> None:
    """Takes out what pydantic adds for programs only, and says defaults as they are written in a spec."""
    if not isinstance(schema, dict):
        return
    schema.pop("title", None)
    if "patternProperties" in schema:
        schema["additionalProperties"] = False
    if isinstance(schema.get("default"), int) and (adapter := _quantities().get(schema.get("pattern", ""))):
        (example,) = schema["examples"]
        if adapter.validate_python(example) == schema.pop("default"):
            schema["default"] = example
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    for each in _inside(schema):
        _tidy(each)


def _inside(schema: dict[str, Json]) -> Iterator[Json]:
    for key in ("properties", "patternProperties"):
        yield from schema.get(key, {}).values()
    yield from schema.get("anyOf", ())
    yield from (schema[key] for key in ("items", "additionalProperties") if key in schema)


@cache
def _quantities() -> dict[str, TypeAdapter[int]]:
    """The types that are numbers inside and text with a unit outside, by their pattern."""
    adapters: list[TypeAdapter[int]] = [TypeAdapter(Duration), TypeAdapter(Size)]
    return {each.json_schema()["pattern"]: each for each in adapters}


def _hyperparameters() -> dict[str, Json]:
    """The keys of Axolotl that a spec may set, each with the schema of its type."""
    snapshot = json.loads(read_shipped(Path(axolotl.__file__).with_name(f"axolotl-{AXOLOTL_VERSION}.json")))
    keys = dict(snapshot["keys"])
    for brought in snapshot["plugins"].values():
        keys = brought | keys
    free = {key: entry for key, entry in sorted(keys.items()) if owner(key) is None and key not in RETIRED}
    return {key: _of_type(entry) for key, entry in free.items() if "deprecated" not in entry}


def _of_type(entry: Json) -> Json:
    # learning_rate is `str | float` for the sake of numbers in quotes; any other text in it is a mistake.
    text = "float" if entry["type"] == "str | float" else entry["type"]
    while (flat := re.sub(r"\[[^\[\]]*\]", "", text)) != text:
        text = flat
    members = text.split(" | ")
    schemas = [
        {"const": each[1:-1]} if each.startswith("'") else _PLAIN.get(each, {"type": "object"}) for each in members
    ]
    unique = [each for position, each in enumerate(schemas) if each not in schemas[:position]]
    schema: dict[str, Json] = {} if True in unique else dict(unique[0]) if len(unique) == 1 else {"anyOf": unique}
    return schema | ({"default": entry["default"]} if "default" in entry else {})


def at(kind: str, path: tuple[str | int, ...]) -> list[Json]:
    """The schemas that a value at `path` of a document of `kind` may follow, references resolved; none where no value may be."""
    root = json_schema(kind)
    found = _members(root, root)
    for part in path:
        found = [leaf for each in found for below in _below(each, part) for leaf in _members(below, root)]
    return found


def _members(schema: Json, root: Json) -> list[Json]:
    if not isinstance(schema, dict):
        return []
    if "$ref" in schema:
        return _members(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return [leaf for each in schema["anyOf"] for leaf in _members(each, root)]
    return [schema]


def _below(schema: Json, part: str | int) -> Iterator[Json]:
    if isinstance(part, int):
        yield schema.get("items")
    elif part in (properties := schema.get("properties", {})):
        yield properties[part]
    else:
        yield from (each for pattern, each in schema.get("patternProperties", {}).items() if re.search(pattern, part))
        yield schema.get("additionalProperties")
