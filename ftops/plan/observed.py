"""What the records of versions and experiments say, as planning needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class VersionState:
    """What the record of a model version says. A version is immutable but for its aliases and tags, and that `merged` weights
    may be added. `output` is the folder in the store of what its run left."""

    run: str
    run_digest: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    output: str | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """What the record of an experiment says: what was declared, how far its current phase is, and what was found.

    `looks` counts those of the current phase, `fraction` is the part of the target that it reached, `traffic` new units
    a day, `mean` the mean of the primary metric in the baseline, `proposals` what a person was asked to decide.
    """

    state: str
    inputs: Any
    phase: str
    looks: int = 0
    fraction: float = 0.0
    traffic: float | None = None
    mean: float | None = None
    verdict: str | None = None
    decided: bool = False
    proposals: tuple[str, ...] = ()
