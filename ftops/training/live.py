"""The runs of this machine's store, and where each stands now."""

from __future__ import annotations

from dataclasses import replace

from ftops.executors.attempts import runs_of
from ftops.plan.run import Run, RunState
from ftops.resources.workspace import Workspace
from ftops.store.store import Store


def live_runs(workspace: Workspace) -> dict[str, Run]:
    """The runs of this machine's store by id, and where each stands now."""
    return {run.id: _live(run, workspace.store) for run in runs_of(workspace.store)}


def _live(run: Run, store: Store) -> Run:
    """The run, with the checkpoint that it could go on from where it ended early."""
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        return run
    from ftops.training.follow import (
        last_checkpoint,  # executors and all: 5 % of a small plan, which most plans don't need
    )

    whole = last_checkpoint(store, run.id)
    return replace(run, checkpoint=None if whole is None else whole.step)
