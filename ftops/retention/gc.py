"""What of the store no record and no spec needs: found, and removed. The records of every branch count."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ftops import tracking
from ftops.datasets.record import DatasetRecord
from ftops.digests import Json
from ftops.errors import ExternalError
from ftops.executors.attempts import observe_attempt
from ftops.plan.changes import Plan
from ftops.plan.details import TrainingDetails
from ftops.plan.run import run_id
from ftops.plan.steps import Train
from ftops.reconcile.observe import observe
from ftops.reconcile.planner import make_plan
from ftops.registry.read import read_records, records_of
from ftops.registry.record_files import is_record, kind_at, parse
from ftops.resources.kind import Kept
from ftops.resources.record import FOLDER, Record
from ftops.resources.workspace import Workspace
from ftops.retention import prune
from ftops.store.disk_usage import Freed, allocated, remove, written
from ftops.store.store import NAME, Store
from ftops.training.follow import final_attempt, last_checkpoint
from ftops.training.spec.base_model import model_digest
from ftops.training.spec.training_run import MERGED

TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
UNSURE_SECONDS: Final = 3600.0
"""How old something must be that may be about to be started, or written, by what holds no lock yet."""
LEFT: Final = ("output", MERGED)
"""The folders of an attempt with its weights."""
BRANCHES: Final = ("refs/heads", "refs/remotes")

Inputs = dict[str, Json]
"""What each of some runs is made from, by its id; empty where only the store knows."""


@dataclass(frozen=True, slots=True)
class _Needs:
    """What must stay: `runs` with what they are made from, the `busy` ones of them whole, `outputs` of attempts, and `rows` by
    digest."""

    runs: Inputs
    busy: frozenset[str]
    outputs: frozenset[Path]
    rows: frozenset[str]


def find(workspace: Workspace, older: float = 0.0) -> tuple[Freed, ...]:
    """What nobody needs, and nothing was written to for `older` seconds. Nothing is changed.

    Needed are the runs, versions and data that a record on any local or remote-tracking branch is about, what the specs make or
    use now, what goes on, and what any of these began from. Raises PlanError where it can't be said what the specs need,
    ExternalError for a record that can't be read.
    """
    observed, store = observe(workspace), workspace.store
    plan = make_plan(workspace.specs, observed)
    records = [*read_records(workspace).values(), *_elsewhere(workspace)]
    kept = [kind.records().kept(each) for each in records if (kind := kind_at(each.path)) is not None]
    data = records_of(workspace, DatasetRecord)
    recorded = frozenset(digest for each in kept for digest in each.rows)
    rows = recorded | prune.needed_rows(plan, data) | prune.in_use(store, observed).keys()
    needs = _needs(store, plan, kept, frozenset(rows))
    found = [*_runs(store, needs), *prune.unneeded_rows(store, rows, data), *_made(store, needs)]
    found += _leftovers(store, needs.busy, {each.path for each in found})
    return tuple(each for each in found if not older or time.time() - written(each.path) >= older)


def collect(workspace: Workspace, shown: Collection[Freed], older: float = 0.0) -> tuple[int, tuple[Freed, ...]]:
    """Removes what was `shown`, but for what is needed by now: the bytes that it gave back, and what stays.

    Raises ExternalError where an apply works in the store, OSError where something can't be removed.
    """
    store = workspace.store
    size = allocated(each.path for each in shown)
    with store.exclusive():
        free = {each.path for each in find(workspace, older)}
        stay = tuple(each for each in shown if each.path not in free and os.path.lexists(each.path))
        size -= allocated(each.path for each in stay)
        for path in (each.path for each in shown if each.path in free):
            remove(path, _aside(path))
            if path.parent == store.root / "runs":
                tracking.forget_run(store.root, path.name)
    return size, stay


def _aside(path: Path) -> Path:
    """Beside what the removal of `path` begins: for what an attempt left in the folder of its run, which an apply clears."""
    return path.parents[1] / f"{path.parent.name}-{path.name}" if path.name in LEFT else path


# ----------------------------------------------------------------------------------------------------- needs


def _elsewhere(workspace: Workspace) -> Iterator[Record]:
    """The records at the tips of all branches, local and remote-tracking; each text once."""
    repository = workspace.repository
    if repository is None:
        return
    found: dict[str, tuple[str, str]] = {}
    lines = repository.run("for-each-ref", "--format=%(objectname) %(refname:short)", *BRANCHES).text.splitlines()
    tips = dict(line.split(" ", 1) for line in lines)
    for tip, branch in tips.items():
        for path, blob in repository.list_tree(tip, FOLDER).items():
            if is_record(path):
                found.setdefault(blob, (path, branch))
    for blob, text in repository.read_many(found).items():
        path, branch = found[blob]
        try:
            yield parse(path, text)
        except ExternalError as error:
            hint = f"it may need what would be removed: see to the record, or to the branch {branch}"
            raise ExternalError(*(replace(each, hint=hint) for each in error.diagnostics)) from error


def _needs(store: Store, plan: Plan, records: Iterable[Kept], rows: frozenset[str]) -> _Needs:
    runs: Inputs = {}
    outputs: set[str] = set()
    for kept in records:
        runs |= {name: inputs or runs.get(name, {}) for name, inputs in kept.runs.items()}
        outputs |= kept.outputs
    for change in plan.changes:
        if isinstance(change.details, TrainingDetails) and change.digest is not None:
            runs[run_id(change.address.name, change.digest)] = change.inputs
            runs |= {step.resume_run: {} for step in change.steps if isinstance(step, Train) and step.resume_run}
    going_on: Inputs = {name: {} for name in _names(store.root / "runs") if _may_go_on(store, name)}
    stay = _with_sources(store, going_on | runs)
    outputs |= _bases(store, stay)
    whole = (last_checkpoint(store, name) for name in stay)
    return _Needs(
        stay,
        frozenset(_with_sources(store, going_on)),
        frozenset({store.root / each for each in outputs} | {each.path.parent for each in whole if each is not None}),
        rows,
    )


def _bases(store: Store, runs: Inputs) -> set[str]:
    """The merged weights that any of `runs` begins from."""
    digests = {(inputs.get("baseModel") or {}).get("run") for inputs in runs.values()}
    links = (store.run(name) / MERGED for name in runs if (store.read_run(name) or {}).get("digest") in digests)
    return {str((each.parent / each.readlink()).relative_to(store.root)) for each in links if each.is_symlink()}


def _with_sources(store: Store, runs: Inputs) -> Inputs:
    """`runs`, and those that any of them begins from: its base model, and the run whose checkpoint it goes on from."""
    known = {name: store.read_run(name) or {} for name in _names(store.root / "runs")}
    found: Inputs = {}
    waiting = dict(runs)
    while waiting:
        name, inputs = waiting.popitem()
        found[name] = inputs or known.get(name, {}).get("inputs") or {}
        base = (found[name].get("baseModel") or {}).get("run")
        sources = {each for each, about in known.items() if base is not None and about.get("digest") == base}
        if (checkpoint := last_checkpoint(store, name)) is not None:
            sources.add(checkpoint.path.parents[2].name)
        waiting |= {each: {} for each in sources - found.keys()}
    return found


def _may_go_on(store: Store, name: str) -> bool:
    """Whether an attempt of a run goes on, or is perhaps being started by what died since."""
    for number in store.attempts(name):
        folder = store.attempt(name, number)
        job = observe_attempt(folder)
        unsure = job is None and (folder / "job.json").exists()
        if (job is not None and job.state.going_on) or (unsure and time.time() - written(folder) < UNSURE_SECONDS):
            return True
    return False


# ---------------------------------------------------------------------------------------------- what is free


def _names(folder: Path) -> list[str]:
    """The folders in `folder` that the store has named; links are none."""
    try:
        found = [each.name for each in os.scandir(folder) if each.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    return sorted(filter(NAME.fullmatch, found))


def _runs(store: Store, needs: _Needs) -> Iterator[Freed]:
    for name in _names(store.root / "runs"):
        if name in needs.busy:
            continue
        if name not in needs.runs:
            what = (
                "what merging an adapter left"
                if name.endswith(".merge")
                else "a training that no record and no spec is about"
            )
            yield Freed.of(store.run(name), what)
            continue
        yield from _merged(store, name, needs)
        if (store.run(name) / "output").is_symlink() and (final := final_attempt(store, name)) is not None:
            for number in store.attempts(name):
                output = store.attempt(name, number) / "output"
                if number != final and output not in needs.outputs and output.is_dir() and not output.is_symlink():
                    yield Freed.of(output, f"what attempt {number} left: attempt {final} succeeded")


def _merged(store: Store, name: str, needs: _Needs) -> Iterator[Freed]:
    """The merged weights of a run that no version has, and no training begins from."""
    for number in store.attempts(name):
        folder = store.attempt(name, number) / MERGED
        if folder not in needs.outputs and folder.is_dir() and not folder.is_symlink():
            yield Freed.of(folder, f"merged weights of attempt {number} that no version has: merging again makes them")


def _made(store: Store, needs: _Needs) -> Iterator[Freed]:
    """Base models that were made, and tokens, of what does not stay."""
    models = {
        model_digest(inputs)
        for inputs in needs.runs.values()
        if "dataset" in inputs and "init" in (inputs.get("baseModel") or {})
    }
    for name in _names(store.root / "models"):
        if name not in models:
            yield Freed.of(store.model(name), "a base model that was made for no run that stays")
    for name in _names(store.cache / "tokens"):
        if name not in needs.rows:
            yield Freed.of(store.tokens(name), "tokens of rows that do not stay")


def _leftovers(store: Store, busy: Collection[str], taken: Collection[Path]) -> Iterator[Freed]:
    """What something that was killed left under a temporary name; not what may still be written, nor what is below `taken`."""
    for place, folders, files in os.walk(store.root):
        parent = Path(place)
        left = [name for name in (*folders, *files) if TEMPORARY.fullmatch(name)]
        for name in sorted(left):
            if time.time() - written(parent / name) >= UNSURE_SECONDS:
                yield Freed.of(parent / name, "left by something that was killed")
        in_runs = parent == store.root / "runs"
        folders[:] = [
            name
            for name in folders
            if name not in left and parent / name not in taken and not (in_runs and name in busy)
        ]
