"""What a sweep chose, as text and as JSON: every member, those that can't be chosen first."""

from __future__ import annotations

from ftops.digests import Json
from ftops.display.figure import Table
from ftops.display.numbers import NONE, number
from ftops.display.table import table_lines
from ftops.display.text import clean
from ftops.plan.sweep_choice import Choice
from ftops.training.spec.sweep import point_text


def sweep_text(name: str, found: Choice) -> str:
    """What the sweep `name` chose, and how each of its members ended."""
    chose = f"chose {found.chosen}" if found.chosen else "has chosen nothing"
    rows = [
        (
            each.name,
            point_text(each.values),
            each.phase,
            number(each.value),
            "the best" if each.name == found.chosen else each.reason or NONE,
        )
        for each in found.members
    ]
    columns = [("member", False), ("values", False), ("phase", False), (found.metric, True), ("", False)]
    return "\n".join((clean(f"{name} {chose}: {found.why}"), *table_lines(Table.of(columns, rows))))


def sweep_tree(found: Choice) -> Json:
    """The same for programs."""
    return {
        "chosen": found.chosen or None,
        "why": found.why,
        "metric": found.metric,
        "mode": found.mode,
        "mayFail": found.may_fail,
        "members": [
            {
                "name": each.name,
                "values": dict(each.values),
                "phase": each.phase,
                "metric": each.value,
                "reason": each.reason or None,
            }
            for each in found.members
        ],
    }
