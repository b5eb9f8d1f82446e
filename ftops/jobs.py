"""What an executor says of a job: the same states and the same observation from every kind of executor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """What an executor says of a job; the states that four kinds of executor share."""

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
