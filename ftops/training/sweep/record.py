"""The record of a sweep: which member it chose, and how every one of them ended."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ftops.digests import Json
from ftops.plan.run import RunState, run_id
from ftops.plan.sweep_choice import Choice, MemberResult
from ftops.resources.fields import Name, Strict
from ftops.resources.record import Digest, Record, RecordMetadata


class MemberEntry(Strict):
    """A member: the hyperparameters that set it apart, its run, how that ended, what it ends with of the sweep's metric, and why
    it failed."""

    name: Name
    values: dict[str, Json]
    digest: Digest | None = None
    phase: RunState
    metric: float | None = None
    reason: str | None = None


class SweepStatus(Strict):
    """`members` has those that can't be chosen first. `why` says what decided, or why nothing is chosen."""

    phase: Literal["chosen", "failed"]
    metric: str
    mode: Literal["min", "max"]
    may_fail: int
    members: tuple[MemberEntry, ...] = Field(strict=False)
    chosen: Name | None = None
    run_digest: Digest | None = None
    run_id: str | None = None
    why: str
    input_commit: str | None = None


class SweepRecord(Record):
    folder: ClassVar = "sweeps"

    kind: Literal["SweepRecord"] = "SweepRecord"
    status: SweepStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def choice(self) -> Choice:
        """What the record says."""
        status = self.status
        members = tuple(
            MemberResult(each.name, each.values, each.digest or "", each.phase.value, each.metric, each.reason or "")
            for each in status.members
        )
        return Choice(status.metric, status.mode, status.may_fail, members, status.chosen or "", status.why)

    @classmethod
    def of(cls, name: str, choice: Choice, commit: str | None) -> SweepRecord:
        """The record of what the sweep `name` chose."""
        best = choice.best
        members = tuple(
            MemberEntry(
                name=each.name,
                values=dict(each.values),
                digest=each.digest or None,
                phase=RunState(each.phase),
                metric=each.value,
                reason=each.reason or None,
            )
            for each in choice.members
        )
        return cls(
            metadata=RecordMetadata(name=name),
            status=SweepStatus(
                phase="failed" if best is None else "chosen",
                metric=choice.metric,
                mode=choice.mode,
                may_fail=choice.may_fail,
                members=members,
                chosen=None if best is None else best.name,
                run_digest=None if best is None else best.digest,
                run_id=None if best is None else run_id(best.name, best.digest),
                why=choice.why,
                input_commit=commit,
            ),
        )


def fold(known: dict[str, Choice], record: SweepRecord) -> None:
    known[record.metadata.name] = record.choice


def merge_choices(tip: SweepRecord, mine: SweepRecord) -> SweepRecord:
    """The newer choice, unless it says the same."""
    return tip if tip.choice == mine.choice else mine
