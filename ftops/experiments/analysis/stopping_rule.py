"""Stopping rules: how strict a look must be, so that looking often finds nothing that isn't there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftops.experiments.spec.design import FEWEST_UNITS, Design

if TYPE_CHECKING:
    from ftops.statistics.effects import Effect


@dataclass(frozen=True, slots=True)
class Judged:
    """An effect as a rule sees it: its interval, on the scale that is tested, and the level that its p-value must pass.

    The interval holds 0 just when the p-value is not below the level; it is None where this look may say nothing.
    """

    interval: tuple[float, float] | None
    p_value: float | None
    level: float

    @property
    def sure(self) -> bool:
        """Whether there is an effect, by this rule."""
        return self.p_value is not None and self.p_value < self.level

    @property
    def boundary(self) -> float | None:
        """How far from 0 an estimate must be to be called an effect."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """One look: the design, how many arms there are, the part of the target reached, and those of the looks before."""

    design: Design
    arms: int
    fraction: float
    before: tuple[float, ...] = ()

    def judge(self, effect: Effect) -> Judged:
        """What the rule makes of an effect at this look."""
        level = self.level(effect)
        testable = effect.p_value is not None and level > 0
        return Judged(effect.interval(level) if testable else None, effect.p_value, level)

    def level(self, effect: Effect | None = None) -> float:
        """The nominal level of one comparison at this look: what its p-value must be below. 0 where nothing is left to spend.

        That of an always-valid rule takes the effect's standard error; without one it is that of a single look.
        """
        from ftops.statistics import sequential

        alpha = self.design.level(self.arms)
        match self.design.rule:
            case "fixed":
                return alpha
            case "obrien-fleming":
                # A look at the target, or past it, has spent all that there was.
                if self.fraction <= 0 or max(self.before, default=0.0) >= 1:
                    return 0.0
                *_, bound = sequential.obrien_fleming(rising(self.before, self.fraction), alpha)
                return sequential.level(bound)
            case "always-valid":
                variance = 0.0 if effect is None or effect.se is None else effect.se**2
                return sequential.always_valid_level(variance, variance * self.fraction, alpha) or 0.0


def rising(before: Sequence[float], now: float) -> tuple[float, ...]:
    """The parts of the data at which there was more than at any look before, this look last.

    A look with no more data than an earlier one is that look again, and is judged as that one was.
    """
    found: list[float] = []
    for fraction in before:
        if fraction < now and fraction > (found[-1] if found else 0.0):
            found.append(fraction)
    return (*found, now)


def may_decide(design: Design, fraction: float, fewest: int) -> bool:
    """Whether a result may be called one at this look, were it found."""
    if fewest < FEWEST_UNITS:
        return False
    return design.rule != "fixed" or fraction >= 1
