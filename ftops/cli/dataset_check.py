"""What `ftops dataset check` looks at, in files or in a data set of the project, and how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftops.cli import wants_color
from ftops.cli.dataset_options import KIND, Options, given, is_name, name_of
from ftops.errors import Diagnostic, UsageError

if TYPE_CHECKING:
    from ftops.datasets.prepare.prepare import Checked

Progress = Callable[[str, int, int], None]
"""Is told the stage, how much is done, and of how much."""


def look_at(
    start: Path, targets: Sequence[str], options: Options, how: dict[str, Any], work: tuple[Path, Progress]
) -> tuple[str, Checked]:
    """What is found in a data set of the project, or in files; and what it is called.

    `how` has the options of the checks, `work` is a folder for rows on their way and what is told how far it is.
    """
    if not names_a_dataset(targets):
        return ", ".join(targets), _look_at_files(targets, options, how, work)
    if options or any(how.values()):
        raise UsageError(
            Diagnostic(
                f"{targets[0]} is read and checked as its spec says",
                hint="change the spec, or name its file to try other options",
            )
        )
    return targets[0], _look_at_dataset(start, targets[0].removeprefix(f"{KIND}/"), work)


def names_a_dataset(targets: Sequence[str]) -> bool:
    """Whether a data set of the project is meant, and not files."""
    return len(targets) == 1 and is_name(targets[0]) and not Path(targets[0]).is_file()


def _look_at_files(
    targets: Sequence[str], options: Options, how: dict[str, Any], work: tuple[Path, Progress]
) -> Checked:
    from ftops.datasets.checks import for_files
    from ftops.datasets.prepare.prepare import check

    others = _named(how["against"])
    folder, progress = work
    alike = {key: how[key] for key in ("threshold", "ngrams") if how[key] is not None}
    looked_at = given(targets, options, checks=for_files(alike, list(others)))
    spec = looked_at.spec
    if (tokenizer := how["tokenizer"]) is not None:
        # In a spec a path is relative to the project; here it may be any.
        statistics = spec.statistics.model_copy(update={"tokenizer": str(tokenizer.absolute())})
        spec = spec.model_copy(update={"statistics": statistics})
    return check(spec, looked_at.root, folder, progress, others=others)


def _named(paths: Iterable[Path]) -> dict[str, Path]:
    """Each file that data is compared with, under a name of its own."""
    named: dict[str, Path] = {}
    for path in paths:
        bare = name_of(path.name)
        more = (f"{bare[:59]}-{number}" for number in count(2))
        named[next(name for name in chain([bare], more) if name not in named)] = path.absolute()
    return named


def _look_at_dataset(start: Path, name: str, work: tuple[Path, Progress]) -> Checked:
    """By its own spec; data sets that it is compared with are taken as they were prepared."""
    from ftops.datasets.prepare.prepare import check
    from ftops.datasets.spec import Dataset
    from ftops.specs import find_one, find_root

    root = find_root(start)
    found = find_one(root, Dataset, name)
    folder, progress = work
    others = _prepared(start, found.spec.others) if found.spec.others else {}
    return check(found.spec, root, folder, progress, others=others)


def _prepared(start: Path, names: Iterable[str]) -> dict[str, Path]:
    """The folders of prepared data of the data sets `names`. Raises UsageError for one that was never prepared."""
    from ftops.datasets.record import DatasetRecord
    from ftops.reconcile.observe import open_workspace
    from ftops.registry.read import records_of

    workspace = open_workspace(start)
    records = records_of(workspace, DatasetRecord)
    if missing := [name for name in names if name not in records]:
        raise UsageError(
            *(Diagnostic(f"{KIND}/{name} was never prepared", hint="ftops apply prepares it") for name in missing)
        )
    return {name: workspace.store.data(records[name].status.digest) for name in names}


@contextmanager
def bar() -> Iterator[Progress]:
    """A moving bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _stage, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console = Console(stderr=True, no_color=not wants_color(sys.stderr))
    columns = TextColumn("{task.description:<14}"), BarColumn(bar_width=30), TaskProgressColumn()
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task("read", total=None)
        yield lambda stage, done, total: shown.update(task, description=stage, completed=done, total=total or None)
