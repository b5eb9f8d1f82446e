"""`ftops run`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ftops.cli import text_or_json, wants_color
from ftops.cli.confirm_removal import ask_to_remove
from ftops.errors import ChecksFailed, Diagnostic, UsageError, did_you_mean

if TYPE_CHECKING:
    from ftops.plan.run import Run
    from ftops.resources.workspace import Workspace
    from ftops.training.metrics import Checkpoints, RunView

SHOW: Final = """\b
Examples:
  ftops run show tiny-base
  ftops run show tiny-base-0123456789ab --html run.html
"""

CHECKPOINTS: Final = """\b
Examples:
  ftops run checkpoints tiny-base
  ftops run checkpoints tiny-base --metric eval_loss --verify
  ftops run checkpoints tiny-base --prune
"""


@click.group(epilog="Example:  ftops run show tiny-base")
def run() -> None:
    """Look into a training run: its config, its curve, its checkpoints."""


@run.command(epilog="Example:  ftops run render tiny-base > config.yaml")
@click.argument("name")
@click.pass_obj
def render(start: Path, name: str) -> None:
    """Print the Axolotl config of TrainingRun NAME, as its first attempt gets it."""
    from ftops.plan.address import Address
    from ftops.reconcile.session import open_workspace, render_config
    from ftops.status.sweep import refuse_sweep

    workspace = open_workspace(start)
    refuse_sweep(workspace, name)
    address = Address("TrainingRun", name.removeprefix("TrainingRun/"))
    known = [each.name for each in workspace.specs.resources if each.kind == "TrainingRun"]
    if address.name not in known:
        raise UsageError(Diagnostic(f"no TrainingRun is called {name!r}", hint=did_you_mean(name, known)))
    click.echo(render_config(workspace, address).text.rstrip("\n"))


@run.command(epilog=SHOW)
@click.argument("name")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with pictures there instead: one file that needs no network.",
)
@text_or_json
@click.pass_obj
def show(start: Path, name: str, page: Path | None, form: str) -> None:
    """Show how the training of TrainingRun NAME goes, or went: step, loss, speed, memory, attempts, checkpoints.

    NAME is a TrainingRun, whose newest training is shown, or the id of a training (NAME-DIGEST). Of one that was done on
    another machine, what its record says is shown. Of a sweep, every member, and the one that it chose.
    """
    from ftops.reconcile.observe import open_workspace
    from ftops.status.run import read_run
    from ftops.status.sweep import chosen_run, sweep_of
    from ftops.training.report.sweep import sweep_text
    from ftops.training.report.text import run_json

    workspace = open_workspace(start)
    sweep = sweep_of(workspace, name)
    if sweep is not None and page is None and form == "text":
        click.echo(sweep_text(name.removeprefix("TrainingRun/"), sweep) + ("\n" if sweep.chosen else ""))
        if not sweep.chosen:
            return
    view = read_run(workspace, chosen_run(workspace, name))
    if page is not None:
        from ftops.files import write_given
        from ftops.training.report.page import run_page

        write_given(page, run_page(view))
    elif form == "json":
        click.echo(run_json(view, sweep))
    else:
        _print(view)


def _print(view: RunView) -> None:
    from ftops.training.report.curve_text import FINE, PLAIN
    from ftops.training.report.text import run_text

    glyphs = FINE if (sys.stdout.encoding or "").lower().startswith("utf") else PLAIN
    click.echo(run_text(view, width=shutil.get_terminal_size().columns, color=wants_color(), glyphs=glyphs))


@run.command(epilog=CHECKPOINTS)
@click.argument("name")
@click.option("--metric", help="What says which is best.  [default: that of the spec, else eval_loss, else loss]")
@click.option(
    "--mode", type=click.Choice(["min", "max"]), help="Whether less or more of it is better.  [default: as known of it]"
)
@click.option("--verify", "deep", is_flag=True, help="Read every byte of them, and compute the digests of their files.")
@click.option(
    "--prune",
    is_flag=True,
    help="Remove those that nobody needs: all but the last ones that the spec keeps, and the best.",
)
@click.option("--yes", is_flag=True, help="With --prune: don't ask; needed where no terminal is there to answer.")
@text_or_json
@click.pass_obj
def checkpoints(start: Path, /, name: str, form: str, *, deep: bool, prune: bool, **options: Any) -> None:
    """List the checkpoints of TrainingRun NAME: step, metric, size, whether each is whole, and which is the best.

    NAME is a TrainingRun, whose newest training is meant (of a sweep, that of the member it chose), or the id of a training
    (NAME-DIGEST).
    Exits with 5 where --verify finds a torn one.
    """
    from ftops.reconcile.observe import open_workspace
    from ftops.status.run import require_live
    from ftops.status.sweep import chosen_run
    from ftops.training.report.text import checkpoints_json, checkpoints_text
    from ftops.training.run_checkpoints import read_checkpoints

    workspace = open_workspace(start)
    live = require_live(workspace.store, chosen_run(workspace, name))
    found = read_checkpoints(workspace, live, options["metric"], options["mode"], deep=deep)
    click.echo(checkpoints_json(found) if form == "json" else checkpoints_text(found))
    if prune:
        _prune(workspace, live, found, yes=options["yes"])
    if deep and (torn := [each for each in found.saved if each.state == "torn"]):
        raise ChecksFailed(*(Diagnostic(f"{each.path} is torn: {each.reason}") for each in torn))


def _prune(workspace: Workspace, live: Run, found: Checkpoints, *, yes: bool) -> None:
    from ftops.display.numbers import counted, size_text
    from ftops.training.run_checkpoints import dispensable, remove

    gone = dispensable(workspace, live, found)
    if not gone:
        click.echo("Nothing to remove.", err=True)
        return
    click.echo(f"To remove: {', '.join(each.path for each in gone)}", err=True)
    if not yes:
        ask_to_remove(err=True)
    for each in gone:
        remove(workspace.store, live.id, each)
    click.echo(f"Removed {counted(len(gone), 'checkpoint')}, {size_text(sum(each.size for each in gone))}.", err=True)
