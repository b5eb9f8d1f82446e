"""Brings what the store holds of runs and model versions to MLflow; may be killed and begun again at any moment.

Imports mlflow, which takes seconds and 200 MB: only the mirror's own process imports this, when there is something.

Whatever is sent twice ends up as if sent once: a point has always the same time, so that MLflow drops it; a run is
found by its tag `ftops.run`, a model version by its tag `version`.
"""

from __future__ import annotations

import contextlib
import json
import os
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from ftops.files import read_bytes, temporary_name
from ftops.plan.run import RunState
from ftops.tracking import SQLITE, ModelTracking, version_alias
from ftops.tracking.metric_points import Point, batches, system_points
from ftops.tracking.mlflow_names import mask
from ftops.tracking.progress import Attempt, Progress, Sent, attempts, claim, marked, settle, unsent, version_requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from ftops.digests import Json

_PARAMETERS: Final = 100
"""The most parameters that MLflow takes in one call."""
_STATUS: Final = {RunState.SUCCEEDED: "FINISHED", RunState.CANCELLED: "KILLED", RunState.FAILED: "FAILED"}


def connect(uri: str) -> MlflowClient:
    """A client of the MLflow at `uri`; a SQLite database that isn't there is made, whole or not at all.

    MLflow makes its tables in some fifty migrations, and can't go on where a killed process left them.
    """
    if uri.startswith(SQLITE) and not (database := Path(uri.removeprefix(SQLITE))).exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        fresh = temporary_name(database)
        MlflowClient(tracking_uri=f"{SQLITE}{fresh}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, database)
        fresh.unlink()
    return MlflowClient(tracking_uri=uri)


def reason(failure: BaseException) -> str:
    """What is at the bottom of a failure: MLflow wraps a refused connection into four errors and a page of text."""
    while (deeper := failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)) is not None:
        failure = deeper
    return f"{type(failure).__name__}: {failure}"


