"""What is known of a training on this machine, or else by its record: found by name, read from files, never changed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from ftops.digests import Json
from ftops.display.numbers import utc
from ftops.errors import Diagnostic, UsageError, did_you_mean
from ftops.executors.attempts import last_event, runs_of
from ftops.files import open_regular
from ftops.plan.run import Run, RunState
from ftops.registry.read import records_of
from ftops.resources.workspace import Workspace
from ftops.store.store import Store
from ftops.training import metrics
from ftops.training.follow import first_event
from ftops.training.generations import read_samples
from ftops.training.metrics import Pace, RunView
from ftops.training.record import Attempt, RunEntry, RunRecord
from ftops.training.results import attempt_of
from ftops.training.run_checkpoints import read_checkpoints


def find_live(store: Store, name: str) -> Run | None:
    """The run that `name` means in the store: the newest of a TrainingRun, or the one with that id; None where none began."""
    runs = [run for run in runs_of(store) if run.attempt and name in (run.name, run.id)]
    return max(runs, key=lambda run: (store.run(run.id) / "run.json").stat().st_mtime, default=None)


def require_live(store: Store, name: str) -> Run:
    """The same; raises UsageError where there is none."""
    bare = name.removeprefix("TrainingRun/")
    if (found := find_live(store, bare)) is not None:
        return found
    known = sorted({each for run in runs_of(store) for each in (run.name, run.id)})
    raise UsageError(
        Diagnostic(f"no training of {name!r} in the store of this machine", hint=did_you_mean(bare, known))
    )


def read_run(workspace: Workspace, name: str) -> RunView:
    """All that is known of the run that `name` means. Raises UsageError where neither the store nor a record has it."""
    bare = name.removeprefix("TrainingRun/")
    if (live := find_live(workspace.store, bare)) is not None:
        return _live(workspace, live)
    records = [*records_of(workspace, RunRecord).values()]
    for record in records:
        for digest, entry in record.status.runs.items():
            if bare == entry.id or (bare == record.metadata.name and digest == record.status.current):
                return _recorded(record.metadata.name, entry)
    known = [*(each.metadata.name for each in records), *(run.name for run in runs_of(workspace.store))]
    raise UsageError(
        Diagnostic(
            f"no training of {name!r} is recorded, and none is in the store of this machine",
            hint=did_you_mean(bare, sorted(set(known))),
        )
    )


def _recorded(name: str, entry: RunEntry) -> RunView:
    attempts = {int(number): each for number, each in entry.attempts.items()}
    last = attempts.get(max(attempts, default=0))
    return RunView(
        entry.id,
        name,
        entry.phase,
        dict(sorted(attempts.items())),
        inputs=entry.inputs,
        detail=(last.reason or "") if last else "",
        step=entry.steps if entry.steps is not None or last is None else last.step,
        max_steps=entry.max_steps,
        figures=entry.metrics,
        answers=entry.samples,
    )


def _live(workspace: Workspace, run: Run) -> RunView:
    store = workspace.store
    folders = {number: store.attempt(run.id, number) for number in store.attempts(run.id)}
    events = [read_lines(folder / "events.jsonl") for folder in folders.values()]
    last = folders[run.attempt]
    pace = Pace.of(first_event(last), last_event(last))
    going_on = run.state is RunState.RUNNING
    begun = [told[0]["step"] for told in events if told and isinstance(told[0].get("step"), int)]
    attempts = {number: _attempt(store, run.id, number) for number in folders}
    return RunView(
        run.id,
        run.name,
        run.state,
        attempts,
        inputs=(store.read_run(run.id) or {}).get("inputs") or {},
        detail="" if going_on else attempts[run.attempt].reason or run.detail,
        step=run.step,
        max_steps=run.max_steps,
        eta=pace.left if pace is not None and going_on else None,
        step_seconds=None if pace is None else pace.seconds,
        curves=metrics.curves(events),
        system=metrics.samples(read_lines(last / "system.jsonl")),
        begun_at=tuple(begun[1:]),
        checkpoints=read_checkpoints(workspace, run),
        answers=read_samples(store, run.id, run.attempt),
    )


def _attempt(store: Store, run_id: str, number: int) -> Attempt:
    """An attempt with the time of its first event where its job has not said yet when it began."""
    found = attempt_of(store, run_id, number)
    begun = first_event(store.attempt(run_id, number)).get("time")
    return found.model_copy(update={"started_at": utc(begun)}) if found.started_at is None and begun else found


def read_lines(path: Path) -> list[Mapping[str, Json]]:
    """The JSON objects of a file, one a line; what is no whole line, or no object, is left out. Empty where it is not there."""
    found: list[Mapping[str, Json]] = []
    with contextlib.suppress(FileNotFoundError):
        with os.fdopen(open_regular(path), "rb") as file:  # what is trained may have put a link there
            lines = file.read().split(b"\n")[:-1]
        for line in lines:
            with contextlib.suppress(orjson.JSONDecodeError):
                if isinstance(value := orjson.loads(line), dict):
                    found.append(value)
    return found
