"""Which checkpoints a training keeps, and which is the best."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json
from ftops.resources.fields import Strict
from ftops.training.axolotl.metrics import better


class Best(Strict):
    """Which checkpoint is the best: the run ends with its weights."""

    metric: str = Field(pattern=r"^[A-Za-z0-9_./-]{1,100}$", description="As the evaluation names it: eval_loss.")
    mode: Literal["min", "max"] = Field(
        default="min", description="Whether less or more of it is better; where it is known, it need not be said."
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Json) -> Json:
        if isinstance(value, dict) and "mode" not in value and isinstance(metric := value.get("metric"), str):
            if (mode := better(metric)) is None:
                words = "is more of {metric} better, or less? Say mode: max, or mode: min"
                raise PydanticCustomError("mode", words, {"metric": metric})
            return {**value, "mode": mode}
        return value


class Checkpoints(Strict):
    every: int = Field(default=50, ge=1, description="Steps between two checkpoints.")
    keep: int = Field(default=2, ge=1, description="How many are kept while training; the best is kept beside them.")
    best: Best | None = Field(default=None, description=Best.__doc__)
