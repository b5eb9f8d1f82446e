"""The steps that mix data, make a base model, and train."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ftops import tracking
from ftops.datasets.prepare import manifest, mixture
from ftops.datasets.spec import Dataset, dataset_address
from ftops.display.numbers import gib
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, RunFailed
from ftops.executors import protocol
from ftops.executors.attempts import observe_attempt
from ftops.executors.engine import plugin_files, require_engine
from ftops.executors.registry import executor_for
from ftops.plan.apply_events import Notice, TrainingProgress
from ftops.plan.changes import Change
from ftops.plan.details import DatasetDetails, TrainingDetails
from ftops.plan.run import Run, RunState, run_id
from ftops.plan.steps import MakeBaseModel, MixData, Train
from ftops.resources.runner import Runner
from ftops.resources.work import Work, refuse_changed
from ftops.training.attempt_config import read_config
from ftops.training.axolotl.distributed import launcher
from ftops.training.axolotl.failure_classes import Fault, capacity, hint_for
from ftops.training.base_model_files import shape_of
from ftops.training.checkpoints import Incomplete, verify
from ftops.training.configs import Config, refuse_to_resume, refuse_without_template, render
from ftops.training.costs import what_fits
from ftops.training.follow import Ended, Start, Training, last_checkpoint, log_tail, make_model, resumed_from
from ftops.training.follow import train as follow_training
from ftops.training.program import engine_command
from ftops.training.spec.base_model import model_digest
from ftops.training.spec.mixture import portions_of
from ftops.training.spec.training_run import TrainingRun, result_of, run_address, runner_of


def mix(work: Work, change: Change, step: MixData) -> str:
    portions = portions_of(change.inputs)
    if not (target := work.store.data(change.inputs["dataset"])).exists():
        mixture.mix([(_intact(work, change, digest), weight) for digest, weight in portions], target)
    return f"data/{step.digest[:12]} of {len(portions)}"


def make_base_model(work: Work, change: Change, step: MakeBaseModel) -> str:
    run = work.specs.get(TrainingRun, change.address.name)
    init = run.spec.base_model.init
    if init is None:
        raise TypeError(f"{change.address} makes no model")
    engine = require_engine(runner_of(run, work.specs.project).engine)
    dataset = work.store.data(change.inputs["dataset"])
    make_model(engine, init.model_dump(mode="json", by_alias=True), dataset, work.store.model(step.digest))
    return f"models/{step.digest[:12]}"


def train(work: Work, change: Change, step: Train) -> str:
    run = work.specs.get(TrainingRun, change.address.name)
    history = work.observed.runs.get(step.run)
    recorded = None if history is None else history.runs.get(step.digest)
    training = Training(
        Run(step.run_id, step.run, step.digest, 0, RunState.PENDING),
        start=lambda source: _start(work, change, step, source),
        begun=lambda folder: _track(work, change, step, folder),
        failed=lambda ended: _tried_again(work, change, ended),
        retry=run.spec.retry,
        first_attempt=1 if recorded is None else recorded.attempts + 1,
        resume_run=step.resume_run,
        resume=work.resume.get(change.address),
        rerun_after=step.rerun_after,
        pause=work.pause,
    )
    ended = follow_training(
        training,
        work.store,
        executor_for(runner_of(run, work.specs.project), work.store),
        lambda progress: work.emit(TrainingProgress(change.address, progress)),
    )
    if ended.phase is not RunState.SUCCEEDED:
        _commit_failure(work, change)
        raise _failed(work, change, step, ended)
    return f"{step.run_id} attempt {ended.attempt}" + (f": {ended.reason}" if ended.reason else "")


def _start(work: Work, change: Change, step: Train, source: str | None) -> Start:
    """How an attempt is started: with the rendered config, and the plugin that writes events.

    `source` is the checkpoint that it goes on from, relative to its folder. Raises PlanError where it can't.
    """
    _require_inputs(work, change)
    _require_room(work, change)
    run = work.specs.get(TrainingRun, change.address.name)
    runner = runner_of(run, work.specs.project)
    config = render([change], work.changes, work.workspace, source)[change.address]
    refuse_without_template(work.workspace, change, config)
    if source is not None:
        _check_resume(work, change, config, Path(os.path.normpath(work.store.attempt(step.run_id, 1) / source)))
    command, env = engine_command(run, runner)
    job = protocol.Job(
        argv=(command, "train", "config.yaml", *launcher(runner.gpus)),
        files={"config.yaml": config.text.encode(), **plugin_files()},
        env={
            **env,
            "FTOPS_EVENTS": "events.jsonl",
            "FTOPS_BAD_LOSS": run.spec.bad_loss,
            "FTOPS_MAX_OVER_LENGTH": str(run.spec.max_over_length),
            **_samples(run),
        },
        timeout=_limit(work, change, runner),
        reads=tuple(_reads(work, change, source)),
        writes=(work.store.tokens(change.inputs["dataset"]),),
    )
    about = {
        "name": step.run,
        "digest": step.digest,
        "inputs": change.inputs,
        "engine": runner.software,
        "runner": run.spec.runner or work.specs.project.spec.default_runner,
        "configDigest": config.digest,
        "inputCommit": work.observed.commit,
        **({"recordSamples": True} if run.spec.samples.record else {}),
        **({"rerunAfter": step.rerun_after} if step.rerun_after else {}),
    }
    return Start(job, about)


def _samples(run: TrainingRun) -> dict[str, str]:
    """What the trainer is told of samples; a model that scores answers gives none."""
    spec = run.spec.samples
    if run.spec.method == "reward" or not spec.prompts:
        return {}
    return {"FTOPS_SAMPLES": str(spec.prompts), "FTOPS_SAMPLE_TOKENS": str(spec.max_new_tokens)}


def _limit(work: Work, change: Change, runner: Runner) -> float:
    """The seconds that an attempt may take: by the time limit, and by what the attempts before left of the budget.

    Raises ChecksFailed where they left nothing.
    """
    run = work.specs.get(TrainingRun, change.address.name)
    if (hours := run.spec.budget.gpu_hours) is None:
        return run.spec.timeout
    identity = run_id(change.address.name, change.digest or "")
    before = [observe_attempt(work.store.attempt(identity, each)) for each in work.store.attempts(identity)]
    spent = sum(each.ended - each.started for each in before if each and each.ended and each.started)
    left = hours * 3600 / max(runner.gpus, 1) - spent
    if left <= 0:
        raise ChecksFailed(
            Diagnostic(
                f"its attempts have used up the budget of {hours:g} GPU hours",
                hint="raise budget.gpuHours, and apply again: it goes on from its last whole checkpoint",
                address=str(change.address),
                where=work.specs.where(change.address, ("spec", "budget", "gpuHours")),
            )
        )
    return min(run.spec.timeout, left)


def _check_resume(work: Work, change: Change, config: Config, source: Path) -> None:
    """Raises PlanError or ExternalError where a training with `config` can't go on from checkpoint `source`."""
    checkpoint = verify(source)
    if isinstance(checkpoint, Incomplete):
        raise ExternalError(Diagnostic(f"{source} is torn: {checkpoint.reason}", address=str(change.address)))
    refuse_to_resume(work.workspace, change.address, config, checkpoint)


