"""What exists now: records in git, the content behind pointers, the runs of this machine's store. Read, never written."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from ftops import specs as spec
from ftops.errors import Diagnostic, ExternalError
from ftops.experiments.record import ExperimentRecord
from ftops.experiments.spec.experiment import Experiment
from ftops.git import dvc
from ftops.git.repository import Repository, open_repository
from ftops.plan.changes import (
    Address,
    DatasetState,
    Observed,
    Run,
    RunHistory,
    RunState,
    Source,
    TrainedRun,
    digest,
    run_id,
)
from ftops.plan.observed import ExperimentState, VersionState
from ftops.plan.sweep_choice import Choice
from ftops.registry.record_files import Record, is_record, parse
from ftops.resources.fields import fixed_part
from ftops.specs import Specs
from ftops.store.store import Store, file_identity, open_regular
from ftops.training.axolotl.config import shipped_templates, template_for, template_sources
from ftops.training.record import FOLDER, Attempt, DatasetRecord, ModelRecord, RunEntry, RunRecord
from ftops.training.spec.training_run import TrainingRun
from ftops.training.sweep.members import Sweep
from ftops.training.sweep.record import SweepRecord

TEMPLATES: Final = "templates"
TEMPLATE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Workspace:
    """A project on this machine: its folder, its specs, its repository (if any), its store (which may not exist).

    `written` has the texts of the records that an apply wrote to a folder instead of git: they count before those in git.
    """

    root: Path
    specs: Specs
    repository: Repository | None
    store: Store
    written: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def branch(self) -> str | None:
        """The branch that holds the records; None when HEAD is detached and ftops.yaml names none."""
        named = self.specs.project.spec.git.branch
        return named or (self.repository.head().branch if self.repository else None)

    @property
    def tip(self) -> str | None:
        """The commit that records are read from."""
        if self.repository is None:
            return None
        named = self.specs.project.spec.git.branch
        return self.repository.tip(named) if named else self.repository.head().commit


def open_workspace(start: Path) -> Workspace:
    """The project that `start` lies in; raises SpecError with all that is wrong in its specs."""
    root = spec.find_root(start)
    specs = spec.read_project(root, known_templates=template_texts(root).keys())
    return Workspace(root, specs, open_repository(root), Store(root / specs.project.spec.store))


def observe(workspace: Workspace) -> Observed:
    """Everything that planning looks at, read once."""
    texts = record_texts(workspace)
    recorded = _recorded(texts)
    sources, changed = _sources(workspace)
    repository = workspace.repository
    head = repository.head() if repository else None
    return Observed(
        sources=sources,
        changed=changed,
        datasets=recorded.datasets,
        runs=recorded.runs,
        versions=recorded.versions,
        experiments=recorded.experiments,
        sweeps=recorded.sweeps,
        live=live_runs(workspace),
        templates=_own_templates(workspace),
        prepared=_names(workspace.store.root / "data", "manifest.json"),
        made=_names(workspace.store.root / "models", "config.json"),
        commit=head.commit if head else None,
        dirty=repository is not None and _is_dirty(repository, workspace.specs.files),
        records={path: digest(text.decode("utf-8", "replace")) for path, text in texts.items()},
    )


def _is_dirty(repository: Repository, files: Collection[str]) -> bool:
    """Whether a template, ftops.yaml, or a spec (also one that is new or gone) differs from HEAD.

    git is asked for whole folders, because it compares every path that it is given with every file.
    """
    tops = {path.partition("/")[0] for path in files}
    folders = {path.rpartition("/")[0] for path in files}
    return any(
        path.startswith(f"{TEMPLATES}/") or (path.rpartition("/")[0] in folders and path.endswith((".yaml", ".yml")))
        for path in repository.dirty((*tops, TEMPLATES))
    )


# -------------------------------------------------------------------------------------------------- records


def record_texts(workspace: Workspace) -> dict[str, bytes]:
    """The text of every record by its path: at the tip of the branch, or in the work tree where git has no commit; and what
    an apply has written instead."""
    return dict(sorted({**_kept_texts(workspace), **workspace.written}.items()))


def _kept_texts(workspace: Workspace) -> dict[str, bytes]:
    if workspace.repository is not None and (tip := workspace.tip) is not None:
        blobs = {path: blob for path, blob in workspace.repository.list_tree(tip, FOLDER).items() if is_record(path)}
        contents = workspace.repository.read_many(blobs.values())
        return {path: contents[blob] for path, blob in blobs.items()}
    paths = [path for path in (workspace.root / FOLDER).rglob("*.yaml") if path.is_file()]
    return {name: path.read_bytes() for path in paths if is_record(name := path.relative_to(workspace.root).as_posix())}


def read_records(workspace: Workspace) -> dict[str, Record]:
    """Every record by its path."""
    return {path: parse(path, text) for path, text in record_texts(workspace).items()}


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What planning needs of the records, by name of the resource."""

    datasets: dict[str, DatasetState] = field(default_factory=dict)
    runs: dict[str, RunHistory] = field(default_factory=dict)
    versions: dict[str, dict[str, VersionState]] = field(default_factory=dict)
    experiments: dict[str, ExperimentState] = field(default_factory=dict)
    sweeps: dict[str, Choice] = field(default_factory=dict)


