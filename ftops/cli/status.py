"""`ftops status`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ftops.cli import text_or_json, wants_color
from ftops.display.terminal import ERASE_BELOW, ERASE_LINE, HOME
from ftops.status.text import status_json, status_text

if TYPE_CHECKING:
    from ftops.plan.standing import Standing
    from ftops.resources.workspace import Workspace

EVERY: Final = 1.0
QUIET_SECONDS: Final = 10.0
"""Between two lines about the steps of the same training."""

EXAMPLES: Final = """\b
Examples:
  ftops status --format json
  ftops status --watch
"""


@click.command(epilog=EXAMPLES)
@click.option("--watch", is_flag=True, help="Show it again and again until no training and no apply goes on here.")
@text_or_json
@click.pass_obj
def status(start: Path, form: str, *, watch: bool) -> None:
    """Show every resource: what is recorded, and how far a training is that goes on.

    With --watch a terminal is drawn anew every second; elsewhere each change is a line (of text, or of JSON). Ctrl-C only ends
    the watching.
    """
    from ftops.reconcile.observe import observe, open_workspace
    from ftops.status.resources import standings

    workspace = open_workspace(start)
    if not watch:
        rows = standings(workspace, observe(workspace))
        click.echo(status_json(rows) if form == "json" else status_text(rows, color=wants_color()))
    elif form == "text" and sys.stdout.isatty():
        _redraw(workspace)
    else:
        _tell_changes(workspace, form)


def _views(workspace: Workspace) -> Iterator[tuple[Standing, ...]]:
    """Where everything stands, every second, until nothing goes on."""
    from ftops.files import is_locked
    from ftops.plan.run import RunState
    from ftops.reconcile.observe import observe
    from ftops.status.resources import standings
    from ftops.training.live import live_runs

    observed = observe(workspace)
    while True:
        going_on = is_locked(workspace.store.root / "lock") or any(
            run.state is RunState.RUNNING for run in observed.live.values()
        )
        yield standings(workspace, observed)
        if not going_on:
            return
        time.sleep(EVERY)
        live = live_runs(workspace)
        # Records and data are looked at again when a training has begun or ended; its steps need none of that.
        same = {each.id: each.state for each in live.values()} == {
            each.id: each.state for each in observed.live.values()
        }
        observed = replace(observed, live=live) if same else observe(workspace)


def _redraw(workspace: Workspace) -> None:
    """Over what is there, line by line, so that nothing flickers; the last view stays."""
    click.echo(f"{HOME}{ERASE_BELOW}", nl=False)
    for rows in _views(workspace):
        lines = status_text(rows, color=wants_color()).splitlines()
        click.echo(HOME + "".join(f"{line}{ERASE_LINE}\n" for line in lines) + ERASE_BELOW, nl=False)
        sys.stdout.flush()


def _tell_changes(workspace: Workspace, form: str) -> None:
    """A line for each resource, then one for each that changed; while one only gets on, at most every QUIET_SECONDS."""
    told: dict[str, tuple[Standing, float]] = {}
    for rows in _views(workspace):
        now = time.monotonic()
        for row, line in zip(rows, _lines(rows, form), strict=True):
            before, since = told.get(str(row.address), (None, 0.0))
            steps_only = before is not None and (before.phase, before.run) == (row.phase, row.run)
            if row != before and not (steps_only and now < since + QUIET_SECONDS):
                told[str(row.address)] = row, now
                click.echo(line)
        sys.stdout.flush()


def _lines(rows: Sequence[Standing], form: str) -> list[str]:
    if form == "text":
        return status_text(rows).splitlines()
    return [json.dumps(each, ensure_ascii=False) for each in json.loads(status_json(rows))]
