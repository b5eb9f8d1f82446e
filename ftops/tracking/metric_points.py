"""From the events of a training to the points of MLflow's metrics: one point for each metric and step."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from ftops.files import open_regular
from ftops.tracking import mlflow_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ftops.digests import Json

BATCH: Final = 1000
"""The most points that MLflow takes in one call."""
_PLACE: Final = frozenset({"event", "step", "maxSteps", "time"})


class Point(NamedTuple):
    """`time` is in milliseconds since 1970, and always that of the event: MLflow drops a point that it has already."""

    key: str
    value: float
    time: int
    step: int


def batches(
    lines: Path, offset: int, steps: dict[str, int], points_in: Callable[[Json], list[Point]] | None = None
) -> Iterator[tuple[list[Point], int]]:
    """The points of the whole lines from byte `offset` on, at most BATCH at once, each with the offset after them.

    `points_in` are those of a line; those of an event when absent.

    `steps` holds the last step of each metric and is moved on. A point at or before it is left out: a trainer tells an
    evaluation twice, and an attempt that goes on from a checkpoint passes again through steps that MLflow has.
    """
    points: list[Point] = []
    points_in = points_in or points_of
    with os.fdopen(open_regular(lines), "rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                break
            new = [point for point in points_in(_parse(line)) if point.step > steps.get(point.key, -1)]
            if len(points) + len(new) > BATCH:
                yield points, offset
                points = []
            points += new
            steps.update((point.key, point.step) for point in new)
            offset += len(line)
    yield points, offset


def _parse(line: bytes) -> Json:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        # The follower of the run tells of a broken line; a curve has no place for it.
        return None


def points_of(event: Json) -> list[Point]:
    """The figures of a log or evaluate event."""
    if not isinstance(event, dict) or event.get("event") not in ("log", "evaluate"):
        return []
    step, time = event.get("step"), event.get("time")
    if not isinstance(step, int) or not isinstance(time, int | float):
        return []
    return _points(event, "", time, step)


def system_points(sample: Json, begun: float) -> list[Point]:
    """The figures of the machine in a sample, by the whole seconds since `begun`: MLflow shows what begins with `system/` apart."""
    time = sample.get("time") if isinstance(sample, dict) else None
    return _points(sample, "system/", time, int(time - begun)) if isinstance(time, int | float) else []


def _points(figures: Mapping[str, Json], prefix: str, time: float, step: int) -> list[Point]:
    return [
        Point(mlflow_names.key(f"{prefix}{key}"), float(value), int(time * 1000), step)
        for key, value in figures.items()
        if key not in _PLACE and isinstance(value, int | float) and not isinstance(value, bool)
    ]
