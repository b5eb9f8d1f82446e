"""Reads what exists: records in git, the content behind pointers, the runs of this machine's store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ftops import specs as spec
from ftops.digests import digest
from ftops.errors import Diagnostic, ExternalError
from ftops.git import dvc
from ftops.git.repository import Repository, open_repository
from ftops.plan.observed import Observed, Source
from ftops.registry.read import record_texts, states
from ftops.resources.fields import fixed_part
from ftops.resources.workspace import Workspace
from ftops.store.digest_cache import file_identity
from ftops.store.store import Store
from ftops.training.live import live_runs
from ftops.training.project_templates import TEMPLATES, own_templates, template_texts


def open_workspace(start: Path) -> Workspace:
    """The project that `start` lies in; raises SpecError with all that is wrong in its specs."""
    root = spec.find_root(start)
    specs = spec.read_project(root, known_templates=template_texts(root).keys())
    return Workspace(root, specs, open_repository(root), Store(root / specs.project.spec.store))


def observe(workspace: Workspace) -> Observed:
    """Everything that planning looks at, read once."""
    texts = record_texts(workspace)
    sources, changed = _sources(workspace)
    repository = workspace.repository
    head = repository.head() if repository else None
    return Observed(
        sources=sources,
        changed=changed,
        states=states(texts),
        live=live_runs(workspace),
        templates=own_templates(workspace),
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


# ---------------------------------------------------------------------------------------------------- store


def _names(folder: Path, marker: str) -> frozenset[str]:
    return frozenset(path.parent.name for path in folder.glob(f"*/{marker}"))


# -------------------------------------------------------------------------------------------------- sources


def _sources(workspace: Workspace) -> tuple[dict[str, Source], dict[str, Diagnostic]]:
    """The identity of every file or folder that a spec names, and what to say of those that are not as their pointer."""
    paths = sorted({path for each in workspace.specs.resources.values() for path in each.source_paths()})
    pointers = dvc.pointers(workspace.root)

    def md5(place: Path) -> str:
        return workspace.store.file_digest(place, "md5").removeprefix("md5:")

    resources = workspace.specs.resources.values()
    logs = {path for each in resources for path in each.growing_paths()}
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
    from ftops.experiments.logs.files import names

    found = []
    for name in names(workspace.root, path):
        place = workspace.root / name
        try:
            found.append(workspace.store.file_digest(place))
        except ExternalError:
            # It changed while it was read. What it is by now shows that there are new rows, and a look reads them.
            found.append(f"growing:{file_identity(place.stat())}")
    return Source(path, f"sha256:{digest(sorted(found))}" if found else None, present=bool(found))


# ------------------------------------------------------------------------------------------------ templates


# ------------------------------------------------------------------------------------------------- standing
