"""`ftops import`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from ftops.errors import Diagnostic, SpecError, UsageError

if TYPE_CHECKING:
    from ftops.specs.import_axolotl import Imported

IMPORT: Final = """\b
Examples:
  ftops import config.yml
  ftops import config.yml --name support-chat --out specs/support-chat.yaml
"""
PROJECT: Final = b"""\
apiVersion: ftops/v1
kind: Project
metadata: {name: imported}
spec: {runners: {local: {executor: local, capabilities: {gpus: 8}}}}
"""
"""What the specs are tried in: a runner that can do all."""


@click.command("import", epilog=IMPORT)
@click.argument("config", type=click.File("rb"))
@click.option("--name", help="What the data set and the run are called; the file's name when absent.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write them to a new file.")
def import_config(config: BinaryIO, name: str | None, out: Path | None) -> None:
    """Turn CONFIG, a config for Axolotl, into specs that say the same.

    Every key is checked, old ones are written as today, and what could not be said in a spec is refused with its place. Paths
    count from the current folder. What was left out or changed is said in comments.

    Exits with 3 where something stands in the way.
    """
    from ftops.documents.yaml_positions import MAX_BYTES
    from ftops.files import write_given

    text = _specs(config.name, config.read(MAX_BYTES + 1), name or _slug(Path(config.name).stem))
    if out is None:
        click.echo(text, nl=False)
        return
    if out.exists():
        raise UsageError(Diagnostic(f"{out} is there already", hint="name another file, or take it away first"))
    write_given(out, text.encode())
    click.echo(f"Written. Look at what it says, and then: ftops plan  ({out})")


def _specs(file: str, data: bytes, name: str) -> str:
    """The text of the specs. Raises SpecError with everything that stands in the way."""
    from ftops.specs import load
    from ftops.specs.axolotl_config import read_engine_config
    from ftops.specs.import_axolotl import import_config

    document, tree = read_engine_config(file, data)
    found = import_config(tree, name, lambda path: Path(path).is_dir())
    if found.faults:
        raise SpecError(
            *(
                Diagnostic(each.summary, hint=each.hint, where=document.where(each.path, key=True))
                for each in found.faults
            )
        )
    text = _text(found, file)
    specs, diagnostics = load({"ftops.yaml": PROJECT, "imported.yaml": text.encode()})
    if specs is None:
        raise SpecError(*(Diagnostic(each.summary, each.detail, each.hint) for each in diagnostics))
    return text


def _text(found: Imported, file: str) -> str:
    import yaml

    notes = "".join(f"# - {note}\n" for note in found.notes)
    head = f"# From {Path(file).name}\n" + (f"# Changed or left out:\n{notes}" if notes else "")
    documents = [yaml.safe_dump(each, sort_keys=False, allow_unicode=True, width=120) for each in found.documents]
    return head + "---\n".join(documents)


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:60] or "imported"
