"""`ftops.yaml`: where things run and are kept. Specs say what, never where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json
from ftops.errors import Diagnostic, UsageError
from ftops.resources.declaration import Declaration
from ftops.resources.docker import Docker
from ftops.resources.fields import Name, RelativePath, Size, Strict


def _specifier(text: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # most projects say no `requires`

    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise PydanticCustomError("requires", "expected a version requirement such as '>=0.1'") from error
    return text


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


class Runner(Strict):
    executor: Literal["local", "docker"] = Field(description="How a training is started.")
    engine: Literal["axolotl==0.19.0"] = Field(default="axolotl==0.19.0", description="The training engine.")
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="How many trainings and merges of one apply may go on here at once, beside those of other runners that say so too; "
        "when absent, one that goes on alone. Each is planned as if it had the runner for itself.",
    )
    capabilities: Capabilities = Field(default_factory=Capabilities)
    docker: Docker | None = Field(default=None, description=f"With executor docker: {Docker.__doc__}")

    @field_validator("docker")
    @classmethod
    def _has_these_gpus(cls, docker: Docker | None, info: ValidationInfo) -> Docker | None:
        """Capabilities are known by now: fields are validated in their order."""
        capabilities: Capabilities | None = info.data.get("capabilities")
        if docker is None or capabilities is None:
            return docker
        count = capabilities.gpus
        if docker.gpus is None and count:
            raise PydanticCustomError(
                "gpus", "capabilities.gpus is {count}, but the container gets none: set gpus here", {"count": count}
            )
        if docker.gpus is not None and not count:
            raise PydanticCustomError("gpus", "gpus goes with capabilities.gpus, which says that there are none")
        if isinstance(docker.gpus, tuple) and (highest := max(docker.gpus)) >= count:
            raise PydanticCustomError(
                "gpus",
                "GPU {id} is out of range: capabilities.gpus is {count}, so ids are 0 to {last}",
                {"id": highest, "count": count, "last": count - 1},
            )
        return docker

    @model_validator(mode="after")
    def _says_its_container(self) -> Runner:
        if self.executor == "docker" and self.docker is None:
            raise PydanticCustomError(
                "docker", "executor docker needs to know the image: `docker: {image: NAME@sha256:…}`"
            )
        if self.executor != "docker" and self.docker is not None:
            raise PydanticCustomError("docker", "docker goes with executor docker only")
        return self

    @property
    def gpus(self) -> int:
        """How many GPUs a training gets: all, unless its container is given some."""
        ids = None if self.docker is None else self.docker.gpus
        return len(ids) if isinstance(ids, tuple) else self.capabilities.gpus

    @property
    def uses_engine_here(self) -> bool:
        """Whether a training runs on the engine's environment of this machine, not on that of an image."""
        return self.docker is None or self.docker.engine == "host"

    @property
    def is_offline(self) -> bool:
        """Whether a training can reach no network."""
        return self.docker is not None and self.docker.network == "none"

    @property
    def software(self) -> str:
        """What decides how a training goes beside its config: the engine, and the image that it is in."""
        return self.engine if self.docker is None else f"{self.engine} in {self.docker.image}"


class FromEnvironment(Strict):
    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of an environment variable.")

    def read(self, environ: Mapping[str, str], field: str) -> str:
        """The value that it has in `environ`; raises UsageError where it has none."""
        if value := environ.get(self.env):
            return value
        hint = f"ftops.yaml takes {field} from it"
        raise UsageError(Diagnostic(f"the environment variable {self.env} is not set", hint=hint))


INDEX_URL: Final = r"^(sqlite:///(?!:memory:)[^?]|postgresql(\+psycopg)?://)"
INDEX_URL_FORM: Final = "sqlite:///PATH or postgresql://HOST/DATABASE"
_PASSWORD: Final = re.compile(r"://[^:/]*:[^@]*@|[?&]\w*password=", re.IGNORECASE)


