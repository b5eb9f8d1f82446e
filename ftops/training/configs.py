"""The Axolotl config of each run that a plan would train: rendered in a child with limits, checked key by key."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ftops.datasets.spec import Dataset, dataset_address
from ftops.digests import Json, digest
from ftops.display.text import shown
from ftops.errors import ChecksFailed, Diagnostic, PlanError, SpecError, Where
from ftops.plan.address import Address
from ftops.plan.changes import Change, ChangeClass, Plan
from ftops.plan.run import run_id
from ftops.plan.steps import Train
from ftops.resources.workspace import Workspace
from ftops.store import sandbox
from ftops.training.attempt_config import read_config
from ftops.training.axolotl.batch_size import batch_of, is_auto, sized
from ftops.training.axolotl.config import RunValues, check_rendered, takes_own_template, template_for, template_values
from ftops.training.axolotl.resume_check import changed
from ftops.training.base_model_files import lacks_template, shape_of
from ftops.training.follow import last_checkpoint
from ftops.training.project_templates import TEMPLATES, template_texts
from ftops.training.spec.base_model import model_digest
from ftops.training.spec.training_run import TrainingRun, result_of, run_address, runner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftops.training.axolotl.keys import KeyFault
    from ftops.training.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Config:
    """A rendered config: its text, and the digest of what it says (but for the checkpoint that an attempt goes on from)."""

    text: str
    tree: Mapping[str, Json]

    @property
    def digest(self) -> str:
        return digest({key: value for key, value in self.tree.items() if key != "resume_from_checkpoint"})


def render_plan(plan: Plan, workspace: Workspace) -> dict[Address, Config]:
    """The config of every run that `plan` trains, as its first attempt gets it.

    Raises SpecError with every fault of every config.
    """
    changes = {change.address: change for change in plan.changes}
    training = [change for change in plan.changes if any(isinstance(step, Train) for step in change.steps)]
    return render(training, changes, workspace)


def render(
    training: Iterable[Change], changes: Mapping[Address, Change], workspace: Workspace, resume: str | None = None
) -> dict[Address, Config]:
    """The configs of the runs in `training`; `changes` has what they need, `resume` is the checkpoint to go on from."""
    values = {change.address: run_values(change, changes, workspace, resume) for change in training}
    if open_sizes := {address: each for address, each in values.items() if is_auto(each.hyperparameters)}:
        values |= _sized(open_sizes, workspace)
    results = _rendered(values, workspace)
    configs: dict[Address, Config] = {}
    faults: list[Diagnostic] = []
    for address, each in values.items():
        result = results[str(address)]
        if "error" in result:
            faults.append(_template_fault(address, result["error"]))
        else:
            configs[address] = Config(result["text"], result["config"])
            wrong = check_rendered(result["config"], each)
            faults += _config_faults(workspace, address, wrong)
    if faults:
        raise SpecError(*faults)
    return configs


def _rendered(values: Mapping[Address, RunValues], workspace: Workspace) -> Mapping[str, Json]:
    """What `render_configs` makes of each, by its address; nothing is started for none."""
    if not values:
        return {}
    requests = [
        {"id": str(address), "template": template_of(workspace, address), "values": template_values(each)}
        for address, each in values.items()
    ]
    payload = {"templates": template_texts(workspace.root), "requests": requests}
    results: Mapping[str, Json] = sandbox.call("ftops.training.axolotl.config:render_configs", payload)["results"]
    return results


def _sized(values: Mapping[Address, RunValues], workspace: Workspace) -> dict[Address, RunValues]:
    """`values` with the micro batch that is expected to fit; how much a row takes, the rendered config tells.

    Raises SpecError for each that nothing can be found for.
    """
    drafts = {
        address: replace(each, hyperparameters=sized(each.hyperparameters, 1, 1)) for address, each in values.items()
    }
    results = _rendered(drafts, workspace)
    found: dict[Address, RunValues] = {}
    faults: list[Diagnostic] = []
    for address, each in values.items():
        draft = results[str(address)]
        if "error" in draft:
            faults.append(_template_fault(address, draft["error"]))
            continue
        run = _run(workspace, address)
        shape = shape_of(run, workspace.specs.resources, workspace.root)
        room = runner_of(run, workspace.specs.project).capabilities.gpu_memory
        size = batch_of(each.hyperparameters, draft["config"], shape, each.gpus, room)
        if isinstance(size, int):
            found[address] = replace(each, hyperparameters=sized(each.hyperparameters, size, max(each.gpus, 1)))
        else:
            where = workspace.specs.where(address, ("spec", "hyperparameters", "micro_batch_size"))
            faults.append(Diagnostic(size[0], hint=size[1], address=str(address), where=where))
    if faults:
        raise SpecError(*faults)
    return found


def refuse_to_resume(workspace: Workspace, address: Address, config: Config, checkpoint: Checkpoint) -> None:
    """Raises PlanError where `config` can't go on from `checkpoint`: what its state belongs to has changed."""
    processes = max(runner_of(_run(workspace, address), workspace.specs.project).gpus, 1)
    before: Mapping[str, Json] = config.tree
    with suppress(FileNotFoundError):
        before = read_config(checkpoint.path.parents[1])
    found = [
        f"{what}: {'none' if then is None else shown(then)} then, {'none' if now is None else shown(now)} now"
        for what, then, now in changed(before, config.tree)
    ]
    if checkpoint.world_size != processes:
        found.append(f"processes: {checkpoint.world_size} then, {processes} now")
    if found:
        raise PlanError(
            Diagnostic(
                f"it can't go on from {checkpoint.path.name} of {checkpoint.path.parents[2].name}",
                detail="\n".join(found),
                hint=f"apply on a runner that trains as the one before; or begin again: ftops apply --resume {address.name}=none",
                address=str(address),
            )
        )


