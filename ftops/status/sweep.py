"""What a sweep stands for: the member that it chose, found by the name of the sweep."""

from __future__ import annotations

from dataclasses import replace

from ftops.errors import Diagnostic, UsageError
from ftops.plan.run import RunState, run_id
from ftops.plan.sweep_choice import Choice
from ftops.registry.read import records_of
from ftops.resources.workspace import Workspace
from ftops.status.run import find_live
from ftops.training.record import RunRecord, history
from ftops.training.spec.training_run import TrainingRun
from ftops.training.sweep.members import Sweep
from ftops.training.sweep.record import SweepRecord


def sweep_of(workspace: Workspace, name: str) -> Choice | None:
    """What the sweep `name` chose, as its record says; of one that has none yet, how its members stand. None for what is no sweep."""
    bare = name.removeprefix("TrainingRun/")
    sweep = workspace.specs.find(Sweep, bare)
    if sweep is None and workspace.specs.find(TrainingRun, bare) is not None:
        return None
    recorded = records_of(workspace, SweepRecord).get(bare)
    if recorded is not None:
        return recorded.choice
    if sweep is None:
        return None
    records = records_of(workspace, RunRecord)
    histories = {each: history(records[each]) for each in sweep.members if each in records}
    digests = {each: histories[each].current if each in histories else None for each in sweep.members}
    choice = sweep.choice(digests, histories)
    live = {each.name: find_live(workspace.store, each.name) for each in choice.members}
    members = tuple(
        replace(each, phase=run.state.value)
        if each.phase == RunState.PENDING and (run := live[each.name]) is not None
        else each
        for each in choice.members
    )
    why = choice.why if not choice.chosen else "`ftops apply` chooses among them"
    return replace(choice, members=members, chosen="", why=why)


def chosen_run(workspace: Workspace, name: str) -> str:
    """The id of the run that the sweep `name` chose; `name` itself where that is no sweep.

    Raises UsageError where nothing is chosen.
    """
    if (found := sweep_of(workspace, name)) is None:
        return name
    if found.best is None:
        raise UsageError(
            Diagnostic(
                f"the sweep {name} has chosen nothing: {found.why}",
                hint=f"name one of its members: {', '.join(each.name for each in found.members)}",
            )
        )
    return run_id(found.best.name, found.best.digest)


def refuse_sweep(workspace: Workspace, name: str) -> None:
    """Raises UsageError where `name` is a sweep, which trains nothing itself."""
    if (found := sweep_of(workspace, name)) is not None:
        members = ", ".join(each.name for each in found.members)
        raise UsageError(Diagnostic(f"{name} is a sweep and trains nothing itself", hint=f"name a member: {members}"))
