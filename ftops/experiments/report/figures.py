"""What a look found, as tables and sentences: the same ones for terminals, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from ftops.display.figure import Table
from ftops.display.numbers import (
    NONE,
    chance_text,
    counted,
    fixed,
    listed,
    number,
    p_is,
    p_text,
    percent,
    places_for,
    trimmed,
)
from ftops.experiments.analysis.interim_result import Comparison, InterimResult
from ftops.experiments.analysis.validity import (
    ANSWERS_BLOCK,
    ANSWERS_WARN,
    BLOCKS,
    MISASSIGNED_BLOCKS,
    MISASSIGNED_WARNS,
    WARNS,
)
from ftops.experiments.report.chart_data import (
    arms_of,
    baseline_of,
    effect_text,
    interval_text,
    is_ratio,
    primary,
    relative_interval_text,
    relative_text,
)
from ftops.experiments.report.forest import outcome

_MEANINGS: Final = {
    "level": "the error that the interval may make at this look",
    "in sd": "the effect in standard deviations",
    "p alone": "not corrected",
    "p by ranks": "by the test of Mann and Whitney",
    "power": "the chance to find the smallest effect that matters",
    "CUPED": "the share of the variance that it took away",
}

State = Literal["good", "open", "bad", "info"]
MARKS: Final[Mapping[State, str]] = {"good": "✓", "open": "!", "bad": "✗", "info": "·"}


@dataclass(frozen=True, slots=True)
class Check:
    """A sentence about the data, or about a guardrail, and how it stands."""

    state: State
    text: str

    @property
    def mark(self) -> str:
        return MARKS[self.state]


def arms_table(look: InterimResult, models: Mapping[str, str] | None = None) -> Table:
    """The primary metric in each arm, the baseline first; with its model where that is known."""
    baseline = baseline_of(look)
    rows = []
    for arm in arms_of(look):
        each = look.arms[arm]
        places = places_for((each.ci[1] - each.ci[0]) / 2) if each.ci else 3
        mean = NONE if each.mean is None else fixed(each.mean, places)
        interval = f"{fixed(each.ci[0], places)} to {fixed(each.ci[1], places)}" if each.ci else NONE
        name = f"{arm} (baseline)" if arm == baseline else arm
        model = (models or {}).get(arm, NONE)
        counts = (f"{each.exposed:,}", f"{each.units:,}")
        rows.append((name, model, *counts, mean, interval, number(each.variance)))
    return Table.of(
        [
            ("arm", False), ("model", False), ("units seen", True), ("with a value", True),
            ("mean", True), ("interval", True), ("variance", True),
        ],
        rows,
    )  # fmt: skip


def comparisons_table(look: InterimResult) -> Table:
    """Every comparison: effect, interval, the p-value that counts, and what it showed."""
    rows = (
        (
            f"{each.metric} ({each.role})", each.arm, effect_text(each), interval_text(each), relative_text(each),
            p_text(each.p_value if each.p_adjusted is None else each.p_adjusted), outcome(each),
        )
        for each in look.comparisons
    )  # fmt: skip
    notes = []
    if look.verdict == "invalid":
        notes.append("Nothing follows from these figures, because the data are not sound.")
    if any(each.p_adjusted is not None for each in look.comparisons):
        notes.append("p of secondary metrics is corrected for their number, by Holm.")
    return Table.of(
        [
            ("metric", False), ("arm", False), ("effect", True), ("interval", True), ("relative", True), ("p", True),
            ("shown", False),
        ],
        rows,
        note=" ".join(notes),
    )  # fmt: skip


def details_table(look: InterimResult) -> Table:
    """How each comparison was made: its test, the level of its interval, and what else is known of it."""
    rows = (
        (
            each.metric, each.arm, each.test, f"{each.level:.2g}", relative_interval_text(each),
            NONE if each.standardized is None else fixed(each.standardized, 3, sign=True),
            NONE if each.p_adjusted is None else p_text(each.p_value), p_text(each.rank_p_value),
            percent(each.power, 0), percent(each.variance_reduction),
        )
        for each in look.comparisons
    )  # fmt: skip
    table = Table.of(
        [
            ("metric", False), ("arm", False), ("test", False), ("level", True), ("relative interval", True),
            ("in sd", True), ("p alone", True), ("p by ranks", True), ("power", True), ("CUPED", True),
        ],
        rows,
    )  # fmt: skip
    note = "; ".join(f"{name}: {meaning}" for name, meaning in _MEANINGS.items() if name in table.headings)
    return replace(table, note=f"{note}.")


def data_checks(look: InterimResult) -> tuple[Check, ...]:
    """Whether the data are sound: the split, who answered, the rows."""
    return (_split(look), *_response(look), _rows(look))


def guardrail_checks(look: InterimResult) -> tuple[Check, ...]:
    """Each guardrail of each arm: how much worse it may be at most, and the margin."""
    states: dict[str, State] = {"kept": "good", "open": "open", "broken": "bad"}
    return tuple(
        Check(states[each.guardrail], f"{each.metric} of {each.arm}: {_worst(each)} ({outcome(each)})")
        for each in look.comparisons
        if each.guardrail is not None
    )


def chances(look: InterimResult) -> tuple[str, ...]:
    """For information only: what a flat prior makes of the primary metric; nothing where the data are not sound."""
    if look.verdict == "invalid":
        return ()
    return tuple(
        f"{each.arm} is better than {each.baseline} with a chance of {chance_text(each.chance_better)}"
        + ("" if each.expected_loss is None else f"; taking it would lose {_loss(each)} on average")
        for each in primary(look)
        if each.chance_better is not None
    )


def _loss(comparison: Comparison) -> str:
    """On the scale of the metric; of a duration, whose loss is one of logarithms, as a share."""
    loss = comparison.expected_loss or 0.0
    if loss < 0.001:
        return "less than 0.1 %" if is_ratio(comparison) else "less than 0.001"
    return percent(loss) if is_ratio(comparison) else trimmed(loss, 2)


def effect_words(comparison: Comparison) -> str:
    """`+0.12 (+3.4 %)`; of a ratio, whose factor says the same, only `+3.4 %`."""
    if is_ratio(comparison) or comparison.effect is None:
        return relative_text(comparison)
    relative = f" ({relative_text(comparison)})" if comparison.relative_effect is not None else ""
    return f"{effect_text(comparison)}{relative}"


def interval_words(comparison: Comparison) -> str:
    """The interval on the scale of `effect_words`."""
    return relative_interval_text(comparison) if is_ratio(comparison) else interval_text(comparison)


def _worst(comparison: Comparison) -> str:
    margin = f"the margin is {percent(comparison.margin)}"
    if comparison.worst is None:
        return f"no figure yet, {margin}"
    return f"at most {percent(max(comparison.worst, 0.0))} worse, {margin}"


def _split(look: InterimResult) -> Check:
    counts = listed(f"{look.srm.units.get(arm, 0):,} in {arm}" for arm in arms_of(look))
    p_value = look.srm.p_value
    if p_value is None:
        return Check("info", f"Split: {counts}; too little to test it")
    words = {
        "good": "as planned",
        "open": "a little off what was planned",
        "bad": "not as planned: a sample-ratio mismatch",
    }
    state = _state(p_value, BLOCKS, WARNS)
    return Check(state, f"Split {words[state]}: {counts} ({p_is(p_value)})")


def _response(look: InterimResult) -> tuple[Check, ...]:
    rates = {arm: look.response.rates[arm] for arm in arms_of(look) if arm in look.response.rates}
    if not rates:
        return ()
    said = listed(f"{percent(rate)} in {arm}" for arm, rate in rates.items())
    p_value = look.response.p_value
    if p_value is None:
        return (Check("info", f"Rows with a value: {said}"),)
    alike = "alike in all arms" if p_value >= ANSWERS_WARN else "not alike: who answers may differ from who does not"
    return (
        Check(_state(p_value, ANSWERS_BLOCK, ANSWERS_WARN), f"Rows with a value {alike}: {said} ({p_is(p_value)})"),
    )


def _state(p_value: float, blocks: float, warns: float) -> State:
    return "bad" if p_value < blocks else "open" if p_value < warns else "good"


def _rows(look: InterimResult) -> Check:
    rows = look.rows
    parts = (
        (rows.faulty, "faulty"), (rows.duplicates, "duplicates"), (rows.conflicting, "of them in conflict"),
        (rows.foreign, "of other experiments"), (rows.early, "too early"), (rows.late, "too late"),
        (rows.misassigned, "in an arm that the assignment does not give"),
    )  # fmt: skip
    left = (
        listed(f"{count:,} {words}" for count, words in parts if count) if any(count for count, _ in parts) else "none"
    )
    said = f"{counted(rows.read, 'row')} read, {rows.kept:,} kept ({percent(rows.kept / rows.read if rows.read else None)}); left out: {left}"
    share = rows.misassigned / max(rows.kept + rows.misassigned, 1)
    state: State = "bad" if share > MISASSIGNED_BLOCKS else "open" if share > MISASSIGNED_WARNS else "info"
    return Check("good" if rows.kept == rows.read else state, said)
