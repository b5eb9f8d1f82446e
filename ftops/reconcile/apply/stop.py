"""Ends what a person wants stopped: of a training a checkpoint first, then the signals, then the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ftops.errors import Diagnostic, ExternalError, UsageError, did_you_mean
from ftops.executors import protocol
from ftops.executors.attempts import observe_attempt
from ftops.executors.job_state import JobState, Observation
from ftops.executors.protocol import Key, Unreachable
from ftops.executors.registry import executor_for
from ftops.files import is_locked
from ftops.index.update import update_index
from ftops.plan.run import Run, RunState
from ftops.reconcile.write_back import WriteBack
from ftops.resources.runner import Runner
from ftops.resources.workspace import Workspace
from ftops.training import results
from ftops.training.follow import last_checkpoint
from ftops.training.merge import job_id
from ftops.training.spec.training_run import TrainingRun, runner_of

POLL_SECONDS: Final = 0.2
KILL_SECONDS: Final = 30.0
"""How much later than its grace a job must have ended: its wrapper kills it then."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """How a training that was told to stop ended: its state, the step of the checkpoint that it can go on from, and where its
    record is now."""

    state: RunState
    checkpoint: int | None
    recorded: str


def stop(workspace: Workspace, run: Run, grace: float, tell: Callable[[str], None]) -> Stopped:
    """Asks the attempt of `run` that goes on to save a checkpoint and end, which it must within `grace` seconds.

    Returns when it has ended and is recorded. Raises UsageError where nothing goes on, ExternalError where it can't be asked,
    or can't be proved to be what would be stopped.
    """
    if run.state is not RunState.RUNNING:
        raise UsageError(Diagnostic(f"{run.id} is {run.state}: there is nothing to stop"))
    _end(workspace, run, grace, lambda: tell(f"{_words(run)} is asked to save a checkpoint and end"))
    entry = results.run_entry(run.id, workspace.store)
    whole = last_checkpoint(workspace.store, run.id)
    return Stopped(
        entry.attempts[str(run.attempt)].phase, None if whole is None else whole.step, _record(workspace, run)
    )


def merging(workspace: Workspace, run: Run) -> Run | None:
    """The job that merges the adapter of `run` now; None where none does."""
    identity = job_id(run.id)
    attempt = max(workspace.store.attempts(identity), default=0)
    found = observe_attempt(workspace.store.attempt(identity, attempt))
    if found is None or not found.state.going_on:
        return None
    return Run(identity, run.name, "", attempt, RunState.RUNNING)


def stop_merging(workspace: Workspace, job: Run, grace: float, tell: Callable[[str], None]) -> None:
    """Ends a job that merges, of which nothing is kept or recorded: the next apply merges again. Raises as `stop`."""
    _end(workspace, job, grace, lambda: tell(f"{_words(job)} is asked to end"))


def _words(run: Run) -> str:
    return f"{run.id} attempt {run.attempt}"


def _end(workspace: Workspace, run: Run, grace: float, asked: Callable[[], None]) -> None:
    """Asks the attempt to end, calling `asked` where it was, and returns when it has."""
    executor = executor_for(_runner(workspace, run), workspace.store)
    found = executor.find(Key(run.id, run.attempt))
    if isinstance(found, Unreachable):
        raise ExternalError(Diagnostic(f"{_words(run)} was not stopped: {found.reason}"))
    for handle in found:
        if executor.stop(handle, grace):
            asked()
        deadline = time.monotonic() + grace + KILL_SECONDS
        while not _has_ended(status := executor.observe([handle])[handle]):
            if time.monotonic() > deadline:
                reason = status.reason if isinstance(status, Unreachable) else "it does not end"
                raise ExternalError(Diagnostic(f"{_words(run)} was asked to end, but {reason}"))
            time.sleep(POLL_SECONDS)
        # A follower collects and forgets it itself.
        if not is_locked(workspace.store.root / "lock"):
            executor.forget(handle)


def _has_ended(status: protocol.JobStatus) -> bool:
    if isinstance(status, Observation):
        return not status.state.going_on or status.state is JobState.UNKNOWN
    return not isinstance(status, Unreachable)


def _runner(workspace: Workspace, run: Run) -> Runner:
    """The runner that the last attempt was started on, also where the spec names another one by now, or is gone."""
    project = workspace.specs.project
    name = (workspace.store.read_run(run.id) or {}).get("runner")
    resource = workspace.specs.find(TrainingRun, run.name)
    if name is None and resource is not None:
        return runner_of(resource, project)
    runners: Mapping[str, Runner] = project.spec.runners
    if name is None or name not in runners:
        hint = did_you_mean(str(name), [*runners])
        raise UsageError(Diagnostic(f"{run.id} runs on {name!r}, which ftops.yaml has not", hint=hint))
    return runners[name]


def _record(workspace: Workspace, run: Run) -> str:
    """Commits how it ended, where no apply is at work that does so itself; returns in a few words where it is."""
    if workspace.repository is None:
        return "not recorded: there is no git repository; the store remembers it"
    try:
        with workspace.store.exclusive():
            back = WriteBack.open(workspace, None, {"Ftops-Run": run.id})
            record = results.run_record(run.name, run.digest, workspace.store)
            said = back.write([record], f"ftops: TrainingRun/{run.name} {record.status.phase}", {})
    except ExternalError as error:
        if is_locked(workspace.store.root / "lock"):
            return "the apply that follows it records it"
        return f"not recorded yet, the next apply does it: {error}"
    update_index(workspace)
    return said
