"""Writes what the documentation takes from the code: `python docs/generate.py`. A test says when it is old.

Two pages of the reference are made whole. On other pages a part is made, between `<!-- made: NAME -->` and `<!-- end -->`.
"""

# ruff: noqa: INP001  (a script, no part of a package)

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import click

from ftops.cli import ftops
from ftops.plan.steps import STEPS
from ftops.resources.fields import NAME_PATTERN, SEMVER_PATTERN
from ftops.specs import json_schema, models

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent
WIDTH: Final = 100

NOTICE: Final = "<!-- Written by docs/generate.py from the code. Edit the code, then run it again. -->"

SPECS: Final = f"""{NOTICE}

# Specs

Every spec is a YAML document with `apiVersion: ftops/v1`, `kind`, `metadata` and `spec`. A file may hold several
documents, separated by `---`. Specs stand in the files and folders that `spec.specs` of `ftops.yaml` names; `ftops.yaml`
itself holds the one Project.

YAML is read by the rules of YAML 1.2: `no`, `on` and `2024-01-01` are text, `1e-4` is a number. A key that stands twice,
an unknown key and a value of another type are errors. Anchors work; merge keys and tags do not.

In the tables below, `<name>` stands for a key that you choose, and `[]` for each entry of a list. Types with a form of
their own:

| type | is |
|---|---|
| name | lower-case letters, digits and `-`, at most 63 characters, with a letter or digit at both ends |
| semantic version | `MAJOR.MINOR.PATCH` as semver.org defines it: `1.0.0`, `2.1.0-rc.1` |
| duration | a whole number with `s`, `m`, `h` or `d`: `24h` |
| size | a whole number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `KB`, `MB` or `GB`: `100MiB` |

A path is relative to the folder of `ftops.yaml`, uses `/`, and stays inside of that folder.

The same as JSON Schema, for editors and programs: `ftops schema KIND`, or the files in [schema/](schema/). An editor with
a YAML language server checks and completes a spec whose first line names the schema:

    # yaml-language-server: $schema=../docs/reference/schema/dataset.json
"""

CLI: Final = f"""{NOTICE}

# Commands

Every command looks for `ftops.yaml` in the current folder and in those above it; `-C` names another start. What the exit
codes mean: [exit-codes.md](exit-codes.md). What `--format json` prints: [json.md](json.md).

ftops reads these environment variables:

| variable | does |
|---|---|
| `FTOPS_ENGINE_HOME` | folder of the training engines; `ftops/engines` in the user's cache when absent |
| `DOCKER_HOST` | socket of the Docker daemon, `unix:///…`, where a runner names none |
| `MLFLOW_TRACKING_URI` | MLflow server or `sqlite:///` file; wins over `spec.tracking.mlflow` of `ftops.yaml` |
| `NO_COLOR` | no colours, when set to anything |
| `GITHUB_EVENT_NAME` | set by GitHub; `ftops apply` refuses to run for a pull request |
"""


def specs() -> str:
    """The page about the fields of every kind."""
    schema = json_schema("Dataset")
    metadata = ["## metadata", "", "The same for every kind.", ""]
    metadata += _table(schema["properties"]["metadata"], schema["$defs"], "metadata")
    return "\n".join([SPECS, *metadata, *(line for kind in models() for line in _kind(kind))]).rstrip() + "\n"


def _kind(kind: str) -> Iterator[str]:
    schema = json_schema(kind)
    yield f"## {kind}"
    yield ""
    yield schema["description"].replace("\n", " ")
    yield ""
    yield from _table(schema["properties"]["spec"], schema["$defs"], "spec")


def _table(field: Any, defs: Any, path: str) -> Iterator[str]:
    yield "| field | type | default | what it is |"
    yield "|---|---|---|---|"
    for inside, name in _below(_resolved(field, defs), defs):
        yield from _rows(inside, defs, f"{path}.{name}", required=name in _resolved(field, defs).get("required", ()))
    yield ""


def _rows(field: Any, defs: Any, path: str, *, required: bool) -> Iterator[str]:
    """A row for a field, and one for each field inside of it."""
    schema = _resolved(field, defs)
    inside = [] if path.endswith(".hyperparameters") else list(_below(schema, defs))
    default = "**required**" if required else f"`{_flow(schema['default'])}`" if "default" in schema else ""
    keys = schema.get("propertyNames", {}).get("enum", ())
    words = " ".join(
        part
        for part in (
            schema.get("description", "").replace("\n", " ").replace("|", "\\|"),
            f"Keys: {', '.join(f'`{key}`' for key in keys)}." if keys else "",
            _bounds(schema),
        )
        if part
    )
    if words or required or default or not inside:
        yield f"| `{path}` | {_type(schema, defs)} | {default} | {words} |"
    for value, name in inside:
        where = f"{path}{name}" if name == "[]" else f"{path}.{name}"
        yield from _rows(value, defs, where, required=name in schema.get("required", ()))


