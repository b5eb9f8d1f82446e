"""Prints which keys the installed Axolotl knows, as JSON. Run by the engine's own Python; stands alone:

    ENGINE/bin/python -P ftops/training/axolotl/snapshot.py > ftops/training/axolotl/axolotl-VERSION.json

`keys` are the top-level keys, `plugins` the further keys that a shipped plugin brings, `models` the keys of nested
mappings by model name. A key is `{"type", "default"?, "alias"?, "deprecated"?}`; a type reads `int | None`, `'auto' | bool`,
`list[SFTDataset]`: names of models, plain types, and quoted literals.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import os
import pkgutil
import sys
import types
import typing
from importlib.metadata import version
from typing import Any

PLAIN = (int, float, bool, str)


def members(annotation: Any, models: dict[str, Any]) -> list[str]:
    """The texts of the types that a union is made of; the pydantic models that they name are added to `models`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return ["None"]
    if origin is typing.Annotated:
        return members(arguments[0], models)
    if origin in (typing.Union, types.UnionType):
        return list(dict.fromkeys(text for each in arguments for text in members(each, models)))
    if origin is typing.Literal:
        return [repr(getattr(each, "value", each)) for each in arguments]
    if origin in (list, tuple, dict):
        inner = ", ".join("..." if each is ... else type_text(each, models) for each in arguments)
        return [f"{origin.__name__}[{inner}]"]
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and issubclass(annotation, str):
        return [repr(each.value) for each in annotation]
    if hasattr(annotation, "model_fields"):
        return [model_name(annotation, models)]
    return [annotation.__name__ if annotation in (*PLAIN, list, dict) else "Any"]


def type_text(annotation: Any, models: dict[str, Any]) -> str:
    return " | ".join(members(annotation, models))


def model_name(model: Any, models: dict[str, Any]) -> str:
    if model.model_config.get("extra") == "allow":
        return "dict[str, Any]"
    if model.__name__ not in models:
        models[model.__name__] = {}  # taken first, so that a model which names itself ends
        models[model.__name__] = keys_of(model, models)
    return str(model.__name__)


def key_entry(field: Any, models: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": type_text(field.annotation, models)}
    default = getattr(field.default, "value", field.default)
    if isinstance(default, (*PLAIN, list, dict)):
        entry["default"] = default
    alias = field.validation_alias or field.alias
    if alias is not None:
        entry["alias"] = [alias] if isinstance(alias, str) else [str(each) for each in alias.choices]
    if field.deprecated:
        entry["deprecated"] = str(field.deprecated)
    return entry


def keys_of(model: Any, models: dict[str, Any]) -> dict[str, Any]:
    return {name: key_entry(field, models) for name, field in model.model_fields.items()}


def plugins() -> dict[str, Any]:
    """The argument models of the plugins that Axolotl ships, by the name that `plugins:` wants."""
    import axolotl.integrations  # after main() has turned the output away
    from axolotl.integrations.base import BasePlugin

    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(axolotl.integrations.__path__, "axolotl.integrations."):
        if not module.ispkg:
            continue
        try:
            package = importlib.import_module(module.name)
        except ModuleNotFoundError as missing:  # a plugin whose own requirement this engine lacks can't be used in it
            sys.stderr.write(f"{module.name}: left out, {missing}\n")
            continue
        for name, member in list(vars(package).items()):
            if inspect.isclass(member) and issubclass(member, BasePlugin) and member is not BasePlugin:
                plugin: Any = member()
                arguments = plugin.get_input_args()
                if arguments:
                    path, _, model = arguments.rpartition(".")
                    found[f"{module.name}.{name}"] = getattr(importlib.import_module(path), model)
    return found


def snapshot() -> dict[str, Any]:
    from axolotl.utils.schemas.config import AxolotlInputConfig

    models: dict[str, Any] = {}
    return {
        "axolotl": version("axolotl"),
        "keys": keys_of(AxolotlInputConfig, models),
        "plugins": {name: keys_of(model, models) for name, model in plugins().items()},
        "models": models,
    }


def as_text(tree: dict[str, Any]) -> str:
    """JSON with one key a line, so that a diff between two versions of Axolotl reads well."""
    compact = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode

    def block(entries: dict[str, str], indent: str) -> str:
        lines = ",\n".join(f"{indent} {compact(name)}: {entries[name]}" for name in sorted(entries))
        return f"{{\n{lines}\n{indent}}}"

    def keys(entries: dict[str, Any], indent: str) -> str:
        return block({name: compact(entry) for name, entry in entries.items()}, indent)

    groups = {
        "axolotl": compact(tree["axolotl"]),
        "keys": keys(tree["keys"], " "),
        "plugins": block({name: keys(entries, "  ") for name, entries in tree["plugins"].items()}, " "),
        "models": block({name: keys(entries, "  ") for name, entries in tree["models"].items()}, " "),
    }
    return block(groups, "") + "\n"


def main() -> None:
    os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
    # Axolotl and its plugins print banners while they are imported: only the JSON may reach the real output.
    output, sys.stdout = sys.stdout, sys.stderr
    output.write(as_text(snapshot()))


if __name__ == "__main__":
    main()
