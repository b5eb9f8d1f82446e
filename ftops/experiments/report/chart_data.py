"""A look as people read it: which arm is compared with which, what is better, in what words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ftops.digests import Json
from ftops.display.numbers import NONE, fixed, percent, places_for
from ftops.experiments.analysis.interim_result import Comparison, InterimResult

COLOURS: Final = 5
"""The page has so many colours of arms; the baseline's is the first."""
_UNITS: Final = {"user_id": "user", "session_id": "session"}


@dataclass(frozen=True, slots=True)
class Declared:
    """What a report takes from the spec as it was declared; a record may lack any of it."""

    hypothesis: str
    unit: str
    """One of what is counted, in words."""
    metric: str
    types: Mapping[str, str]
    """Of each metric, by its name."""
    directions: Mapping[str, str]
    alpha: float | None
    power: float | None
    smallest: float | None
    target: int | None
    rule: str

    @classmethod
    def of(cls, inputs: Json) -> Declared:
        """From the `inputs` of a record: those of the spec, in camelCase."""
        spec = _mapping(inputs)
        design = _mapping(spec.get("design"))
        primary = _mapping(spec.get("metric"))
        listed = [
            each for key in ("guardrails", "secondary") for each in spec.get(key) or () if isinstance(each, Mapping)
        ]
        metrics = [*listed, primary]
        return cls(
            hypothesis=str(spec.get("hypothesis") or ""),
            unit=_UNITS.get(str(spec.get("unit")), "unit"),
            metric=str(primary.get("name") or "the metric"),
            types={str(each.get("name")): str(each.get("type")) for each in metrics},
            directions={str(each.get("name")): str(each.get("direction", "increase")) for each in metrics},
            alpha=design.get("alpha"),
            power=design.get("power"),
            smallest=design.get("minimumDetectableEffect"),
            target=design.get("targetSamples"),
            rule=str(design.get("rule") or ""),
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def baseline_of(look: InterimResult) -> str:
    """The arm that the others are compared with."""
    return look.comparisons[0].baseline if look.comparisons else min(look.arms, default="")


def arms_of(look: InterimResult) -> list[str]:
    """The arms in the order in which they are shown: the baseline, then the others by name."""
    first = baseline_of(look)
    return sorted(look.arms, key=lambda arm: (arm != first, arm))


def colour(position: int) -> str:
    """The class that colours the arm at this position of `arms_of`: one for the baseline, the others in turn."""
    return f"c{0 if position == 0 else 1 + (position - 1) % (COLOURS - 1)}"


def primary(look: InterimResult) -> tuple[Comparison, ...]:
    """The comparisons in the metric that decides."""
    return tuple(each for each in look.comparisons if each.role == "primary")


def is_ratio(comparison: Comparison) -> bool:
    """Whether the effect is a ratio, as that of a duration is: then it is just 1 more than the relative one."""
    effect, relative = comparison.effect, comparison.relative_effect
    return effect is not None and relative is not None and abs(effect - 1 - relative) < 1e-9


def effect_text(comparison: Comparison) -> str:
    """`+0.12`; of a ratio the factor."""
    return _effect(comparison, comparison.effect)


def interval_text(comparison: Comparison) -> str:
    """`+0.02 to +0.22`, with the decimals of the effect."""
    return _both(_effect(comparison, end) for end in comparison.ci) if comparison.ci else NONE


def relative_text(comparison: Comparison) -> str:
    """`+3.4 %`: as a share of the baseline's mean."""
    return percent(comparison.relative_effect, _relative_places(comparison), sign=True)


def relative_interval_text(comparison: Comparison) -> str:
    """`+0.6 % to +6.2 %`."""
    ends = comparison.relative_ci
    return _both(percent(end, _relative_places(comparison), sign=True) for end in ends) if ends else NONE


def _effect(comparison: Comparison, value: float | None) -> str:
    if value is None:
        return NONE
    places = places_for((comparison.ci[1] - comparison.ci[0]) / 2) if comparison.ci else 3
    return f"×{fixed(value, places)}" if is_ratio(comparison) else fixed(value, places, sign=True)


def _relative_places(comparison: Comparison) -> int:
    ends = comparison.relative_ci
    return min(places_for((ends[1] - ends[0]) * 50), 2) if ends else 1


def _both(ends: Iterable[str]) -> str:
    return " to ".join(ends)