def _reads(work: Work, change: Change, resume: str | None) -> Iterator[Path]:
    """What a training reads beside its own folder: data, base model, and the checkpoint `resume` that it goes on from."""
    base = work.specs.get(TrainingRun, change.address.name).spec.base_model
    yield work.store.data(change.inputs["dataset"])
    if base.init is not None:
        yield work.store.model(model_digest(change.inputs))
    if base.run is not None:
        before = work.changes[run_address(base.run)].run_id
        yield work.store.run(before) / result_of(work.specs.get(TrainingRun, base.run))
    if base.path is not None:
        yield work.workspace.root / base.path
    if resume is not None:  # relative to the folder of any attempt
        any_attempt = work.store.attempt(run_id(change.address.name, change.digest or ""), 1)
        yield Path(os.path.normpath(any_attempt / resume))


def _track(work: Work, change: Change, step: Train, folder: Path) -> None:
    """Asks for an attempt to be seen in MLflow, with the config that it trains with as parameters."""
    if (folder / "tracking.json").exists():
        return
    run = work.specs.get(TrainingRun, change.address.name)
    spec, base = run.spec, run.spec.base_model
    config = read_config(folder)
    tracking.write_tracking(
        folder,
        tracking.RunTracking(
            name=run.metadata.name,
            base_model=base.run or base.hub or base.path or f"init-{base.init.family if base.init else ''}",
            project=work.specs.project.metadata.name,
            method=spec.method,
            dataset=", ".join(each.name for each in spec.portions),
            dataset_id=change.inputs["dataset"],
            parameters=config,
            tags=spec.tracking.tags,
            anew=step.rerun_after > 0 and resumed_from(folder) is None,
        ),
    )


def _require_inputs(work: Work, change: Change) -> None:
    """Raises ExternalError or ChecksFailed where what a training reads is not there, before any time is spent."""
    run = work.specs.get(TrainingRun, change.address.name)
    refuse_changed(work, change.address)
    for portion in run.spec.portions:
        _require_rows(work, change, portion.name)
    if run.spec.base_model.run is not None:
        needed = work.changes[run_address(run.spec.base_model.run)]
        base = needed.run_id
        if not (work.store.run(base) / "output").exists():
            raise ExternalError(
                Diagnostic(
                    f"the weights of {base} are not in the store of this machine",
                    detail=f"expected them at {work.specs.project.spec.store}/runs/{base}/output",
                    hint="copy that folder here from the machine that trained it, or train it again: "
                    f"ftops apply --rerun {needed.selected_member or run.spec.base_model.run}",
                    address=str(change.address),
                )
            )
    if run.spec.base_model.path is not None and not (work.workspace.root / run.spec.base_model.path).is_dir():
        raise ExternalError(
            Diagnostic(f"{run.spec.base_model.path}: the base model is not there", address=str(change.address))
        )


