"""`ftops doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ftops.cli import wants_color
from ftops.errors import ExternalError
from ftops.plan.text import diagnostics_text


@click.command(epilog="Example:  ftops doctor")
@click.pass_obj
def doctor(start: Path) -> None:
    """Say what is missing on this machine for this project, and how to get it."""
    from ftops.status.doctor import findings

    found, fine = findings(start)
    for line in fine:
        click.echo(f"ok: {line}")
    if found:
        click.echo(diagnostics_text(found, color=wants_color()))
        sys.exit(ExternalError.exit_code)
