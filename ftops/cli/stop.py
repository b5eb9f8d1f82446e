"""`ftops stop`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ftops.cli import DurationOption
from ftops.errors import Diagnostic, ExternalError

EXAMPLES: Final = """\b
Examples:
  ftops stop tiny-base
  ftops stop tiny-base --grace 30m
"""


@click.command(epilog=EXAMPLES)
@click.argument("name")
@click.option(
    "--grace",
    type=DurationOption(),
    default="10m",
    show_default=True,
    help="How long it may take to finish its step and save a checkpoint; it is killed then.",
)
@click.pass_obj
def stop(start: Path, name: str, grace: int) -> None:
    """Stop the training of TrainingRun NAME: it saves a checkpoint, ends, and is recorded as cancelled.

    `ftops apply` leaves alone what was stopped, and what needs it waits; `ftops apply --resume NAME` goes on from the
    checkpoint. A changed spec is another training, and is trained. Of a training that has ended, what merges its adapter is
    stopped: the next apply merges it.
    """
    from ftops.plan.run import RunState
    from ftops.reconcile.apply.stop import merging, stop_merging
    from ftops.reconcile.apply.stop import stop as end
    from ftops.reconcile.observe import open_workspace
    from ftops.status.run import require_live
    from ftops.status.sweep import refuse_sweep

    workspace = open_workspace(start)
    refuse_sweep(workspace, name)
    run = require_live(workspace.store, name)
    if run.state is not RunState.RUNNING and (job := merging(workspace, run)) is not None:
        stop_merging(workspace, job, grace, lambda text: click.echo(text, err=True))
        click.echo(f"Merging the adapter of {run.id} is stopped; the next `ftops apply` merges it.")
        return
    ended = end(workspace, run, grace, lambda text: click.echo(text, err=True))
    if ended.state is not RunState.CANCELLED:
        raise ExternalError(Diagnostic(f"{run.id} had {ended.state} before it could be stopped", detail=ended.recorded))
    kept = "without a checkpoint" if ended.checkpoint is None else f"at checkpoint-{ended.checkpoint}"
    click.echo(f"{run.id} is stopped {kept}: {ended.recorded}.")
    click.echo(f"It goes on with `ftops apply --resume {run.name}`.")
