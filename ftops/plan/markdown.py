"""A plan as Markdown, for comments and step summaries of pull requests; and diagnostics as annotations of GitHub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ftops.display.text import clean, shown
from ftops.errors import Diagnostic, Severity
from ftops.plan.changes import Change, Plan, Reason
from ftops.plan.details import Details
from ftops.plan.step_text import (
    SYMBOLS,
    noteworthy,
    nothing_to_do,
    step_text,
    summary,
)

LIMIT: Final = 65_000
"""Characters; a comment of GitHub may have 65,536."""
MOST_REASONS: Final = 20

_LEVELS: Final = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def plan_markdown(plan: Plan) -> str:
    """A table of the changes, their steps folded below; cut, and saying so, where it would be longer than a comment may be."""
    head = [f"### Plan: {summary(plan)}", ""]
    head += [line for each in plan.warnings[:MOST_REASONS] for line in (f"> ⚠️ {code(each[:1000])}", "")]
    moving = [each for each in plan.changes if not each.is_noop]
    if not moving:
        head += [nothing_to_do(plan), ""]
    rows = [_row(each) for each in noteworthy(plan)]
    steps = [
        f"{number}. {code(str(change.address))}: {'; '.join(code(step_text(each)) for each in change.steps)}"
        for number, change in enumerate(moving, 1)
    ]
    tables = (
        (["| | resource | class | why |", "|---|---|---|---|"], rows, [""]),
        (["<details><summary>Steps</summary>", ""], steps, ["", "</details>", ""]),
    )
    lines = head
    left = LIMIT - _size(head) - 200  # for the sentence that says what was left out
    for opening, body, closing in tables:
        if body:
            part = _fitting(opening, body, closing, left)
            left -= _size(part)
            lines += part
    return "\n".join(lines).rstrip()


def diagnostics_github(diagnostics: Iterable[Diagnostic], *, prefix: str = "") -> str:
    """Workflow commands that annotate lines; `prefix` leads from the top of the repository to the project.

    Escaped as https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts does.
    """
    return "\n".join(_annotation(each, prefix) for each in diagnostics)


def code(text: str) -> str:
    """`text` in fixed width, where nothing in it is Markdown, HTML, a mention or a link: every punctuation mark is an entity,
    which GitHub never reads as markup, and inside of `<code>` no mention or reference is looked for."""
    entities = re.sub(r"[!-,./:-@\[-`{-~]", lambda match: f"&#{ord(match[0])};", clean(text))
    return f"<code>{entities}</code>"


def _row(change: Change) -> str:
    why = [_reason(each) for each in change.reasons[:MOST_REASONS]]
    if len(change.reasons) > MOST_REASONS:
        why.append(f"and {len(change.reasons) - MOST_REASONS} more fields")
    details = change.details_of(Details)
    why += map(code, (*details.reasons, *details.outlook))
    if change.note:
        why.append(code(change.note[:1000]))
    kind = "unchanged" if change.is_noop else f"{change.action.value}, {change.change_class.value}"
    return f"| {code(SYMBOLS[change.action])} | {code(str(change.address))} | {kind} | {'<br>'.join(why)} |"


def _reason(reason: Reason) -> str:
    before = "" if reason.before is None else f"{code(shown(reason.before))} "
    after = "removed" if reason.after is None else code(shown(reason.after))
    return f"{code(reason.field)}: {before}→ {after}" if before else f"{code(reason.field)}: {after}"


def _fitting(opening: list[str], body: list[str], closing: list[str], left: int) -> list[str]:
    """As much of `body` as fits into `left` characters, and a sentence about the rest."""
    left -= _size(opening) + _size(closing)
    kept = 0
    for line in body:
        left -= len(line) + 1
        if left < 0:
            break
        kept += 1
    if kept == len(body):
        return [*opening, *body, *closing]
    sentence = f"{len(body) - kept} of {len(body)} are not shown: the plan is too long for a comment."
    return [*opening, *body[:kept], *closing, sentence, ""] if kept else [sentence, ""]


def _size(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _annotation(diagnostic: Diagnostic, prefix: str) -> str:
    properties = []
    if (where := diagnostic.where) is not None:
        places = (("file", f"{prefix}{where.file}"), ("line", where.line), ("col", where.column))
        properties = [f"{name}={_property(str(value))}" for name, value in places if value is not None]
    if diagnostic.address is not None:
        properties.append(f"title={_property(diagnostic.address)}")
    text = "\n".join(part.strip() for part in (diagnostic.summary, diagnostic.detail, diagnostic.hint) if part.strip())
    command = " ".join(part for part in (_LEVELS[diagnostic.severity], ",".join(properties)) if part)
    return f"::{command}::{_data(clean(text, lines=True))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(clean(text)).replace(":", "%3A").replace(",", "%2C")
