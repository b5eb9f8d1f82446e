"""What must hold between experiments and the models that they compare, and between two experiments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ftops.errors import Diagnostic, did_you_mean
from ftops.experiments.spec.experiment import RUNNING, Experiment, version_of
from ftops.models.spec import Model
from ftops.plan.address import Address
from ftops.resources.kind import Surroundings


def check_experiments(experiments: Mapping[Address, Experiment], around: Surroundings) -> Iterator[Diagnostic]:
    """What is wrong with `experiments`, each by itself and one beside another."""
    for address, experiment in experiments.items():
        yield from _arms(around, address, experiment)
    yield from _exclusions(experiments, around)


def _arms(around: Surroundings, address: Address, experiment: Experiment) -> Iterator[Diagnostic]:
    """Each arm's version or alias exists, and no two arms show the same one."""
    shown: dict[tuple[str, str], str] = {}
    for name, arm in experiment.spec.arms.items():
        model_name, which = arm.named
        model = around.resources.get(Address(Model.kind_name, model_name))
        if not isinstance(model, Model):
            continue
        where = around.where(address, ("spec", "arms", name, "model"))
        version = version_of(arm, around.resources)
        if version is None:
            known = [*model.spec.versions, *model.spec.aliases]
            summary = f"{model.address} has no version or alias {which}"
            yield Diagnostic(summary, hint=did_you_mean(which, known), address=str(address), where=where)
        elif (other := shown.setdefault((model_name, version), name)) != name:
            summary = f"arms {other} and {name} both show {model_name}@{version}: they would not differ"
            yield Diagnostic(summary, hint="give one of them another version", address=str(address), where=where)


def _exclusions(experiments: Mapping[Address, Experiment], around: Surroundings) -> Iterator[Diagnostic]:
    """No two running experiments of an exclusion group have units in common."""
    taken: dict[str, list[tuple[float, float, Address]]] = {}
    for address, experiment in experiments.items():
        if experiment.spec.state != RUNNING:
            continue
        if (exclusion := experiment.spec.exclusion) is None:
            continue
        start, end = exclusion.range
        for low, high, other in taken.setdefault(exclusion.group, []):
            if start < high and low < end:
                yield Diagnostic(
                    f"{address} and {other} have units in common: their ranges of the group {exclusion.group} overlap",
                    detail=f"[{start:g}, {end:g}) and [{low:g}, {high:g})",
                    hint="give them ranges that do not overlap, or end one of them",
                    address=str(address),
                    where=around.where(address, ("spec", "exclusion", "range")),
                )
        taken[exclusion.group].append((start, end, address))
