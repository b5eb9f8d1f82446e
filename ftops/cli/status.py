"""`ftops status`."""

from __future__ import annotations

from pathlib import Path

import click

from ftops.cli import text_or_json, wants_color
from ftops.render import status_json, status_text


@click.command(epilog="Example:  ftops status --format json")
@text_or_json
@click.pass_obj
def status(start: Path, form: str) -> None:
    """Show every resource: what is recorded, and how far a training is that goes on."""
    from ftops.observe import observe, open_workspace, standings

    workspace = open_workspace(start)
    rows = standings(workspace, observe(workspace))
    click.echo(status_json(rows) if form == "json" else status_text(rows, color=wants_color()))
