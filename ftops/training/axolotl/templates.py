"""Renders templates to configs. Only the sandbox's child imports it: it needs Jinja, and anybody writes templates.

A template is Jinja over YAML. It sees the values of `config.template_values` and three functions that write whole lines:

- `owned(key, …)`: the keys that ftops decides, where they are set
- `option(key, default)`: a hyperparameter of the spec, or else the default
- `rest()`: the hyperparameters that no `option` has named

Whatever stands in `{{ … }}` is written as a YAML scalar or flow collection, so a value can never become a key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import FunctionLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from ftops.errors import did_you_mean

if TYPE_CHECKING:
    from ftops.digests import Json


def render_all(templates: Mapping[str, str], requests: Iterable[Mapping[str, Json]]) -> Json:
    """What `config.render_configs` returns."""
    environment = _environment(templates)
    names = tuple(templates)
    return {"results": {each["id"]: _render(environment, each["template"], names, each["values"]) for each in requests}}


def _render(
    environment: ImmutableSandboxedEnvironment, template: str, names: Sequence[str], values: Mapping[str, Json]
) -> Json:
    try:
        text = environment.get_template(template).render(**values, **_functions(values))
        return {"config": parse_config(text), "text": text}
    except TemplateNotFound as missing:
        message, hint = f"no template {missing.name!r}", did_you_mean(str(missing.name), names)
        name, number = _template_line(missing, names)
        return _error(f"{message}; {hint}" if hint else message, name or template, number)
    except TemplateSyntaxError as wrong:
        return _error(str(wrong.message), wrong.name or template, wrong.lineno)
    except yaml.MarkedYAMLError as wrong:
        mark = wrong.problem_mark
        where = "" if mark is None else f" in line {mark.line + 1} of the rendered config"
        return _error(f"what it renders is not YAML: {wrong.problem}{where}", template, None)
    except MemoryError:
        return _error("it needs more memory than a template may have", template, None)
    except Exception as wrong:  # noqa: BLE001  (a template can raise anything, and it is a fault of that template alone)
        name, number = _template_line(wrong, names)
        return _error(str(wrong) or type(wrong).__name__, name or template, number)


def _error(message: str, template: str, line: int | None) -> Json:
    return {"error": {"message": message, "template": template, "line": line}}


def _template_line(error: BaseException, templates: Sequence[str]) -> tuple[str | None, int | None]:
    """The template and its line that an error comes from: Jinja's tracebacks name both."""
    place: tuple[str | None, int | None] = (None, None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in templates:
            place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return place


def _environment(templates: Mapping[str, str]) -> ImmutableSandboxedEnvironment:
    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        # The name stands as the file name too, so that tracebacks say it.
        return (templates[name], name, lambda: True) if name in templates else None

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        finalize=_written,
        autoescape=True,  # marks what is written already (blocks, macros, our functions); _written does the rest
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals = {name: environment.globals[name] for name in ("range", "dict", "namespace")}
    del environment.filters["random"]  # the same values must render the same config
    return environment


def _written(value: Any) -> Any:
    """What Jinja puts into the text for a value: YAML, unless it is text that is written already."""
    return value if isinstance(value, Markup) else Markup(flow(value))  # noqa: S704  (YAML, not HTML)


def _functions(values: Mapping[str, Json]) -> dict[str, Callable[..., Any]]:
    given, decided = values["hyperparameters"], values["ftops"]
    named: set[str] = set()

    def owned(*keys: str) -> Markup:
        return Markup("\n".join(block(key, decided[key]) for key in keys if key in decided))  # noqa: S704

    def option(key: str, default: Json) -> Markup:
        named.add(key)
        return Markup(block(key, given.get(key, default)))  # noqa: S704

    def rest() -> Markup:
        return Markup("\n".join(block(key, value) for key, value in given.items() if key not in named))  # noqa: S704

    return {"owned": owned, "option": option, "rest": rest}


# --------------------------------------------------------------------------------------------------- YAML


def block(key: str, value: Json) -> str:
    """`key: value` as YAML; a list of mappings or of long texts gets one line an item."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and item for item in value):
        items = ["\n".join(f"    {flow(name)}: {flow(inner)}" for name, inner in item.items()) for item in value]
        return f"{flow(key)}:\n" + "\n".join(f"  - {item.lstrip()}" for item in items)
    if isinstance(value, list) and any(isinstance(item, str) and "." in item for item in value):
        return f"{flow(key)}:\n" + "\n".join(f"  - {flow(item)}" for item in value)
    return f"{flow(key)}: {flow(value)}"


def flow(value: Json) -> str:
    """`value` as YAML on one line. Raises TypeError for what JSON doesn't know, ValueError for NaN and infinity."""
    match value:
        case None | bool():
            return json.dumps(value)
        case int():
            return str(value)
        case float():
            return _float(value)
        case str():
            return _text(value)
        case Mapping():
            return "{" + ", ".join(f"{flow(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(flow(inner) for inner in value) + "]"
        case Undefined():
            return str(value)  # raises, naming what is undefined
        case _:
            raise TypeError(f"a {type(value).__name__} can't stand in a config")


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that a config can hold")
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text


@lru_cache(maxsize=4096)
def _text(value: str) -> str:
    if re.fullmatch(r"(\.{0,2}/)*[A-Za-z0-9_][A-Za-z0-9_./@+-]*", value) and yaml.safe_load(value) == value:
        return value
    return yaml.safe_dump(value, default_style='"', width=float("inf"), allow_unicode=True).removesuffix("\n")


class _Loader(yaml.CSafeLoader):
    """PyYAML's fast safe loader, but a key that stands twice is an error, as the later one would silently win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (pair[0] for pair in node.value if isinstance(pair[0], yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_config(text: str) -> dict[str, Json]:
    """The mapping that `text` holds. Raises yaml.MarkedYAMLError, or ValueError for what a config can't be."""
    tree = yaml.load(text, _Loader)  # noqa: S506  (a subclass of the safe loader)
    if not isinstance(tree, dict):
        raise ValueError("it renders no mapping")  # noqa: TRY004  (the template is wrong, not the call)
    if odd := [key for key in tree if not isinstance(key, str)]:
        raise ValueError(f"the key {odd[0]!r} is no text: put it in quotes")
    for path, value in _leaves(tree, ()):
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(f"{'.'.join(path)} is a {type(value).__name__}: put it in quotes")  # noqa: TRY004
        if isinstance(value, float):
            _float(value)
    return tree


def _leaves(tree: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Json]]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if not isinstance(tree, dict | list):
        yield path, tree
    for key, value in pairs:
        yield from _leaves(value, (*path, str(key)))
