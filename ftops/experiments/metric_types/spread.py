"""How the values of a metric are counted for a picture of how they spread."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Levels:
    """Few whole numbers from `lowest` on, each with its label."""

    labels: tuple[str, ...]
    lowest: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Ranges of equal width, of the logarithms where `logarithms`; with the quantiles beside them where `quantiles`."""

    logarithms: bool = False
    quantiles: bool = False


Spread = Levels | Histogram
