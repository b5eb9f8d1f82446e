"""`ftops commit`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftops.errors import Diagnostic, ExternalError, UsageError

if TYPE_CHECKING:
    from ftops.resources.record import Record


@click.command(epilog="Example:  ftops commit results")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--push/--no-push", default=None, help="Push the commit, or not, whatever ftops.yaml says.")
@click.pass_obj
def commit(start: Path, folder: Path, *, push: bool | None) -> None:
    """Commit the records that `ftops apply --no-commit --results FOLDER` left, maybe on another machine.

    Every file is checked against the schema of records first; anything else below FOLDER is refused.
    """
    from ftops.index.update import update_index
    from ftops.reconcile import write_back
    from ftops.reconcile.observe import open_workspace

    workspace = open_workspace(start)
    if workspace.repository is None:
        raise UsageError(Diagnostic(f"{workspace.root} is not in a git repository", hint="`git init` makes it one"))
    records = write_back.read_results(folder)
    if not records:
        raise UsageError(Diagnostic(f"{folder} holds no record: nothing to commit"))
    names = ", ".join(sorted({record.metadata.name for record in records.values()}))
    head = workspace.repository.head().commit
    trailers = {"Ftops-Input-Commit": _input_commit(records.values()) or head or "none"}
    subject = f"ftops: results of {names}"
    written = write_back.commit(workspace.repository, workspace, records, subject, trailers, push=push)
    if left := update_index(workspace):
        click.echo(left, err=True)
    if not written.complete:
        raise ExternalError(
            Diagnostic(written.text, hint="the records are committed here; push when the remote answers")
        )
    click.echo(written.text)


def _input_commit(records: Iterable[Record]) -> str | None:
    """The commit that the results were made from, where the records agree on one."""
    commits = {entry for record in records for entry in record.input_commits() if entry is not None}
    return commits.pop() if len(commits) == 1 else None
