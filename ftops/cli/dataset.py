"""`ftops dataset`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ftops.cli import text_or_json, wants_color
from ftops.cli.confirm_removal import ask_to_remove, show_freed
from ftops.cli.dataset_check import bar, look_at, names_a_dataset
from ftops.cli.dataset_options import (
    KIND,
    Given,
    Options,
    checked_spec,
    given,
    is_name,
    name_of,
    reading,
    scratch,
    whole,
)
from ftops.display.numbers import size_text
from ftops.errors import ChecksFailed, Diagnostic, UsageError, did_you_mean

if TYPE_CHECKING:
    from ftops.datasets.diff import Version
    from ftops.datasets.record import DatasetRecord
    from ftops.digests import Json
    from ftops.resources.workspace import Workspace

SHOWN: Final = 20

CHECK: Final = """\b
Examples:
  ftops dataset check rows.csv --columns instruction=Q,output=A
  ftops dataset check s3://bucket/chats.jsonl --format json > found.json
  ftops dataset check train.jsonl --against test.jsonl --report out.html
  ftops dataset check korean-chat
"""

ADD: Final = """\b
Examples:
  ftops dataset add datasets/korean-chat.csv --columns instruction=Q,output=A
  ftops dataset add datasets/chats.jsonl --name chats --write specs/chats.yaml
"""

DIFF: Final = """\b
Examples:
  ftops dataset diff korean-chat@HEAD~1 korean-chat
  ftops dataset diff monday.csv tuesday.csv --columns instruction=Q,output=A --show
