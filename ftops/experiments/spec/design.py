"""How large an experiment is meant to be and when it may end, and what such a design can find."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from ftops.display.numbers import percent
from ftops.experiments.spec.metric import Metric
from ftops.resources.fields import Strict

FEWEST_UNITS: Final = 30
"""Units an arm below which no verdict is given: the means of skewed figures are not normal enough before."""

Rule = Literal["fixed", "obrien-fleming", "always-valid"]


class Design(Strict):
    alpha: float = Field(default=0.05, gt=0, le=0.2, description="False alarms that are borne, of both sides together.")
    power: float = Field(default=0.8, ge=0.5, lt=1, description="How surely the smallest effect that matters is found.")
    minimum_detectable_effect: float | None = Field(
        default=None,
        gt=0,
        description="The smallest effect that matters: a standardised difference, for binary and ratio a plain one. "
        "What `targetSamples` can find when absent.",
    )
    target_samples: int = Field(ge=FEWEST_UNITS, le=10**9, description="Units an arm (the arm with the least weight).")
    rule: Rule = Field(default="obrien-fleming", description="When a result may be called one.")

    def level(self, arms: int) -> float:
        """The error that each comparison with the baseline may make: alpha, shared by all of them (Bonferroni)."""
        return self.alpha / max(arms - 1, 1)


def smallest_effect(metric: Metric, design: Design, arms: int, mean: float | None) -> float | None:
    """The smallest effect that matters: as the design says, else what its units can find; None where that can't be told.

    `mean` is that of the baseline, where known: the spread of a binary metric depends on it.
    """
    if design.minimum_detectable_effect is not None:
        return design.minimum_detectable_effect
    return detectable_effect(metric, design, arms, mean)


def detectable_effect(metric: Metric, design: Design, arms: int, mean: float | None) -> float | None:
    """The effect that the target of units finds with the power asked for, on the scale of `minimumDetectableEffect`.

    None where the metric's type can't tell it, and where no effect can be found that surely.
    """
    return metric.metric_type.detectable(design.target_samples, design.level(arms), design.power, mean)


def power_at(metric: Metric, design: Design, arms: int, units: tuple[float, float], mean: float | None) -> float | None:
    """The power of finding the smallest effect that matters with `units` in arm and baseline; None where unknown."""
    effect = smallest_effect(metric, design, arms, mean)
    if effect is None or min(units) < 2:
        return None
    return metric.metric_type.power(effect, units, design.level(arms), mean)


def outlook(metric: Metric, design: Design, arms: int, mean: float | None) -> str:
    """What the design can find, in a sentence."""
    found = detectable_effect(metric, design, arms, mean)
    units, scale = f"{design.target_samples:,} units an arm", metric.metric_type.symbol
    if found is None:
        return f"{units}; what they can find shows at the first look"
    guess = metric.metric_type.without_mean if mean is None else ""
    text = f"{units} find {scale}{found:.3g}{guess} with a power of {percent(design.power, 0)}"
    wanted = design.minimum_detectable_effect
    if wanted is None:
        return text
    reached = power_at(metric, design, arms, (design.target_samples, design.target_samples), mean) or 0.0
    return f"{text}; for the smallest effect that matters, {scale}{wanted:g}, their power is {percent(reached)}"


def days_left(target: int, least_weight: float, fraction: float, traffic: float | None) -> float | None:
    """Days until the arm of the least weight has its units, at `traffic` new units a day of all arms; None if unknown."""
    if traffic is None or traffic <= 0:
        return None
    return max(0.0, target * (1 - fraction) / (least_weight * traffic))
