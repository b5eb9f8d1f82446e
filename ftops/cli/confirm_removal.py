"""What would be removed from the store, shown; and the question whether to."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftops.display.numbers import size_text
from ftops.errors import Diagnostic, UsageError

if TYPE_CHECKING:
    from ftops.store.disk_usage import Freed


def show_freed(found: Collection[Freed], total: int, root: Path) -> None:
    """Prints what each thing is and takes, cached stages as one, and all of it; `root` is the store."""
    from ftops.retention.prune import STAGE

    stages = [each for each in found if each.what == STAGE]
    for each in found:
        if each.what != STAGE:
            click.echo(f"{size_text(each.bytes):>10}  {each.path.relative_to(root)}  {each.what}")
    if stages:
        click.echo(f"{size_text(sum(each.bytes for each in stages)):>10}  {len(stages)} {STAGE}")
    click.echo(f"{size_text(total):>10}  in all")


def ask_to_remove(*, err: bool = False) -> None:
    """Goes on where a person says yes. Raises UsageError where nobody is there, Abort for a no."""
    if not sys.stdin.isatty():
        raise UsageError(Diagnostic("nothing was removed: nobody is there to say yes", hint="pass --yes"))
    if not click.confirm("Remove this?", err=err):
        raise click.Abort
