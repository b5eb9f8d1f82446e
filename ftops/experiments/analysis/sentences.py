"""Figures of an experiment in sentences that a product manager understands."""

from __future__ import annotations

from ftops.display.numbers import p_is, percent
from ftops.experiments.analysis.interim_result import Comparison
from ftops.experiments.analysis.stopping_rule import StoppingRule
from ftops.experiments.metric_types.figures import Difference
from ftops.experiments.spec.experiment import ExperimentSpec


def plural(count: int, noun: str) -> str:
    """`1 user`, `1,234 users`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def so_far(rule: StoppingRule) -> str:
    """How far an experiment is and what its rule asks for."""
    part = f"{percent(min(rule.fraction, 1), 0)} of the planned users"
    if rule.design.rule == "obrien-fleming":
        level = rule.level()
        asks = f"a p-value below {level:.2g}" if level > 0 else "more than can be had, as all of alpha is spent"
        return f"with {part} the O'Brien-Fleming boundary asks for {asks}"
    if rule.design.rule == "always-valid":
        return f"the interval holds at every look, here with {part}"
    return f"{part} are there, at which the one look was planned"


def arm_sentence(found: Comparison, spec: ExperimentSpec) -> str:
    """The effect of one arm in the primary metric, with its interval and what it is called."""
    if found.effect is None or found.p_value is None:
        return f"{found.arm} against {found.baseline}: {found.metric} has no spread or no values, so nothing can be tested."
    verb = {"better": "is better", "worse": "is worse", "open": "can't be told apart yet"}[found.outcome]
    shown = Difference(found.effect, found.ci, found.relative_effect, found.relative_ci)
    size = spec.metric.metric_type.size(found.metric, shown)
    return f"{found.arm} against {found.baseline}: {size}; it {verb} ({p_is(found.p_value)})."


def guardrail_sentence(found: Comparison) -> str:
    """Whether an arm keeps a guardrail."""
    margin = percent(found.margin)
    if found.relative_effect is None or found.worst is None:
        return f"Guardrail {found.metric} of {found.arm}: too little data to test it against its margin of {margin}."
    measured = f"{percent(found.relative_effect, sign=True)}, at worst a loss of {percent(max(found.worst, 0))}"
    state = {
        "kept": "holds",
        "open": "is not shown to hold yet",
        "broken": "is broken",
    }[found.guardrail or "open"]
    return f"Guardrail {found.metric} of {found.arm} {state}: {measured}, with a margin of {margin}."
