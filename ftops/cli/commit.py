"""`ftops commit`."""

from __future__ import annotations

from pathlib import Path

import click

from ftops.errors import Diagnostic, UsageError


@click.command(epilog="Example:  ftops commit results")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--push/--no-push", default=None, help="Push the commit, or not, whatever ftops.yaml says.")
@click.pass_obj
def commit(start: Path, folder: Path, *, push: bool | None) -> None:
    """Commit the records that `ftops apply --no-commit --results FOLDER` left, maybe on another machine.

    Every file is checked against the schema of records first; anything else below FOLDER is refused.
    """
    from ftops import write_back
    from ftops.observe import open_workspace

    workspace = open_workspace(start)
    if workspace.repository is None:
        raise UsageError(Diagnostic(f"{workspace.root} is not in a git repository", hint="`git init` makes it one"))
    records = write_back.read_results(folder)
    if not records:
        raise UsageError(Diagnostic(f"{folder} holds no record: nothing to commit"))
    names = ", ".join(sorted({record.metadata.name for record in records.values()}))
    said = write_back.commit(workspace.repository, workspace, records, f"ftops: results of {names}", {}, push=push)
    click.echo(said)