"""


@click.group(epilog="Example:  ftops dataset check rows.csv --columns instruction=Q,output=A")
def dataset() -> None:
    """Check data, track it with DVC, compare versions, free their space."""


# ----------------------------------------------------------------------------------------------------- check


@dataset.command(epilog=CHECK, short_help="Say whether data may be trained on, and why not.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@reading
@click.option(
    "--threshold",
    type=click.FloatRange(0.7, 1),
    help="Rows whose sets of tokens have at least this Jaccard index are near-duplicates.  [default: 0.95]",
)
@click.option("--ngrams", type=click.IntRange(2, 32), help="Compare runs of so many characters; words when absent.")
@click.option(
    "--against",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for rows that this file has too; repeatable.",
)
@click.option(
    "--tokenizer",
    type=click.Path(exists=True, path_type=Path),
    help="Count tokens with this tokenizer.json, or the folder with it.",
)
@text_or_json
@click.option("--all", "everything", is_flag=True, help="Print every finding, not only the first.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a page (HTML) about it.")
@click.option("--findings", type=click.Path(dir_okay=False, path_type=Path), help="Write every finding as CSV.")
@click.pass_obj
def check(
    start: Path,
    /,
    targets: tuple[str, ...],
    options: Options,
    form: str,
    report: Path | None,
    findings: Path | None,
    **how: Any,
) -> None:
    """Read data strictly and look for personal data, duplicates and poor rows; nothing is changed and no project is needed.

    A TARGET is a file (several are read as one), a URL such as s3://…, or the name of a Dataset of the project, for which
    its own spec counts. Exits with 5 where the data is not valid.
    """
    from ftops.datasets.report.check import check_json, check_text, findings_csv
    from ftops.datasets.report.page import dataset_page
    from ftops.files import write_given
    from ftops.plan.json import as_json

    everything = how.pop("everything")
    with scratch() as folder, bar() as progress:
        name, checked = look_at(start, targets, options, how, (Path(folder), progress))
    if options.shape is None and not names_a_dataset(targets):
        click.echo(f"read as rows of shape {checked.report.shape}, by the columns (--shape says another)", err=True)
    if report is not None:
        write_given(report, dataset_page(name, checked.report, checked.samples))
    if findings is not None:
        # The mark says to spreadsheets that it is UTF-8; without it they show Korean as something else.
        write_given(findings, findings_csv(checked.findings).encode("utf-8-sig"))
    if form == "json":
        click.echo(as_json(check_json(checked.report, checked.findings, everything)))
    else:
        # The report itself has the first findings only, for it is what a record keeps.
        told = checked.report.model_copy(update={"findings": checked.findings}) if everything else checked.report
        click.echo(check_text(told, color=wants_color(), shown=len(checked.findings) if everything else SHOWN))
    if not checked.report.valid:
        sys.exit(ChecksFailed.exit_code)


# ------------------------------------------------------------------------------------------------- versions


@dataset.command(epilog=ADD, short_help="Check a file, track it with DVC, and write its spec.")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@reading
@click.option("--name", help="What the data set is called; by the file's name when absent.")
@click.option("--on-invalid", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="Whether rows that break the shape stop it, or are left out.")  # fmt: skip
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Write the spec to a new file.")
@click.pass_obj
def add(start: Path, path: Path, options: Options, name: str | None, on_invalid: str, write: Path | None) -> None:
    """Check the data file PATH of the project, have DVC track it, and print (or --write) a spec for it.

    A file in a folder that DVC tracks as a whole is tracked with that folder. Commit the pointer and the spec after it.
    """
    from ftops.datasets.prepare.prepare import check
    from ftops.files import write_given
    from ftops.git import dvc
    from ftops.specs import find_root

    root = find_root(start)
    place = _below(root, path)
    name = name or name_of(place)
    if write is not None and write.exists():
        raise UsageError(Diagnostic(f"{write} is there already", hint="nothing is overwritten: name a new file"))
    looked_at = given([str(path)], options, onInvalid=on_invalid)
    text = _spec_text(name, place, looked_at, options)
    with scratch() as folder, bar() as progress:
        report = check(looked_at.spec, looked_at.root, Path(folder), progress).report
    if not report.valid:
        raise ChecksFailed(
            Diagnostic(f"{place} is not valid: nothing was added", hint=f"see why: ftops dataset check {path}")
        )
    pointer = dvc.add(root, place, lambda said: click.echo(said, err=True))
    click.echo(f"{report.rows.kept:,} of {report.rows.read:,} rows pass the checks; tracked by {pointer}", err=True)
    if write is None:
        click.echo(text.rstrip("\n"))
        click.echo(f"to commit: {pointer}, and the .gitignore that DVC may have changed", err=True)
    else:
        write_given(write, text.encode())
        click.echo(f"to commit: {pointer}, {write}, and the .gitignore that DVC may have changed", err=True)


def _below(root: Path, path: Path) -> str:
    """`path` as it counts from the root of the project. Raises UsageError where it is not in it."""
    place = whole(path)
    if not place.is_relative_to(whole(root)):
        raise UsageError(
            Diagnostic(f"{path} lies outside of the project {root}", hint="copy it into the project first")
        )
    return place.relative_to(whole(root)).as_posix()


def _spec_text(name: str, place: str, looked_at: Given, options: Options) -> str:
    """A spec for the file, with what differs from the defaults. Raises UsageError for a name that no resource may have."""
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from ftops.resources.fields import Name

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UsageError(Diagnostic(f"{name!r} is no name", hint="small letters, digits and hyphens: --name")) from None
    spec: Json = {"source": {"path": place, **options.source}, "shape": looked_at.spec.shape}
    if looked_at.spec.on_invalid != "fail":
        spec["onInvalid"] = looked_at.spec.on_invalid
    checked_spec(spec)
    tree = {"apiVersion": "ftops/v1", "kind": KIND, "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


@dataset.command(epilog="Example:  ftops dataset pull korean-chat")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def pull(start: Path, names: tuple[str, ...]) -> None:
    """Bring the files of the data sets NAME (of all when none is named) here from where DVC keeps them."""
    from ftops.git import dvc

    root, sources = _tracked(start, names)
    dvc.pull(root, [path for path, _ in sources], click.echo)
    click.echo(f"{len(sources)} file{'' if len(sources) == 1 else 's'} at hand")


@dataset.command(epilog="Example:  ftops dataset push korean-chat")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_obj
def push(start: Path, names: tuple[str, ...]) -> None:
    """Bring the files of the data sets NAME (of all when none is named) to where DVC keeps them for others."""
    from ftops.git import dvc

    root, sources = _tracked(start, names)
    pointers = sorted({pointer for _, pointer in sources})
    dvc.push(root, pointers, click.echo)
    click.echo(f"pushed: what {', '.join(pointers)} point{'s' if len(pointers) == 1 else ''} to")


def _tracked(start: Path, names: Sequence[str]) -> tuple[Path, list[tuple[str, str]]]:
    """The files of data sets that DVC tracks, each with its pointer. Raises UsageError where there is none."""
    from ftops.datasets.spec import Dataset
    from ftops.git import dvc
    from ftops.specs import find_root, read_project

    root = find_root(start)
    known = {each.metadata.name: each for each in read_project(root).of(Dataset)}
    bare = [name.removeprefix(f"{KIND}/") for name in names]
    if unknown := [name for name in bare if name not in known]:
        raise UsageError(
            *(Diagnostic(f"no {KIND} is called {each!r}", hint=did_you_mean(each, [*known])) for each in unknown)
        )
    pointers = dvc.pointers(root)
    files = dict.fromkeys(path for name in bare or known for path in known[name].spec.source.files)
    found = [
        (path, pointer.file) for path in files if "://" not in path and (pointer := pointers.covering(path)) is not None
    ]
    if not found:
        what = ", ".join(bare) if bare else "any data set"
        raise UsageError(Diagnostic(f"DVC tracks no file of {what}", hint="ftops dataset add PATH has it track one"))
    return root, found


@dataset.command(epilog=DIFF, short_help="Say which rows two versions have and have not.")
@click.argument("before")
@click.argument("after")
@reading
@click.option("--show", is_flag=True, help="Show the texts of rows too, not only where they stand.")
@text_or_json
@click.pass_obj
def diff(start: Path, before: str, after: str, options: Options, form: str, *, show: bool) -> None:
    """Print which rows of AFTER were added, removed or changed against BEFORE.

    Each is a file, a URL, the NAME of a data set (its prepared rows, as the record says) or NAME@REVISION (as the record in
    that git revision says). A changed row has the same prompt and another answer. The order of rows makes no difference.
    """
    from ftops.datasets.diff import row_diff
    from ftops.datasets.report.diff import SHOWN as FIRST
    from ftops.datasets.report.diff import diff_json, diff_text

    with scratch() as folder:
        old = _version(start, before, options, Path(folder, "before"))
        new = _version(start, after, options, Path(folder, "after"))
        most = 0 if not show else FIRST if form == "text" else len(old.index) + len(new.index)
        found = row_diff(old, new, most)
    click.echo(diff_json(found) if form == "json" else diff_text(found))


def _version(start: Path, side: str, options: Options, folder: Path) -> Version:
    """The rows that one side of a diff stands for; what is no file is the name of a data set."""
    from ftops.datasets.diff import prepared_version, read_version

    folder.mkdir()
    name, _, revision = side.partition("@")
    if Path(side).is_file() or not is_name(name):
        from ftops.datasets.read import Form

        files = given([side], options)
        return read_version(side, files.files, Form.of(files.spec), folder)
    from ftops.reconcile.observe import open_workspace

    workspace = open_workspace(start)
    return prepared_version(side, _record(workspace, name.removeprefix(f"{KIND}/"), revision), workspace.store, folder)


def _record(workspace: Workspace, name: str, revision: str) -> DatasetRecord:
    """The record of data set `name` now, or in a git revision. Raises UsageError where there is none."""
    from ftops.datasets.record import DatasetRecord
    from ftops.registry.read import records_of
    from ftops.registry.record_files import parse_as

    if not revision:
        records = records_of(workspace, DatasetRecord)
        if name not in records:
            hint = did_you_mean(name, [*records]) or "ftops apply prepares and records data sets"
            raise UsageError(Diagnostic(f"no file, and no data set {name!r} is recorded", hint=hint))
        return records[name]
    repository = workspace.repository
    commit = repository.resolve(revision) if repository else None
    if repository is None or commit is None:
        raise UsageError(
            Diagnostic(f"git knows no revision {revision!r}", hint="a commit, a branch or a tag is expected")
        )
    path = DatasetRecord.path_of(name)
    if (text := repository.read(commit, path)) is None:
        raise UsageError(Diagnostic(f"{path} is not in {revision}", hint="the data set was not recorded by then"))
    return parse_as(DatasetRecord, path, text)


# ----------------------------------------------------------------------------------------------------- prune


@dataset.command(epilog="Example:  ftops dataset prune && ftops dataset prune old-chats --yes")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--yes", is_flag=True, help="Don't ask; needed where no terminal is there to answer.")
@click.pass_obj
def prune(start: Path, names: tuple[str, ...], *, yes: bool) -> None:
    """Free the space of prepared rows that are no data set's current ones, and of the current ones of each NAME.

    Records stay. Rows that are needed again are prepared anew, as long as their source can be had.
    """
    from ftops.index.update import update_index
    from ftops.reconcile.observe import open_workspace
    from ftops.retention import prune as pruning

    workspace = open_workspace(start)
    bare = tuple(name.removeprefix(f"{KIND}/") for name in names)
    found = pruning.find(workspace, bare)
    if not found.freed and not found.records:
        click.echo("Nothing to free.")
        return
    show_freed(found.freed, found.bytes, workspace.store.root)
    if not yes:
        ask_to_remove()
    said = pruning.prune(workspace, found, bare)
    click.echo(f"Freed {size_text(found.bytes)}" + (f"; {said}" if said else "") + ".")
    if found.records and (left := update_index(workspace)):
        click.echo(left, err=True)
