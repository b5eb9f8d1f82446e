"""Renders reports from the templates that come with ftops. HTML escapes by itself, Markdown by its filters.

A name that a template has and its values lack raises."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ftops.digests import Json
from ftops.display.text import clean
from ftops.files import read_shipped

if TYPE_CHECKING:
    from jinja2 import Environment

# A link makes itself of these, however they are escaped; in a span of code it does not.
_LINKS: Final = re.compile(r"([\w.+/:?=&%#~-]*(?:@|://|www\.)[\w.+/:?=&%#~@-]*)", re.ASCII | re.IGNORECASE)
_MARKUP: Final = re.compile(r"[\\`*_\[\]<>|~&#!$@]")
_FIRST: Final = re.compile(r"^(?:(?=[-+=](?:[-=\s]|$))|(\d+)(?=[.)](?:\s|$)))")


def render_page(template: str, **values: Any) -> bytes:
    """The text of a template below templates/reports/; raises jinja2.UndefinedError where it needs another value."""
    text = _environment().get_template(template).render(**values)
    if template.endswith(".md.j2"):  # what is left out leaves the lines around it
        text = re.sub(r"\n{3,}", "\n\n", text)
    return text.encode()


def prose(text: str) -> str:
    """`text` in one line of Markdown, of a paragraph or of a table, in which nothing is markup, a link or a mention."""
    parts = _LINKS.split(" ".join(text.split()))
    escaped = (_MARKUP.sub(r"\\\g<0>", part) if index % 2 == 0 else f"`{part}`" for index, part in enumerate(parts))
    return _FIRST.sub(r"\1\\", "".join(escaped))


def fenced(text: str, language: str = "") -> str:
    """`text` as a block of code that nothing in it can end."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def harmless(value: Json) -> Json:
    """A tree of JSON without characters that act on a terminal or a page, and without the passwords of URIs."""
    match value:
        case str():
            return clean(value, lines=True)
        case dict():
            return {clean(key, lines=True): harmless(each) for key, each in value.items()}
        case list():
            return [harmless(each) for each in value]
        case _:
            return value


def tight(text: str) -> str:
    """`text` in which no line breaks before a percent sign, or within `p = 0.01`."""
    return re.sub(r" (?=%)|(?<=\bp) (?=[=<])|(?<=\bp [=<]) ", "\N{NO-BREAK SPACE}", text)


@cache
def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape  # only a report needs it
    from markupsafe import Markup

    environment = Environment(
        loader=DictLoader(_shipped()),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # A picture is SVG already, and escapes what it writes.
    environment.filters |= {"prose": prose, "fenced": fenced, "drawn": Markup, "tight": tight}
    return environment


def _shipped() -> dict[str, str]:
    package = Path(__file__).parents[1]
    # The wheel holds templates/ inside the package, a checkout beside it.
    root = next(path for path in (package / "templates", package.parent / "templates") if path.is_dir()) / "reports"
    return {path.name: read_shipped(path).decode() for path in sorted(root.glob("*.j2"))}
