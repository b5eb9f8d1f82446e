"""A plan and its changes as values: what would happen to each resource, why, and by which steps.

Everything here is frozen and holds no behaviour but what follows from its own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from ftops.digests import Json
from ftops.plan.address import Address
from ftops.plan.details import Details, SweepDetails
from ftops.plan.run import run_id
from ftops.plan.steps import Step

D = TypeVar("D", bound=Details)


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


RERUN: Final = Reason("rerun", None, "asked for")
"""Why a training is done again that is done already."""


class NoteKind(StrEnum):
    """What a note is about. Code decides by it, and never by the words."""

    STATE = "state"
    """Where the resource stands already, or why nothing is done."""
    STOPPED = "stopped"
    """A person stopped it."""
    WAITS = "waits"
    """It waits for another resource."""
    REUSED = "reused"
    """An earlier result is used again."""
    ADVICE = "advice"
    """What a person should decide although nothing has to be done."""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for people."""

    kind: NoteKind
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one resource, and why.

    `needs` are the addresses that must be done before. `details` is what its kind adds, with the meaning that `digest` was
    taken of; the digest is None where it is known only once the plan is applied. A no-op has a reason too, among `notes`.
    """

    address: Address
    action: Action
    change_class: ChangeClass
    reasons: tuple[Reason, ...] = ()
    steps: tuple[Step, ...] = ()
    needs: tuple[Address, ...] = ()
    notes: tuple[Note, ...] = ()
    digest: str | None = None
    details: Details | None = None

    @property
    def is_noop(self) -> bool:
        return self.action is Action.NOOP

    @property
    def inputs(self) -> Json:
        """The meaning that `digest` was taken of; None where that is not known, as in a plan that was saved."""
        return None if self.details is None else self.details.inputs

    @property
    def note(self) -> str:
        """Where it stands, in words: every note but advice."""
        return "; ".join(each.text for each in self.notes if each.kind is not NoteKind.ADVICE)

    @property
    def advice(self) -> tuple[str, ...]:
        return tuple(each.text for each in self.notes if each.kind is NoteKind.ADVICE)

    @property
    def blocked_by(self) -> Note | None:
        """Why nothing is done although there is something to do: it was stopped, or waits for what was."""
        return next((each for each in self.notes if each.kind in (NoteKind.STOPPED, NoteKind.WAITS)), None)

    @property
    def selected_member(self) -> str | None:
        """The member that a sweep stands for, empty where none is selected yet; None for what is no sweep."""
        return self.details.selected_member if isinstance(self.details, SweepDetails) else None

    @property
    def run_id(self) -> str:
        """The run that a TrainingRun stands for; its name alone where that is not known yet."""
        name = self.selected_member or self.address.name
        return run_id(name, self.digest) if self.digest else name

    def details_of(self, kind: type[D]) -> D:
        """The details of that kind, empty ones where it has others or none."""
        return self.details if isinstance(self.details, kind) else kind()


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
