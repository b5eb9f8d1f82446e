"""Makes a plan so: the only place that starts effects. Who does a step stands in `doers`.

Every change is done on its own: when one fails, those that need it are skipped and the others go on. What came out of
a change is committed before the next one starts, so that a kill loses nothing that was finished.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ftops import tracking
from ftops.digests import digest
from ftops.errors import FtopsError
from ftops.git.branch import heal
from ftops.index.update import update_index
from ftops.plan.address import Address
from ftops.plan.apply_events import (
    Applied,
    ApplyEvent,
    ChangeEnded,
    DataProgress,
    Notice,
    StepBegan,
    StepEnded,
    TrainingProgress,
)
from ftops.plan.changes import Change, Plan
from ftops.plan.observed import Observed
from ftops.plan.steps import AddMerged, LabelVersion, RegisterVersion, Resume, Train
from ftops.reconcile.apply.commit import commit
from ftops.reconcile.apply.doers import DOERS
from ftops.reconcile.apply.parallel import has_parallel_jobs, together
from ftops.reconcile.write_back import WriteBack
from ftops.resources.project import FromEnvironment
from ftops.resources.work import Work, blocking
from ftops.resources.workspace import Workspace
from ftops.store.journal import Interrupted, Journal, interrupted
from ftops.store.store import open_store

__all__ = [
    "Applied",
    "ApplyEvent",
    "ChangeEnded",
    "DataProgress",
    "Notice",
    "StepBegan",
    "StepEnded",
    "TrainingProgress",
    "apply",
    "catch_up",
]


def apply(
    plan: Plan,
    workspace: Workspace,
    observed: Observed,
    results_folder: Path | None,
    emit: Callable[[ApplyEvent], None],
    resume: Mapping[Address, Resume] | None = None,
) -> Applied:
    """How every change of `plan` ended.

    With `results_folder`, records are written below it and nothing is committed; `resume` says where the next attempts of
    trainings begin, where that was chosen. Raises ExternalError or UsageError
    where nothing can be begun: another apply works here, the store or git can't be written.
    """
    store = open_store(workspace.store.root)
    trailers = _trailers(plan, observed)
    with store.exclusive(), Journal.open(store.journal) as journal:
        if (cut := interrupted(store.journal)) is not None:
            emit(Notice(f"the last apply was cut off ({_steps(cut)}); this one goes on from what it left"))
        if workspace.repository is not None and results_folder is None:
            heal(workspace.repository)
        write_back = WriteBack.open(workspace, results_folder, trailers)
        changes = {change.address: change for change in plan.changes}
        work = Work(
            workspace,
            store,
            observed,
            changes,
            write_back.records,
            journal,
            emit,
            partial(commit, write_back),
            resume or {},
        )
        uri = _tracking_uri(workspace)
        if _is_tracked(plan) or tracking.pending(store.root):
            tracking.start_mirror(store.root, uri)
        try:
            changes_ended = tuple(_all(work, plan))
        finally:
            if left := tracking.flush(store.root):
                emit(Notice(str(left)))
        if results_folder is None and (lacks := update_index(workspace)):
            emit(Notice(lacks))
        return Applied(changes_ended, pushed=write_back.complete, written=write_back.written)


def _is_tracked(plan: Plan) -> bool:
    """Whether MLflow will hear of anything: starting its process costs seconds of a processor."""
    tracked = Train | RegisterVersion | AddMerged | LabelVersion
    return any(isinstance(step, tracked) for change in plan.changes for step in change.steps)


def catch_up(workspace: Workspace) -> str:
    """Starts what brings to MLflow that which an earlier apply could not; returns what is still missing, in words."""
    if not tracking.pending(workspace.store.root):
        return ""
    tracking.start_mirror(workspace.store.root, _tracking_uri(workspace))
    return str(tracking.flush(workspace.store.root))


def _steps(cut: Interrupted) -> str:
    return ", ".join(f"{each.name} of {each.detail['address']}" for each in cut.open)


def _trailers(plan: Plan, observed: Observed) -> dict[str, str]:
    trailers = {"Ftops-Plan": digest([[str(each.address), each.digest, each.action] for each in plan.changes])[:12]}
    if observed.commit is not None:
        trailers["Ftops-Input-Commit"] = observed.commit
    if observed.dirty:
        trailers["Ftops-Input-Dirty"] = "true"
    return trailers


def _tracking_uri(workspace: Workspace) -> str:
    configured = workspace.specs.project.spec.tracking.mlflow
    if isinstance(configured, FromEnvironment):
        configured = configured.read(os.environ, "spec.tracking.mlflow")
    return tracking.tracking_uri(configured, workspace.root, os.environ)


def _all(work: Work, plan: Plan) -> Iterator[ChangeEnded]:
    """Each change in the plan's order, or trainings together where runners allow that. One that fails takes with it what needs
    it, and nothing else."""
    if has_parallel_jobs(work, plan):
        yield from together(work, plan, _one)
        return
    bad: set[Address] = set()
    for change in plan.changes:
        if change.is_noop:
            continue
        because = blocking(change, bad)
        ended = ChangeEnded(change.address, because=because) if because else _one(work, change)
        if not ended.ok:
            bad.add(change.address)
        work.emit(ended)
        yield ended


def _one(work: Work, change: Change) -> ChangeEnded:
    work.pending.clear()
    try:
        for step in change.steps:
            work.pause(0)
            began = time.monotonic()
            work.emit(StepBegan(change.address, step))
            with work.journal.step(type(step).__name__, {"address": str(change.address), "digest": change.digest}):
                detail = DOERS[type(step)](work, change, step)
            work.emit(StepEnded(change.address, step, time.monotonic() - began, detail))
    except FtopsError as error:
        return ChangeEnded(change.address, error.diagnostics, error.exit_code)
    return ChangeEnded(change.address)
