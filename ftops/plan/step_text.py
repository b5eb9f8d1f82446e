"""How values read: what is shown of a text, a digest, a step; nothing that is shown can act on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ftops.display.numbers import clock, gib, percent
from ftops.display.text import clean
from ftops.plan.changes import Action, Change, Plan
from ftops.plan.details import RowChanges
from ftops.plan.estimates import Cost, Estimate
from ftops.plan.steps import Step

SYMBOLS: Final = {
    Action.NOOP: "=",
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
}
WORDS: Final = {
    Action.NOOP: "unchanged",
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.REPLACE: "to replace",
    Action.DELETE: "to delete",
}
COUNTED: Final = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE, Action.NOOP)


def step_text(step: Step) -> str:
    """A step in words."""
    return clean(step.words)


def estimate_text(estimate: Estimate) -> str:
    """`about 2:05 of training, as tiny-base-0123456789ab took`."""
    return clean(f"about {clock(estimate.seconds)} of training, by what {estimate.like} took")


def cost_lines(cost: Cost) -> Iterator[str]:
    """What a training would take, a line for each thing: what is trained, memory, steps and disk."""
    share = cost.trainable / cost.parameters
    part = "all" if cost.trainable == cost.parameters else f"{cost.trainable:,} ({percent(share, 2)}) of"
    steps = "" if cost.steps is None else f", {cost.steps:,} steps"
    yield f"trains {part} {cost.parameters:,} parameters{steps}, leaves {gib(cost.disk)} on the disk"
    where = "of each GPU" if cost.gpus else "of the machine"
    memory = cost.memory
    measured = "" if cost.measured is None else f"; {cost.like} took {gib(cost.measured)}"
    yield clean(f"memory {where}: about {gib(memory.expected)} ({gib(memory.low)} to {gib(memory.high)}){measured}")


def rows_text(rows: RowChanges | str) -> str:
    """Rows that are added (+), removed, changed (~), removed, changed; or why they were not compared."""
    if isinstance(rows, str):
        return clean(f"rows: not compared ({rows})")
    if not (rows.added or rows.removed or rows.changed):
        return "rows: the same"
    return f"rows: +{rows.added:,} \N{MINUS SIGN}{rows.removed:,} ~{rows.changed:,}"


def noteworthy(plan: Plan) -> list[Change]:
    """What changes, and what stays as it is although something that it needs changes: nobody expects that unsaid."""
    moved = {each.address for each in plan.changes if not each.is_noop}
    return [each for each in plan.changes if not each.is_noop or not moved.isdisjoint(each.needs)]


def counts(plan: Plan) -> dict[str, int]:
    """How many changes there are of each action."""
    return {action.value: sum(each.action is action for each in plan.changes) for action in COUNTED}


def nothing_to_do(plan: Plan) -> str:
    """What is said of a plan without changes."""
    waits = any(change.blocked_by for change in plan.changes)
    return f"No changes: {'what is left waits' if waits else 'everything is as specified'}."


def summary(plan: Plan) -> str:
    """`1 to create, 0 to update, 0 to replace, 0 to delete, 3 unchanged`."""
    numbers = counts(plan)
    return ", ".join(f"{numbers[action.value]} {WORDS[action]}" for action in COUNTED)
