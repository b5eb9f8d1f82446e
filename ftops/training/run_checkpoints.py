"""The checkpoints of a run: which there are, which is the best, and which nobody needs any more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ftops.errors import Diagnostic, UsageError, did_you_mean
from ftops.executors.attempts import observe_attempt, runs_of
from ftops.plan.run import Run, RunState
from ftops.resources.record import FileEntry
from ftops.resources.workspace import Workspace
from ftops.store import disk_usage
from ftops.store.store import Store
from ftops.training import checkpoints
from ftops.training.axolotl.metrics import better
from ftops.training.follow import last_checkpoint, resumed_from
from ftops.training.metrics import Checkpoints, Mode, SavedCheckpoint, best, criterion
from ftops.training.spec.checkpoints import Checkpoints as Policy
from ftops.training.spec.training_run import TrainingRun


def policy_of(workspace: Workspace, name: str) -> Policy:
    """What the spec says of the checkpoints of a run; the defaults where it has none any more."""
    found = workspace.specs.find(TrainingRun, name)
    return Policy() if found is None else found.spec.checkpoints


def read_checkpoints(
    workspace: Workspace, run: Run, metric: str | None = None, mode: Mode | None = None, *, deep: bool = False
) -> Checkpoints:
    """The checkpoints of every attempt of `run` by step; with `deep` each byte of them was read.

    The best is that of `metric`, else as the spec says, else by the loss. Raises UsageError for a metric that no checkpoint has, or
    of which nobody knows whether more is better.
    """
    store = workspace.store
    saved = sorted(
        (each for number in store.attempts(run.id) for each in _saved(store, run.id, number, deep=deep)),
        key=lambda each: (each.step, each.attempt),
    )
    metric, mode = _criterion(saved, policy_of(workspace, run.name), metric, mode)
    chosen = last_checkpoint(store, run.id)
    resume = None if chosen is None else os.path.relpath(chosen.path, store.run(run.id))
    return Checkpoints(run.id, tuple(saved), metric, mode, resume)


def _saved(store: Store, run_id: str, number: int, *, deep: bool) -> Iterator[SavedCheckpoint]:
    folder = store.attempt(run_id, number)
    job = observe_attempt(folder)
    going_on = job is not None and job.state.going_on
    found = checkpoints.by_step(folder / "output")
    for step, path in found.items():
        checked = checkpoints.verify(path)
        plain = SavedCheckpoint(number, step, "whole", checkpoints.size(path), metrics=checkpoints.logged(path))
        if not path.exists():  # the trainer has rotated it away meanwhile
            continue
        if isinstance(checked, checkpoints.Incomplete):
            # A trainer writes one after the other: only the last one of an attempt that goes on can still become whole.
            writing = going_on and step == max(found)
            yield replace(plain, state="writing" if writing else "torn", reason=checked.reason)
            continue
        plain = replace(plain, world_size=checked.world_size)
        yield _read(plain, path) if deep else plain


def _read(saved: SavedCheckpoint, path: Path) -> SavedCheckpoint:
    """The same, or torn, after each byte of it was read."""
    match checkpoints.read_whole(path):
        case checkpoints.Incomplete(reason=reason):
            return replace(saved, state="torn", reason=reason)
        case files:
            return replace(
                saved, files={name: FileEntry(sha256=each.sha256, size=each.size) for name, each in files.items()}
            )


def _criterion(
    saved: list[SavedCheckpoint], policy: Policy, metric: str | None, mode: Mode | None
) -> tuple[str | None, Mode]:
    """The metric by which the best one is known, and which way it is better. No metric where no checkpoint has one."""
    known = {name for each in saved for name in each.metrics}
    chosen = metric or (policy.best.metric if policy.best is not None else None)
    if chosen is None:
        usual, less = criterion(saved, None)
        return usual, mode or less
    if metric is not None and metric not in known and saved:
        raise UsageError(
            Diagnostic(f"no checkpoint has the metric {metric!r}", hint=did_you_mean(metric, sorted(known)))
        )
    said = policy.best.mode if policy.best is not None and chosen == policy.best.metric else better(chosen)
    if (way := mode or said) is None:
        raise UsageError(Diagnostic(f"is more of {chosen} better, or less?", hint="say --mode max, or --mode min"))
    return chosen, way


# ---------------------------------------------------------------------------------------------------- choosing


def choose(workspace: Workspace, run: Run, choice: str) -> Path | None:
    """The folder of the checkpoint that `choice` means: `best`, `last`, a step, or `none` for the start, which is None.

    Raises UsageError where there is no whole one.
    """
    store = workspace.store
    if choice == "none":
        return None
    found = read_checkpoints(workspace, run)
    if choice == "last":
        path = found.resume
    elif choice == "best":
        path = None if found.best is None else found.best.path
    else:
        whole = [each.path for each in found.saved if str(each.step) == choice and each.state == "whole"]
        path = whole[-1] if whole else None
    if path is None:
        steps = ", ".join(str(each.step) for each in found.saved if each.state == "whole")
        raise UsageError(
            Diagnostic(
                f"{run.id} has no whole checkpoint that is {choice!r}",
                hint=f"best, last, none, or one of the steps {steps}" if steps else "it can only begin at the start",
            )
        )
    return Path(os.path.normpath(store.run(run.id) / path))


# ---------------------------------------------------------------------------------------------------- pruning


def dispensable(workspace: Workspace, run: Run, found: Checkpoints) -> tuple[SavedCheckpoint, ...]:
    """The checkpoints that nobody needs: not among the last ones that the spec keeps, not the best, none that an attempt began
    at or would begin at, none that may still be written."""
    store, policy = workspace.store, policy_of(workspace, run.name)
    # After a new beginning the newest ones have the lower steps.
    whole = sorted((each for each in found.saved if each.state == "whole"), key=lambda each: (each.attempt, each.step))
    kept = {each.path for each in whole[-policy.keep :]}
    kept |= {each.path for each in found.saved if each.state == "writing"}
    own = None if policy.best is None else best(found.saved, policy.best.metric, policy.best.mode)
    kept |= {each.path for each in (found.best, own) if each is not None}
    kept |= {found.resume} if found.resume else set()
    kept |= {os.path.relpath(path, store.run(run.id)) for path in _begun_at(store)}
    return tuple(each for each in found.saved if each.path not in kept)


def _begun_at(store: Store) -> Iterator[Path]:
    """The checkpoints that attempts which go on, of any run, began at: they may still be reading them."""
    for run in runs_of(store):
        if run.state is RunState.RUNNING and (source := resumed_from(store.attempt(run.id, run.attempt))) is not None:
            yield source


def remove(store: Store, run_id: str, saved: SavedCheckpoint) -> None:
    """Removes a checkpoint: under its name it is whole, or not there, whenever this is cut off."""
    with contextlib.suppress(FileNotFoundError):  # the trainer has rotated it away meanwhile
        disk_usage.remove(store.run(run_id) / saved.path)
