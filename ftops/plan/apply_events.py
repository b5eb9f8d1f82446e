"""What apply tells while it works, as values; the command line shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ftops.errors import Diagnostic
from ftops.plan.address import Address
from ftops.plan.changes import Plan
from ftops.plan.steps import Step


@dataclass(frozen=True, slots=True)
class StepBegan:
    address: Address
    step: Step


@dataclass(frozen=True, slots=True)
class StepEnded:
    address: Address
    step: Step
    seconds: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DataProgress:
    address: Address
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    address: Address
    progress: Progress


@dataclass(frozen=True, slots=True)
class ChangeEnded:
    """A change is done, failed (with what went wrong), or skipped (because of `because`)."""

    address: Address
    diagnostics: tuple[Diagnostic, ...] = ()
    exit_code: int = 0
    because: Address | None = None

    @property
    def ok(self) -> bool:
        return not self.exit_code and self.because is None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a person should know and that ended nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Applied:
    """How every change ended, no-ops left out; `pushed` is False where a push was wanted and did not happen. `written` has the
    texts of the records that were written to a folder instead of git, by path."""

    changes: tuple[ChangeEnded, ...]
    pushed: bool = True
    written: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """All of a plan is done. Another round may follow, of what waited for the choice of a sweep."""

    plan: Plan
    applied: Applied


ApplyEvent = StepBegan | StepEnded | DataProgress | TrainingProgress | ChangeEnded | Notice


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: `rate` in tokens a second, `eta` in seconds; None where not known yet."""

    step: int
    max_steps: int
    loss: float | None = None
    rate: float | None = None
    eta: float | None = None
