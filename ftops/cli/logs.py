"""`ftops logs`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ftops.errors import Diagnostic, UsageError

if TYPE_CHECKING:
    from ftops.executors.job_state import Observation
    from ftops.store.store import Store

FOLLOW_SECONDS: Final = 0.2
RETRY_SECONDS: Final = 5.0
"""How long a new attempt is waited for after one that failed under an apply that goes on."""

EXAMPLES: Final = """\b
Examples:
  ftops logs tiny-base -f
  ftops logs tiny-base-0123456789ab --attempt 1
"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the training ends, also over a new attempt.")
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt; the last one when absent.")
@click.pass_obj
def logs(start: Path, name: str, attempt: int | None, *, follow: bool) -> None:
    """Print what the training of TrainingRun NAME writes, as it writes it.

    NAME is a TrainingRun, whose newest training is meant, or the id of a training (NAME-DIGEST).
    """
    from ftops.executors.attempts import observe_attempt
    from ftops.reconcile.observe import open_workspace
    from ftops.status.run import require_live
    from ftops.status.sweep import chosen_run

    workspace = open_workspace(start)
    store = workspace.store
    run = require_live(store, chosen_run(workspace, name))
    number: int | None = attempt or run.attempt
    while number is not None:
        folder = store.attempt(run.id, number)
        job = observe_attempt(folder)
        starting = follow and job is not None and job.state.going_on
        if not starting and not (folder / "output.log").exists():
            raise UsageError(Diagnostic(f"{run.id} has no attempt {number} with a log"))
        job = _print(folder, follow=follow)
        if not follow or attempt is not None:
            return
        before, number = number, _next_attempt(store, run.id, number, job)
        if number is not None:
            reason = "" if job is None else f": {job.reason or job.state.value}"
            click.echo(f"ftops: attempt {before} has ended{reason}; attempt {number} goes on", err=True)


def _print(folder: Path, *, follow: bool) -> Observation | None:
    """Copy the log of an attempt to stdout; with `follow` until its job has ended. Where the job stood at last."""
    from ftops.executors.attempts import observe_attempt
    from ftops.files import open_regular

    out = sys.stdout.buffer
    offset = 0
    while True:
        job = observe_attempt(folder)  # before reading, so that the last lines are read
        # What is trained may put what it likes into its folder: a link out of it is not followed.
        with suppress(FileNotFoundError):
            with os.fdopen(open_regular(folder / "output.log"), "rb") as log:
                log.seek(offset)
                while text := log.read(65536):
                    out.write(text)
                offset = log.tell()
            out.flush()
        if not (follow and job is not None and job.state.going_on):
            return job
        time.sleep(FOLLOW_SECONDS)


def _next_attempt(store: Store, run_id: str, number: int, job: Observation | None) -> int | None:
    """The attempt that came after one that has ended; waited for a little where an apply may be about to begin it."""
    from ftops.executors.job_state import JobState
    from ftops.files import is_locked

    succeeded = job is not None and job.state is JobState.SUCCEEDED
    deadline = time.monotonic() + (0.0 if succeeded else RETRY_SECONDS)
    while (last := max(store.attempts(run_id))) <= number:
        if time.monotonic() >= deadline or not is_locked(store.root / "lock"):
            return None
        time.sleep(FOLLOW_SECONDS)
    return last
