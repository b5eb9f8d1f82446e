"""A verdict in words that everybody understands: can we decide?"""

from __future__ import annotations

from typing import Final

from ftops.display.answer import Answer, Tone
from ftops.display.numbers import listed
from ftops.experiments.analysis.interim_result import InterimResult, Verdict
from ftops.experiments.record import Phase
from ftops.experiments.report.chart_data import arms_of, primary

_MARKS: Final[dict[Verdict, tuple[str, Tone]]] = {
    "winner": ("✓", "good"),
    "no-difference": ("=", "even"),
    "inconclusive": ("…", "open"),
    "invalid": ("✗", "bad"),
}


def answer(look: InterimResult | None, *, ended: bool = False) -> Answer:
    """What a look lets us decide; `ended` where no further look will be taken."""
    if look is None:
        words = ("No", "it ended before there were any rows") if ended else ("Not yet", "there are no rows yet")
        return Answer(*words, "…", "open")
    return Answer(*_words(look, ended or look.decided_at is not None), *_MARKS[look.verdict])


def _words(look: InterimResult, final: bool) -> tuple[str, str]:
    match look.verdict:
        case "winner":
            others = [arm for arm in arms_of(look) if arm != look.winner]
            return "Yes", f"{look.winner} is better" + (f" than {others[0]}" if len(others) == 1 else "")
        case "no-difference":
            return "Yes", "there is no difference that matters"
        case "invalid":
            return "No", "the data cannot be trusted"
        case "inconclusive":
            return ("No", _unsettled(look)) if final else ("Not yet", "nothing is proven either way")


def _unsettled(look: InterimResult) -> str:
    """Why nothing more will be known."""
    broken = {each.arm for each in look.comparisons if each.guardrail == "broken"}
    if broken and broken == {each.arm for each in primary(look)}:
        return f"{listed(sorted(broken))} {'breaks' if len(broken) == 1 else 'break'} a guardrail"
    return "the data do not settle it"


def compared(look: InterimResult | None, phase: Phase) -> str:
    """`chat@1.1.0 (b) against chat@1.0.0 (a, the baseline)`."""
    baselines = [arm for arm, each in sorted(phase.arms.items()) if each.baseline] or sorted(phase.arms)
    baseline = next((each.baseline for each in primary(look)), baselines[0]) if look else baselines[0]
    others = [f"{each.model} ({arm})" for arm, each in sorted(phase.arms.items()) if arm != baseline]
    kept = phase.arms.get(baseline)
    against = f"{kept.model} ({baseline}, the baseline)" if kept else baseline
    return f"{listed(others)} against {against}"
