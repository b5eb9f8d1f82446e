"""The mirror in MLflow: what things are called there, what it has not got yet, and the process that brings it.

Apply only writes files (`write_tracking`, `request_version`) and starts the mirror (`python -m ftops.tracking`), which
follows them in its own time: MLflow down, slow or absent never delays or stops a training. Nothing here imports
mlflow, whose import takes seconds; only the mirror does.

    tracking.start_mirror(store_root, uri)
    tracking.write_tracking(attempt_folder, RunTracking(...))     # before each attempt
    tracking.request_version(store_root, ModelTracking(...))      # after a version is made or labelled
    left = tracking.flush(store_root)                             # at the end, whatever happened
    if left: warn(str(left))
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import ftops
from ftops.errors import Diagnostic, FtopsError, SpecError
from ftops.executors.wrapper import start_time
from ftops.files import read_bytes, read_json, replace_file
from ftops.tracking import mlflow_names, progress
from ftops.tracking.mlflow_names import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ftops.digests import Json

SQLITE: Final = "sqlite:///"


def tracking_uri(configured: str, project_root: Path, environ: Mapping[str, str]) -> str:
    """The MLflow to use: MLFLOW_TRACKING_URI, else what `ftops.yaml` says; SQLite paths count from the project's root.

    Raises SpecError for anything but SQLite and http(s): only those are known to work.
    """
    uri = environ.get("MLFLOW_TRACKING_URI") or configured
    if uri.startswith(SQLITE) and len(uri) > len(SQLITE):
        return SQLITE + str((project_root / uri.removeprefix(SQLITE)).resolve())
    if re.match(r"https?://[^/]", uri):
        return uri.rstrip("/")
    raise SpecError(
        Diagnostic(
            f"MLflow can't be reached at {mask(uri)!r}",
            detail="expected sqlite:///PATH, http://HOST or https://HOST",
            hint="set tracking.mlflow in ftops.yaml, or MLFLOW_TRACKING_URI",
        )
    )


# ------------------------------------------------------------------------------------------------------ runs


@dataclass(frozen=True, slots=True)
class RunTracking:
    """What MLflow shall know of a run from its start: `parameters` is the rendered config, as a tree; `anew` when an attempt is a
    training again of one that had ended well, so that its curves are not those that MLflow has."""

    name: str
    base_model: str
    project: str
    method: str
    dataset: str
    dataset_id: str
    parameters: Mapping[str, Json]
    tags: Mapping[str, str] = field(default_factory=dict)
    anew: bool = False


def write_tracking(attempt_folder: Path, run: RunTracking) -> None:
    """Ask for attempt `runs/RUN-ID/attempt-N` to be seen in MLflow; all attempts of a RUN-ID are one MLflow run."""
    run_folder = attempt_folder.parent
    known = {
        "job_name": run.name,
        "dataset_id": run.dataset_id,
        "dataset_name": run.dataset,
        "method": run.method,
        "base_model": run.base_model,
        "project": run.project,
        "ftops.run": run_folder.name,
        "ftops.attempt": attempt_folder.name.removeprefix("attempt-"),
    }
    tags = {mlflow_names.key(key): mlflow_names.value(value) for key, value in {**run.tags, **known}.items()}
    request = {
        "experiment": mlflow_names.value(f"finetuning_{run.base_model}", 500),
        "runName": run.name,
        "tags": tags,
        "parameters": mlflow_names.flatten(run.parameters),
        "created": time.time(),
        "anew": run.anew,
    }
    progress.ask_for_run(attempt_folder, request)


def forget_run(store_root: Path, run_id: str) -> None:
    """Forget what MLflow has got of a run that was removed from the store; MLflow keeps it."""
    progress.forget(store_root, run_id)


# ---------------------------------------------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class ModelTracking:
    """A model version as MLflow shall have it: all of its labels, so that what is not named here is taken off.

    `weights` is the store-relative path of what the run left (`runs/RUN-ID/attempt-N/output`), `merged` that of the same
    merged into the base model. Both are one version there: an alias of MLflow stands for one, whose source never changes.
    """

    name: str
    version: str
    run_id: str
    weights: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    archived: bool = False
    merged: str | None = None


def request_version(store_root: Path, model: ModelTracking) -> None:
    """Ask for a model version in MLflow's registry, or for new labels of one that is there."""
    content = {**asdict(model), "aliases": list(model.aliases), "tags": list(model.tags)}
    progress.ask_for_version(store_root, model.name, model.version, content)


