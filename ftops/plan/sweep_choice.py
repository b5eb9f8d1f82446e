"""What a sweep found: how each of its members ended, and which of them is the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class MemberResult:
    """How a member of a sweep ended: the hyperparameters that set it apart, the digest of its run, its phase, the metric of what
    it ends with (None where there is none), and why it failed."""

    name: str
    values: Mapping[str, Any]
    digest: str
    phase: str
    value: float | None = None
    reason: str = ""

    @property
    def is_chosen_from(self) -> bool:
        return self.phase == "succeeded" and self.value is not None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a sweep chose, and from what: `chosen` is the name of a member, empty where none was, and `why` says why. The members
    that can't be chosen come first."""

    metric: str
    mode: Literal["min", "max"]
    may_fail: int
    members: tuple[MemberResult, ...]
    chosen: str
    why: str

    @property
    def best(self) -> MemberResult | None:
        return next((each for each in self.members if each.name == self.chosen), None)

    @property
    def failed(self) -> tuple[MemberResult, ...]:
        """The members that failed or were stopped."""
        return tuple(each for each in self.members if each.phase in ("failed", "cancelled"))


def choose(metric: str, mode: Literal["min", "max"], may_fail: int, members: Iterable[MemberResult]) -> Choice:
    """The best of `members` by `metric`, the first in order among equals. None where more than `may_fail` of them failed, or one
    is not trained yet."""
    everyone = [_finite(each) for each in members]
    told = tuple(sorted(everyone, key=lambda each: (each.phase == "succeeded", each.value is not None)))
    good = [each for each in everyone if each.is_chosen_from]
    failed = sum(each.phase in ("failed", "cancelled") for each in everyone)
    untrained = sum(each.phase not in ("succeeded", "failed", "cancelled") for each in everyone)
    count = f"its {len(everyone)} members"
    if failed > may_fail:
        return Choice(metric, mode, may_fail, told, "", f"{failed} of {count} failed, and {may_fail} may (mayFail)")
    if untrained:
        return Choice(metric, mode, may_fail, told, "", f"{untrained} of {count} not trained yet")
    if not good:
        return Choice(metric, mode, may_fail, told, "", f"none of {count} has the metric {metric}")
    way = min if mode == "min" else max
    best = way(good, key=lambda each: each.value if each.value is not None else math.nan)  # the first of equals
    also = [each.name for each in good if each.value == best.value and each is not best]
    why = f"{'lowest' if mode == 'min' else 'highest'} {metric} of {len(good)}"
    why += f"; first of its equals ({', '.join(also)})" if also else ""
    return Choice(metric, mode, may_fail, told, best.name, why)


def _finite(result: MemberResult) -> MemberResult:
    """`result`, without a value that is none."""
    return result if result.value is None or math.isfinite(result.value) else replace(result, value=None)
