"""`ftops gc`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ftops.cli import DurationOption, text_or_json
from ftops.cli.confirm_removal import ask_to_remove, show_freed
from ftops.display.numbers import size_text

EXAMPLES: Final = """\b
Examples:
  ftops gc
  ftops gc --yes --older-than 7d
  ftops gc --format json
"""


@click.command(epilog=EXAMPLES)
@click.option("--yes", is_flag=True, help="Don't ask; needed where no terminal is there to answer.")
@click.option(
    "--older-than",
    "older",
    type=DurationOption(),
    default="0s",
    show_default=True,
    help="Only what nothing was written to for so long, such as 7d.",
)
@text_or_json
@click.pass_obj
def gc(start: Path, form: str, older: int, *, yes: bool) -> None:
    """Free the store of what no record and no spec needs, after showing it.

    Trainings, prepared rows, base models that were made, tokens, what earlier attempts of a training left that succeeded, and
    leftovers of what was killed. The records of every local and remote-tracking branch count, so `git fetch` first; of specs
    those that are checked out. What goes on, and what that began from, is never touched. As JSON nothing is removed without
    --yes.
    """
    from ftops.plan.address import FORMAT_VERSION
    from ftops.plan.json import as_json
    from ftops.reconcile.observe import open_workspace
    from ftops.retention.gc import collect, find
    from ftops.store.disk_usage import allocated

    workspace = open_workspace(start)
    root = workspace.store.root
    found = find(workspace, older)
    total = allocated(each.path for each in found)
    if form == "json":
        freed = collect(workspace, found, older)[0] if yes and found else 0
        things = [{"path": str(each.path.relative_to(root)), "what": each.what, "bytes": each.bytes} for each in found]
        click.echo(as_json({"formatVersion": FORMAT_VERSION, "unneeded": things, "bytes": total, "freed": freed}))
        return
    if not found:
        click.echo("Nothing to free.")
        return
    show_freed(found, total, root)
    if not yes:
        ask_to_remove()
    freed, stay = collect(workspace, found, older)
    for each in stay:
        click.echo(f"{each.path.relative_to(root)} stays: it is needed by now", err=True)
    click.echo(f"Freed {size_text(freed)}.")
