"""For applications: experiments as flags of OpenFeature (https://openfeature.dev).

Needs `pip install "ftops[openfeature]"`.
"""

# ruff: noqa: ARG002 (a provider has these parameters, whatever it does with them)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    InvalidContextError,
    TargetingKeyMissingError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import FlagMetadata, FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from ftops.errors import Diagnostic, Severity, SpecError, UsageError, Where, did_you_mean
from ftops.experiments.assignment import WHOLE, Allocation, assign, bucket
from ftops.experiments.spec.experiment import RUNNING, Experiment
from ftops.files import read_bytes, read_given
from ftops.resources.project import PROJECT_FILE
from ftops.specs import find_root
from ftops.specs.files import Files
from ftops.specs.load import Loading

Tree = Sequence[FlagValueType] | Mapping[str, FlagValueType]


class _Flag(NamedTuple):
    experiment: Experiment
    allocation: Allocation


class ExperimentProvider(AbstractProvider):
    """Answers with the arm of the unit that the targeting key names; a flag's key is an experiment's name.

    A string flag is the arm's name, an object flag `{"arm", "model", "experiment"}`, the model as the spec names it. The
    reason is SPLIT; DEFAULT for a unit that takes no part; DISABLED, for everybody, when the experiment has ended.
    """

    def __init__(self, *paths: str | Path) -> None:
        """Reads the experiments of each path, once: a project's folder, or a file of specs (whose models are not looked
        up). Raises SpecError with every error and its place, UsageError for a path that can't be read."""
        super().__init__()
        self._flags: dict[str, _Flag] = {}
        for path in paths:
            for experiment in _read(Path(path)):
                name = experiment.metadata.name
                if name in self._flags:
                    raise UsageError(f"{experiment.address} is in more than one of {', '.join(map(str, paths))}")
                self._flags[name] = _Flag(experiment, experiment.allocation)

    def get_metadata(self) -> Metadata:
        return Metadata(name="ftops")

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        arm, reason, metadata = _resolve(self._flag(flag_key), evaluation_context)
        value = default_value if arm is None else arm
        return FlagResolutionDetails(value, reason=reason, variant=arm, flag_metadata=metadata)

    def resolve_object_details(
        self, flag_key: str, default_value: Tree, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Tree]:
        flag = self._flag(flag_key)
        arm, reason, metadata = _resolve(flag, evaluation_context)
        value = default_value
        if arm is not None:
            value = {"arm": arm, "model": flag.experiment.spec.arms[arm].model, "experiment": flag_key}
        return FlagResolutionDetails(value, reason=reason, variant=arm, flag_metadata=metadata)

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        raise self._no_such_type(flag_key)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        raise self._no_such_type(flag_key)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        raise self._no_such_type(flag_key)

    def _flag(self, flag_key: str) -> _Flag:
        if flag_key not in self._flags:
            hint = did_you_mean(flag_key, list(self._flags))
            raise FlagNotFoundError(f"no Experiment is called {flag_key!r}" + (f": {hint}" if hint else ""))
        return self._flags[flag_key]

    def _no_such_type(self, flag_key: str) -> TypeMismatchError:
        self._flag(flag_key)
        return TypeMismatchError(f"{flag_key} is an Experiment: ask for a string, its arm, or for an object")


def _resolve(flag: _Flag, context: EvaluationContext | None) -> tuple[str | None, Reason, FlagMetadata]:
    """The unit's arm, None where the application's default counts; why; and what to log beside it."""
    spec, allocation = flag.experiment.spec, flag.allocation
    if spec.state != RUNNING:
        return None, Reason.DISABLED, {"state": spec.state}
    unit = None if context is None else context.targeting_key
    if not unit:
        raise TargetingKeyMissingError(f"set the targeting key to the unit: its {spec.unit}")
    try:
        arm, place = assign(allocation, unit), bucket(allocation.seed, unit) / WHOLE
    except (TypeError, ValueError) as error:
        raise InvalidContextError(f"the targeting key: {error}") from error
    return arm, Reason.DEFAULT if arm is None else Reason.SPLIT, {"bucket": place}


def _read(path: Path) -> list[Experiment]:
    """The experiments at `path`, as strictly read as a plan reads them; what they refer to is not looked up."""
    loading = Loading()
    if path.is_dir():
        files = Files(find_root(path))
        files.add_project()
        loading.read(files.texts)
        loading.diagnostics += files.diagnostics
    else:
        loading.read(_texts(path))
    if errors := [each for each in loading.diagnostics if each.severity is Severity.ERROR]:
        wrong = SpecError(*errors)
        wrong.add_note("\n".join(f"{each.where}: {each.summary}" for each in errors))  # for who sees a traceback only
        raise wrong
    experiments = [each for each in loading.resources.values() if isinstance(each, Experiment)]
    if not experiments:
        raise SpecError(Diagnostic("no document of kind Experiment here", where=Where(str(path))))
    return experiments


def _texts(path: Path) -> dict[str, bytes]:
    """The file, and the ftops.yaml of its project where it is in one, for the defaults."""
    texts = {str(path): read_given(path)}
    try:
        project = find_root(path.absolute().parent) / PROJECT_FILE
    except SpecError:
        return texts
    return texts | {PROJECT_FILE: read_bytes(project)}
