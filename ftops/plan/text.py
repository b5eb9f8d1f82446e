"""Diagnostics and plans as text for terminals and logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ftops.display.terminal import Style, paint
from ftops.display.text import clean, shown
from ftops.errors import Diagnostic, Severity
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, Plan, Reason
from ftops.plan.details import Details
from ftops.plan.resolved import Resolved
from ftops.plan.step_text import (
    SYMBOLS,
    noteworthy,
    nothing_to_do,
    step_text,
    summary,
)

_SEVERITIES: Final = {
    Severity.ERROR: Style.BOLD_RED,
    Severity.WARNING: Style.BOLD_YELLOW,
    Severity.NOTE: Style.BOLD_CYAN,
}
_ACTIONS: Final = {
    Action.NOOP: Style.PLAIN,
    Action.CREATE: Style.GREEN,
    Action.UPDATE: Style.YELLOW,
    Action.REPLACE: Style.MAGENTA,
    Action.DELETE: Style.RED,
}


def diagnostics_text(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Each diagnostic as `file:line:column: error: summary`, below it the address, why, and what to do."""
    return "\n".join(line for each in diagnostics for line in _diagnostic(each, color))


def plan_text(
    plan: Plan,
    *,
    color: bool = False,
    unchanged: bool = False,
    explained: Mapping[Address, Sequence[Resolved]] | None = None,
) -> str:
    """A plan change by change; what stays as it is only as a number, unless `unchanged`.

    `explained` has the fields of specs as they count, to be shown below each change.
    """
    lines = [f"{paint('warning:', _SEVERITIES[Severity.WARNING], color)} {clean(each)}" for each in plan.warnings]
    if lines:
        lines.append("")
    for change in plan.changes if unchanged else noteworthy(plan):
        lines += [*_change(change, color), *_fields((explained or {}).get(change.address, ())), ""]
    if not plan.has_changes:
        lines += [nothing_to_do(plan), ""]
    lines.append(paint(f"Plan: {summary(plan)}.", Style.BOLD, color))
    return "\n".join(lines)


def _diagnostic(diagnostic: Diagnostic, color: bool) -> Iterator[str]:
    place = f"{paint(clean(str(diagnostic.where)), Style.BOLD, color)}: " if diagnostic.where is not None else ""
    severity = paint(f"{diagnostic.severity.value}:", _SEVERITIES[diagnostic.severity], color)
    yield f"{place}{severity} {clean(diagnostic.summary)}"
    if diagnostic.address is not None:
        yield f"  in {clean(diagnostic.address)}"
    for title, text in (("", diagnostic.detail), ("hint: ", diagnostic.hint)):
        for position, line in enumerate(clean(text, lines=True).splitlines()):
            yield f"  {title if position == 0 else ' ' * len(title)}{line}".rstrip()


def _change(change: Change, color: bool) -> Iterator[str]:
    symbol = paint(f"{SYMBOLS[change.action]:>3}", _ACTIONS[change.action], color)
    what = "unchanged" if change.is_noop else f"{change.action.value} ({change.change_class.value})"
    yield f"{symbol} {paint(clean(str(change.address)), Style.BOLD, color)}: {what}"
    if not change.is_noop:
        yield from (f"      {_reason(each)}" for each in change.reasons)
        yield from (f"      {each}" for each in change.details_of(Details).reasons)
        yield from (f"      {number}. {step_text(each)}" for number, each in enumerate(change.steps, 1))
    yield from (f"      {each}" for each in change.details_of(Details).outlook)
    if change.note:
        yield f"      {clean(change.note)}"


def _fields(fields: Sequence[Resolved]) -> Iterator[str]:
    if fields:
        yield "      spec as it counts:"
    for each in fields:
        yield f"        {clean(each.field)}: {shown(each.value)}  ({clean(str(each.where or 'default'))})"


def _reason(reason: Reason) -> str:
    field = clean(reason.field)
    if reason.before is None:
        return f"+ {field}: {shown(reason.after)}"
    if reason.after is None:
        return f"- {field}: {shown(reason.before)}"
    return f"~ {field}: {shown(reason.before)} → {shown(reason.after)}"
