"""`ftops.yaml`: where things run and are kept. Specs say what, never where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, cast

from pydantic import AfterValidator, Field, StringConstraints, create_model, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json
from ftops.errors import Diagnostic, UsageError
from ftops.resources.declaration import Declaration
from ftops.resources.fields import Name, RelativePath, Strict
from ftops.resources.runner import Runner


def _specifier(text: str) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # most projects say no `requires`

    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise PydanticCustomError("requires", "expected a version requirement such as '>=0.1'") from error
    return text


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


def project_model(runner: type[Runner]) -> type[Project]:
    """The Project whose runners are like `runner`, which knows the executors."""
    runners = Field(default_factory=lambda: {"local": runner(executor="local")})
    fields: Any = {"runners": (cast("Any", dict)[Name, runner], runners)}
    spec = create_model("ProjectSpec", __base__=ProjectSpec, __module__=__name__, **fields)
    fields = {"spec": (spec, Field(default_factory=spec))}
    return create_model("Project", __base__=Project, __module__=__name__, __doc__=Project.__doc__, **fields)


PROJECT_FILE: Final = "ftops.yaml"
