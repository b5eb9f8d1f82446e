"""The steps that make data, a base model, and a training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ftops import executors, pipeline, tracking
from ftops.apply.news import DataProgress, Notice, TrainingProgress
from ftops.apply.register import commit
from ftops.apply.work import Work
from ftops.configs import Config, render
from ftops.engine import Engine, plugin_files, require_engine
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, RunFailed
from ftops.kinds.training_run import run_address
from ftops.plan import runner_of
from ftops.training import Ended, Training, last_checkpoint, make_model
from ftops.training import train as follow_training
from ftops.values import Address, Change, Json, MakeBaseModel, PrepareData, Run, RunState, Train, run_id


def prepare(work: Work, step: PrepareData, address: Address) -> str:
    dataset = work.dataset(step.dataset)
    _refuse_changed(work, dataset.address)
    prepared = pipeline.prepare(
        dataset.spec,
        step.digest,
        work.workspace.root,
        {path: work.observed.sources.get(path) for path in dataset.spec.source.files},
        work.store,
        lambda stage, done, total: work.tell(DataProgress(address, stage, done, total)),
    )
    return ", ".join(f"{name} {split['rows']:,}" for name, split in prepared.splits.items())


def make_base_model(work: Work, change: Change, step: MakeBaseModel) -> str:
    run = work.run(change.address)
    init = run.spec.base_model.init
    if init is None:
        raise TypeError(f"{change.address} makes no model")
    engine = require_engine(runner_of(run, work.workspace.specs.project).engine)
    dataset = work.store.data(change.inputs["dataset"])
    make_model(engine, init.model_dump(mode="json", by_alias=True), dataset, work.store.model(step.digest))
    return f"models/{step.digest[:12]}"


def train(work: Work, change: Change, step: Train) -> str:
    run = work.run(change.address)
    runner = runner_of(run, work.workspace.specs.project)
    engine = require_engine(runner.engine)
    _require_inputs(work, change)
    config = render([change], work.changes, work.workspace)[change.address]
    history = work.observed.runs.get(step.run)
    recorded = None if history is None else history.runs.get(step.digest)
    training = Training(
        Run(step.run_id, step.run, step.digest, 0, RunState.PENDING),
        about={
            "inputs": change.inputs,
            "engine": runner.engine,
            "configDigest": config.digest,
            "inputCommit": work.observed.commit,
        },
        job=lambda resume: _job(
            work,
            change,
            engine,
            config if resume is None else render([change], work.changes, work.workspace, resume)[change.address],
        ),
        begun=lambda folder: _track(work, change, config.tree, folder),
        first_attempt=1 if recorded is None else recorded.attempts + 1,
        resume_run=step.resume_run,
    )
    ended = follow_training(
        training,
        work.store,
        executors.executor_for(runner.executor, work.store),
        lambda progress: work.tell(TrainingProgress(change.address, progress)),
    )
    if ended.phase is not RunState.SUCCEEDED:
        _commit_failure(work, change)
        raise _failed(work, change.address, step, ended)
    return f"{step.run_id} attempt {ended.attempt}"


def _job(work: Work, change: Change, engine: Engine, config: Config) -> executors.Job:
    """An attempt's job: the rendered config, and the plugin that writes events."""
    run = work.run(change.address)
    online = run.spec.base_model.hub is not None
    runner = runner_of(run, work.workspace.specs.project)
    return executors.Job(
        argv=(str(engine.bin / "axolotl"), "train", "config.yaml", "--launcher", "python"),
        files={
            "config.yaml": config.text.encode(),
            **plugin_files(),
        },
        env={
            "PATH": f"{engine.bin}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "PYTHONPATH": "plugin",
            "FTOPS_EVENTS": "events.jsonl",
            "AXOLOTL_DO_NOT_TRACK": "1",
            **({} if online else {"HF_HUB_OFFLINE": "1"}),
            # Threads that wait by spinning take the processor from each other, and from all else on a CPU runner.
            **({} if runner.capabilities.gpus else {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}),
        },
        timeout=run.spec.timeout,
    )


def _track(work: Work, change: Change, parameters: Mapping[str, Json], folder: Path) -> None:
    """Asks for an attempt to be seen in MLflow. MLflow's trouble is no reason to end a training."""
    run = work.run(change.address)
    if (folder / "tracking.json").exists():
        return
    spec = run.spec
    base = spec.base_model
    tracking.write_tracking(
        folder,
        tracking.RunTracking(
            name=run.metadata.name,
            base_model=base.run or base.hub or base.path or f"init-{base.init.family if base.init else ''}",
            project=work.workspace.specs.project.metadata.name,
            method=spec.method,
            dataset=spec.dataset,
            dataset_id=change.inputs["dataset"],
            parameters=parameters,
            tags=spec.tracking.tags,
        ),
    )


def _require_inputs(work: Work, change: Change) -> None:
    """Raises ExternalError or ChecksFailed where what a training reads is not there, before any time is spent."""
    run = work.run(change.address)
    _refuse_changed(work, change.address)
    manifest = pipeline.read_manifest(work.store.data(change.inputs["dataset"]))
    if manifest is None:
        raise ExternalError(Diagnostic("the prepared data is not in the store", address=str(change.address)))
    split = work.dataset(run.spec.dataset).spec.split
    empty = [name for name in ("train", "validation") if getattr(split, name) and not manifest.splits[name]["rows"]]
    if empty:
        raise ChecksFailed(
            Diagnostic(
                f"Dataset/{run.spec.dataset}: the {' and '.join(empty)} split has no rows",
                hint="add rows, or set the split's ratio to 0",
                address=str(change.address),
            )
        )
    if run.spec.base_model.run is not None:
        needed = work.changes[run_address(run.spec.base_model.run)]
        base = run_id(run.spec.base_model.run, needed.digest or "")
        if not (work.store.run(base) / "output").exists():
            raise ExternalError(
                Diagnostic(
                    f"the weights of {base} are not in the store of this machine",
                    detail=f"expected them at {work.workspace.specs.project.spec.store}/runs/{base}/output",
                    hint=f"copy that folder here from the machine that trained it, or delete registry/runs/"
                    f"{run.spec.base_model.run}.yaml to train it again",
                    address=str(change.address),
                )
            )
    if run.spec.base_model.path is not None and not (work.workspace.root / run.spec.base_model.path).is_dir():
        raise ExternalError(
            Diagnostic(f"{run.spec.base_model.path}: the base model is not there", address=str(change.address))
        )


def _refuse_changed(work: Work, address: Address) -> None:
    """Raises ExternalError where a source was changed under its pointer: what it says would be recorded of other content."""
    paths = work.workspace.specs.resources[address].source_paths()
    if found := [work.observed.changed[path] for path in paths if path in work.observed.changed]:
        raise ExternalError(*found)


def _failed(work: Work, address: Address, step: Train, ended: Ended) -> RunFailed:
    whole = last_checkpoint(work.store, step.run_id)
    begin = "begins again" if whole is None else f"goes on from its {whole[1].path.name}"
    return RunFailed(
        Diagnostic(
            f"{step.run_id} attempt {ended.attempt} {ended.phase}: {ended.reason}",
            detail=ended.log,
            hint=f"`ftops logs {step.run}` shows all of it; the next `ftops apply` {begin}",
            address=str(address),
        )
    )


def _commit_failure(work: Work, change: Change) -> None:
    """Records a failed attempt; that it could not be recorded must not hide why it failed."""
    try:
        work.tell(Notice(commit(work, change)))
    except ExternalError as error:
        work.tell(Notice(f"the failed attempt could not be recorded: {error}"))
