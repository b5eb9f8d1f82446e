"""What a training left in the store → its record."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ftops.digests import Json
from ftops.display.numbers import utc
from ftops.errors import Diagnostic, ExternalError
from ftops.executors.attempts import last_event, observe_attempt, run_state
from ftops.executors.job_state import JobState, early_end
from ftops.executors.protocol import follow
from ftops.plan.run import RunState, run_id
from ftops.resources.record import FileEntry, RecordMetadata
from ftops.store.store import Store
from ftops.training import checkpoints, generations
from ftops.training.axolotl.failure_classes import failure
from ftops.training.axolotl.metrics import better
from ftops.training.follow import final_attempt, log_tail, resumed_from
from ftops.training.record import Attempt, CheckpointEntry, RunEntry, RunRecord, RunStatus

MEMORY: Final = ("memory/max_allocated_gib", "memory/max_resident_gib")
"""What events call the most memory so far: of a GPU, and of a process without one."""


def run_record(name: str, identity: str, store: Store) -> RunRecord:
    """The record of run `identity`, with every attempt that the store has."""
    entry = run_entry(run_id(name, identity), store)
    return RunRecord(
        metadata=RecordMetadata(name=name),
        status=RunStatus(phase=entry.phase, current=identity, runs={identity: entry}),
    )


def run_entry(identity: str, store: Store) -> RunEntry:
    """What the store knows of a run: its attempts, and what the one that succeeded left."""
    about = store.read_run(identity)
    if about is None:
        raise ExternalError(Diagnostic(f"{store.run(identity)}: the run is gone from the store"))
    own = (about["inputs"].get("best") or {}).get("metric")
    attempts = {str(number): _attempt(store, identity, number, own) for number in store.attempts(identity)}
    final = final_attempt(store, identity)
    last = max(attempts, key=int, default=None)
    entry = RunEntry(
        id=identity,
        phase=RunState.SUCCEEDED if final is not None else attempts[last].phase if last else RunState.FAILED,
        inputs=about["inputs"],
        engine=about["engine"],
        config_digest=about["configDigest"],
        input_commit=about.get("inputCommit"),
        attempts=attempts,
        rerun_after=about.get("rerunAfter"),
    )
    if final is None:
        return entry
    weights = checkpoints.final_weights(store.attempt(identity, final) / "output")
    if isinstance(weights, checkpoints.Incomplete):
        raise ExternalError(Diagnostic(f"{weights.path}: its final weights are damaged: {weights.reason}"))
    events = follow(store.attempt(identity, final)).events
    answers = generations.read_samples(store, identity, final) if about.get("recordSamples") else None
    return entry.model_copy(
        update={
            "weights": {path: FileEntry(sha256=each.sha256, size=each.size) for path, each in weights.items()},
            "output": f"runs/{identity}/attempt-{final}/output",
            "steps": events[-1].get("step"),
            "max_steps": events[-1].get("maxSteps"),
            "metrics": _metrics(events),
            "samples": None if answers is None else generations.masked(answers),
        }
    )


def attempt_of(store: Store, identity: str, number: int) -> Attempt:
    """An attempt of the store, as a record tells it. All steps done count as success here, whatever its weights are."""
    folder = store.attempt(identity, number)
    job, event = observe_attempt(folder), last_event(folder)
    phase = run_state(job, event)
    # A job that exited with 0 too early says no more than that.
    failed = phase is RunState.FAILED and job is not None and job.state is not JobState.SUCCEEDED
    why = failure(job, log_tail(folder / "output.log")) if failed and job else None
    return Attempt(
        phase=phase,
        started_at=utc(job.started) if job else None,
        ended_at=utc(job.ended) if job else None,
        step=event.get("step"),
        resumed_from=_resumed_from(folder, store),
        exit_code=job.exit_code if job else None,
        signal=job.signal if job else None,
        fault=why.fault if why else None,
        reason=why.reason if why else (job.reason or early_end(event) or None) if job else "it was never started",
    )


def _attempt(store: Store, identity: str, number: int, metric: str | None) -> Attempt:
    saved = dict(_checkpoints(store.attempt(identity, number) / "output", metric))
    found = attempt_of(store, identity, number).model_copy(update={"checkpoints": saved or None})
    if number == final_attempt(store, identity):
        return found.model_copy(update={"phase": RunState.SUCCEEDED})
    # All steps done, but without whole weights, is no success.
    failed = found.phase is RunState.SUCCEEDED
    return found.model_copy(update={"phase": RunState.FAILED}) if failed else found


def _checkpoints(output: Path, metric: str | None) -> Iterator[tuple[str, CheckpointEntry]]:
    """The checkpoints in the output of an attempt, by step; of what was logged then `metric`, and all that tell better from worse."""
    for step, folder in checkpoints.by_step(output).items():
        found = checkpoints.verify(folder)
        told = {name: value for name, value in checkpoints.logged(folder).items() if name == metric or better(name)}
        yield (
            str(step),
            CheckpointEntry(
                size=checkpoints.size(folder),
                metrics={name: value for name, value in told.items() if math.isfinite(value)},
                torn=found.reason if isinstance(found, checkpoints.Incomplete) else None,
            ),
        )


def _resumed_from(folder: Path, store: Store) -> str | None:
    """The checkpoint that an attempt went on from, as a path in the store."""
    try:
        checkpoint = resumed_from(folder)
    except FileNotFoundError:
        return None
    return None if checkpoint is None else os.path.relpath(checkpoint, store.root)


def _metrics(events: list[dict[str, Json]]) -> dict[str, float]:
    """The figures to remember: first and last loss, the last evaluation's, tokens a second, what was learned from, and the most
    memory (of a GPU; of the process where there is none)."""
    losses = [float(event["loss"]) for event in events if isinstance(event.get("loss"), int | float)]
    found = {"firstLoss": losses[0], "loss": losses[-1]} if losses else {}
    for name, key in (
        ("evalLoss", "eval_loss"),
        ("tokensPerSecond", "tokens_per_second"),
        ("dataRows", "rows"),
        ("dataTokens", "tokens"),
        ("supervisedTokens", "supervisedTokens"),
    ):
        values = [float(event[key]) for event in events if isinstance(event.get(key), int | float)]
        if values:
            found[name] = values[-1]
    memory = [float(event[key]) for event in events for key in MEMORY if isinstance(event.get(key), int | float)]
    return found | ({"memoryGib": round(max(memory), 3)} if memory else {})
