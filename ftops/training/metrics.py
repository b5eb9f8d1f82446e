"""What is known of a training, as values: its curves, its attempts, its checkpoints. Pure.

A training that began again at a checkpoint has one curve: what its weights went through. Steps that were done, and lost with
a killed attempt, are on none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final, Literal, NamedTuple

from ftops.digests import Json
from ftops.plan.run import RunState
from ftops.resources.record import FileEntry
from ftops.training.record import Attempt, Samples

PLACE: Final = frozenset({"event", "step", "maxSteps", "time"})
"""What says where an event belongs; all other numbers in it are figures."""
SMOOTHED_OVER: Final = 0.04
"""The share of a curve that each point of the smoothed one is the mean of."""

Mode = Literal["min", "max"]
_Found = dict[str, tuple[list[float], list[float]]]


class Point(NamedTuple):
    """A figure at a step, or at a second."""

    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """A figure over steps, or over seconds: `values[i]` is that at `at[i]`, and `at` rises. Never empty."""

    at: Sequence[float]
    values: Sequence[float]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def first(self) -> Point:
        return Point(self.at[0], self.values[0])

    @property
    def last(self) -> Point:
        return Point(self.at[-1], self.values[-1])

    def best(self, mode: Mode) -> Point:
        """The lowest or the highest value, and where it was reached first."""
        value = min(self.values) if mode == "min" else max(self.values)
        return Point(self.at[self.values.index(value)], value)

    @property
    def reach(self) -> int:
        """How many points to each side of a point the smoothed curve takes in: none where there are few."""
        return int(len(self) * SMOOTHED_OVER / 2)

    def smoothed(self) -> Series:
        """The mean around each point, over SMOOTHED_OVER of the points in all."""
        sums = [0.0, *accumulate(self.values)]
        ends = [(max(index - self.reach, 0), min(index + self.reach + 1, len(self))) for index in range(len(self))]
        return Series(self.at, [(sums[high] - sums[low]) / (high - low) for low, high in ends])

    def thinned(self, most: int) -> Series:
        """At most `most` points: the means of neighbours, at the last of which each stands."""
        if len(self) <= most:
            return self
        bounds = [len(self) * index // most for index in range(most + 1)]
        cuts = list(pairwise(bounds))
        means = [math.fsum(self.values[low:high]) / (high - low) for low, high in cuts]
        return Series([self.at[high - 1] for _, high in cuts], means)


def curves(attempts: Iterable[Iterable[Mapping[str, Json]]]) -> dict[str, Series]:
    """The curve of each figure over the steps of a run, from the events of its attempts in their order.

    An attempt takes back what earlier ones did after the step that it began at.
    """
    found: _Found = {}
    for events in attempts:
        for event in events:
            step = event.get("step")
            if not isinstance(step, int):
                continue
            if event.get("event") == "begin":
                _take_back(found, step)
            elif event.get("event") in ("log", "evaluate"):
                _add(found, step, event)
    return {name: Series(*pair) for name, pair in found.items() if pair[0]}


def _take_back(found: _Found, step: int) -> None:
    for steps, values in found.values():
        while steps and steps[-1] > step:
            steps.pop()
            values.pop()


def _add(found: _Found, at: float, figures: Mapping[str, Json]) -> None:
    """The figures at a step or second; not those that are known there already: a trainer tells an evaluation twice."""
    for name, value in figures.items():
        if name in PLACE or not isinstance(value, (float, int)):  # a union would take twice the time
            continue
        if (pair := found.get(name)) is None:
            found[name] = ([at], [value])
        elif not pair[0] or at > pair[0][-1]:
            pair[0].append(at)
            pair[1].append(value)


def samples(lines: Iterable[Mapping[str, Json]]) -> dict[str, Series]:
    """The curve of each figure of the machine over the seconds since the first sample."""
    found: _Found = {}
    begun: float | None = None
    for line in lines:
        time = line.get("time")
        if isinstance(time, int | float):
            begun = time if begun is None else begun
            _add(found, time - begun, line)
    return {name: Series(*pair) for name, pair in found.items()}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an attempt goes, by its first event and its last: seconds a step, and seconds that are left."""

    seconds: float
    left: float

    @classmethod
    def of(cls, first: Mapping[str, Json], last: Mapping[str, Json]) -> Pace | None:
        """None before the second step, and where an event is not whole."""
        try:
            steps, seconds = int(last["step"]) - int(first["step"]), float(last["time"]) - float(first["time"])
            rest = max(int(last["maxSteps"]) - int(last["step"]), 0)
        except (KeyError, TypeError, ValueError):
            return None
        return cls(seconds / steps, seconds / steps * rest) if steps > 0 else None