def _below(schema: Any, defs: Any) -> Iterator[tuple[Any, str]]:
    """The fields inside of a field that is a mapping or a list of mappings."""
    for name, value in schema.get("properties", {}).items():
        yield value, name
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    for value in values:
        if isinstance(value, dict) and "properties" in _resolved(value, defs):
            yield value, "<name>"
    if isinstance(items := schema.get("items"), dict) and "properties" in _resolved(items, defs):
        yield items, "[]"
    for member in schema.get("anyOf", ()):
        yield from ((value, name) for name, value in _resolved(member, defs).get("properties", {}).items())


def _resolved(schema: Any, defs: Any) -> Any:
    """The schema behind a reference, or behind the one alternative that isn't null; a field's own words win."""
    members = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(members) == 1:
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _resolved(members[0], defs) | rest
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return defs[schema["$ref"].rpartition("/")[2]] | rest
    return schema


def _type(schema: Any, defs: Any) -> str:
    schema = _resolved(schema, defs)
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(_type(each, defs) for each in schema["anyOf"] if each.get("type") != "null")
    match schema.get("type"):
        case "array":
            fixed = [_type(each, defs) for each in schema.get("prefixItems", ())]
            return f"[{', '.join(fixed)}]" if fixed else f"list of {_type(schema['items'], defs)}"
        case "object" if "properties" not in schema:
            values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
            inner = next((_type(each, defs) for each in values if isinstance(each, dict)), "")
            return "mapping" if inner in ("", "mapping") else f"mapping to {inner}"
        case "object":
            return "mapping"
        case "string":
            return _text_type(schema)
        case None:
            return "any"
        case plain:
            return str(plain)


def _text_type(schema: Any) -> str:
    pattern = schema.get("pattern", "")
    known = {NAME_PATTERN: "name", SEMVER_PATTERN: "semantic version"}
    if pattern in known:
        return known[pattern]
    return "duration" if pattern.endswith("(s|m|h|d)$") else "size" if "KiB" in pattern else "text"


def _bounds(schema: Any) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"From {low} to {high}."
    return f"At least {low}." if low is not None else ""


def _flow(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) or not value else value


def cli() -> str:
    """The page about the commands: their own help."""
    return "\n".join([CLI, *_command(ftops, ("ftops",), None)]).rstrip() + "\n"


def _command(command: click.Command, names: tuple[str, ...], parent: click.Context | None) -> Iterator[str]:
    context = click.Context(
        command, info_name=names[-1], parent=parent, terminal_width=WIDTH, max_content_width=WIDTH, color=False
    )
    context.help_option_names = ["-h", "--help"]
    yield f"## {' '.join(names)}"
    yield ""
    yield "```text"
    yield command.get_help(context)
    yield "```"
    yield ""
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (inner := command.get_command(context, name)) is not None:
                yield from _command(inner, (*names, name), context)


def layers() -> list[list[str]]:
    """The layers of import-linter's contract from the top, each with its entries of `ftops/`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (contract,) = (each for each in settings["contracts"] if each["id"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def layer_line() -> Iterator[str]:
    """The layers as one line, folded."""
    text = " › ".join(", ".join(layer) for layer in layers())
    yield from wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def room_table() -> Iterator[str]:
    """A row for each entry of `ftops/`, from the top layer down: what its docstring says first."""
    yield from ("| room | is |", "|---|---|")
    for name in (name for layer in layers() for name in layer):
        folder = ROOT / "ftops" / name
        yield _room(folder) if folder.is_dir() else _room(folder.with_suffix(".py"))


def inner_room_table() -> Iterator[str]:
    """A row for each folder in a room, in the order of the rooms."""
    yield from ("| room | is |", "|---|---|")
    for name in (name for layer in layers() for name in layer):
        for path in sorted((ROOT / "ftops" / name).glob("*/**/__init__.py")):
            yield _room(path.parent)


def _room(path: Path) -> str:
    name = path.relative_to(ROOT / "ftops").as_posix()
    module = path / "__init__.py" if path.is_dir() else path
    words = _first_sentence(ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "")
    return f"| `{name}{'/' if path.is_dir() else ''}` | {words} |"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s|\n\n", text, maxsplit=1)[0].replace("\n", " ").replace("|", "\\|")


NUMBERS: Final = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)


def step_table() -> Iterator[str]:
    """How many kinds of step there are, and a row for each."""
    yield f"A change is a list of steps. There are {NUMBERS[len(STEPS)]} of them:"
    yield from ("", "| step | does |", "|---|---|")
    yield from (f"| `{name}` | {_first_sentence(step.__doc__ or '')} |" for name, step in STEPS.items())


PARTS: Final = {"rooms": room_table, "inner rooms": inner_room_table, "layers": layer_line, "steps": step_table}
PART: Final = re.compile(r"(?<=<!-- made: )([a-z ]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """A page with its parts made anew."""

    def made(found: re.Match[str]) -> str:
        return f"{found[1]}{found[2]}\n{chr(10).join(PARTS[found[1]]())}\n\n"

    return PART.sub(made, (FOLDER / page).read_text(encoding="utf-8"))


PAGES: Final = {
    "reference/specs.md": specs,
    "reference/cli.md": cli,
    "explanation/architecture.md": lambda: filled("explanation/architecture.md"),
    "explanation/plan-and-apply.md": lambda: filled("explanation/plan-and-apply.md"),
}


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for page, make in PAGES.items():
        text = make()
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text(text, encoding="utf-8")
