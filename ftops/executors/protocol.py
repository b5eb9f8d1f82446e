"""Where a training runs: the protocol that fits a local process, a container, a Slurm job and a Ray job.

An executor starts a job and says what became of it. What the job says itself (events, log, result) is read from the
files of its attempt folder, never from the backend's stream: a backend only knows "still going", or why there is no
result. A new executor is one file in this package and one line in `registry.EXECUTORS`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ftops.digests import Json
from ftops.executors.job_state import Observation
from ftops.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from ftops.resources.runner import Runner
    from ftops.store.store import Store

# ---------------------------------------------------------------------------------------------- identity


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The identity of a job: one attempt (from 1) of one run. Written into the store before anything is started."""

    run: str
    attempt: int

    @property
    def name(self) -> str:
        """What the job is called in a backend: a container's name, a Slurm job's name, a Ray submission id."""
        return f"ftops-{self.run}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Handle:
    """What a backend calls a job. Backends use ids again, so a handle holds the submit time (unix seconds) too."""

    key: Key
    id: str
    submitted: float


@dataclass(frozen=True, slots=True)
class Job:
    """What to run, in an attempt folder of its own, which is also its working directory.

    `files` are put into that folder before the job starts (relative names, `/` for subfolders). `env` comes on top of
    what the executor passes through; it is written to disk, so it holds no secrets. `timeout` and `grace` are seconds:
    a job that runs longer than `timeout` gets TERM, and KILL when it is still there `grace` later.

    `reads` and `writes` are the folders of this machine that it needs beside its own: an executor that runs it apart from all
    else brings just these, at the same places relative to its own.
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    grace: float = 30.0
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()


# ---------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job was started, now, by this call."""

    handle: Handle


@dataclass(frozen=True, slots=True)
class Exists:
    """The attempt is somebody's already: attach to it. It was not started again."""

    handle: Handle


@dataclass(frozen=True, slots=True)
class Unsure:
    """The job may have been started: `find` it before anything else is done."""

    reason: str


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no such job, and none was ever started that could have done anything."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The backend did not answer. This says nothing about the job and never ends a run."""

    reason: str


Submission = Submitted | Exists | Unsure
JobStatus = Observation | Gone | Unreachable


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a runner has: counts, and bytes of memory and of free disk in the store."""

    cpus: int
    memory: int
    disk: int
    gpus: int


class Executor(Protocol):
    """Starts jobs and says what became of them. Re-attaching is `find`, then `observe`."""

    def __init__(self, runner: Runner, store: Store) -> None: ...

    def probe(self) -> Capabilities | Unreachable:
        """What there is to run on."""

    def find(self, key: Key) -> tuple[Handle, ...] | Unreachable:
        """The jobs of this attempt: none, one, or (in a backend whose names are no lock) several."""

    def submit(self, key: Key, job: Job) -> Submission:
        """Start `job` as `key`, at most once whoever else tries.

        Raises ExternalError when it was certainly not started.
        """

    def observe(self, handles: Iterable[Handle]) -> Mapping[Handle, JobStatus]:
        """Where each job stands: one question to the backend for all of them."""

    def stop(self, handle: Handle, grace: float) -> bool:
        """Ask the job to end, and make it end `grace` seconds later; does not wait for that.

        Returns False when it had ended before. Raises ExternalError when it can't be proved that what would be
        stopped is this job.
        """

    def collect(self, key: Key) -> Path | Unreachable:
        """The attempt folder on this machine, with everything that the job wrote."""

    def forget(self, handle: Handle) -> None:
        """Remove what the backend keeps of a job that has ended (never the attempt folder)."""


# ------------------------------------------------------------------------------------------------ events


class Followed(NamedTuple):
    """The events since an offset, where to go on from, and how many lines were no events."""

    events: list[dict[str, Any]]
    offset: int
    skipped: int


def follow(folder: Path, offset: int = 0) -> Followed:
    """The events that the job in attempt folder `folder` wrote after byte `offset` of its events.jsonl.

    A last line without its end is not read yet; a line that is no JSON object is skipped and counted. Raises ExternalError
    where something else than a file is in its place.
    """
    try:
        with os.fdopen(open_regular(folder / "events.jsonl"), "rb") as file:
            file.seek(offset)
            text = file.read()
    except FileNotFoundError:
        return Followed([], offset, 0)
    text = text[: text.rfind(b"\n") + 1]
    events: list[dict[str, Any]] = []
    skipped = 0
    for line in text.splitlines():
        try:
            event: Json = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            events.append(event)
        elif line.strip():
            skipped += 1
    return Followed(events, offset + len(text), skipped)