def _recorded(texts: Mapping[str, bytes]) -> _Recorded:
    """What planning needs of the records; the rest of each is dropped as soon as it is read.

    Raises ExternalError for a text that is no record.
    """
    found = _Recorded()
    for path, text in texts.items():
        match parse(path, text):
            case DatasetRecord(metadata=metadata) as record:
                found.datasets[metadata.name] = _dataset(record)
            case RunRecord(metadata=metadata) as record:
                found.runs[metadata.name] = history(record)
            case SweepRecord(metadata=metadata) as record:
                found.sweeps[metadata.name] = record.choice
            case ModelRecord(metadata=metadata, status=status):
                labels, merged = (status.aliases, status.tags), status.merged is not None
                state = VersionState(status.run, status.run_digest, *labels, status.output, merged)
                found.versions.setdefault(metadata.name, {})[metadata.version] = state
            case ExperimentRecord(metadata=metadata) as record:
                found.experiments[metadata.name] = _experiment(record)
    return found


def _dataset(record: DatasetRecord) -> DatasetState:
    sources = {
        path: Source(path, entry.digest, entry.pointer, present=False) for path, entry in record.status.sources.items()
    }
    status = record.status
    train = status.report.splits.get("train")
    rows = None if train is None else train.rows
    return DatasetState(status.digest, status.inputs, sources, status.phase == "pruned", status.same_rows, rows)


def history(record: RunRecord) -> RunHistory:
    """What planning needs of the record of a run."""
    return RunHistory(record.status.current, {key: _trained(key, entry) for key, entry in record.status.runs.items()})


def _experiment(record: ExperimentRecord) -> ExperimentState:
    status, look = record.status, record.look
    state = ExperimentState(
        status.phase,
        status.inputs,
        status.current,
        traffic=status.traffic,
        proposals=tuple(each.why for each in status.proposals),
    )
    if look is None:
        return state
    return replace(
        state,
        looks=look.number,
        fraction=look.fraction,
        mean=look.arms[status.inputs["baseline"]].mean,
        verdict=look.verdict,
        decided=look.decided_at is not None,
    )


def _trained(key: str, entry: RunEntry) -> TrainedRun:
    last = max((int(number) for number in entry.attempts), default=0)
    attempt = entry.attempts.get(str(last), Attempt(phase=entry.phase))
    seconds = None
    if attempt.started_at is not None and attempt.ended_at is not None:
        seconds = (
            datetime.fromisoformat(attempt.ended_at) - datetime.fromisoformat(attempt.started_at)
        ).total_seconds()
    memory = entry.metrics.get("memoryGib")
    used = None if memory is None else round(memory * 2**30)
    return TrainedRun(key, entry.inputs, entry.phase, last, attempt.reason or "", seconds, used, entry.measured)


# ---------------------------------------------------------------------------------------------------- store


def _names(folder: Path, marker: str) -> frozenset[str]:
    return frozenset(path.parent.name for path in folder.glob(f"*/{marker}"))


def live_runs(workspace: Workspace) -> dict[str, Run]:
    """The runs of this machine's store by id, and where each stands now."""
    return {run.id: _live(run, workspace.store) for run in workspace.store.runs()}


def _live(run: Run, store: Store) -> Run:
    """The run, with the checkpoint that it could go on from where it ended early."""
    if run.state not in (RunState.FAILED, RunState.CANCELLED):
        return run
    from ftops.training.follow import (
        last_checkpoint,  # executors and all: 5 % of a small plan, which most plans don't need
    )

    whole = last_checkpoint(store, run.id)
    return replace(run, checkpoint=None if whole is None else whole.step)


# -------------------------------------------------------------------------------------------------- sources


def _sources(workspace: Workspace) -> tuple[dict[str, Source], dict[str, Diagnostic]]:
    """The identity of every file or folder that a spec names, and what to say of those that are not as their pointer."""
    paths = sorted({path for each in workspace.specs.resources.values() for path in each.source_paths()})
    pointers = dvc.pointers(workspace.root)

    def md5(place: Path) -> str:
        return workspace.store.file_digest(place, "md5").removeprefix("md5:")

    resources = workspace.specs.resources.values()
    logs = {each.spec.logs.path for each in resources if isinstance(each, Experiment)}
    sources = {
        path: _identify_logs(workspace, pointers, path) if path in logs else _identify(workspace, pointers, path)
        for path in paths
    }
    changed = {path: found for path in paths if (found := pointers.changed(path, md5)) is not None}
    return sources, changed


