"""`ftops engine`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from ftops.cli import text_or_json, wants_color

if TYPE_CHECKING:
    from ftops.digests import Json
    from ftops.errors import Diagnostic
    from ftops.specs.axolotl_config import Finding

CHECK: Final = """\b
Examples:
  ftops engine check config.yml
  ftops engine check examples/*.yml --format json
"""


@click.group(epilog="Example:  ftops engine install")
def engine() -> None:
    """The training engine, in an environment of its own."""


@engine.command(epilog="Example:  ftops engine install")
def install() -> None:
    """Install Axolotl, pinned, into an environment that all projects of this machine share.

    It takes a few minutes and about 5 GB, once.
    """
    from ftops.executors import engine as room

    installed = room.install(room.AXOLOTL, click.echo)
    click.echo(f"{room.AXOLOTL} is at {installed.path}")


@engine.command(epilog=CHECK)
@click.argument("files", nargs=-1, required=True, type=click.File("rb"), metavar="FILE...")
@text_or_json
def check(files: tuple[BinaryIO, ...], form: str) -> None:
    """Say which keys of Axolotl configs Axolotl would drop, refuse, or read as something else.

    Axolotl drops a key that it doesn't know without a word. This looks at every key, nested ones too, and names the
    nearest valid one; keys that are deprecated are told apart. It needs no project and no engine.

    Exits with 3 where something is found.
    """
    from ftops.documents.yaml_positions import MAX_BYTES
    from ftops.specs.axolotl_config import check_engine_config

    looked = [(file.name, *check_engine_config(file.name, file.read(MAX_BYTES + 1))) for file in files]
    if form == "json":
        click.echo(_json(looked))
    else:
        _print(looked)
    if any(found or unreadable for _, found, unreadable in looked):
        raise click.exceptions.Exit(3)


def _print(looked: list[tuple[str, list[Finding], list[Diagnostic]]]) -> None:
    from ftops.errors import Diagnostic, Severity
    from ftops.plan.text import diagnostics_text
    from ftops.training.axolotl.keys import AXOLOTL_VERSION

    diagnostics = [each for _, _, unreadable in looked for each in unreadable]
    for _, found, _ in looked:
        for each in found:
            severity = Severity.WARNING if each.fault.kind == "deprecated" else Severity.ERROR
            diagnostics.append(
                Diagnostic(each.fault.summary, hint=each.fault.hint, where=each.where, severity=severity)
            )
    if diagnostics:
        click.echo(diagnostics_text(diagnostics, color=wants_color()))
    sound = sum(not found and not unreadable for _, found, unreadable in looked)
    click.echo(f"{sound} of {len(looked)} as Axolotl {AXOLOTL_VERSION} reads them.")


def _json(looked: list[tuple[str, list[Finding], list[Diagnostic]]]) -> str:
    from ftops.display.pages import harmless
    from ftops.plan.json import as_json
    from ftops.training.axolotl.keys import AXOLOTL_VERSION, spell

    def unread(each: Diagnostic) -> dict[str, Any]:
        line, column = (None, None) if each.where is None else (each.where.line, each.where.column)
        return {
            "kind": "unreadable",
            "key": "",
            "line": line,
            "column": column,
            "summary": each.summary,
            "hint": each.hint,
        }

    def told(each: Finding) -> dict[str, Any]:
        fault, where = each.fault, each.where
        return {
            "kind": fault.kind, "key": spell(fault.path), "line": where.line, "column": where.column,
            "summary": fault.summary, "hint": fault.hint,
        }  # fmt: skip

    files: Json = [
        {"file": name, "findings": [*map(unread, unreadable), *map(told, found)]} for name, found, unreadable in looked
    ]
    return as_json(harmless({"formatVersion": "1.0", "engine": f"axolotl=={AXOLOTL_VERSION}", "files": files}))
