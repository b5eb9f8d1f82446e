"""What this machine lacks for a project, each thing with how to get it (`ftops doctor`)."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ftops import tracking
from ftops.display.numbers import gib
from ftops.display.text import mask
from ftops.errors import Diagnostic, FtopsError, Severity
from ftops.executors import engine, protocol
from ftops.executors.registry import executor_for
from ftops.git import dvc
from ftops.index.update import index_url
from ftops.reconcile.observe import open_workspace
from ftops.resources.fields import fixed_part, is_pattern
from ftops.resources.workspace import Workspace


def findings(start: Path) -> tuple[tuple[Diagnostic, ...], tuple[str, ...]]:
    """What is missing or broken for the project that `start` lies in, and what is fine, in words."""
    missing: list[Diagnostic] = []
    fine: list[str] = []
    engines, needed = {engine.AXOLOTL}, True
    try:
        workspace = open_workspace(start)
    except FtopsError as error:
        missing += error.diagnostics
    else:
        fine.append(f"{len(workspace.specs.resources)} specs in {workspace.root}")
        runners = workspace.specs.project.spec.runners
        engines = {runner.engine for runner in runners.values()}
        needed = any(runner.options.uses_engine_here for runner in runners.values())
        elsewhere = [name for name, runner in runners.items() if not runner.options.is_process_here]
        for each in (*_of_project(workspace), *(_of_runner(workspace, name) for name in elsewhere)):
            (fine.append(each) if isinstance(each, str) else missing.append(each))
    for name in sorted(engines):
        for fact in engine.doctor(name):
            if fact.name in ("venv", "engine", "disk") and not needed:
                continue
            if fact.ok:
                fine.append(f"{fact.name}: {fact.detail}")
            else:
                missing.append(Diagnostic(f"{fact.name}: {fact.detail}", hint=fact.how))
    return tuple(missing), tuple(fine)


def _is_there(root: Path, path: str) -> bool:
    """Whether there is a file or folder at `path`, or any that it stands for."""
    if not is_pattern(path):
        return (root / path).exists()
    from ftops.experiments.logs.files import names

    return bool(names(root, path))


def _of_runner(workspace: Workspace, name: str) -> Diagnostic | str:
    """What a runner that is no process of this machine has, or why nothing can run there."""
    try:
        has = executor_for(workspace.specs.project.spec.runners[name], workspace.store).probe()
    except FtopsError as error:
        return replace(error.diagnostics[0], summary=f"runner {name}: {error.diagnostics[0].summary}")
    if isinstance(has, protocol.Unreachable):
        return Diagnostic(f"runner {name}: {has.reason}")
    return f"runner {name}: {has.cpus} CPUs, {gib(has.memory)} of memory, {has.gpus} GPUs"


def _of_project(workspace: Workspace) -> list[Diagnostic | str]:
    found: list[Diagnostic | str] = []
    if workspace.repository is None:
        found.append(Diagnostic("git: no repository: results can't be committed", hint="git init"))
    elif workspace.branch is None:
        found.append(Diagnostic("git: HEAD is detached: results can't be committed", hint="git switch BRANCH"))
    else:
        found.append(f"git: results go to {workspace.branch}")
    resources = workspace.specs.resources.values()
    paths = {path for each in resources for path in each.source_paths()}
    logs = {path for each in resources for path in each.growing_paths()}
    absent = sorted(path for path in paths if not _is_there(workspace.root, path))
    tracked = dvc.pointers(workspace.root)
    for path in absent:
        if tracked.identify(fixed_part(path) or path) is not None:
            found.append(f"data: {path} is not here yet; apply fetches it with DVC")
        elif path in logs:  # nobody may have been served yet
            found.append(f"data: no logs in {path} yet")
        else:
            found.append(
                Diagnostic(f"data: {path} is not there, and no .dvc pointer covers it", hint="git pull, dvc add")
            )
    if paths and not absent:
        found.append(f"data: {len(paths)} sources here")
    left = tracking.pending(workspace.store.root)
    if left:
        found.append(Diagnostic(f"tracking: {left}", severity=Severity.WARNING))
    else:
        configured = workspace.specs.project.spec.tracking.mlflow
        where = configured if isinstance(configured, str) else f"${configured.env}"
        found.append(f"tracking: {mask(os.environ.get('MLFLOW_TRACKING_URI') or where)} has everything")
    try:
        if (url := index_url(workspace)) is not None:
            from ftops.index import database  # see index_url

            found.append(f"index: {database.check(url)}")
    except FtopsError as error:
        found += error.diagnostics
    return found
