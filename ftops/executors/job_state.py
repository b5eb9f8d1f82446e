"""What an executor says of a job: the same states and the same observation from every kind of executor."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ftops.digests import Json


class JobState(StrEnum):
    """What an executor says of a job; the states that all executors share."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    OUT_OF_MEMORY = "out-of-memory"
    PREEMPTED = "preempted"
    NODE_LOST = "node-lost"
    UNKNOWN = "unknown"

    @property
    def going_on(self) -> bool:
        return self in (JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.STOPPING)


@dataclass(frozen=True, slots=True)
class Observation:
    """Where a job stands. `exit_code` is there when it ended by itself, `signal` when it was killed; unix seconds.

    An exit code of 0 is not yet a success of a training: that takes its last step and its weights too.
    """

    state: JobState
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    node: str | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def killed(self) -> bool:
        """It did not end by itself, and nobody asked it to end: the same again may work."""
        return self.state is JobState.FAILED and self.exit_code is None


def reached_its_end(event: Mapping[str, Json]) -> bool:
    """Whether `event`, the last of a training, says that all is done: its last step, or fewer because it got no better."""
    return event.get("event") == "end" and (event.get("step") == event.get("maxSteps") or bool(early_end(event)))


def early_end(event: Mapping[str, Json]) -> str:
    """How `event`, the last of a training, says that it ended because it got no better; empty where it does not."""
    step, most = event.get("step"), event.get("maxSteps")
    if event.get("event") != "end" or event.get("stopped") != "early" or step == most:
        return ""
    return f"it got no better, and ended early at step {step} of {most}"


def ended(result: Mapping[str, Json], stop: bool) -> Observation:
    """What a result.json says; `stop` when ftops had asked the job to end."""
    code, number, told = result.get("exitCode"), result.get("signal"), result.get("stopSignal")
    state, reason = JobState.FAILED, f"exit code {code}"
    if result.get("timedOut"):
        state, reason = JobState.TIMED_OUT, "the time limit was reached"
    elif told is not None and stop:
        state, reason = JobState.CANCELLED, "it was stopped"
    elif (number == signal.SIGKILL or code) and (memory := result.get("memory") or {}).get("oomKills"):
        state, reason = JobState.OUT_OF_MEMORY, out_of_memory(memory.get("limit"))
    elif number is not None or told is not None:
        # A trainer that somebody else tells to end may well exit with 0, and has not finished.
        code, number = None, number or told
        reason = f"it was killed by signal {number}"
    elif code == 0:
        state, reason = JobState.SUCCEEDED, ""
    times = result.get("startedAt"), result.get("endedAt")
    return Observation(state, reason, code, number, result.get("host"), *times)


def out_of_memory(limit: int | None) -> str:
    """Why a job ended that the kernel killed for want of memory; `limit` is its own in bytes, where it had one."""
    most = "" if limit is None else f" at the limit of {limit / (1 << 20):,.0f} MiB"
    return f"it ran out of memory{most}, and the kernel killed it"
