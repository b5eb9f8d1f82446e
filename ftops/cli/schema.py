"""`ftops schema`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ftops.errors import UsageError
from ftops.files import write_given
from ftops.plan.json import as_json
from ftops.specs import json_schema, models

EXAMPLES: Final = """\b
Examples:
  ftops schema TrainingRun
  ftops schema --list
  ftops schema --write docs/reference/schema

\b
An editor with a YAML language server checks and completes a spec that begins with
  # yaml-language-server: $schema=../docs/reference/schema/trainingrun.json
"""


@click.command(epilog=EXAMPLES)
@click.argument("kind", required=False, type=click.Choice(list(models()), case_sensitive=False))
@click.option("--list", "listing", is_flag=True, help="Print the names of all kinds.")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the schema of every kind into this folder, as `kind.json`.",
)
def schema(kind: str | None, listing: bool, folder: Path | None) -> None:
    """Print the JSON Schema (2020-12) of KIND."""
    if sum((kind is not None, listing, folder is not None)) != 1:
        raise UsageError("expected just one of KIND, --list and --write")
    if kind is not None:
        click.echo(as_json(json_schema(kind)))
    elif folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in models():
            write_given(folder / f"{name.lower()}.json", f"{as_json(json_schema(name))}\n".encode())
    else:
        click.echo("\n".join(models()))
