"""The Axolotl config of each run that a plan would train: rendered in a child with limits, checked key by key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftops import sandbox
from ftops.errors import Diagnostic, SpecError, Where
from ftops.kinds.dataset import Dataset, dataset_address
from ftops.kinds.training_run import TrainingRun, model_digest, run_address
from ftops.observe import TEMPLATES, Workspace, template_texts
from ftops.plan import runner_of
from ftops.trainer.config import RunValues, check_rendered, template_for, template_values
from ftops.values import Address, Change, Json, Plan, Train, digest, run_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ftops.trainer.keys import KeyFault


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
    if not values:
        return {}
    requests = [
        {"id": str(address), "template": template_of(workspace, address), "values": template_values(each)}
        for address, each in values.items()
    ]
    payload = {"templates": template_texts(workspace.root), "requests": requests}
    results = sandbox.call("ftops.trainer.config:render_configs", payload)["results"]
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
    dataset = workspace.specs.resources[dataset_address(spec.dataset)]
    if not isinstance(dataset, Dataset):
        raise TypeError(f"{dataset.address} is no data set")
    data = f"../../../data/{change.inputs['dataset']}"
    return RunValues(
        method=spec.method,
        hyperparameters=spec.hyperparameters,
        base_model=_base_model(run, change, changes, workspace),
        revision=spec.base_model.revision,
        train_path=f"{data}/train.jsonl",
        validation_path=f"{data}/validation.jsonl" if dataset.spec.split.validation else None,
        prepared_path=f"../../../cache/tokens/{change.inputs['dataset']}",
        adapter=spec.adapter,
        data_format=dataset.spec.output_format,
        resume_from=resume,
        every=spec.checkpoints.every,
        keep=spec.checkpoints.keep,
        best=None if spec.checkpoints.best is None else (spec.checkpoints.best.metric, spec.checkpoints.best.mode),
        gpus=runner_of(run, workspace.specs.project).capabilities.gpus,
    )


def _base_model(run: TrainingRun, change: Change, changes: Mapping[Address, Change], workspace: Workspace) -> str:
    spec = run.spec.base_model
    if spec.run is not None:
        needed = changes[run_address(spec.run)].digest
        return f"../../{run_id(spec.run, needed or '')}/output"
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