def _identify(workspace: Workspace, pointers: dvc.Pointers, path: str) -> Source:
    """A file or folder: as its pointer says, else by its content."""
    tracked = pointers.identify(path)
    if tracked is not None:
        return tracked
    place = workspace.root / path
    if place.is_dir():
        names = sorted(each.relative_to(place).as_posix() for each in place.rglob("*") if each.is_file())
        contents = {name: workspace.store.file_digest(place / name) for name in names}
        return Source(path, f"sha256:{digest(contents)}")
    try:
        return Source(path, workspace.store.file_digest(place))
    except FileNotFoundError:
        return Source(path, None, present=False)


def _identify_logs(workspace: Workspace, pointers: dvc.Pointers, path: str) -> Source:
    """The files that a path or a glob stands for; an application may be writing to them."""
    tracked = pointers.identify(fixed_part(path) or path)
    if tracked is not None:
        return replace(tracked, path=path)
    from ftops.experiments import logs as experiment_logs  # few projects have logs

    found = []
    for name in experiment_logs.names(workspace.root, path):
        place = workspace.root / name
        try:
            found.append(workspace.store.file_digest(place))
        except ExternalError:
            # It changed while it was read. What it is by now shows that there are new rows, and a look reads them.
            found.append(f"growing:{file_identity(place.stat())}")
    return Source(path, f"sha256:{digest(sorted(found))}" if found else None, present=bool(found))


# ------------------------------------------------------------------------------------------------ templates


def template_texts(root: Path) -> dict[str, str]:
    """Every template by path: the shipped ones, and over them those in the project's own templates/ folder."""
    return {**shipped_templates(), **_read_templates(root / TEMPLATES)}


def _read_templates(folder: Path) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.rglob("*.j2")):
        if path.is_symlink() or not path.is_file():
            continue
        with os.fdopen(open_regular(path), "rb") as file:
            texts[path.relative_to(folder).as_posix()] = file.read(TEMPLATE_BYTES).decode("utf-8", "replace")
    return texts


def _own_templates(workspace: Workspace) -> Mapping[str, str]:
    """For each method or template that a run uses: the text of all the user's own templates that go into it."""
    shipped, texts = shipped_templates(), template_texts(workspace.root)
    own = {path for path, text in texts.items() if shipped.get(path) != text}
    if not own:
        return {}
    runs = [each for each in workspace.specs.resources.values() if isinstance(each, TrainingRun)]
    used = {run.spec.template or template_for(run.spec.method) for run in runs}
    found = {}
    for template in sorted(used):
        sources = [path for path in template_sources(template, texts) if path in own]
        if sources:
            found[template] = "\n".join(f"{path}\n{texts[path]}" for path in sources)
    return found


# ------------------------------------------------------------------------------------------------- standing


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a resource stands: recorded, going on, or not there yet. `eta` in seconds."""

    address: Address
    phase: str
    run: str | None = None
    step: int | None = None
    max_steps: int | None = None
    eta: float | None = None


def standings(workspace: Workspace, observed: Observed) -> tuple[Standing, ...]:
    """Every resource of the specs and where it stands; a training that goes on here counts before what is recorded."""
    live: dict[str, Run] = {}
    for run in observed.live.values():
        if run.name not in live or run.state is RunState.RUNNING:
            live[run.name] = run
    return tuple(
        _chosen(address, observed.sweeps.get(address.name))
        if isinstance(resource, Sweep)
        else _standing(address, workspace.store, observed, live)
        for address, resource in workspace.specs.resources.items()
    )


def _chosen(address: Address, choice: Choice | None) -> Standing:
    """Where a sweep stands: it has chosen, could not, or has not begun to."""
    if choice is None or choice.best is None:
        return Standing(address, "pending" if choice is None else "failed")
    return Standing(address, "chosen", run_id(choice.best.name, choice.best.digest))


def _standing(address: Address, store: Store, observed: Observed, live: Mapping[str, Run]) -> Standing:
    if address.kind == "Dataset":
        recorded = observed.datasets.get(address.name)
        return Standing(address, "pending" if recorded is None else "pruned" if recorded.pruned else "prepared")
    if address.kind == "Experiment":
        state = observed.experiments.get(address.name)
        return Standing(address, "pending" if state is None else state.verdict or state.state)
    if address.kind == "Model":
        return Standing(address, "registered" if observed.versions.get(address.name) else "pending")
    run, history = live.get(address.name), observed.runs.get(address.name)
    if run is not None and (run.state is RunState.RUNNING or history is None):
        from ftops.training.follow import remaining_seconds  # see _live

        eta = remaining_seconds(store, run) if run.state is RunState.RUNNING else None
        return Standing(address, run.state.value, run.id, run.step, run.max_steps, eta)
    if history is None:
        return Standing(address, RunState.PENDING.value)
    return Standing(address, history.runs[history.current].phase.value, run_id(address.name, history.current))
