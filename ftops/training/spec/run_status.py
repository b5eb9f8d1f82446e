"""Where a training stands already, by what this machine and the record know of it; in words for a plan."""

from __future__ import annotations

from typing import Final

from ftops.errors import Diagnostic, PlanError
from ftops.plan.address import Address
from ftops.plan.changes import Reason
from ftops.plan.observed import TrainedRun
from ftops.plan.run import Run, RunState

LENGTHS: Final = ("hyperparameters.max_steps", "hyperparameters.num_epochs")
"""The fields that only say for how long to train: raising one may go on from the last checkpoint."""


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


def rerun_after(address: Address, done: TrainedRun | None, live: Run | None, *, asked: bool) -> int:
    """The attempt after which a run that has succeeded is trained again, because that is `asked` now, or was and its attempt is
    not recorded yet; 0 where it is not.

    Raises PlanError where it is asked of one that goes on, or has not succeeded.
    """
    succeeded = done is not None and done.phase is RunState.SUCCEEDED
    if asked:
        if live is not None and live.state is RunState.RUNNING:
            raise _not_again(
                address, f"attempt {live.attempt} goes on", f"wait for its end, or `ftops stop {address.name}`"
            )
        if done is None or not succeeded:
            raise _not_again(address, "it has not succeeded as specified", "`ftops apply` trains it without --rerun")
        return max(done.attempts, 0 if live is None else live.attempt)
    if done is None or live is None or not succeeded or not live.rerun_after or live.state is RunState.CANCELLED:
        return 0
    return live.rerun_after if live.attempt > max(done.attempts, live.rerun_after) else 0


def _not_again(address: Address, why: str, hint: str) -> PlanError:
    return PlanError(Diagnostic(f"it can't be trained again: {why}", hint=hint, address=str(address)))


def is_longer(reason: Reason) -> bool:
    """Whether all that differs is that it trains for longer."""
    if reason.field not in LENGTHS:
        return False
    numbers = isinstance(reason.before, int | float) and isinstance(reason.after, int | float)
    return numbers and reason.after > reason.before
