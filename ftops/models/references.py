"""What must hold between a model and the runs of its versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ftops.errors import Diagnostic
from ftops.models.spec import Model
from ftops.plan.address import Address
from ftops.resources.kind import Surroundings
from ftops.training.spec.training_run import TrainingRun, run_address


def check_models(models: Mapping[Address, Model], around: Surroundings) -> Iterator[Diagnostic]:
    """What is wrong with `models`, each by itself."""
    for address, model in models.items():
        yield from _exports(around, address, model)


def _exports(around: Surroundings, address: Address, model: Model) -> Iterator[Diagnostic]:
    """Each version that exports an adapter, or merged weights, is of a run that trains an adapter which can be merged."""
    for version, each in model.spec.versions.items():
        run = around.resources.get(run_address(each.run))
        if each.export is None or not isinstance(run, TrainingRun):
            continue
        why = hint = ""
        if run.spec.trained is None:
            why = "trains all weights: there is no adapter to export, and nothing to merge"
            hint = "leave out export: the version has the weights that the run leaves"
        elif each.merged and run.spec.method == "reward":
            why = "makes a reward model, whose head its base model has no place for: the engine merges none"
            hint = "leave out merged: the version is the adapter"
        if why:
            where = around.where(address, ("spec", "versions", version, "export"))
            yield Diagnostic(f"{run.address} {why}", hint=hint, address=str(address), where=where)
