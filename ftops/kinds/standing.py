"""Where a training stands already, by what this machine and the record know of it; in words for a plan."""

from __future__ import annotations

from ftops.values import Reason, Run, RunState, TrainedRun


def is_stopped(done: TrainedRun | None, live: Run | None) -> bool:
    """Whether a person stopped the last attempt, as this machine knows, or else the record."""
    if done is not None and done.phase is RunState.SUCCEEDED:
        return False
    if live is not None and live.state is not RunState.PENDING:
        return live.state is RunState.CANCELLED
    return done is not None and done.phase is RunState.CANCELLED


def is_made(live: Run | None) -> bool:
    """Whether an attempt goes on or has succeeded: it needs nothing any more."""
    return live is not None and live.state in (RunState.RUNNING, RunState.SUCCEEDED)


def unfinished(done: object, live: Run | None) -> Reason:
    """Why a training is to be done although nothing that it is made from has changed."""
    state = live.state.value if live is not None else "recorded as failed" if done is not None else "unfinished"
    return Reason("status.phase", state, RunState.SUCCEEDED.value)


def standing(live: Run | None, resume_run: str | None) -> str:
    """Where the training stands already, or what resuming means."""
    if live is None or live.state is RunState.PENDING:
        return (
            f"goes on from the last whole checkpoint of {resume_run}; the learning-rate schedule is stretched"
            if resume_run
            else ""
        )
    if live.state is RunState.RUNNING:
        return f"{live.id} attempt {live.attempt} is training; apply follows it to its end"
    if live.state is RunState.SUCCEEDED:
        return f"{live.id} has ended well and is not recorded yet; apply collects it"
    if live.checkpoint is not None:
        return (
            f"{live.id} attempt {live.attempt} ended early ({live.detail}); goes on from checkpoint-{live.checkpoint}"
        )
    return f"{live.id} attempt {live.attempt} ended early ({live.detail}) without a whole checkpoint; starts again"
