"""The step that chooses the best member of a sweep."""

from __future__ import annotations

from ftops.errors import Diagnostic, ExternalError, RunFailed
from ftops.plan.apply_events import Notice
from ftops.plan.changes import Change
from ftops.plan.steps import Choose
from ftops.plan.sweep_choice import Choice
from ftops.resources.work import Work
from ftops.training.record import RunRecord, history
from ftops.training.spec.sweep import choice_text, point_text
from ftops.training.sweep.members import Sweep
from ftops.training.sweep.record import SweepRecord


def choose_member(work: Work, change: Change, step: Choose) -> str:
    """Chooses by what the members' records say now. Where nothing can be chosen, that is recorded and raised as RunFailed."""
    sweep = work.specs.resources[change.address]
    if not isinstance(sweep, Sweep):
        raise TypeError(f"{change.address} is no sweep")
    digests = {each.name: work.changes[each].digest for each in sweep.addresses}
    records = {name: work.records.get(RunRecord.path_of(name)) for name in sweep.members}
    histories = {name: history(record) for name, record in records.items() if isinstance(record, RunRecord)}
    found = sweep.choice(digests, histories)
    record = SweepRecord.of(sweep.metadata.name, found, work.observed.commit)
    work.pending[record.path] = record
    if found.best is not None:
        return choice_text(found)
    try:
        work.emit(Notice(work.commit(work, change)))
    except ExternalError as error:  # must not hide why nothing is chosen
        work.emit(Notice(f"that nothing is chosen could not be recorded: {error}"))
    raise RunFailed(_nothing(sweep, found))


def _nothing(sweep: Sweep, found: Choice) -> Diagnostic:
    lines = [
        f"{each.name} ({point_text(each.values)}): {each.phase}{f', {each.reason}' if each.reason else ''}"
        for each in found.members
        if not each.is_chosen_from
    ]
    hint = f"`ftops apply` trains what failed again; take a value out of sweep.parameters, or raise sweep.mayFail to {len(found.failed)}"
    return Diagnostic(
        f"{sweep.metadata.name} chose nothing: {found.why}",
        detail="\n".join(lines),
        hint=hint if found.failed else "see what the members' records measure: `ftops run show NAME`",
        address=str(sweep.address),
    )