def version_alias(version: str) -> str:
    """A semantic version as MLflow takes aliases: `1.0.0` is `1-0-0`.

    MLflow takes letters, digits, `-` and `_`, and refuses `1.0.0`. No two versions share an alias: `.`, `-` and `+`
    become `-`, `__` and `_-`, and a version has no `_` of its own.
    """
    return version.translate({ord("."): "-", ord("-"): "__", ord("+"): "_-"})


def model_uri(name: str, version: str) -> str:
    """Where MLflow has the version, known without asking it: `models:/NAME@1-0-0`."""
    return f"models:/{name}@{version_alias(version)}"


# --------------------------------------------------------------------------------------- the mirror, from outside


@dataclass(frozen=True, slots=True)
class Pending:
    """What MLflow has not got: numbers of runs and of model versions, and why, as far as the mirror knows."""

    runs: int = 0
    models: int = 0
    error: str = ""

    def __bool__(self) -> bool:
        return bool(self.runs or self.models)

    def __str__(self) -> str:
        counts = ((self.runs, "run"), (self.models, "model version"))
        what = " and ".join(f"{count} {noun}{'s' * (count > 1)}" for count, noun in counts if count)
        why = f": {self.error}" if self.error else ""
        return f"MLflow has not got {what or 'nothing'} yet{why}; the next apply brings it there" if self else ""


def pending(store_root: Path) -> Pending:
    """What MLflow has not got now; reads a few small files, and asks no server."""
    runs = sum(progress.unsent(store_root, run_id) for run_id in progress.marked(store_root))
    status = read_json(store_root / "tracking" / "status.json") or {}
    return Pending(runs, len(progress.version_requests(store_root)), str(status.get("error", "")))


def _presence(store_root: Path, pid: int) -> Path:
    return store_root / "tracking" / "applies" / str(pid)


def present(store_root: Path, pid: int) -> bool:
    """Whether the apply with this process id has started a mirror, and has neither flushed nor died."""
    try:
        return read_bytes(_presence(store_root, pid)) == str(start_time(pid)).encode()
    except FileNotFoundError:
        return False


def start_mirror(store_root: Path, uri: str) -> None:
    """Start the process that brings to MLflow what is pending, and what comes until `flush`, or until this one dies.

    It is detached: it outlives its starter as long as it needs. `uri` is what `tracking_uri` returned; it goes by
    environment, as an argument would show its password to every user of the machine. Never raises: a mirror that
    can't be started is told by `pending`.
    """
    pid = os.getpid()
    tell(store_root, "")
    try:
        presence = _presence(store_root, pid)
        presence.parent.mkdir(parents=True, exist_ok=True)
        replace_file(presence, str(start_time(pid)).encode())
        # Returns at once: what it starts goes on in a process of its own (see __main__), so no zombie is left either.
        subprocess.run(
            [sys.executable, "-P", "-m", "ftops.tracking", str(store_root.resolve()), str(pid)],
            env=_environment(uri),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=True,
            timeout=30,
        )
    except (OSError, FtopsError, subprocess.SubprocessError) as error:
        tell(store_root, f"the process for MLflow did not start: {error}")


def tell(store_root: Path, error: str) -> None:
    """Leave `error` where `pending` finds it; an empty one takes the last one away."""
    # Where even this can't be written, apply says so itself: tracking must not be what ends it.
    with contextlib.suppress(OSError, FtopsError):
        content = {"error": mlflow_names.value(error.partition("\n")[0], 300), "time": time.time()}
        progress.write_json(store_root / "tracking" / "status.json", content)


def _environment(uri: str) -> dict[str, str]:
    """The mirror's: the user's, with MLflow's own patience (247 s for a server that is down) and telemetry off."""
    package_root = str(Path(ftops.__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")])),
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def flush(store_root: Path, seconds: float = 2.0) -> Pending:
    """Wait until MLflow has got everything, for at most `seconds`; returns what it has not got.

    Doesn't wait when no mirror was started, or when MLflow is known to be down. Tells the mirror that this process
    brings nothing more: it ends by itself, some time after.
    """
    presence = _presence(store_root, os.getpid())
    deadline = time.monotonic() + (seconds if presence.exists() else 0)
    while (left := pending(store_root)) and not left.error and time.monotonic() < deadline:
        time.sleep(0.05)
    presence.unlink(missing_ok=True)
    return left