def refuse_without_template(workspace: Workspace, change: Change, config: Config) -> None:
    """Raises ChecksFailed where `config` takes the chat template of the base model's tokenizer, and that has none.

    Of a model of the hub only the engine knows: it refuses it before it loads the weights.
    """
    attempt = workspace.store.attempt(run_id(change.address.name, change.digest or ""), 1)
    base = Path(os.path.normpath(attempt / config.tree["base_model"]))
    if takes_own_template(config.tree) and lacks_template(base):
        raise ChecksFailed(
            Diagnostic(
                f"the tokenizer of the base model has no chat template: neither {base.name}/chat_template.jinja, nor in "
                "its tokenizer_config.json",
                hint="say `chat_template: chatml`, or the one that the model was taught (llama3, qwen3, gemma3, mistral_v7_tekken …)",
                address=str(change.address),
                where=workspace.specs.where(change.address, ("spec", "hyperparameters", "chat_template")),
            )
        )


def check_resumes(
    plan: Plan, workspace: Workspace, configs: Mapping[Address, Config], chosen: Collection[Address]
) -> None:
    """Raises PlanError where a run of `plan` would go on from a checkpoint that it can't; not of those that were `chosen`."""
    for change in plan.changes:
        trained = [step for step in change.steps if isinstance(step, Train)]
        if change.change_class is ChangeClass.RESUME and trained and change.address not in chosen:
            (step,) = trained
            source = last_checkpoint(workspace.store, step.resume_run or step.run_id)
            if source is not None:
                refuse_to_resume(workspace, change.address, configs[change.address], source)


def template_of(workspace: Workspace, address: Address) -> str:
    """The name of the template that a run is rendered from."""
    run = _run(workspace, address)
    return run.spec.template or template_for(run.spec.method)


def run_values(
    change: Change, changes: Mapping[Address, Change], workspace: Workspace, resume: str | None
) -> RunValues:
    """What a run's config is rendered from. All paths are relative to the attempt's folder."""
    run = _run(workspace, change.address)
    spec = run.spec
    datasets = [workspace.specs.resources[dataset_address(each.name)] for each in spec.portions]
    prepared = [each.spec for each in datasets if isinstance(each, Dataset)]
    runner = runner_of(run, workspace.specs.project)
    data = f"../../../data/{change.inputs['dataset']}"
    return RunValues(
        method=spec.method,
        hyperparameters=spec.hyperparameters,
        base_model=_base_model(run, change, changes, workspace),
        revision=spec.base_model.revision,
        train_path=f"{data}/train.jsonl",
        validation_path=f"{data}/validation.jsonl" if any(each.split.validation for each in prepared) else None,
        prepared_path=f"../../../cache/tokens/{change.inputs['dataset']}",
        adapter=spec.adapter,
        data_format=prepared[0].output_format,
        resume_from=resume,
        every=spec.checkpoints.every,
        keep=spec.checkpoints.keep,
        best=None if spec.checkpoints.best is None else (spec.checkpoints.best.metric, spec.checkpoints.best.mode),
        patience=None if spec.early_stopping is None else spec.early_stopping.patience,
        gpus=runner.gpus,
        compute=runner.capabilities.compute,
        distributed=spec.distributed,
    )


def _base_model(run: TrainingRun, change: Change, changes: Mapping[Address, Change], workspace: Workspace) -> str:
    spec = run.spec.base_model
    if spec.run is not None:
        base = run_address(spec.run)
        return f"../../{changes[base].run_id}/{result_of(_run(workspace, base))}"
    if spec.path is not None:
        attempt = workspace.store.attempt(run_id(run.metadata.name, change.digest or ""), 1)
        return os.path.relpath(workspace.root / spec.path, attempt)
    if spec.hub is not None:
        return spec.hub
    return f"../../../models/{model_digest(change.inputs)}"


def _run(workspace: Workspace, address: Address) -> TrainingRun:
    run = workspace.specs.resources[address]
    if not isinstance(run, TrainingRun):
        raise TypeError(f"{address} is no training run")
    return run


def _template_fault(address: Address, error: Mapping[str, Json]) -> Diagnostic:
    return Diagnostic(
        f"the template could not be rendered: {error['message']}",
        address=str(address),
        where=Where(f"{TEMPLATES}/{error['template']}", error["line"]),
    )


def _config_faults(workspace: Workspace, address: Address, faults: Sequence[KeyFault]) -> list[Diagnostic]:
    template = f"{TEMPLATES}/{template_of(workspace, address)}"
    given = _run(workspace, address).spec.hyperparameters
    return [
        Diagnostic(
            f"rendered config: {fault.summary}",
            hint=fault.hint,
            address=str(address),
            where=workspace.specs.where(address, ("spec", "hyperparameters", *fault.path))
            if fault.path and fault.path[0] in given
            else Where(template),
        )
        for fault in faults
    ]