# ---------------------------------------------------------------------------------------------- checkpoints


@dataclass(frozen=True, slots=True)
class SavedCheckpoint:
    """A checkpoint of a run as it lies in the store: `size` in bytes, `metrics` those of its step.

    `state` is `writing` while it may still be written, `torn` with the `reason` when it must not be used. `world_size` processes
    wrote it. `files` are there where all of it was read.
    """

    attempt: int
    step: int
    state: Literal["whole", "writing", "torn"]
    size: int
    reason: str = ""
    world_size: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, FileEntry] | None = None

    @property
    def name(self) -> str:
        return f"checkpoint-{self.step}"

    @property
    def path(self) -> str:
        """Relative to the folder of its run."""
        return f"attempt-{self.attempt}/output/{self.name}"


USUAL: Final = ("eval_loss", "loss")
"""What says which checkpoint is best where nothing else does: the first of them that a checkpoint has; less is better."""


def criterion(saved: Iterable[SavedCheckpoint], said: Mapping[str, Json] | None) -> tuple[str | None, Mode]:
    """The metric by which the best one is known, and which way it is better: as `said` (`metric`, `mode`), else the usual one."""
    if said is not None:
        return said["metric"], said["mode"]
    known = {name for each in saved for name in each.metrics}
    return next((each for each in USUAL if each in known), None), "min"


def best(checkpoints: Iterable[SavedCheckpoint], metric: str, mode: Mode) -> SavedCheckpoint | None:
    """The whole one with the lowest or the highest `metric`; of equal ones the earliest. None where none has it."""
    known = [each for each in checkpoints if each.state == "whole" and metric in each.metrics]
    sign = 1 if mode == "min" else -1
    return min(known, key=lambda each: (sign * each.metrics[metric], each.step), default=None)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of a run by step, the metric that says which is best, and the one that an attempt would go on from."""

    run: str
    saved: tuple[SavedCheckpoint, ...]
    metric: str | None = None
    mode: Mode = "min"
    resume: str | None = None
    """Its path, relative to the folder of its run; of another run where this one only began from it: `../RUN-ID/…`."""

    @property
    def best(self) -> SavedCheckpoint | None:
        return None if self.metric is None else best(self.saved, self.metric, self.mode)


# ---------------------------------------------------------------------------------------------------- a run


@dataclass(frozen=True, slots=True)
class RunView:
    """All that is known of a run.

    `curves` go over its steps, `system` over the seconds of its last attempt: both are empty where only the record is at hand,
    whose figures are `figures`. `answers` are those of its last attempt. `begun_at` are the steps at which later attempts began. `eta` and `step_seconds` are
    seconds.
    """

    id: str
    name: str
    phase: RunState
    attempts: Mapping[int, Attempt]
    inputs: Mapping[str, Json] = field(default_factory=dict)
    detail: str = ""
    step: int | None = None
    max_steps: int | None = None
    eta: float | None = None
    step_seconds: float | None = None
    curves: Mapping[str, Series] = field(default_factory=dict)
    system: Mapping[str, Series] = field(default_factory=dict)
    begun_at: tuple[int, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    checkpoints: Checkpoints | None = None
    answers: Samples | None = None
