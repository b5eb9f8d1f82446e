"""`ftops validate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from ftops.cli import wants_color
from ftops.errors import Diagnostic, Severity, SpecError
from ftops.plan.json import diagnostics_json
from ftops.plan.markdown import diagnostics_github
from ftops.plan.text import diagnostics_text
from ftops.resources.project import PROJECT_FILE
from ftops.specs import find_root, read_project

EXAMPLES: Final = """\b
Examples:
  ftops validate
  ftops validate specs/run.yaml
  ftops validate --format github
"""


@click.command(epilog=EXAMPLES)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="How the result is printed: for people, for programs, or as annotations of a pull request.",
)
@click.pass_obj
def validate(start: Path | None, paths: tuple[Path, ...], output: str) -> None:
    """Check ftops.yaml and every spec, and print all errors with their places.

    With PATHs, only what is wrong in these files and folders (and in ftops.yaml) is printed; references are
    still looked up in the whole project.

    Exits with 3 where there is an error.
    """
    root = find_root(start or Path.cwd())
    try:
        specs = read_project(root, paths)
    except SpecError as error:
        found: Sequence[Diagnostic] = error.diagnostics
        count = 0
    else:
        found = specs.warnings
        count = len(specs.resources)
    found = [each for each in found if not paths or _concerns(each, root, paths)]
    errors = sum(each.severity is Severity.ERROR for each in found)
    if output == "json":
        click.echo(diagnostics_json(found))
    elif output == "github":
        click.echo(diagnostics_github(found, prefix=_prefix(root)), nl=bool(found))
    else:
        click.echo(diagnostics_text(found, color=wants_color()), nl=bool(found))
        click.echo(_verdict(count, errors, len(found) - errors))
    if errors:
        raise click.exceptions.Exit(SpecError.exit_code)


def _concerns(diagnostic: Diagnostic, root: Path, paths: Sequence[Path]) -> bool:
    """Whether a diagnostic is about one of `paths`, or about the whole project."""
    if diagnostic.where is None or diagnostic.where.file == PROJECT_FILE:
        return True
    place = root / diagnostic.where.file
    return any(place.is_relative_to(os.path.normpath(path.absolute())) for path in paths)


def _prefix(root: Path) -> str:
    """The way from the top of the repository, from where GitHub names the files of annotations, to the project."""
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    way = root.relative_to(top).as_posix()
    return "" if way == "." else f"{way}/"


def _verdict(count: int, errors: int, warnings: int) -> str:
    def number(many: int, noun: str) -> str:
        return f"{many} {noun}" if many == 1 else f"{many} {noun}s"

    more = f", {number(warnings, 'warning')}" if warnings else ""
    return f"{number(errors, 'error')}{more}." if errors else f"Valid: {number(count, 'resource')}{more}."
