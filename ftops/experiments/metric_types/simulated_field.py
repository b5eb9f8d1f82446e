"""A field of the log rows that are made up for an experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftops.digests import Json

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Floats, Mask


@dataclass(frozen=True, slots=True)
class SimulatedField:
    """How the values of a field follow from how content the units are with it.

    `draw` makes them, one for each row, of satisfaction (a standard normal, its sign turned where less is better), the
    columns that were made before, and chance (from 0 to 1); `plain` says them as JSON has them, null for NaN.
    """

    name: str
    draw: Callable[[Floats, Mapping[str, Floats], Floats], Floats]
    plain: Callable[[Floats], list[Json]]
    sign: int
    """1 where more is better, -1 where less is."""
    bad: Callable[[Floats], Mask] | None = None
    """Which values people give who are not content; None where a row has its value whether somebody gives it or not."""
    slowed: bool = False
    """Whether it takes longer where answers are made slower."""


def decimals(values: Floats) -> list[Json]:
    """To three decimals."""
    return [round(each, 3) for each in values.tolist()]


def whole_numbers(values: Floats) -> list[Json]:
    """As integers."""
    return [int(each) for each in values.tolist()]