def database_url(setting: str | FromEnvironment | None) -> str | FromEnvironment | None:
    """`setting`, which must name a database that ftops can use, and no password."""
    if not isinstance(setting, str):
        return setting
    if not re.match(INDEX_URL, setting):
        raise PydanticCustomError("database", "expected {form}", {"form": INDEX_URL_FORM})
    if _PASSWORD.search(setting):
        raise PydanticCustomError(
            "database", "a password does not belong in a file: write {env: NAME}, with the URL in NAME"
        )
    return setting


class Tracking(Strict):
    mlflow: str | FromEnvironment = Field(
        default="sqlite:///.ftops/mlflow.db",
        description="MLflow tracking URI; `{env: NAME}` where it holds a secret. MLFLOW_TRACKING_URI wins over it.",
    )


class Git(Strict):
    remote: str = Field(default="origin", pattern=r"^[A-Za-z0-9][-\w./]*$", description="Where results are pushed.")
    branch: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][-\w./]*$",
        description="Branch of the results; the current one when absent.",
    )
    push: bool = Field(default=False, description="Whether results are pushed after they are committed.")
    author: Annotated[str, StringConstraints(pattern=r"^[^<>\n]+ <[^<>\n ]+>$")] = Field(
        default="ftops <ftops@localhost>", description="Author and committer of the commits."
    )


def _no_assignment(defaults: dict[str, Json]) -> dict[str, Json]:
    """An application that assigns reads the experiment's own document: what stood here it would not see."""
    if found := sorted({"arms", "coverage", "exclusion", "seed"} & defaults.keys()):
        raise PydanticCustomError(
            "assignment",
            "{fields} can't be a default: an application that assigns reads the experiment's own spec, where it must stand",
            {"fields": ", ".join(found)},
        )
    return defaults


class Defaults(Strict):
    """Spec fields that every resource of a kind has unless it says otherwise."""

    dataset: dict[str, Json] = Field(default_factory=dict, alias="Dataset")
    training_run: dict[str, Json] = Field(default_factory=dict, alias="TrainingRun")
    model: dict[str, Json] = Field(default_factory=dict, alias="Model")
    experiment: Annotated[dict[str, Json], AfterValidator(_no_assignment)] = Field(
        default_factory=dict, alias="Experiment", description="All but who gets which arm."
    )


class ProjectSpec(Strict):
    specs: tuple[RelativePath, ...] = Field(default=("specs",), min_length=1, description="Folders and globs of specs.")
    requires: Annotated[str, AfterValidator(_specifier)] = Field(
        default="", description="The ftops that this repository needs, such as `>=0.1`; any when empty."
    )
    store: RelativePath = Field(default=".ftops", description="Run folders, prepared data, caches: a local folder.")
    tracking: Tracking = Field(default_factory=Tracking)
    index: Annotated[str | FromEnvironment | None, AfterValidator(database_url)] = Field(
        default=None,
        description="SQL database that the records are copied into (`sqlite:///PATH` or `postgresql://…`); none when "
        "absent; `{env: NAME}` where it holds a secret.",
    )
    git: Git = Field(default_factory=Git)
    default_runner: Name = Field(default="local", description="The runner of a TrainingRun that names none.")
    runners: dict[Name, Runner] = Field(default_factory=lambda: {"local": Runner(executor="local")})
    defaults: Defaults = Field(default_factory=Defaults)

    @model_validator(mode="after")
    def _default_runner_exists(self) -> ProjectSpec:
        if self.default_runner not in self.runners:
            raise PydanticCustomError(
                "runner",
                "defaultRunner is {name}, which is not among the runners ({known})",
                {"name": self.default_runner, "known": ", ".join(self.runners)},
            )
        return self


class Project(Declaration):
    """The project of a repository; there is one, in ftops.yaml at its top."""

    kind_name: ClassVar[str] = "Project"
    kind: Literal["Project"]
    spec: ProjectSpec = Field(default_factory=ProjectSpec)


PROJECT_FILE: Final = "ftops.yaml"
