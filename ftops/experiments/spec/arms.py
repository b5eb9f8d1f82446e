"""The arms of an experiment: which model each one shows, and which part of the units it owns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ftops.experiments.assignment import WHOLE, ranges_by_weight
from ftops.resources.fields import NAME_PATTERN, SEMVER_PATTERN, Name, Strict

_MODEL: Final = re.compile(rf"(?P<name>{NAME_PATTERN[1:-1]})@(?P<which>staging|production|{SEMVER_PATTERN[1:-1]})")


def _basis_points(value: float) -> float:
    if abs(value * WHOLE - round(value * WHOLE)) > 1e-6:
        raise PydanticCustomError("share", "expected a share in whole basis points, such as 0.3333")
    return value


def _model(value: str) -> str:
    if len(value) > 160 or _MODEL.fullmatch(value) is None:
        raise PydanticCustomError(
            "model", "expected a model and its version or alias, such as chat@1.0.0 or chat@production"
        )
    return value


Share = Annotated[float, Field(ge=0, le=1), AfterValidator(_basis_points)]
"""A part of all units, in whole basis points."""
Range = Annotated[tuple[Share, Share], Field(description="[start, end): from start on, up to but without end.")]


class Arm(Strict):
    model: Annotated[str, AfterValidator(_model)] = Field(
        description="`model@version`, or `model@alias`: the version that the alias points to."
    )
    weight: Share = Field(description="Its share of the units; those of all arms add up to 1.")
    baseline: bool = Field(
        default=False, description="What the others are compared with; the first by name if none is."
    )
    ranges: tuple[Range, ...] | None = Field(
        default=None, min_length=1, description="Which buckets it owns, as [start, end); by the weights when absent."
    )

    @property
    def named(self) -> tuple[str, str]:
        """The model's name, and its version or alias."""
        name, _, which = self.model.partition("@")
        return name, which


def _whole(part: Range) -> Range:
    check_ranges([part])
    return part


class Exclusion(Strict):
    group: Name = Field(description="Experiments of one group never have a unit in common.")
    range: Annotated[Range, AfterValidator(_whole)] = Field(
        description="The part of the group's units that may be in this one, as [start, end)."
    )


def check_arms(arms: dict[str, Arm]) -> dict[str, Arm]:
    """`arms`; raises where there is nothing to compare, or the weights and ranges are not all of the units, each once."""
    if len(arms) < 2:
        raise PydanticCustomError("arms", "expected two or more arms, found {count}", {"count": len(arms)})
    total = sum(round(arm.weight * WHOLE) for arm in arms.values())
    if total != WHOLE:
        raise PydanticCustomError(
            "weights", "the weights of all arms must add up to 1, found {total}", {"total": f"{total / WHOLE:g}"}
        )
    if sum(arm.baseline for arm in arms.values()) > 1:
        raise PydanticCustomError("baseline", "only one arm can be the baseline")
    for model, times in Counter(arm.model for arm in arms.values()).items():
        if times > 1:
            raise PydanticCustomError(
                "models", "{model} stands in {times} arms: they would not differ", {"model": model, "times": times}
            )
    _check_written(arms)
    return arms


def _check_written(arms: Mapping[str, Arm]) -> None:
    written = {name: arm.ranges for name, arm in arms.items() if arm.ranges is not None}
    if not written:
        return
    if missing := [name for name, arm in arms.items() if arm.ranges is None and arm.weight > 0]:
        raise PydanticCustomError(
            "ranges", "arm {name} has no ranges, and others have: write them for all or none", {"name": missing[0]}
        )
    check_ranges(each for ranges in written.values() for each in ranges)
    for name, ranges in written.items():
        width = sum(round(end * WHOLE) - round(start * WHOLE) for start, end in ranges)
        if width != round(arms[name].weight * WHOLE):
            raise PydanticCustomError(
                "ranges",
                "the ranges of arm {name} have {width} of the units, and its weight says {weight}",
                {"name": name, "width": f"{width / WHOLE:g}", "weight": f"{arms[name].weight:g}"},
            )


def check_ranges(ranges: Iterable[Range]) -> None:
    """Raises where a range holds nothing, or two have units in common."""
    last = 0
    for start, end in sorted((round(start * WHOLE), round(end * WHOLE)) for start, end in ranges):
        if end <= start:
            raise PydanticCustomError(
                "ranges", "the range {start} to {end} holds nothing", {"start": start / WHOLE, "end": end / WHOLE}
            )
        if start < last:
            raise PydanticCustomError("ranges", "ranges overlap at {start}", {"start": start / WHOLE})
        last = end


def ranges_of(arms: Mapping[str, Arm]) -> dict[str, tuple[tuple[int, int], ...]]:
    """The buckets of each arm, in basis points: as written, else by weight in the order of the names."""
    found: dict[str, tuple[tuple[int, int], ...]] = dict.fromkeys(sorted(arms), ())
    if any(arm.ranges is not None for arm in arms.values()):
        for name, arm in arms.items():
            found[name] = tuple(sorted((round(start * WHOLE), round(end * WHOLE)) for start, end in arm.ranges or ()))
        return found
    for name, start, end in ranges_by_weight({name: round(arm.weight * WHOLE) for name, arm in arms.items()}):
        found[name] = (*found[name], (start, end))
    return found
