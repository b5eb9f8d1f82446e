"""One look at an experiment's data, as text for terminals and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ftops.display.answer import Tone
from ftops.display.numbers import percent
from ftops.display.table import table_lines
from ftops.display.terminal import Style, paint
from ftops.display.text import clean
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.report.answer import answer
from ftops.experiments.report.figures import (
    Check,
    arms_table,
    chances,
    comparisons_table,
    data_checks,
    guardrail_checks,
)
from ftops.plan.address import FORMAT_VERSION
from ftops.plan.json import as_json

_TONES: Final[dict[Tone, Style]] = {
    "good": Style.BOLD_GREEN,
    "even": Style.BOLD_CYAN,
    "open": Style.BOLD_YELLOW,
    "bad": Style.BOLD_RED,
}
_STATES: Final = {"good": Style.GREEN, "open": Style.YELLOW, "bad": Style.RED, "info": Style.PLAIN}


def look_text(name: str, look: InterimResult, *, color: bool = False) -> str:
    """The verdict in a line, the reasons, the figures of the arms and of every comparison, and whether the data are sound."""
    found = answer(look)
    simulated = " (simulated data)" if look.simulated else ""
    verdict = look.verdict if look.winner is None else f"{look.verdict} {look.winner}"
    lines = [paint(clean(f"{name}: {verdict}{simulated}. {found}."), _TONES[found.tone], color)]
    lines += [f"  {clean(each)}" for each in look.reasons]
    lines += [f"  note: {clean(each)}" for each in look.notes]
    lines += ["", paint(f"Arms{_when(look)}", Style.BOLD, color), *table_lines(arms_table(look))]
    if look.comparisons:
        lines += ["", paint("Comparisons", Style.BOLD, color), *table_lines(comparisons_table(look))]
    for title, checks in (("Guardrails", guardrail_checks(look)), ("Data", data_checks(look))):
        if checks:
            lines += ["", paint(title, Style.BOLD, color), *_check_lines(checks, color)]
    if said := chances(look):
        lines += ["", *(f"for information only: {clean(each)} (Bayesian, flat prior)" for each in said)]
    return "\n".join(lines)


def look_json(name: str, look: InterimResult) -> str:
    """The whole look for programs; a figure that is undefined is null."""
    return as_json({"formatVersion": FORMAT_VERSION, "experiment": name, **look.model_dump(mode="json", by_alias=True)})


def _check_lines(checks: Iterable[Check], color: bool) -> Iterator[str]:
    for each in checks:
        yield f"  {paint(each.mark, _STATES[each.state], color)} {clean(each.text)}"


def _when(look: InterimResult) -> str:
    span = f", from {look.first} to {look.last}" if look.first and look.last else ""
    return clean(f" at look {look.number}{span}, {percent(look.fraction, 0)} of the target")
