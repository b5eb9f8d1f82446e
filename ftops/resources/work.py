"""What the steps of one apply share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ftops.datasets.spec import Dataset, dataset_address
from ftops.experiments.spec.experiment import Experiment
from ftops.models.spec import Model
from ftops.plan.apply_events import News
from ftops.plan.changes import Address, Change, Observed
from ftops.reconcile.observe import Workspace
from ftops.reconcile.write_back import WriteBack
from ftops.registry.record_files import Record
from ftops.store.journal import Journal
from ftops.store.store import Store
from ftops.training.follow import Resume
from ftops.training.record import FOLDER
from ftops.training.spec.training_run import TrainingRun, run_address
from ftops.training.sweep.record import SweepRecord


def blocking(change: Change, failed: Collection[Address]) -> Address | None:
    """Which of what `change` needs failed, so that it can't be done. A sweep also chooses where members failed, or says why not."""
    return next((need for need in change.needs if need in failed), None) if change.chosen is None else None


@dataclass(slots=True)
class Work:
    """One apply: where it works, what the plan was made from, and `pending`: the records that are written next.

    `resume` says where trainings begin of which a person chose it; `pause` waits so many seconds, while others may work.
    """

    workspace: Workspace
    store: Store
    observed: Observed
    changes: Mapping[Address, Change]
    write_back: WriteBack
    journal: Journal
    tell: Callable[[News], None]
    resume: Mapping[Address, Resume] = field(default_factory=dict)
    pending: dict[str, Record] = field(default_factory=dict)
    pause: Callable[[float], None] = time.sleep

    def dataset(self, name: str) -> Dataset:
        resource = self.workspace.specs.resources[dataset_address(name)]
        if not isinstance(resource, Dataset):
            raise TypeError(f"{resource.address} is no data set")
        return resource

    def run(self, address: Address) -> TrainingRun:
        resource = self.workspace.specs.resources[address]
        if not isinstance(resource, TrainingRun):
            raise TypeError(f"{address} is no training run")
        return resource

    def stands_for(self, run: str, run_id: str) -> tuple[str, str]:
        """The name and the id of the run that `run` stands for: of a sweep the member that it chose, perhaps just now."""
        change = self.changes.get(run_address(run))
        swept = self.write_back.records.get(f"{FOLDER}sweeps/{run}.yaml")
        if change is None or change.chosen is None or not isinstance(swept, SweepRecord):
            return run, run_id
        return swept.status.chosen or run, swept.status.run_id or run_id

    def experiment(self, name: str) -> Experiment:
        resource = self.workspace.specs.resources[Address(Experiment.kind_name, name)]
        if not isinstance(resource, Experiment):
            raise TypeError(f"{resource.address} is no experiment")
        return resource

    def model(self, name: str) -> Model:
        resource = self.workspace.specs.resources[Address(Model.kind_name, name)]
        if not isinstance(resource, Model):
            raise TypeError(f"{resource.address} is no model")
        return resource
