"""Several data sets as one: how much of each a training learns from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import Field

from ftops.digests import Json, digest
from ftops.resources.fields import Name, Strict

MIXED_VERSION: Final = 1
"""Raised when `datasets/prepare/mixture.py` takes other rows of the same data."""


class Portion(Strict):
    """A data set, and how often each of its rows is learned from in an epoch."""

    name: Name = Field(description="The Dataset.")
    weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="How often each row of its train split is learned from in an epoch: 2 takes all twice, 0.25 a quarter of "
        "them, always the same.",
    )


def data_inputs(portions: Iterable[tuple[str, float]]) -> Json:
    """What a run's inputs say of its data, by digest and weight of each portion; their order does not matter."""
    found = sorted(portions)
    if [weight for _, weight in found] == [1.0]:
        return {"dataset": found[0][0]}
    mixture = [{"digest": each, "weight": weight} for each, weight in found]
    return {"dataset": digest({"mixture": mixture, "mixed": MIXED_VERSION}), "mixture": mixture}


def portions_of(inputs: Mapping[str, Json]) -> tuple[tuple[str, float], ...]:
    """The digest and the weight of each data set that a run is made from, as its inputs say."""
    mixture = inputs.get("mixture", [{"digest": inputs["dataset"], "weight": 1.0}])
    return tuple((each["digest"], each["weight"]) for each in mixture)
