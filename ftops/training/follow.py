"""One training from its identity to its end: attach to it, collect it, resume it, or start it; then follow it.

Nothing here ends a training: it runs in a session of its own, and what is done here can be done again after a kill.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError
from ftops.executors.attempts import last_event
from ftops.executors.engine import Engine
from ftops.executors.job_state import JobState, Observation, early_end, reached_its_end
from ftops.executors.protocol import Executor, Exists, Gone, Handle, Job, Key, Submitted, Unreachable, Unsure, follow
from ftops.files import open_regular, parsed, temporary_name
from ftops.plan.apply_events import Progress
from ftops.plan.run import Run, RunState
from ftops.plan.steps import Resume
from ftops.store.store import Store
from ftops.training import axolotl, checkpoints
from ftops.training.attempt_config import read_config
from ftops.training.axolotl.failure_classes import Fault, failure
from ftops.training.metrics import Pace
from ftops.training.spec.limits import Retry

POLL_SECONDS: Final = 0.2
LOG_LINES: Final = 30
LOG_TAIL_BYTES: Final = 65_536
UNREACHABLE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """How an attempt is made: its job, and what the store shall remember of the run beside its id."""

    job: Job
    about: Mapping[str, Json]


def lacks(folder: Path) -> str:
    """What an attempt that exited with 0 lacks of a success; empty where nothing."""
    last = last_event(folder)
    if last.get("event") != "end":
        return "it exited with 0 before its training had ended"
    if not reached_its_end(last):
        return f"it ended at step {last.get('step')} of {last.get('maxSteps')}"
    weights = checkpoints.final_weights(folder / "output")
    return f"its final weights are not whole: {weights.reason}" if isinstance(weights, checkpoints.Incomplete) else ""


@dataclass(frozen=True, slots=True)
class Training:
    """What to train.

    `start` is asked only when an attempt has to be made, so that one that goes on or has ended is collected whatever is
    missing by now; it gets the checkpoint to go on from (a path relative to the attempt's folder) or None. `begun` is
    called with the folder of the attempt that is followed, `failed` with one that is tried again, as `retry` says.
    `first_attempt` is the lowest number that an attempt may have; `resume_run` another run whose last whole checkpoint the
    first attempt goes on from. `resume` is where a person said that the next attempt begins. What attempts up to
    `rerun_after` left is neither collected nor gone on from. `pause` waits so many seconds between two looks at the training,
    `lacks` says what an attempt that exited with 0 lacks of a success.
    """

    run: Run
    start: Callable[[str | None], Start]
    begun: Callable[[Path], None]
    failed: Callable[[Ended], None]
    retry: Retry = field(default_factory=Retry)
    first_attempt: int = 1
    resume_run: str | None = None
    resume: Resume | None = None
    rerun_after: int = 0
    pause: Callable[[float], None] = time.sleep
    lacks: Callable[[Path], str] = lacks


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended, and why where not by its last step; `fault` is the class of a failure, `log` its last lines, where
    they may say more."""

    attempt: int
    phase: RunState
    reason: str = ""
    log: str = ""
    fault: Fault | None = None


def resumed_from(folder: Path) -> Path | None:
    """The checkpoint that the attempt in `folder` went on from, None where it began at the start.

    Raises FileNotFoundError where it has no config, ExternalError where that is none.
    """
    config = read_config(folder)
    path = config.get("resume_from_checkpoint")
    return None if path is None else Path(os.path.normpath(folder / path))


def last_checkpoint(store: Store, run_id: str) -> checkpoints.Checkpoint | None:
    """The whole checkpoint that a next attempt goes on from: the newest of the last attempt, or the one that it began at itself.

    So an attempt that began at an earlier checkpoint on purpose, and was killed before its first own one, begins there again.
    """
    for number in reversed(store.attempts(run_id)):
        folder = store.attempt(run_id, number)
        if (whole := checkpoints.last_whole(folder / "output")) is not None:
            return whole
        try:
            source = resumed_from(folder)
        except FileNotFoundError:
            continue
        if source is None:
            return None
        if isinstance(found := checkpoints.verify(source), checkpoints.Checkpoint):
            return found
    return None


def train(training: Training, store: Store, executor: Executor, watch: Watch) -> Ended:
    """The end of the run's last attempt, which is followed, or started first where none is going on; one that fails is
    tried again as `training.retry` says.

    Raises ExternalError where the backend can't be asked, so that nobody knows whether a training goes on.
    """
    ended = _attempt(training, store, executor, watch)
    for _ in range(training.retry.max):
        if ended.phase is not RunState.FAILED or ended.fault not in training.retry.on:
            break
        training.failed(ended)
        ended = _attempt(replace(training, resume=None), store, executor, watch)
    return ended


def _attempt(training: Training, store: Store, executor: Executor, watch: Watch) -> Ended:
    """The end of the attempt that goes on or has succeeded, else of a new one."""
    run_id = training.run.id
    numbers = store.attempts(run_id)
    if numbers and numbers[-1] > training.rerun_after:
        key = Key(run_id, numbers[-1])
        handle = _find(executor, key)
        status = Gone() if handle is None else _observe(executor, handle)
        if handle is not None and isinstance(status, Observation):
            ended = None if status.state.going_on else outcome(store, key, status, training.lacks)
            if ended is None or ended.phase is RunState.SUCCEEDED:
                return _to_its_end(training, key, handle, store, executor, watch)
        if handle is not None:
            executor.forget(handle)
    key = Key(run_id, max([training.first_attempt - 1, training.rerun_after, *numbers]) + 1)
    handle = _start(training, key, store, executor)
    return _to_its_end(training, key, handle, store, executor, watch)


def _find(executor: Executor, key: Key) -> Handle | None:
    """The newest job of an attempt. Raises ExternalError where the backend does not answer for a minute."""
    deadline = time.monotonic() + UNREACHABLE_SECONDS
    while isinstance(found := executor.find(key), Unreachable):
        if time.monotonic() > deadline:
            raise _unreachable(key, found.reason)
        time.sleep(1)
    return max(found, key=lambda handle: handle.submitted, default=None)


def _observe(executor: Executor, handle: Handle) -> Observation | Gone:
    """Where a job stands. Raises ExternalError where the backend does not answer for a minute."""
    deadline = time.monotonic() + UNREACHABLE_SECONDS
    while isinstance(status := executor.observe([handle])[handle], Unreachable):
        if time.monotonic() > deadline:
            raise _unreachable(handle.key, status.reason)
        time.sleep(1)
    return status


def _unreachable(key: Key, reason: str) -> ExternalError:
    return ExternalError(
        Diagnostic(
            f"{key.run} attempt {key.attempt}: where it runs does not answer: {reason}",
            hint="it may well go on; `ftops apply` again re-attaches to it",
        )
    )


def _start(training: Training, key: Key, store: Store, executor: Executor) -> Handle:
    """The handle of attempt `key`, started from the last whole checkpoint there is."""
    start = training.start(_resume_from(training, key, store))
    run = training.run
    store.write_run(run.id, {"id": run.id, **start.about})
    match executor.submit(key, start.job):
        case Submitted(handle) | Exists(handle):
            return handle
        case Unsure(reason):
            if (found := _find(executor, key)) is not None:
                return found
            raise ExternalError(
                Diagnostic(f"{key.run} attempt {key.attempt} did not start: {reason}", hint="run `ftops apply` again")
            )


def _resume_from(training: Training, key: Key, store: Store) -> str | None:
    """The checkpoint to go on from, as a path relative to the folder of attempt `key`."""
    if training.resume is not None:
        chosen = training.resume.checkpoint
    elif training.rerun_after and max(store.attempts(key.run), default=0) <= training.rerun_after:
        chosen = None
    elif (own := last_checkpoint(store, key.run)) is not None:
        chosen = own.path
    elif training.resume_run is None:
        chosen = None
    elif (other := last_checkpoint(store, training.resume_run)) is not None:
        chosen = other.path
    else:
        raise ExternalError(
            Diagnostic(
                f"{training.resume_run} left no whole checkpoint in this store to go on from",
                hint="set `onChange: retrain` to train from the start, or apply on the machine that has it",
            )
        )
    return None if chosen is None else os.path.relpath(chosen, store.attempt(key.run, key.attempt))


# -------------------------------------------------------------------------------------------------- following


@dataclass(slots=True)
class _Curve:
    """What the events said so far."""

    step: int = 0
    max_steps: int = 0
    loss: float | None = None
    rate: float | None = None
    begun: Mapping[str, Json] = field(default_factory=dict)
    now: Mapping[str, Json] = field(default_factory=dict)

    def take(self, event: Mapping[str, Json]) -> None:
        self.step = int(event.get("step") or self.step)
        self.max_steps = int(event.get("maxSteps") or self.max_steps)
        self.now = event
        if event.get("event") == "begin":
            self.begun = event
        if isinstance(loss := event.get("loss"), int | float):
            self.loss = float(loss)
        if isinstance(rate := event.get("tokens_per_second"), int | float):
            self.rate = float(rate)

    def progress(self) -> Progress:
        pace = Pace.of(self.begun, self.now)
        return Progress(self.step, self.max_steps, self.loss, self.rate, None if pace is None else pace.left)


def _to_its_end(training: Training, key: Key, handle: Handle, store: Store, executor: Executor, watch: Watch) -> Ended:
    training.begun(store.attempt(key.run, key.attempt))
    ended = _follow(training, key, handle, store, executor, watch)
    if ended.phase is RunState.SUCCEEDED:
        publish_output(store, key.run, key.attempt)
    executor.forget(handle)
    for number in store.attempts(key.run):  # of these it could not be asked when they ended
        if number < key.attempt and not isinstance(found := executor.find(Key(key.run, number)), Unreachable):
            for each in found:
                executor.forget(each)
    return ended


def _follow(training: Training, key: Key, handle: Handle, store: Store, executor: Executor, watch: Watch) -> Ended:
    """Reads the events of an attempt until its job has ended."""
    folder, offset, curve = store.attempt(key.run, key.attempt), 0, _Curve()
    while True:
        status = _observe(executor, handle)
        before = curve.step
        events, offset, _ = follow(folder, offset)
        for event in events:
            curve.take(event)
        if curve.step != before and curve.max_steps:
            watch(curve.progress())
        if isinstance(status, Gone) or not status.state.going_on:
            return outcome(store, key, status, training.lacks)
        training.pause(POLL_SECONDS)


def first_event(folder: Path) -> dict[str, Json]:
    """The first event that the job in attempt folder `folder` wrote, which says when it began; empty when there is none."""
    try:
        with os.fdopen(open_regular(folder / "events.jsonl"), "rb") as file:
            return parsed(file.readline(LOG_TAIL_BYTES)) or {}
    except FileNotFoundError:
        return {}


def remaining_seconds(store: Store, run: Run) -> float | None:
    """How long a training that goes on will still take, by its pace since it began; None before its second step."""
    folder = store.attempt(run.id, run.attempt)
    pace = Pace.of(first_event(folder), last_event(folder))
    return None if pace is None else pace.left


def outcome(store: Store, key: Key, status: Observation | Gone, lacks: Callable[[Path], str]) -> Ended:
    """How an attempt ended. Success is exit code 0, and that it `lacks` nothing."""
    folder = store.attempt(key.run, key.attempt)
    log = log_tail(folder / "output.log")
    if isinstance(status, Gone):
        return Ended(key.attempt, RunState.FAILED, "it was never started", last_lines(log), Fault.LOST_RUNNER)
    if status.state is JobState.CANCELLED:
        return Ended(key.attempt, RunState.CANCELLED, status.reason or "it was stopped", last_lines(log))
    if status.state is not JobState.SUCCEEDED:
        found = failure(status, log)
        return Ended(key.attempt, RunState.FAILED, found.reason, "" if found.whole else last_lines(log), found.fault)
    if missing := lacks(folder):
        return Ended(key.attempt, RunState.FAILED, missing, last_lines(log), Fault.UNKNOWN)
    return Ended(key.attempt, RunState.SUCCEEDED, early_end(last_event(folder)))


def final_attempt(store: Store, run_id: str) -> int | None:
    """The attempt whose result is the run's result; None where it has none."""
    link = store.run(run_id) / "output"
    try:
        return int(link.readlink().parts[0].removeprefix("attempt-"))
    except FileNotFoundError:
        return None


def publish_output(store: Store, run_id: str, attempt: int, name: str = "output") -> None:
    """Make `runs/RUN-ID/output` lead to what the last attempt left, so that later runs need not know which attempt it was."""
    link, target = store.run(run_id) / name, f"attempt-{attempt}/{name}"
    if not link.is_symlink() or str(link.readlink()) != target:
        temporary = temporary_name(link)
        temporary.symlink_to(target)
        temporary.replace(link)


def make_model(engine: Engine, init: Json, dataset: Path, target: Path) -> None:
    """Make the model that `init` describes, with a tokenizer trained on the prepared `dataset`, in the folder `target`.

    Raises ExternalError with the last lines of what it said when it fails.
    """
    script = Path(axolotl.__file__).parent / "init_model.py"
    request = {**init, "texts": str(dataset / "train.jsonl"), "output": str(target)}
    with NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(request, file)
        file.flush()
        run = subprocess.run(
            [engine.python, "-P", str(script), file.name],
            capture_output=True,
            text=True,
            check=False,
            env={name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        )
    if run.returncode:
        said = "\n".join((run.stderr or run.stdout).strip().splitlines()[-LOG_LINES:])
        raise ExternalError(Diagnostic("the base model could not be made", said, "see what it says; then apply again"))


def log_tail(path: Path) -> str:
    """The end of a log, line by line as a terminal shows it; empty where there is none, or a link in its place: what is
    trained may have put it there.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except (FileNotFoundError, ExternalError):
        return ""
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def last_lines(log: str) -> str:
    """What is shown of a log: enough to see why a training failed."""
    return "\n".join(log.splitlines()[-LOG_LINES:])