def _require_rows(work: Work, change: Change, name: str) -> None:
    """Raises ExternalError or ChecksFailed where a split of data set `name` is damaged or empty."""
    planned = work.changes[dataset_address(name)]
    used = {digest for digest, _ in portions_of(change.inputs)}
    equivalent = planned.details_of(DatasetDetails).equivalent_digests
    folder = _intact(work, change, next(each for each in (*equivalent, planned.digest) if each in used))
    prepared, split = manifest.read_manifest(folder), work.specs.get(Dataset, name).spec.split
    splits = {} if prepared is None else prepared.splits
    empty = [each for each in ("train", "validation") if getattr(split, each) and not splits[each].rows]
    if empty:
        raise ChecksFailed(
            Diagnostic(
                f"Dataset/{name}: the {' and '.join(empty)} split has no rows",
                hint="add rows, or set the split's ratio to 0",
                address=str(change.address),
            )
        )


def _intact(work: Work, change: Change, digest: str) -> Path:
    """The folder of prepared data. Raises ExternalError where anything in it is not as it was written."""
    folder = work.store.data(digest)
    damaged = manifest.verify(folder)
    if manifest.read_manifest(folder) is None or damaged:
        hint = f"remove {folder} and run `ftops apply` again: it is prepared anew"
        raise ExternalError(*(replace(each, hint=hint, address=str(change.address)) for each in damaged))
    return folder


def _require_room(work: Work, change: Change) -> None:
    """Raises ExternalError where the disk has no room for the checkpoints, which would be torn when it is full."""
    free = shutil.disk_usage(work.store.root).free
    cost = change.details_of(TrainingDetails).cost
    if cost is not None and free < cost.disk:
        raise ExternalError(
            Diagnostic(
                f"leaves {gib(cost.disk)} of checkpoints and weights, and the disk of the store has {gib(free)} left",
                hint="free some of it, keep fewer checkpoints (checkpoints.keep), or train an adapter",
                address=str(change.address),
            )
        )


def _tried_again(work: Work, change: Change, ended: Ended) -> None:
    """Says, and records, that an attempt failed and that another one begins."""
    run = run_id(change.address.name, change.digest or "")
    work.emit(
        Notice(f"{run} attempt {ended.attempt} failed ({ended.fault}): {ended.reason}; it {_next(work, run)} at once")
    )


def _next(work: Work, run: str) -> str:
    """Where the next attempt of a run begins."""
    whole = last_checkpoint(work.store, run)
    return "begins again" if whole is None else f"goes on from its {whole.path.name}"


def _failed(work: Work, change: Change, step: Train, ended: Ended) -> RunFailed:
    if ended.phase is RunState.CANCELLED:
        what = f"{step.run_id} attempt {ended.attempt} was stopped"
        hint = f"`ftops apply --resume {step.run}` {_next(work, step.run_id)}; without it apply leaves it alone"
        hint = _stands(step) or hint
        return RunFailed(Diagnostic(what, hint=hint, address=str(change.address)))
    fault = ended.fault or Fault.UNKNOWN
    hints = (
        _what_fits(work, change, ended) if fault is Fault.GPU_MEMORY else "",
        hint_for(fault, step.run),
        f"`ftops logs {step.run}` shows all of it"
        + ("" if step.rerun_after else f"; the next `ftops apply` {_next(work, step.run_id)}"),
        _stands(step),
    )
    return RunFailed(
        Diagnostic(
            f"{step.run_id} attempt {ended.attempt} failed ({fault}): {ended.reason}",
            detail=ended.log,
            hint="\n".join(filter(None, hints)),
            address=str(change.address),
        )
    )


def _stands(step: Train) -> str:
    """What becomes of a training again that did not succeed; empty for any other."""
    said = f"what was trained before stands; `ftops apply --rerun {step.run}` begins again"
    return said if step.rerun_after else ""


def _what_fits(work: Work, change: Change, ended: Ended) -> str:
    """What would need less memory of a GPU than the attempt, whose config is asked, with the arithmetic; empty where nobody knows."""
    run = work.specs.get(TrainingRun, change.address.name)
    runner = runner_of(run, work.specs.project)
    folder = work.store.attempt(run_id(change.address.name, change.digest or ""), ended.attempt)
    config = read_config(folder)
    shape = shape_of(run, work.specs.resources, work.workspace.root)
    room = capacity(log_tail(folder / "output.log")) or runner.capabilities.gpu_memory
    if shape is None or room is None:
        return ""
    return what_fits(shape, config, runner.gpus, room, surely=True)


def _commit_failure(work: Work, change: Change) -> None:
    """Records a failed attempt; that it could not be recorded must not hide why it failed."""
    try:
        work.emit(Notice(work.commit(work, change)))
    except ExternalError as error:
        work.emit(Notice(f"the failed attempt could not be recorded: {error}"))
