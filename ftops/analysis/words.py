"""Figures of an experiment in sentences that a product manager understands."""

from __future__ import annotations

from ftops.analysis.look import Comparison
from ftops.analysis.rules import Looking
from ftops.kinds.experiment import ExperimentSpec


def plural(count: int, noun: str) -> str:
    """`1 user`, `1,234 users`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float) -> str:
    """Three digits that count, without an exponent where one can do without."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def amount(effect: float, spec: ExperimentSpec) -> str:
    """The smallest effect that matters, on its scale."""
    if spec.metric.type == "binary":
        return f"{effect * 100:.3g} percentage points"
    return number(effect) if spec.metric.type == "ratio" else f"{number(effect)} standard deviations"


def so_far(looking: Looking) -> str:
    """How far an experiment is and what its rule asks for."""
    part = f"{min(looking.fraction, 1):.0%} of the planned users"
    if looking.design.rule == "obrien-fleming":
        level = looking.level()
        asks = f"a p-value below {level:.2g}" if level > 0 else "more than can be had, as all of alpha is spent"
        return f"with {part} the O'Brien-Fleming boundary asks for {asks}"
    if looking.design.rule == "always-valid":
        return f"the interval holds at every look, here with {part}"
    return f"{part} are there, at which the one look was planned"


def arm_sentence(found: Comparison, spec: ExperimentSpec) -> str:
    """The effect of one arm in the primary metric, with its interval and what it is called."""
    if found.effect is None or found.p_value is None:
        return f"{found.arm} against {found.baseline}: {found.metric} has no spread or no values, so nothing can be tested."
    verb = {"better": "is better", "worse": "is worse", "open": "can't be told apart yet"}[found.outcome]
    return (
        f"{found.arm} against {found.baseline}: {_size(found, spec.metric.type)}; it {verb} (p = {found.p_value:.2g})."
    )


def _size(found: Comparison, kind: str) -> str:
    effect, ci = found.effect or 0.0, found.ci
    if kind == "duration":
        text = f"{found.metric} is {effect - 1:+.1%}"
        return text if ci is None else f"{text} (interval {ci[0] - 1:+.1%} to {ci[1] - 1:+.1%})"
    if kind == "binary":
        text = f"{found.metric} is {effect * 100:+.2f} percentage points"
        span = None if ci is None else f"{ci[0] * 100:+.2f} to {ci[1] * 100:+.2f}"
    else:
        text = f"{found.metric} is {effect:+.3g}"
        span = None if ci is None else f"{ci[0]:+.3g} to {ci[1]:+.3g}"
    if found.relative_effect is not None:
        text += f", that is {found.relative_effect:+.1%}"
    return text if span is None else f"{text} (interval {span})"


def guardrail_sentence(found: Comparison) -> str:
    """Whether an arm keeps a guardrail."""
    margin = f"{found.margin or 0:.1%}"
    if found.relative_effect is None or found.worst is None:
        return f"Guardrail {found.metric} of {found.arm}: too little data to test it against its margin of {margin}."
    measured = f"{found.relative_effect:+.1%}, at worst a loss of {max(found.worst, 0):.1%}, with a margin of {margin}"
    state = {
        "kept": "holds",
        "open": "is not shown to hold yet",
        "broken": "is broken",
    }[found.guardrail or "open"]
    return f"Guardrail {found.metric} of {found.arm} {state}: {measured}."
