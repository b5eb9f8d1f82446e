"""What a training may take, and how often it is tried again."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from ftops.resources.fields import Strict
from ftops.training.axolotl.failure_classes import Fault

RETRIED: Final = (Fault.KILLED, Fault.LOST_RUNNER)
"""What is tried again when a spec does not say: the training is not at fault."""


class Budget(Strict):
    """What a training may take: where it would take more, plan and apply refuse."""

    gpu_hours: float | None = Field(
        default=None,
        gt=0,
        description="Hours of all GPUs together (of the machine, where it has none), over all attempts; it is stopped then.",
    )
    disk_gib: float | None = Field(
        default=None, gt=0, alias="diskGiB", description="GiB of checkpoints and weights in the store."
    )


class EarlyStopping(Strict):
    """Ends a training that does not get better: it succeeds then, with its best weights."""

    patience: int = Field(ge=1, description="Evaluations in a row that are no better than the best one before.")


class Retry(Strict):
    """How often one apply tries a training again that failed; it goes on from its last whole checkpoint."""

    max: int = Field(default=2, ge=0, le=100, description="New attempts at most, in one apply.")
    on: tuple[Fault, ...] = Field(default=RETRIED, description="After which faults.", strict=False)
