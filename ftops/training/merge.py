"""The step that merges an adapter into its base model, as a job of the run's executor, like a training.

Its result is put beside what the run left:

    runs/RUN-ID/attempt-N/output   the adapter, as it was trained
    runs/RUN-ID/attempt-N/merged   merged, whole or not there at all
    runs/RUN-ID/merged             leads to that of the attempt whose result is the run's
    runs/RUN-ID.merge/             the job that merges, gone when it succeeded
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

import yaml

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError, RunFailed
from ftops.executors import protocol
from ftops.executors.engine import plugin_files
from ftops.executors.registry import executor_for
from ftops.files import cannot_write, copy, rename_new, sync
from ftops.plan.apply_events import Notice
from ftops.plan.changes import Change
from ftops.plan.run import Run, RunState
from ftops.plan.steps import MergeWeights
from ftops.resources.runner import Runner
from ftops.resources.work import Work
from ftops.training import checkpoints, merged_weights
from ftops.training.attempt_config import read_config
from ftops.training.axolotl.failure_classes import Fault, hint_for
from ftops.training.base_model_files import fetched
from ftops.training.follow import Ended, Start, Training, final_attempt, publish_output, train
from ftops.training.program import engine_command
from ftops.training.spec.training_run import MERGED, TrainingRun, run_address, runner_of
from ftops.training.sweep.chosen import stands_for

NOT_ITS: Final = ("README.md", "debug.log")
"""What the engine copies from the base model that says nothing of this one."""
TOKENIZER: Final = ("tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "spiece", "chat_template")
"""How the files of a tokenizer begin. The run has its own: its chat template and tokens need not be the base's."""


def merge(work: Work, change: Change, step: MergeWeights) -> str:
    """Merges the adapter, unless its merged weights are there; says where they are.

    Raises ExternalError where the adapter or its config is not in this store, RunFailed where merging failed.
    """
    run, identity = stands_for(work, step.run, step.run_id)
    step = replace(step, run=run, run_id=identity)
    attempt = _attempt(work, step)
    target = attempt / MERGED
    there = target.is_dir()
    if not there:
        _make(work, step, attempt)
    shutil.rmtree(work.store.run(job_id(step.run_id)), ignore_errors=True)
    if (final := final_attempt(work.store, step.run_id)) is not None and work.store.attempt(
        step.run_id, final
    ) == attempt:
        publish_output(work.store, step.run_id, final, MERGED)
    return f"{target.relative_to(work.store.root)}{', which was there' if there else ''}"


def job_id(run_id: str) -> str:
    """The name under which the store and the executor know the job that merges the adapter of a run."""
    return f"{run_id}.merge"


def _attempt(work: Work, step: MergeWeights) -> Path:
    """The folder of the attempt that left the adapter."""
    number = final_attempt(work.store, step.run_id)
    attempt = work.store.attempt(step.run_id, number or 1)
    if step.output is not None:
        attempt = (work.store.root / step.output).parent
    lacking = [name for name in ("config.yaml", "output/adapter_config.json") if not (attempt / name).exists()]
    if lacking or (number is None and step.output is None):
        kept = work.specs.project.spec.store
        raise ExternalError(
            Diagnostic(
                f"the adapter of {step.run_id} is not in the store of this machine: there is nothing to merge",
                detail=f"expected {lacking[0] if lacking else 'output'} in {kept}/{attempt.relative_to(work.store.root)}",
                hint="copy the run's folder here from the machine that trained it, or train it again: "
                f"ftops apply --rerun {step.run}",
                address=str(run_address(step.run)),
            )
        )
    return attempt


