"""A runner of ftops.yaml: where trainings run. What is said of every runner is here; what one executor is told, in its own file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, Field, ValidationInfo, create_model, model_validator
from pydantic_core import PydanticCustomError

from ftops.resources.fields import Size, Strict


class Capabilities(Strict):
    """What a runner has; the rendered config depends on it."""

    gpus: int = Field(default=0, ge=0, description="How many GPUs; 0 renders for a CPU.")
    compute: float | None = Field(
        default=None,
        ge=3.0,
        le=20.0,
        description="CUDA compute capability of the GPUs, such as 9.0 (H100), 8.9 (RTX 4090) or 7.5 (T4): what they can't do "
        "is refused.",
    )
    gpu_memory: Size | None = Field(default=None, ge=1 << 30, description="Memory of one GPU, such as 80GiB.")

    @model_validator(mode="after")
    def _of_gpus(self) -> Capabilities:
        if not self.gpus and (self.compute is not None or self.gpu_memory is not None):
            raise PydanticCustomError("gpus", "compute and gpuMemory are those of GPUs: say how many there are in gpus")
        return self


class RunnerOptions(Strict):
    """What an executor is told beside what is said of every runner: the field of a runner that has the executor's name.

    What stands here is true of an executor without options, which starts a process on this machine. `needed` is said to who
    gives none, where the executor can't do without.
    """

    needed: ClassVar[str] = ""

    def check_capabilities(self, capabilities: Capabilities) -> None:
        """Raises PydanticCustomError where the options contradict what the runner has."""

    def gpus_of(self, capabilities: Capabilities) -> int:
        """How many GPUs a training gets of those that the runner has."""
        return capabilities.gpus

    @property
    def is_process_here(self) -> bool:
        """Whether a training is a process of this machine, among its programs."""
        return True

    @property
    def uses_engine_here(self) -> bool:
        """Whether a training runs on the engine's environment of this machine, not on that of an image."""
        return True

    @property
    def is_offline(self) -> bool:
        """Whether a training can reach no network."""
        return False

    def software(self, engine: str) -> str:
        """What decides how a training goes beside its config: the engine, and what it is in."""
        return engine


class Runner(Strict):
    executor: str = Field(description="How a training is started.")
    engine: Literal["axolotl==0.19.0"] = Field(default="axolotl==0.19.0", description="The training engine.")
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="How many trainings and merges of one apply may go on here at once, beside those of other runners that say so too; "
        "when absent, one that goes on alone. Each is planned as if it had the runner for itself.",
    )
    capabilities: Capabilities = Field(default_factory=Capabilities)

    option_models: ClassVar[Mapping[str, type[RunnerOptions]]] = {}
    """By the name of the executor, which is that of the field too."""

    @model_validator(mode="after")
    def _options_are_those_of_its_executor(self) -> Runner:
        for name, model in self.option_models.items():
            given = getattr(self, name) is not None
            if name == self.executor and not given and model.needed:
                raise PydanticCustomError("options", "{words}", {"words": model.needed})
            if name != self.executor and given:
                raise PydanticCustomError("options", "{name} goes with executor {name} only", {"name": name})
        return self

    @property
    def options(self) -> RunnerOptions:
        """What its executor is told."""
        given = getattr(self, self.executor) if self.executor in self.option_models else None
        return given if isinstance(given, RunnerOptions) else RunnerOptions()

    @property
    def gpus(self) -> int:
        """How many GPUs a training gets."""
        return self.options.gpus_of(self.capabilities)

    @property
    def software(self) -> str:
        """What decides how a training goes beside its config: the engine, and what it is in."""
        return self.options.software(self.engine)


def runner_model(executors: Mapping[str, type[RunnerOptions] | None]) -> type[Runner]:
    """The Runner that may name `executors`, each with a field for its options where it has some."""
    options = {name: each for name, each in executors.items() if each is not None}
    fields: dict[str, Any] = {
        name: (
            Annotated[cast("Any", each) | None, AfterValidator(_fitting)],
            Field(default=None, description=f"With executor {name}: {each.__doc__}"),
        )
        for name, each in options.items()
    }
    executor = (cast("Any", Literal)[tuple(executors)], Field(description=Runner.model_fields["executor"].description))
    made = create_model("Runner", __base__=Runner, __module__=__name__, executor=executor, **fields)
    made.option_models = options
    return made


def _fitting(options: RunnerOptions | None, info: ValidationInfo) -> RunnerOptions | None:
    """Capabilities are known by now: fields are validated in their order."""
    capabilities: Capabilities | None = info.data.get("capabilities")
    if options is not None and capabilities is not None:
        options.check_capabilities(capabilities)
    return options
