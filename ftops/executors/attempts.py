"""What the files of an attempt say: where its job stands, its last event, the state of its run."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ftops.digests import Json
from ftops.errors import ExternalError
from ftops.executors.job_state import JobState, Observation, ended, reached_its_end
from ftops.files import is_locked, open_regular, parsed, read_bytes, read_json
from ftops.plan.run import Run, RunState
from ftops.store.store import NAME, Store

TAIL: Final = 1 << 16  # bytes of an events file that hold its last event


def observe_attempt(folder: Path) -> Observation | None:
    """Where the job in attempt folder `folder` stands, by its files and its lock; None when none was ever started."""
    alive = is_locked(folder / "lock")  # before the result is read: who gives the lock back has written it
    handle, stop = read_json(folder / "handle.json"), (folder / "stop.json").exists()
    if (result := read_json(folder / "result.json")) is not None:
        return ended(result, stop)
    if alive and stop:
        return Observation(JobState.STOPPING)
    if alive:
        return Observation(JobState.RUNNING if handle else JobState.STARTING)
    if handle is None:
        return None
    if stop:
        return Observation(JobState.CANCELLED, "its wrapper died without a result")
    if handle.get("bootId") not in (None, boot_id()):
        return Observation(JobState.NODE_LOST, "its machine was restarted, or is another one")
    return Observation(JobState.FAILED, "its wrapper died without a result")


@functools.cache
def boot_id() -> str:
    """What the kernel drew when this machine started; `wrapper.py`, which stands alone, writes it into a handle."""
    return read_bytes(Path("/proc/sys/kernel/random/boot_id")).decode("ascii").strip()


def last_event(folder: Path) -> dict[str, Json]:
    """The last whole event that the job in attempt folder `folder` wrote; empty when there is none."""
    lines: list[bytes] = []
    events = folder / "events.jsonl"
    with contextlib.suppress(OSError, ExternalError), os.fdopen(open_regular(events), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return next((event for line in reversed(lines) if (event := parsed(line)) is not None), {})


def run_state(job: Observation | None, event: Mapping[str, Json]) -> RunState:
    """The state of a run whose last attempt stands at `job` and wrote `event` last (its weights are not looked at)."""
    if job is None:
        return RunState.PENDING
    if job.state.going_on:
        return RunState.RUNNING
    if job.state is JobState.CANCELLED:
        return RunState.CANCELLED
    return RunState.SUCCEEDED if job.state is JobState.SUCCEEDED and reached_its_end(event) else RunState.FAILED


def runs_of(store: Store) -> Iterator[Run]:
    """Every run of the store with a readable run.json, by id, with the state of its last attempt."""
    try:
        names = sorted(path.name for path in (store.root / "runs").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in filter(NAME.fullmatch, names):
        about = store.read_run(name)
        if about is None or not {"id", "name", "digest"} <= about.keys():
            continue
        number = max(store.attempts(name), default=0)
        folder = store.attempt(name, number)
        job, event = observe_attempt(folder), last_event(folder)
        identity = about["id"], about["name"], about["digest"]
        steps = event.get("step"), event.get("maxSteps")
        detail, after = job.reason if job else "", about.get("rerunAfter", 0)
        yield Run(*identity, number, run_state(job, event), *steps, detail=detail, rerun_after=after)
