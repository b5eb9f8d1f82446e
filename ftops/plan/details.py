"""What a change knows beside what every change has: a class for each kind that adds something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftops.digests import Json
    from ftops.plan.estimates import Cost, Estimate


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows of a source differ from those that were recorded; `changed` ones have the same prompt and another answer."""

    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Details:
    """`inputs` is the meaning that the digest of the change was taken of."""

    inputs: Json = None


@dataclass(frozen=True, slots=True)
class DatasetDetails(Details):
    """`rows` says how the rows differ from the recorded ones, or why they were not compared; None where there is nothing to
    compare. `equivalent_digests` are those that the data set had before, with the same rows and another report."""

    rows: RowChanges | str | None = None
    equivalent_digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingDetails(Details):
    """What the training would take; None where nobody can say."""

    estimate: Estimate | None = None
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class SweepDetails(Details):
    """`selected_member` is the member that the sweep stands for; empty where none is selected yet."""

    selected_member: str = ""
