"""What a training would take, before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a training would take, in seconds, by what the run `like` took (scaled to the length asked for)."""

    seconds: float
    like: str


def times(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    """How many times as long as one run another one is, by what they are made from."""
    for name in ("max_steps", "num_epochs"):  # max_steps wins in Axolotl too
        old, new = (tree["hyperparameters"].get(name) for tree in (before, after))
        if old and new:
            return float(new / old)
    return 1.0


@dataclass(frozen=True, slots=True)
class Range:
    """An estimate: what it may be at least, what is expected, what it may be at most."""

    low: int
    expected: int
    high: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training would take, counted before it begins.

    `parameters` are those of the model, `trainable` those that are trained. `memory` is bytes of each of `gpus` GPUs, or of the
    process where there are none; `measured` is what the run `like` took at most. `disk` is bytes of the checkpoints and
    weights that it leaves. `steps` is None where nobody knows yet how many rows there are.
    """

    parameters: int
    trainable: int
    memory: Range
    gpus: int
    disk: int
    steps: int | None = None
    measured: int | None = None
    like: str | None = None
