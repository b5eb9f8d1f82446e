"""The kinds of resource: a frozen model of the spec and a pure `plan()` each.

To add one: a new file here, and its name in `KINDS`.
"""

from __future__ import annotations

from typing import Final

from ftops.datasets.spec import Dataset
from ftops.experiments.spec.experiment import Experiment
from ftops.models.spec import Model
from ftops.resources.resource import Resource
from ftops.training.spec.training_run import TrainingRun

KINDS: Final[dict[str, type[Resource]]] = {kind.kind_name: kind for kind in (Dataset, TrainingRun, Model, Experiment)}
"""By name, in the order in which they stand in a plan where nothing else decides."""
