"""`ftops index`."""

from __future__ import annotations

from pathlib import Path

import click

from ftops.errors import Diagnostic, UsageError


@click.group(epilog="Example:  ftops index rebuild")
def index() -> None:
    """The SQL database that the records are copied into (`index` in ftops.yaml)."""


@index.command(epilog="Example:  ftops index rebuild")
@click.pass_obj
def rebuild(start: Path) -> None:
    """Make the database a copy of the records in git; print how many rows each table has.

    `ftops apply` and `ftops commit` do it after their changes.
    """
    from ftops.index.update import index_url, rebuild_index
    from ftops.reconcile.observe import open_workspace

    workspace = open_workspace(start)
    url = index_url(workspace)
    if url is None:
        raise UsageError(
            Diagnostic(
                "ftops.yaml names no index",
                hint="add to its spec, for example:  index: sqlite:///.ftops/index.db",
            )
        )
    for table, rows in rebuild_index(workspace, url).items():
        click.echo(f"{table}: {rows}")