def _make(work: Work, step: MergeWeights, attempt: Path) -> None:
    run = work.specs.get(TrainingRun, step.run)
    runner = runner_of(run, work.specs.project)
    config = read_config(attempt)
    base = _base(attempt, config)
    training = Training(
        Run(job_id(step.run_id), step.run, "", 0, RunState.PENDING),
        start=lambda _: _start(work, step, attempt, config),
        begun=lambda _: None,
        failed=lambda ended: work.emit(
            Notice(f"merging failed ({ended.fault}): {ended.reason}; it begins again at once")
        ),
        retry=run.spec.retry,
        pause=work.pause,
        lacks=lambda folder: _finish(folder / "output" / MERGED, attempt / "output", base),
    )
    executor = executor_for(runner, work.store)
    ended = train(training, work.store, executor, lambda _: None)
    if ended.phase is not RunState.SUCCEEDED:
        raise _failed(work, step, ended)
    try:
        rename_new(work.store.attempt(job_id(step.run_id), ended.attempt) / "output" / MERGED, attempt / MERGED)
    except OSError as error:
        raise cannot_write(attempt / MERGED, error) from error


def _start(work: Work, step: MergeWeights, attempt: Path, config: Json) -> Start:
    """The job that merges: the run's config, with the adapter beside, in a folder as deep, so that its paths hold."""
    run = work.specs.get(TrainingRun, step.run)
    runner: Runner = runner_of(run, work.specs.project)
    command, env = engine_command(run, runner)
    adapter = f"../../{step.run_id}/{attempt.name}/output"
    merging = {key: each for key, each in config.items() if key != "resume_from_checkpoint"}
    merging |= {"output_dir": "output", "lora_model_dir": adapter}
    base = _base(attempt, config)
    job = protocol.Job(
        argv=(command, "merge-lora", "config.yaml"),
        files={"config.yaml": yaml.safe_dump(merging, sort_keys=False, allow_unicode=True).encode(), **plugin_files()},
        env=env,
        timeout=run.spec.timeout,
        reads=(attempt / "output", *((base,) if _is_ours(config) and base is not None else ())),
    )
    return Start(job, {"mergeOf": step.run_id, "engine": runner.software, "runner": _runner_name(work, run)})


def _runner_name(work: Work, run: TrainingRun) -> str:
    return run.spec.runner or work.specs.project.spec.default_runner


def _is_ours(config: Json) -> bool:
    """Whether the base model is a folder of this machine, and not one of the hub."""
    return str(config["base_model"]).startswith(("../", "/"))


def _base(attempt: Path, config: Json) -> Path | None:
    """The folder of the base model that an attempt had; None where this machine has none."""
    name = str(config["base_model"])
    found = (
        Path(os.path.normpath(attempt / name)) if _is_ours(config) else fetched(name, config.get("revision_of_model"))
    )
    return found if found is not None and found.is_dir() else None


def _finish(folder: Path, adapter: Path, base: Path | None) -> str:
    """Gives merged weights the tokenizer of the run, and says what they lack; empty where nothing. Lasting when it returns."""
    if folder.is_symlink() or not folder.is_dir():
        return "it exited with 0 and left no merged weights"
    try:
        for name in NOT_ITS:
            (folder / name).unlink(missing_ok=True)
        for file in sorted(adapter.iterdir()):
            if file.is_file() and not file.is_symlink() and file.name.startswith(TOKENIZER):
                (folder / file.name).unlink(missing_ok=True)
                copy(file, folder / file.name)
        found = merged_weights.verify(folder, adapter, base)
        for place, _, names in os.walk(folder):
            for name in (*names, "."):
                sync(Path(place, name))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return f"its merged weights can't be used: {found.reason}" if isinstance(found, checkpoints.Incomplete) else ""


def _failed(work: Work, step: MergeWeights, ended: Ended) -> RunFailed:
    fault = ended.fault or Fault.UNKNOWN
    log = work.store.attempt(job_id(step.run_id), ended.attempt).relative_to(work.store.root) / "output.log"
    if ended.phase is RunState.CANCELLED:
        what, hint = f"merging the adapter of {step.run_id} was stopped", "the next `ftops apply` merges again"
        return RunFailed(Diagnostic(what, hint=hint, address=str(run_address(step.run))))
    return RunFailed(
        Diagnostic(
            f"merging the adapter of {step.run_id} failed ({fault}): {ended.reason}",
            detail=ended.log,
            hint=f"{hint_for(fault, step.run)}\nall of it is in {log} of the store; "
            "the next `ftops apply` merges again",
            address=str(run_address(step.run)),
        )
    )
