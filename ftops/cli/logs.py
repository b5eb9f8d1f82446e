"""`ftops logs`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from ftops.errors import Diagnostic, UsageError, did_you_mean

FOLLOW_SECONDS = 0.2


@click.command(epilog="Example:  ftops logs tiny-base -f")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the training ends.")
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt; the last one when absent.")
@click.pass_obj
def logs(start: Path, name: str, attempt: int | None, *, follow: bool) -> None:
    """Print what the training of TrainingRun NAME writes, as it writes it."""
    from ftops.observe import open_workspace
    from ftops.store import observe_attempt

    store = open_workspace(start).store
    runs = [run for run in store.runs() if run.name == name.removeprefix("TrainingRun/") and run.attempt]
    if not runs:
        known = sorted({run.name for run in store.runs()})
        raise UsageError(
            Diagnostic(f"no training of {name!r} in the store of this machine", hint=did_you_mean(name, known))
        )
    newest = max(runs, key=lambda run: (store.run(run.id) / "run.json").stat().st_mtime)
    folder = store.attempt(newest.id, attempt or newest.attempt)
    if not (folder / "output.log").exists():
        raise UsageError(Diagnostic(f"{newest.id} has no attempt {attempt or newest.attempt} with a log"))
    out = sys.stdout.buffer
    with (folder / "output.log").open("rb") as log:
        while True:
            job = observe_attempt(folder)  # before reading, so that the last lines are read
            while text := log.read(65536):
                out.write(text)
            out.flush()
            if not (follow and job is not None and job.state.going_on):
                return
            time.sleep(FOLLOW_SECONDS)
