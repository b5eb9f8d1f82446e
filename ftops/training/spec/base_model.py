"""What a training begins from: another run's result, a folder, a model of the hub, or a small new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json, digest
from ftops.resources.fields import Name, RelativePath, Strict, exactly_one

MADE_VERSION: Final = 1
"""Raised when `training/axolotl/init_model.py` makes another model or tokenizer of the same data."""


class InitModel(Strict):
    """A small random model with a tokenizer trained on the data set, for machines without hub access."""

    family: Literal["llama"] = Field(default="llama", description="Architecture.")
    hidden_size: int = Field(default=64, ge=8, le=4096)
    layers: int = Field(default=2, ge=1, le=64)
    heads: int = Field(default=4, ge=1, le=64)
    vocab_size: int = Field(default=2048, ge=300, le=200_000)
    seed: int = Field(default=42, ge=0)

    @model_validator(mode="after")
    def _divides(self) -> InitModel:
        if self.hidden_size % (2 * self.heads):
            raise PydanticCustomError(
                "heads",
                "hiddenSize ({size}) must be a multiple of 2 × heads ({heads})",
                {"size": self.hidden_size, "heads": self.heads},
            )
        return self


class BaseModelSpec(Strict):
    """Exactly one of `run`, `path`, `hub` and `init`."""

    run: Name | None = Field(default=None, description="Another TrainingRun: its result.")
    path: RelativePath | None = Field(default=None, description="A folder with a model in Hugging Face format.")
    hub: str | None = Field(
        default=None,
        # No \w: pydantic's has every letter of Unicode, and compiling such a bounded repeat of it takes 0.1 s.
        pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]{0,95}(/[A-Za-z0-9][-A-Za-z0-9_.]{0,95})?$",
        description="A model of the Hugging Face hub, fetched when the run starts.",
    )
    revision: str | None = Field(
        default=None, pattern=r"^[-A-Za-z0-9_./]{1,128}$", description="Commit of the hub's model."
    )
    init: InitModel | None = Field(default=None, description=InitModel.__doc__)

    @model_validator(mode="after")
    def _one_way(self) -> BaseModelSpec:
        exactly_one(self, "run", "path", "hub", "init")
        if self.revision is not None and self.hub is None:
            raise PydanticCustomError("revision", "revision goes with hub only")
        return self


def model_digest(inputs: Mapping[str, Json]) -> str:
    """The identity of the model that `{init: …}` makes: its shape, and the data its tokenizer is trained on."""
    return digest({"init": inputs["baseModel"]["init"], "dataset": inputs["dataset"], "made": MADE_VERSION})
