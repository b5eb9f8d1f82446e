"""The values that several rooms share: addresses, changes, steps, runs, and what was observed.

Everything here is frozen and holds no behaviour but what follows from its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ftops.digests import Json
from ftops.plan.address import Address
from ftops.plan.estimates import Cost, Estimate
from ftops.plan.run import run_id
from ftops.plan.steps import Step

# --------------------------------------------------------------------------------------------------- runs


# ------------------------------------------------------------------------------------------------- changes


class Action(StrEnum):
    NOOP = "noop"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"


class ChangeClass(StrEnum):
    """What a change costs, from nothing to a whole training."""

    NOOP = "noop"
    REGISTER = "register"
    ANALYZE = "analyze"
    PREPARE = "prepare"
    RESUME = "resume"
    RETRAIN = "retrain"


@dataclass(frozen=True, slots=True)
class Reason:
    """A field that differs, and how. For people: apply decides nothing by it."""

    field: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows of a source differ from those that were recorded; `changed` ones have the same prompt and another answer."""

    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one resource, and why.

    `inputs` is the meaning that `digest` was taken of; `needs` are the addresses that must be done before.
    A no-op has a reason too, in `note`; `advice` is what a person should decide although nothing has to be done.
    `rows` says how the rows of a data set differ from the recorded ones, or why they were not compared; None where there is
    nothing to compare. `same_rows` are digests that a data set had before, with the same rows and another report. `held`: it
    was stopped, or waits for what was. `chosen` is the member that a sweep stands for, with the digest of its run; empty where none
    is chosen yet, None for what is no sweep.
    """

    address: Address
    action: Action
    change_class: ChangeClass
    reasons: tuple[Reason, ...] = ()
    steps: tuple[Step, ...] = ()
    needs: tuple[Address, ...] = ()
    note: str = ""
    advice: tuple[str, ...] = ()
    estimate: Estimate | None = None
    cost: Cost | None = None
    digest: str | None = None
    inputs: Json = None
    rows: RowChanges | str | None = None
    same_rows: tuple[str, ...] = ()
    held: bool = False
    chosen: str | None = None

    @property
    def is_noop(self) -> bool:
        return self.action is Action.NOOP

    @property
    def run_id(self) -> str:
        """The run that a TrainingRun stands for; its name alone where that is not known yet."""
        name = self.chosen or self.address.name
        return run_id(name, self.digest) if self.digest else name


@dataclass(frozen=True, slots=True)
class Seal:
    """What a plan was made from; a saved plan is refused when any of it moved.

    Each mapping goes from a name that people know (an address, a path) to a digest.
    """

    commit: str | None
    specs: Mapping[str, str]
    data: Mapping[str, str]
    configs: Mapping[str, str]
    engine: str
    records: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered list of changes: what a change needs stands before it."""

    changes: tuple[Change, ...]
    seal: Seal | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_changes(self) -> bool:
        return any(not change.is_noop for change in self.changes)


# ------------------------------------------------------------------------------------------------ observed


RERUN: Final = Reason("rerun", None, "asked for")
