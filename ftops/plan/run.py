"""A run of a training: its identity, its states, and what the store of this machine knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


def run_id(name: str, run_digest: str) -> str:
    """The identity of one training of one digest; attempts count within it."""
    return f"{name}-{run_digest[:12]}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the store of this machine knows it: its last attempt, and where that one stands. `checkpoint` is the step of the
    last whole checkpoint, `detail` why it failed; `rerun_after` as in `Train`."""

    id: str
    name: str
    digest: str
    attempt: int
    state: RunState
    step: int | None = None
    max_steps: int | None = None
    checkpoint: int | None = None
    detail: str = ""
    rerun_after: int = 0


TERMINAL: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})
