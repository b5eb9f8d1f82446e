"""Which prepared rows nobody needs any more, and their removal. Records stay."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ftops.datasets.record import DatasetRecord
from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError, UsageError, did_you_mean
from ftops.files import read_json
from ftops.plan.changes import Plan
from ftops.plan.details import DatasetDetails, TrainingDetails
from ftops.plan.observed import Observed
from ftops.plan.run import RunState
from ftops.reconcile.observe import observe
from ftops.reconcile.planner import make_plan
from ftops.reconcile.write_back import WriteBack
from ftops.registry.read import records_of
from ftops.resources.workspace import Workspace
from ftops.store.disk_usage import Freed, remove
from ftops.store.store import Store
from ftops.training.spec.mixture import portions_of

STAGE: Final = "stages of preparing rows, kept to save time"
GOING_ON: Final = frozenset({RunState.PENDING, RunState.RUNNING})


@dataclass(frozen=True, slots=True)
class Pruning:
    """What would be removed, and the records of the data sets whose current rows are among that."""

    freed: tuple[Freed, ...]
    records: tuple[DatasetRecord, ...]

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.freed)


def find(workspace: Workspace, names: Collection[str] = ()) -> Pruning:
    """The prepared rows that are no data set's current ones, the current ones of `names` too, and stages of neither.

    What a training uses that has not ended is never among them. Raises UsageError for a name without a record,
    ExternalError for one whose rows are in use, PlanError where it can't be said what the specs need.
    """
    observed = observe(workspace)
    records = records_of(workspace, DatasetRecord)
    if unknown := sorted(set(names) - records.keys()):
        raise UsageError(
            *(Diagnostic(f"no data set {name!r} is recorded", hint=did_you_mean(name, [*records])) for name in unknown)
        )
    used = in_use(workspace.store, observed)
    chosen = {records[name].status.digest: name for name in names}
    if busy := sorted((name, used[digest]) for digest, name in chosen.items() if digest in used):
        raise ExternalError(
            *(
                Diagnostic(f"Dataset/{name}: {run} trains on it", hint="wait until it ends, or stop it")
                for name, run in busy
            )
        )
    needed = used.keys() | needed_rows(make_plan(workspace.specs, observed), records, names)
    return Pruning(
        tuple(unneeded_rows(workspace.store, needed, records)),
        tuple(records[name] for name in sorted(set(names)) if records[name].status.phase != "pruned"),
    )


def prune(workspace: Workspace, shown: Pruning, names: Collection[str] = ()) -> str:
    """Removes what `find` has shown. Records say first that the rows are gone; returns in words where these were written.

    Raises ExternalError where something else is to be removed by now, or another ftops works in the store.
    """
    with workspace.store.exclusive():
        if find(workspace, names) != shown:
            raise ExternalError(Diagnostic("the store changed meanwhile: nothing was removed", hint="look again"))
        said = _record(workspace, shown.records) if shown.records else ""
        for each in shown.freed:
            remove(each.path)
    return said


def _record(workspace: Workspace, records: Collection[DatasetRecord]) -> str:
    head = workspace.repository.head().commit if workspace.repository else None
    write_back = WriteBack.open(workspace, None, {"Ftops-Input-Commit": head or "none"})
    pruned = [
        each.model_copy(update={"status": each.status.model_copy(update={"phase": "pruned"})}) for each in records
    ]
    names = ", ".join(f"Dataset/{each.metadata.name}" for each in pruned)
    return write_back.write(pruned, f"ftops: {names} pruned", {})


def in_use(store: Store, observed: Observed) -> dict[str, str]:
    """The data of each training that has not ended: its digest, and the run."""
    live = {run.id: store.read_run(run.id) for run in observed.live.values() if run.state in GOING_ON}
    return {digest: run for run, about in live.items() if about is not None for digest in _read_by(about["inputs"])}


def _read_by(inputs: Mapping[str, Json]) -> set[str]:
    """The data that a run with these inputs is made from: its data sets, and what they are together."""
    return {inputs["dataset"], *(digest for digest, _ in portions_of(inputs))}


def needed_rows(plan: Plan, records: Mapping[str, DatasetRecord], names: Collection[str] = ()) -> frozenset[str]:
    """The digests of the rows that records are about and that specs still ask for, but for the current ones of `names`."""
    gone = {records[name].status.digest for name in names}
    others = [each for name, each in records.items() if name not in names]
    needed = {each.status.digest for each in others if each.status.phase != "pruned"}
    for change in plan.changes:
        if change.is_noop:
            continue
        if isinstance(change.details, DatasetDetails) and change.address.name not in names:
            needed.add(change.digest or "")
        elif isinstance(change.details, TrainingDetails):
            needed |= _read_by(change.inputs) - gone
    return frozenset(needed)


def unneeded_rows(store: Store, needed: Collection[str], records: Mapping[str, DatasetRecord]) -> Iterator[Freed]:
    """The prepared rows whose digests are not among the `needed` ones, and the stages that none of those was made by."""
    yield from _versions(store, needed, records)
    yield from _stages(store, needed)


def _versions(store: Store, needed: Collection[str], records: Mapping[str, DatasetRecord]) -> Iterator[Freed]:
    current = {each.status.digest: name for name, each in records.items()}
    for folder in sorted((store.root / "data").glob("[!.]*/")):
        if folder.name not in needed:
            name = current.get(folder.name)
            mixed = not (folder / "manifest.json").exists()
            what = "rows that no record and no spec is about"
            if name or mixed:
                what = f"the rows of Dataset/{name}" if name else "data sets put together, which takes no time"
            yield Freed.of(folder, what)


def _stages(store: Store, needed: Collection[str]) -> Iterator[Freed]:
    """The results of stages that none of the rows that stay were made by."""
    kept = {
        stage
        for digest in needed
        for stage in (read_json(store.data(digest) / "manifest.json") or {}).get("stages", ())
    }
    for folder in sorted((store.cache / "data").glob("[!.]*")):
        if folder.name not in kept:
            yield Freed.of(folder, STAGE)