class Mirror:
    """One store and one MLflow. `uri` is absolute: `sqlite:////…`, `http://…` or `https://…`."""

    def __init__(self, store_root: Path, uri: str) -> None:
        self.root = store_root
        self.uri = uri
        self.server = mask(uri)
        self._runs: set[str] = set()

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.uri)

    def send_all(self) -> str:
        """Send what there is, now; returns the last error, or nothing. What failed stays pending, the rest goes on."""
        error = ""
        work: list[tuple[Callable[[Any], None], Any]] = [
            *((self._follow, run_id) for run_id in marked(self.root)),
            *((self._send_version, path) for path in sorted(version_requests(self.root), key=_asked_at)),
        ]
        for send, what in work:
            try:
                send(what)
            except Exception as failure:  # noqa: BLE001  (whatever fails here must not keep other runs from MLflow)
                error = f"{self.server}: {reason(failure)}"
                self._runs.clear()
                if not self._answers():
                    break
        return error

    def _answers(self) -> bool:
        try:
            self._client.search_experiments(max_results=1)
        except Exception:  # noqa: BLE001  (the error that led here is the one that is told)
            return False
        return True

    # ---------------------------------------------------------------------------------------------------- runs

    def _follow(self, run_id: str) -> None:
        if unsent(self.root, run_id):
            self._send_run(run_id)
        settle(self.root, run_id)

    def _send_run(self, run_id: str) -> Progress:
        """Send what MLflow has not got of a run's attempts."""
        progress = Progress.load(self.root, run_id)
        for attempt in attempts(self.root, run_id):
            if run_id not in self._runs:
                progress = self._attach(run_id, attempt.request, progress)
            sent = progress.attempts.get(attempt.number)
            if sent is None:
                self._begin(progress.run, attempt)
                if attempt.request.get("anew"):
                    progress.steps.clear()
                sent = progress.attempts[attempt.number] = Sent()
                progress.save(self.root, run_id)
            if sent.done:
                continue
            self._send_points(run_id, attempt, progress)
            if attempt.over:
                self._end(progress.run, attempt)
                sent.done = True
                progress.save(self.root, run_id)
        return progress

    def _attach(self, run_id: str, request: Json, progress: Progress) -> Progress:
        """The progress of a run that MLflow has: it is looked for there, and made if it isn't.

        A run that MLflow has and this store knows nothing of was sent from another clone, or the store was lost: what
        it holds is not sent again.
        """
        if progress.server != self.server or not self._has_run(progress.run):
            experiment = self._experiment(request)
            if (found := self._find_run(run_id, [experiment])) is None:
                found = self._client.create_run(
                    experiment, int(request["created"] * 1000), request["tags"], request["runName"]
                )
            progress = Progress(self.server, found.info.run_id, self._last_steps(found))
            progress.save(self.root, run_id)
        self._runs.add(run_id)
        return progress

    def _has_run(self, mlflow_run: str) -> bool:
        try:
            return bool(self._client.get_run(mlflow_run).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _find_run(self, run_id: str, experiments: list[str]) -> Run | None:
        found = self._client.search_runs(experiments, f"tags.`ftops.run` = '{run_id}'", max_results=1)
        return found[0] if found else None

    def _last_steps(self, run: Run) -> dict[str, int]:
        history = self._client.get_metric_history
        return {key: max(point.step for point in history(run.info.run_id, key)) for key in run.data.metrics}

    def _experiment(self, request: Json) -> str:
        """The id of the experiment, made if need be; its tag `method` lists the methods of all of its runs."""
        name, tags = request["experiment"], request["tags"]
        found = self._client.get_experiment_by_name(name)
        if found is None:
            # With SQLite there is no server that decides where artifacts go.
            artifacts = (self.root / "mlartifacts").as_uri() if self.uri.startswith(SQLITE) else None
            known = {key: tags[key] for key in ("project", "base_model", "method")}
            return str(self._client.create_experiment(name, artifacts, known))
        methods = set(filter(None, found.tags.get("method", "").split(",")))
        if tags["method"] not in methods:
            self._client.set_experiment_tag(found.experiment_id, "method", ",".join(sorted({*methods, tags["method"]})))
        return str(found.experiment_id)

    def _begin(self, mlflow_run: str, attempt: Attempt) -> None:
        """Tags, the parameters that are not there yet (MLflow never changes one) and the config of an attempt."""
        request = attempt.request
        known = self._client.get_run(mlflow_run).data.params
        parameters = [Param(key, value) for key, value in request["parameters"].items() if key not in known]
        for start in range(0, len(parameters), _PARAMETERS):
            self._client.log_batch(mlflow_run, params=parameters[start : start + _PARAMETERS])
        self._client.log_batch(mlflow_run, tags=[RunTag(key, value) for key, value in request["tags"].items()])
        self._client.update_run(mlflow_run, status="RUNNING", name=request["runName"])
        self._send_files(mlflow_run, attempt, "config.yaml")

    def _send_points(self, run_id: str, attempt: Attempt, progress: Progress) -> None:
        sent = progress.attempts[attempt.number]
        if attempt.events.exists():
            for points, offset in batches(attempt.events, sent.offset, progress.steps):
                self._log(progress.run, points)
                if offset > sent.offset:
                    sent.offset = offset
                    progress.save(self.root, run_id)
        if attempt.system.exists():
            points_in = partial(system_points, begun=attempts(self.root, run_id)[0].request["created"])
            for points, offset in batches(attempt.system, sent.system, progress.steps, points_in):
                self._log(progress.run, points)
                if offset > sent.system:
                    sent.system = offset
                    progress.save(self.root, run_id)

    def _log(self, mlflow_run: str, points: list[Point]) -> None:
        if points:
            self._client.log_batch(mlflow_run, metrics=[Metric(*point) for point in points])

    def _end(self, mlflow_run: str, attempt: Attempt) -> None:
        """Files and status of an attempt that is over.

        Not output.log: a trainer prints what it likes, and MLflow has more readers than the store.
        """
        self._send_files(mlflow_run, attempt, "events.jsonl", "system.jsonl", "result.json")
        if found := self._checkpoints(attempt):
            name = f"{attempt.folder.name}/checkpoints.json"
            self._client.log_text(mlflow_run, json.dumps(found, indent=2), name)
        if attempt.state is RunState.SUCCEEDED:
            self._client.log_text(mlflow_run, json.dumps(self._reference(attempt), indent=2), "model/model.json")
        ended = attempt.job.ended if attempt.job is not None else None
        status = _STATUS.get(attempt.state, "FAILED")
        self._client.set_terminated(mlflow_run, status, int(ended * 1000) if ended is not None else None)

    def _send_files(self, mlflow_run: str, attempt: Attempt, *names: str) -> None:
        for name in names:
            if (path := attempt.folder / name).exists():
                self._client.log_artifact(mlflow_run, str(path), attempt.folder.name)

    def _reference(self, attempt: Attempt) -> Json:
        """Where the weights are; they are not copied, since the store and DVC keep them."""
        output = attempt.folder / "output"
        files = {each.name: each.stat().st_size for each in sorted(output.glob("*")) if each.is_file()}
        return {"run": attempt.folder.parent.name, "path": output.relative_to(self.root).as_posix(), "files": files}

    def _checkpoints(self, attempt: Attempt) -> Json:
        """Where the checkpoints are that an attempt left, by step; their bytes stay in the store."""
        found = sorted(attempt.folder.glob("output/checkpoint-*"), key=lambda path: (len(path.name), path.name))
        return {
            path.name.removeprefix("checkpoint-"): {
                "path": path.relative_to(self.root).as_posix(),
                "size": sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir()),
            }
            for path in found
        }

    # -------------------------------------------------------------------------------------------------- models

    def _send_version(self, request: Path) -> None:
        claimed = claim(request)
        content = json.loads(read_bytes(claimed))
        aliases, tags = tuple(content.pop("aliases")), tuple(content.pop("tags"))
        self._register(ModelTracking(**content, aliases=aliases, tags=tags))
        claimed.unlink()

    def _register(self, model: ModelTracking) -> None:
        """Make the version if it isn't there, then give it exactly its labels."""
        held = self._model_aliases(model.name)
        found = self._client.search_model_versions(f"name = '{model.name}' and tags.`version` = '{model.version}'")
        version = found[0] if found else self._create_version(model)
        number = str(version.version)
        wanted = {version_alias(model.version), *model.aliases}
        for alias in sorted(alias for alias, holder in held.items() if holder == number and alias not in wanted):
            self._client.delete_registered_model_alias(model.name, alias)
        for alias in sorted(alias for alias in wanted if held.get(alias) != number):
            self._client.set_registered_model_alias(model.name, alias, number)
        self._tag_version(model, number, version.tags)

    def _model_aliases(self, name: str) -> dict[str, str]:
        """The number of the version that each alias stands for; the registered model is made if it isn't there."""
        try:
            model = self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            model = self._client.create_registered_model(name)
        return {alias: str(number) for alias, number in model.aliases.items()}

    def _create_version(self, model: ModelTracking) -> ModelVersion:
        """A version whose source is the weights where MLflow can reach them, which is with SQLite.

        A server takes no path of another machine: there it is the run's own reference to them.
        """
        mlflow_run = self._mlflow_run(model.run_id)
        local = self.uri.startswith(SQLITE)
        source = (self.root / model.weights).as_uri() if local else f"runs:/{mlflow_run}/model"
        tags = {"version": model.version, "ftops.run": model.run_id}
        return self._client.create_model_version(model.name, source, mlflow_run, tags, await_creation_for=0)

    def _mlflow_run(self, run_id: str) -> str:
        """The id of a run in MLflow; one that went to another server before is sent to this one too.

        Raises LookupError when the store has nothing of it.
        """
        progress = self._send_run(run_id)
        if progress.server != self.server:
            raise LookupError(f"run {run_id} is not in MLflow, and the store has no attempt of it to send")
        return progress.run

    def _tag_version(self, model: ModelTracking, number: str, old: dict[str, str]) -> None:
        """Each tag of the spec as a key; `ftops.tags` remembers them, so that others' tags are never taken off."""
        names = (*model.tags, *(("archived",) if model.archived else ()))
        new = {"ftops.tags": ",".join(names), **dict.fromkeys(names, "true"), "ftops.weights": model.weights}
        if model.merged is not None:
            new["ftops.training.merged_weights"] = model.merged
        for key in set(filter(None, old.get("ftops.tags", "").split(","))) - set(names):
            self._client.delete_model_version_tag(model.name, number, key)
        for key, value in new.items():
            if old.get(key) != value:
                self._client.set_model_version_tag(model.name, number, key, value)


def _asked_at(request: Path) -> int:
    path = request if request.exists() else request.with_suffix(".sending")
    return path.stat().st_mtime_ns
