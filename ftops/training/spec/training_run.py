"""`kind: TrainingRun`: one training of a base model on a data set, by a method, on a runner."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ftops.datasets.spec import Dataset, dataset_address, preparation
from ftops.digests import Json, digest
from ftops.errors import Diagnostic, PlanError
from ftops.plan.address import Address
from ftops.plan.changes import RERUN, Action, Change, ChangeClass, Note, NoteKind, Reason
from ftops.plan.details import DatasetDetails, TrainingDetails
from ftops.plan.estimates import Estimate, times
from ftops.plan.observed import RunHistory, TrainedRun
from ftops.plan.run import Run, RunState, run_id
from ftops.plan.steps import CommitRecords, MakeBaseModel, MergeWeights, MixData, Step, Train
from ftops.resources.fields import Duration, Name, RelativePath, Strict
from ftops.resources.resource import Context, Reference, Resource, differences, noop
from ftops.training.axolotl.config import ADAPTERS, PREFERENCES, Adapter, adapter_of, template_for
from ftops.training.axolotl.distributed import KEYS, Strategy
from ftops.training.spec.base_model import BaseModelSpec, model_digest
from ftops.training.spec.checkpoints import Checkpoints
from ftops.training.spec.generations import Samples
from ftops.training.spec.limits import Budget, EarlyStopping, Retry
from ftops.training.spec.mixture import Portion, data_inputs, portions_of
from ftops.training.spec.run_status import is_longer, is_made, is_stopped, rerun_after, standing, unfinished
from ftops.training.spec.sweep import SweepSpec

if TYPE_CHECKING:
    from ftops.resources.project import Project
    from ftops.resources.runner import Runner

MOST_CHOICES: Final = 1000
"""Combinations of earlier digests that are looked for, where several data sets had some."""
MERGED: Final = "merged"
"""The folder of merged weights."""


class RunTracking(Strict):
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the run in MLflow.")


class TrainingRunSpec(Strict):
    dataset: Name | None = Field(default=None, description="The Dataset to train on.")
    datasets: tuple[Portion, ...] | None = Field(
        default=None,
        min_length=1,
        description="Several Datasets of one output format, and how much of each.",
        strict=False,
        validate_default=True,
    )
    base_model: BaseModelSpec
    method: Literal["full", "lora", "qlora", "dpo", "orpo", "kto", "reward"] = Field(
        description="What is trained: all weights, a LoRA adapter, or one beside weights of 4 bits (qlora), to answer as the "
        "data do; dpo, orpo, kto: to prefer the better of two answers; reward: a model that scores answers."
    )
    adapter: Literal["lora", "qlora", "none"] | None = Field(
        default=None,
        description="With dpo, orpo, kto and reward: what is trained by them; lora when absent. Other methods say it themselves.",
    )
    template: RelativePath | None = Field(
        default=None, description="Jinja template of the Axolotl config, under templates/; by method when absent."
    )
    runner: Name | None = Field(default=None, description="A runner of ftops.yaml; its defaultRunner when absent.")
    distributed: Strategy | None = Field(
        default=None,
        description="On a runner with several GPUs: what is divided among them. Nothing (ddp, as when absent), the "
        "optimizer's states (zero1), gradients too (zero2), weights too (zero3, fsdp).",
    )
    hyperparameters: dict[str, Json] = Field(default_factory=dict, description="Axolotl's keys, in its own spelling.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    early_stopping: EarlyStopping | None = Field(
        default=None, description=f"{EarlyStopping.__doc__} Goes with checkpoints.best, which says what is better."
    )
    max_over_length: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="The share of the train rows that may be longer than sequence_len and so left out; more is refused before "
        "the first step.",
    )
    timeout: Duration = Field(default=86400, description="The training is stopped after this time.")
    budget: Budget = Field(default_factory=Budget)
    retry: Retry = Field(default_factory=Retry)
    bad_loss: Literal["stop", "ignore"] = Field(
        default="stop", description="Whether a loss that is no number, or stays zero, ends the training."
    )
    on_change: Literal["retrain", "resume"] = Field(
        default="retrain", description="Whether more epochs or steps go on from the last checkpoint."
    )
    tracking: RunTracking = Field(default_factory=RunTracking)
    samples: Samples = Field(default_factory=Samples, description=Samples.__doc__)
    sweep: SweepSpec | None = Field(default=None, description=SweepSpec.__doc__)

    @field_validator("datasets")
    @classmethod
    def _says_its_data(cls, value: tuple[Portion, ...] | None, info: ValidationInfo) -> tuple[Portion, ...] | None:
        # Of the field, not of the whole: then it is told beside all else that is wrong.
        if "dataset" in info.data and (info.data["dataset"] is None) == (value is None):
            found = "none" if value is None else "both"
            raise PydanticCustomError(
                "data", "expected exactly one of dataset, datasets; found {found}", {"found": found}
            )
        names = [each.name for each in value or ()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise PydanticCustomError("data", "{name} is named twice: give it one weight", {"name": twice[0]})
        return value

    @model_validator(mode="after")
    def _says_its_adapter(self) -> TrainingRunSpec:
        if self.adapter is not None and self.method in ADAPTERS:
            raise PydanticCustomError(
                "adapter",
                "adapter goes with {methods}: {method} says it already",
                {"methods": ", ".join(PREFERENCES), "method": self.method},
            )
        return self

    @model_validator(mode="after")
    def _says_what_is_better(self) -> TrainingRunSpec:
        if self.early_stopping is not None and self.checkpoints.best is None:
            raise PydanticCustomError("best", "earlyStopping needs checkpoints.best: it says what is better")
        return self

    @model_validator(mode="after")
    def _says_one_strategy(self) -> TrainingRunSpec:
        if self.distributed is not None and (both := [key for key in KEYS if key in self.hyperparameters]):
            raise PydanticCustomError(
                "distributed", "distributed says it already: leave out the hyperparameter {key}", {"key": both[0]}
            )
        return self

    @field_validator("sweep")
    @classmethod
    def _can_sweep(cls, value: SweepSpec | None, info: ValidationInfo) -> SweepSpec | None:
        # Of the field, as above; what it is compared with may be wrong itself.
        if value is not None and (why := value.unfit(info.data.get("hyperparameters"), info.data.get("checkpoints"))):
            raise PydanticCustomError("sweep", "{why}", {"why": why})
        return value

    @cached_property
    def portions(self) -> tuple[Portion, ...]:
        """The data sets to train on; at least one."""
        return self.datasets or (Portion(name=self.dataset or ""),)

    @property
    def trained(self) -> Adapter | None:
        """The adapter that is trained, None where all weights are."""
        return adapter_of(self.method, self.adapter)


class TrainingRun(Resource):
    """One training; its identity is the digest of what it is made from."""

    kind_name: ClassVar[str] = "TrainingRun"
    kind: Literal["TrainingRun"]
    spec: TrainingRunSpec
    needs_digests: ClassVar[bool] = True

    def software(self, project: Project) -> str | None:
        return runner_of(self, project).software

    def refuse_rerun(self) -> Diagnostic | None:
        return None

    def resolved(self, project: Project) -> Json:
        tree = super().resolved(project)
        tree["spec"]["runner"] = self.spec.runner or project.spec.default_runner
        tree["spec"]["template"] = self.spec.template or template_for(self.spec.method)
        return tree

    def references(self) -> Iterator[Reference]:
        for number, portion in enumerate(self.spec.portions):
            field = ("dataset",) if self.spec.datasets is None else ("datasets", number, "name")
            yield Reference(("spec", *field), dataset_address(portion.name))
        if self.spec.base_model.run is not None:
            yield Reference(("spec", "baseModel", "run"), run_address(self.spec.base_model.run))

    def source_paths(self) -> Iterator[str]:
        if self.spec.base_model.path is not None:
            yield self.spec.base_model.path

    def plan(self, context: Context) -> Change:
        name = self.metadata.name
        history = context.observed.runs.get(name)
        inputs = self._known(self._inputs(context), history, context)
        identity = digest(inputs)
        live = context.observed.live.get(run_id(name, identity))
        needs = tuple(reference.target for reference in self.references())
        done = None if history is None else history.runs.get(identity)
        if is_stopped(done, live) and self.address not in context.resumed:
            return self._stopped(identity, inputs, done, live)
        asked = self.address in context.reruns
        again = rerun_after(self.address, done, live, asked=asked)
        if not again and done is not None and done.phase is RunState.SUCCEEDED and history is not None:
            if history.current == identity:
                return noop(
                    self.address, "trained as specified", digest=identity, details=TrainingDetails(inputs), needs=needs
                )
            return self._used_again(history, identity, inputs)
        before = None if history is None else history.runs[history.current].inputs
        reasons = differences(before or {}, inputs) if before != inputs else (unfinished(done, live),)
        change_class, resume_run = self._class(before, reasons, live, history.current if history else None)
        if asked:
            live, reasons, change_class, resume_run = None, (RERUN,), ChangeClass.RETRAIN, None
        note = f"what attempt {again} left stays until the new one succeeds" if asked else standing(live, resume_run)
        return Change(
            self.address,
            Action.CREATE
            if history is None
            else Action.UPDATE
            if change_class is ChangeClass.RESUME
            else Action.REPLACE,
            change_class,
            reasons=reasons,
            steps=(
                *(() if is_made(live) else self._before_training(context, inputs)),
                Train(name, run_id(name, identity), identity, resume_run, again),
                CommitRecords(self.address),
            ),
            needs=needs,
            notes=(Note(NoteKind.STATE, note),) if note else (),
            digest=identity,
            details=TrainingDetails(inputs, self._estimate(history, inputs, live, resume_run)),
        )

    def _stopped(self, identity: str, inputs: Json, done: TrainedRun | None, live: Run | None) -> Change:
        """Nothing, but to record it: what a person stopped goes on when a person says so."""
        where = (
            "begins it again"
            if live is None or live.checkpoint is None
            else f"goes on from checkpoint-{live.checkpoint}"
        )
        note = Note(NoteKind.STOPPED, f"was stopped; `ftops apply --resume {self.metadata.name}` {where}")
        needs = tuple(reference.target for reference in self.references())
        if done is not None and done.phase is RunState.CANCELLED:
            return noop(self.address, note, digest=identity, details=TrainingDetails(inputs), needs=needs)
        return Change(
            self.address,
            Action.UPDATE,
            ChangeClass.REGISTER,
            reasons=(unfinished(done, live),),
            steps=(CommitRecords(self.address),),
            needs=needs,
            notes=(note,),
            digest=identity,
            details=TrainingDetails(inputs),
        )

    def _used_again(self, history: RunHistory, identity: str, inputs: Json) -> Change:
        earlier = run_id(self.metadata.name, identity)
        return Change(
            self.address,
            Action.UPDATE,
            ChangeClass.REGISTER,
            reasons=differences(history.runs[history.current].inputs, inputs),
            steps=(CommitRecords(self.address),),
            needs=tuple(reference.target for reference in self.references()),
            notes=(Note(NoteKind.REUSED, f"an earlier run of just this, {earlier}, is used again"),),
            digest=identity,
            details=TrainingDetails(inputs),
        )

    def _known(self, inputs: Json, history: RunHistory | None, context: Context) -> Json:
        """`inputs` as a run has them that succeeded or is on this machine: its data can have had another digest with the same rows."""
        recorded = {} if history is None else history.runs
        known = {key for key, run in recorded.items() if run.phase is RunState.SUCCEEDED}
        known |= {run.digest for run in context.observed.live.values()}
        choices = []
        for portion in self.spec.portions:
            planned = context.planned[dataset_address(portion.name)]
            digests = (planned.digest or "", *planned.details_of(DatasetDetails).equivalent_digests[::-1])
            choices.append([(each, portion.weight) for each in digests])
        for chosen in itertools.islice(itertools.product(*choices), MOST_CHOICES):
            if digest(candidate := {**inputs, **data_inputs(chosen)}) in known:
                return candidate
        return inputs

    def _estimate(
        self, history: RunHistory | None, inputs: Json, live: Run | None, resume_run: str | None
    ) -> Estimate | None:
        """The time that the newest like run took, with start and end, times the share that is left to do."""
        if history is None:
            return None
        known = [each for each in history.runs.values() if each.seconds and each.phase is RunState.SUCCEEDED]
        known.sort(key=lambda each: each.digest == history.current)
        if not known:
            return None
        like = known[-1]
        share = times(like.inputs, inputs) - (1 if resume_run else 0)
        if live is not None and live.checkpoint is not None and live.max_steps:
            share *= 1 - live.checkpoint / live.max_steps
        return Estimate((like.seconds or 0.0) * share, run_id(self.metadata.name, like.digest))

    def _class(
        self, before: Json, reasons: tuple[Reason, ...], live: Run | None, previous: str | None
    ) -> tuple[ChangeClass, str | None]:
        """The class of a training that has to be done, and the run whose checkpoint it goes on from."""
        if live is not None and live.state is RunState.SUCCEEDED:
            return ChangeClass.REGISTER, None
        if live is not None and (live.state is RunState.RUNNING or live.checkpoint is not None):
            return ChangeClass.RESUME, None
        if self.spec.on_change == "resume" and before and previous and all(is_longer(reason) for reason in reasons):
            return ChangeClass.RESUME, run_id(self.metadata.name, previous)
        return ChangeClass.RETRAIN, None

    def _inputs(self, context: Context) -> Json:
        """What the result depends on. Not: names, labels, the runner, shipped templates."""
        spec = self.spec
        inputs: dict[str, Json] = {
            "method": spec.method,
            **({} if spec.method in ADAPTERS else {"adapter": spec.trained}),
            "hyperparameters": dict(spec.hyperparameters),
            **data_inputs((context.digest_of(dataset_address(each.name)), each.weight) for each in spec.portions),
            "baseModel": self._base_model(context),
        }
        if (best := spec.checkpoints.best) is not None:  # then which steps are saved decides what the run ends with
            inputs["best"] = {**best.model_dump(), "every": spec.checkpoints.every}
        if spec.early_stopping is not None:
            inputs["earlyStopping"] = spec.early_stopping.model_dump()
        if (text := context.observed.templates.get(spec.template or template_for(spec.method))) is not None:
            inputs["template"] = digest(text)
        return inputs

    def _base_model(self, context: Context) -> Json:
        spec = self.spec.base_model
        if spec.run is not None:
            return {"run": context.digest_of(run_address(spec.run))}
        if spec.path is not None:
            return {"path": self._path_digest(spec.path, context)}
        if spec.hub is not None:
            return {"hub": spec.hub, **({} if spec.revision is None else {"revision": spec.revision})}
        return {} if spec.init is None else {"init": spec.init.model_dump(mode="json", by_alias=True)}

    def _path_digest(self, path: str, context: Context) -> str:
        source = context.observed.sources.get(path)
        if source is not None and (identity := source.digest or source.pointer) is not None:
            return identity
        history = context.observed.runs.get(self.metadata.name)
        known = None if history is None else history.runs[history.current].inputs.get("baseModel", {}).get("path")
        if known is not None:
            return str(known)
        raise PlanError(
            Diagnostic(
                f"{path}: no such model folder, and no .dvc pointer covers it",
                hint="check spec.baseModel.path, or fetch the model",
                address=str(self.address),
            )
        )

    def _before_training(self, context: Context, inputs: Json) -> tuple[Step, ...]:
        """The steps that bring data and base model into the store where an earlier change does not."""
        steps: list[Step] = []
        for portion in self.spec.portions:
            planned = context.planned[dataset_address(portion.name)]
            resource = context.resources[planned.address]
            if planned.is_noop and isinstance(resource, Dataset):
                steps += preparation(resource, _digest_in(inputs, planned), context)
        if "mixture" in inputs:
            steps.append(MixData(self.metadata.name, inputs["dataset"]))
        if self.spec.base_model.init is not None:
            made = model_digest(inputs)
            if made not in context.observed.made:
                steps.append(MakeBaseModel(self.metadata.name, made))
        if (name := self.spec.base_model.run) is not None and result_of(context.resources[run_address(name)]) == MERGED:
            steps.append(MergeWeights(name, context.planned[run_address(name)].run_id))
        return tuple(steps)


def _digest_in(inputs: Json, dataset: Change) -> str:
    """The digest of `dataset` that a run is made from: the planned one, or an earlier one with the same rows."""
    used = [each for each, _ in portions_of(inputs)]
    equivalent = dataset.details_of(DatasetDetails).equivalent_digests
    return next((each for each in equivalent if each in used), dataset.digest or "")


def run_address(name: str) -> Address:
    """The address of the run `name`."""
    return Address(TrainingRun.kind_name, name)


def result_of(run: Resource) -> str:
    """What of a run's folder another one begins from: what it left, or, where that is an adapter, its merged weights."""
    return MERGED if isinstance(run, TrainingRun) and run.spec.trained is not None else "output"


def runner_of(run: TrainingRun, project: Project) -> Runner:
    """The runner that `run` trains on."""
    return project.spec.runners[run.spec.runner or project.spec.default_runner]
