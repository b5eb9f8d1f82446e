"""The kinds of resource: the only list of them. To add one: its folder, and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ftops.datasets.kind import DATASET
from ftops.experiments.kind import EXPERIMENT
from ftops.models.kind import MODEL
from ftops.resources.kind import Kind
from ftops.training.kind import TRAINING_RUN
from ftops.training.sweep.kind import SWEEP

if TYPE_CHECKING:
    from ftops.resources.resource import Resource

KINDS: Final[list[Kind[Any]]] = [
    DATASET,
    TRAINING_RUN,
    SWEEP,
    MODEL,
    EXPERIMENT,
]
"""In the order in which they stand in a plan where nothing else decides."""


def declared() -> dict[str, Kind[Any]]:
    """The kinds that documents may be of, by name."""
    return {kind.name: kind for kind in KINDS if kind.declared}


def kind_of(resource: Resource) -> Kind[Any]:
    """The kind of a resource: that of its class, else of the nearest one that it is made of."""
    kinds = {kind.resource: kind for kind in KINDS}
    return next(kinds[each] for each in type(resource).__mro__ if each in kinds)
