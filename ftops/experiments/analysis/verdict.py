"""The verdict on an experiment, and why: never by the mean alone, and only when the stopping rule allows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftops.experiments.analysis.interim_result import Comparison, Verdict
from ftops.experiments.analysis.sentences import arm_sentence, guardrail_sentence, plural, so_far
from ftops.experiments.analysis.stopping_rule import StoppingRule, may_decide
from ftops.experiments.spec.design import FEWEST_UNITS
from ftops.experiments.spec.experiment import ExperimentSpec


@dataclass(frozen=True, slots=True)
class Decision:
    """What may be said. `final`: the rule allows no further look to say something else."""

    verdict: Verdict
    reasons: tuple[str, ...]
    winner: str | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a verdict is made from: the comparisons, the units of the smallest arm, and the smallest effect that matters.

    `within` says of each arm whether its interval lies inside of plus and minus that effect.
    """

    comparisons: tuple[Comparison, ...]
    fewest: int
    smallest: float | None
    within: dict[str, bool]

    @property
    def primary(self) -> tuple[Comparison, ...]:
        return tuple(each for each in self.comparisons if each.role == "primary")

    def broken(self, arm: str) -> tuple[Comparison, ...]:
        """The guardrails that an arm breaks."""
        return tuple(each for each in self.comparisons if each.arm == arm and each.guardrail == "broken")


def decide(spec: ExperimentSpec, found: Found, rule: StoppingRule, faults: Sequence[str]) -> Decision:
    """The verdict at this look, had there been no final one before."""
    if faults:
        return Decision("invalid", (*faults, "Nothing can be concluded from this data, whatever its means say."))
    if found.fewest < FEWEST_UNITS:
        few = f"The smallest arm has {plural(found.fewest, 'user')} with a value; below {FEWEST_UNITS} nothing is concluded."
        return Decision("inconclusive", (few,))
    effects = tuple(arm_sentence(each, spec) for each in found.primary)
    if not may_decide(spec.design, rule.fraction, found.fewest):
        early = (
            f"The rule is one look at {spec.design.target_samples:,} users an arm, and there are {found.fewest:,}: "
            "who looks early and often finds winners that are none."
        )
        return Decision("inconclusive", (early, *effects))
    return _decide(spec, found, rule, effects)


def _decide(spec: ExperimentSpec, found: Found, rule: StoppingRule, effects: tuple[str, ...]) -> Decision:
    complete = rule.fraction >= 1
    better = [each for each in found.primary if each.outcome == "better"]
    taken = [each for each in better if not found.broken(each.arm)]
    guards = tuple(guardrail_sentence(each) for each in found.comparisons if each.role == "guardrail")
    if taken:
        return _winner(spec, taken, rule, (*effects, *guards))
    if all(each.outcome == "worse" for each in found.primary):
        losers = " and ".join(each.arm for each in found.primary)
        reason = f"{spec.baseline}, the baseline, is better than {losers}: keep it."
        return Decision("winner", (reason, *effects, *guards), spec.baseline, final=True)
    if out := [each for each in found.primary if found.broken(each.arm)]:
        names = " and ".join(each.arm for each in out)
        reason = f"{names} breaks a guardrail and can't be taken, whatever {spec.metric.name} says."
        return Decision("inconclusive", (reason, *effects, *guards), final=len(out) == len(found.primary))
    alike = complete and all(found.within.get(each.arm, False) for each in found.primary)
    if alike and found.smallest is not None:
        amount = spec.metric.metric_type.amount(found.smallest)
        reason = f"There is no difference that matters: all of the interval lies within ±{amount}."
        return Decision("no-difference", (reason, *effects, *guards), final=True)
    last = complete and spec.design.rule != "always-valid"
    reason = (
        f"The planned {spec.design.target_samples:,} users an arm are there, and neither a difference nor its absence is "
        "shown. More users would need a new experiment with a larger target."
        if last
        else f"Not enough to tell yet: {so_far(rule)}."
    )
    return Decision("inconclusive", (reason, *effects, *guards), final=last)


def _winner(spec: ExperimentSpec, better: list[Comparison], rule: StoppingRule, reasons: tuple[str, ...]) -> Decision:
    sign = 1 if spec.metric.direction == "increase" else -1
    best = max(better, key=lambda each: (sign * (each.effect or 0.0), each.arm))
    headline = f"{best.arm} is better than {best.baseline}, the baseline, in {spec.metric.name}."
    others = [each.arm for each in better if each is not best]
    beside = (
        (f"{' and '.join(others)} beats the baseline too; that {best.arm} is better than that is not shown.",)
        if others
        else ()
    )
    allowed = f"The rule allows to say so now: {so_far(rule)}."
    return Decision("winner", (headline, allowed, *beside, *reasons), best.arm, final=True)
