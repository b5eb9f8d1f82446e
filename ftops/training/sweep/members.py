"""What a sweep expands to: members, each a TrainingRun, and the sweep, which stands for the best of them."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ftops.errors import Diagnostic
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind, Reason
from ftops.plan.details import SweepDetails, TrainingDetails
from ftops.plan.estimates import Estimate, times
from ftops.plan.observed import RunHistory
from ftops.plan.run import RunState, run_id
from ftops.plan.steps import Choose, CommitRecords, Train
from ftops.plan.sweep_choice import Choice, MemberResult, choose
from ftops.resources.fields import Name
from ftops.resources.resource import Context, Reference, advice, differences, noop
from ftops.training.spec.sweep import Point, SweepSpec, choice_text, point_text
from ftops.training.spec.training_run import TrainingRun, run_address

if TYPE_CHECKING:
    from ftops.digests import Json


class Member(TrainingRun):
    """One training of a sweep."""

    is_expanded: ClassVar[bool] = True

    sweep: Name = Field(exclude=True)
    point: Point = Field(exclude=True)

    def plan(self, context: Context) -> Change:
        change = super().plan(context)
        if (failure := self._accepted(change, context)) is not None:
            note = f"failed{failure}; the sweep goes without it; `ftops apply --resume {self.metadata.name}` tries it again"
            details = TrainingDetails(change.inputs)
            return noop(self.address, note, digest=change.digest, details=details, needs=change.needs)
        details = change.details_of(TrainingDetails)
        estimate = details.estimate or self._as_others(change, context)
        notes = (Note(NoteKind.STATE, point_text(self.point)), *change.notes)
        return replace(change, notes=notes, details=replace(details, estimate=estimate))

    def _as_others(self, change: Change, context: Context) -> Estimate | None:
        """The time that a training would take as another member did, the one that is most like it; None where none has ended."""
        sweep = context.resources.get(run_address(self.sweep))
        if not isinstance(sweep, Sweep) or not any(isinstance(step, Train) for step in change.steps):
            return None
        histories = {name: context.observed.runs[name] for name in sweep.members if name in context.observed.runs}
        ended = [
            (len(differences(each.inputs, change.inputs)), name, each)
            for name, history in histories.items()
            if (each := history.runs[history.current]).seconds and each.phase is RunState.SUCCEEDED
        ]
        if not ended:
            return None
        _, name, like = min(ended, key=operator.itemgetter(0))
        return Estimate((like.seconds or 0.0) * times(like.inputs, change.inputs), run_id(name, like.digest))

    def _accepted(self, change: Change, context: Context) -> str | None:
        """Why the member failed, where the sweep has chosen without it, as it still may; None where it is to be trained."""
        sweep, found = context.resources.get(run_address(self.sweep)), context.observed.sweeps.get(self.sweep)
        if not isinstance(sweep, Sweep) or found is None or not found.chosen or self.address in context.resumed:
            return None
        live = context.observed.live.get(change.run_id)
        if change.is_noop or (live is not None and live.state is not RunState.FAILED):
            return None
        if len(found.failed) > sweep.sweep.may_fail:
            return None
        mine = [each for each in found.failed if (each.name, each.digest) == (self.metadata.name, change.digest)]
        return (f": {mine[0].reason}" if mine[0].reason else "") if mine else None


class Sweep(TrainingRun):
    """A TrainingRun with `sweep`: it trains nothing itself, needs all of its members, and stands for the one that it chose."""

    needs_digests: ClassVar[bool] = False

    members: Mapping[str, Point] = Field(exclude=True)

    def refuse_rerun(self) -> Diagnostic | None:
        hint = f"name members: {', '.join(self.members)}"
        return Diagnostic("a sweep trains nothing itself", hint=hint, address=str(self.address))

    @property
    def sweep(self) -> SweepSpec:
        if self.spec.sweep is None:
            raise TypeError(f"{self.address} is no sweep")
        return self.spec.sweep

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The members, in the order of the sweep."""
        return tuple(run_address(name) for name in self.members)

    def references(self) -> Iterator[Reference]:
        yield from super().references()
        yield from (Reference(("spec", "sweep"), each) for each in self.addresses)

    def choice(self, digests: Mapping[str, str | None], histories: Mapping[str, RunHistory]) -> Choice:
        """Which member is the best, by what `histories` (the records of runs by name) say of the runs of `digests`."""
        best = self.sweep.best
        results = (
            _result(name, point, digests[name] or "", histories.get(name), best.metric)
            for name, point in self.members.items()
        )
        return choose(best.metric, best.mode, self.sweep.may_fail, results)

    def plan(self, context: Context) -> Change:
        planned = {each.name: context.planned[each] for each in self.addresses}
        recorded = context.observed.sweeps.get(self.metadata.name)
        best = self.sweep.best
        steps = (Choose(self.metadata.name, best.metric, best.mode), CommitRecords(self.address))
        going = [change for change in planned.values() if not change.is_noop]
        digests = {name: change.digest for name, change in planned.items()}
        found = self.choice(digests, context.observed.runs)
        if not going and found.best is not None and found == recorded:
            return noop(
                self.address,
                choice_text(found),
                notes=advice(_failures(found)),
                digest=found.best.digest,
                needs=self.addresses,
                details=SweepDetails(selected_member=found.chosen),
            )
        sure = None if going else found.best
        return Change(
            self.address,
            Action.CREATE if recorded is None else Action.UPDATE,
            ChangeClass.REGISTER,
            reasons=_reasons(recorded, found, len(going)),
            steps=steps,
            needs=self.addresses,
            notes=() if sure is None else (Note(NoteKind.STATE, choice_text(found)),),
            digest=None if sure is None else sure.digest,
            details=SweepDetails(selected_member="" if sure is None else sure.name),
        )


def _result(name: str, point: Point, digest: str, history: RunHistory | None, metric: str) -> MemberResult:
    run = None if history is None else history.runs.get(digest)
    if run is None:
        return MemberResult(name, point, digest, RunState.PENDING.value)
    value = run.metrics.get(metric) if run.phase is RunState.SUCCEEDED else None
    reason = "" if run.phase is RunState.SUCCEEDED else run.detail
    return MemberResult(name, point, digest, run.phase.value, value, reason)


def _failures(found: Choice) -> tuple[str, ...]:
    """That others failed, said as long as it is so."""
    names = ", ".join(each.name for each in found.failed)
    return (f"{names} failed; {found.chosen} was chosen among the others",) if names else ()


def _reasons(recorded: Choice | None, found: Choice, going: int) -> tuple[Reason, ...]:
    """Which members came and went, by what they are compared now, and what is chosen; `going` of them are to be trained."""
    before = [] if recorded is None else sorted(each.name for each in recorded.members)
    chosen = f"the best, {going} of {len(found.members)} being trained" if going else found.chosen
    fields: list[tuple[str, Json, Json]] = [
        ("sweep.members", before or None, sorted(each.name for each in found.members)),
        ("sweep.best.metric", recorded and recorded.metric, found.metric),
        ("sweep.best.mode", recorded and recorded.mode, found.mode),
        ("sweep.mayFail", None if recorded is None else recorded.may_fail, found.may_fail),
        ("chosen", (recorded and recorded.chosen) or None, chosen or found.why),
    ]
    changed = tuple(Reason(field, old, new) for field, old, new in fields if old != new)
    return changed or (Reason("measured", "as recorded", "anew"),)
