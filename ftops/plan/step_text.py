"""How values read: what is shown of a text, a digest, a step; nothing that is shown can act on a terminal."""

from __future__ import annotations

from typing import Final

from ftops.display.text import clean
from ftops.plan.changes import Action, Change, Plan
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
