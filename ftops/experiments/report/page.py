"""The report on an experiment, as Markdown and as one HTML file: both say what the record holds, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ftops.digests import Json, canonical
from ftops.display.answer import Answer
from ftops.display.figure import Figure, Table
from ftops.display.numbers import NONE, counted, p_is, percent, trimmed
from ftops.display.pages import harmless, render_page
from ftops.display.svg import Picture
from ftops.experiments.analysis.interim_result import Comparison, InterimResult
from ftops.experiments.record import ExperimentRecord, Phase, Proposal
from ftops.experiments.report.answer import answer, compared
from ftops.experiments.report.chart_data import Declared, effect_text, is_ratio, primary, relative_text
from ftops.experiments.report.distributions import distribution_pictures
from ftops.experiments.report.effects import effect_pictures
from ftops.experiments.report.enrolment_chart import unit_pictures
from ftops.experiments.report.figures import (
    Check,
    arms_table,
    chances,
    comparisons_table,
    data_checks,
    details_table,
    effect_words,
    guardrail_checks,
    interval_words,
)
from ftops.experiments.report.forest import forest_picture

RULES: Final = {
    "fixed": "fixed: one look, when the target is reached",
    "obrien-fleming": "O'Brien-Fleming: looks on the way are paid for, early ones need a large effect",
    "always-valid": "always valid: may be looked at any time",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What both templates show."""

    name: str
    phase: str
    answer: Answer
    compared: str
    ending: str
    simulated: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    effects: tuple[Picture, ...]
    forest: Picture | None
    units: tuple[Picture, ...]
    distributions: tuple[Picture, ...]
    arms: Table | None
    comparisons: Table | None
    details: Table | None
    chances: tuple[str, ...]
    guardrails: tuple[Check, ...]
    checks: tuple[Check, ...]
    hypothesis: str
    design: tuple[tuple[str, str], ...]
    phases: Table
    looks: Table
    proposals: tuple[Proposal, ...]
    origin: tuple[tuple[str, str], ...]


def experiment_documents(record: ExperimentRecord) -> dict[str, bytes]:
    """The report beside the record, by path; the same record, the same bytes."""
    report = make_report(record)
    stem = record.path.removesuffix(".yaml")
    return {f"{stem}.{form}": render_page(f"experiment.{form}.j2", report=report) for form in ("md", "html")}


def make_report(record: ExperimentRecord) -> Report:
    """What is said and shown of an experiment."""
    record = _harmless(record)
    status, look = record.status, record.look
    phase = status.phases[status.current]
    declared = Declared.of(status.inputs)
    looks = [phase.looks[number] for number in sorted(phase.looks, key=int)]
    models = {name: arm.model for name, arm in phase.arms.items()}
    return Report(
        name=record.metadata.name,
        phase=status.phase,
        answer=answer(look, ended=status.phase != "running"),
        compared=compared(look, phase),
        ending=_ending(record),
        simulated=look is not None and look.simulated,
        reasons=look.reasons if look else (),
        notes=look.notes if look else (),
        figures=tuple(_figures(record, look, declared)) if look else (),
        effects=effect_pictures(look, looks, declared) if look else (),
        forest=forest_picture(look, declared) if look else None,
        units=unit_pictures(look, declared) if look else (),
        distributions=distribution_pictures(look) if look else (),
        arms=arms_table(look, models) if look else None,
        comparisons=comparisons_table(look) if look and look.comparisons else None,
        details=details_table(look) if look and look.comparisons else None,
        chances=chances(look) if look else (),
        guardrails=guardrail_checks(look) if look else (),
        checks=data_checks(look) if look else (),
        hypothesis=declared.hypothesis,
        design=tuple(_design(status.inputs, declared)),
        phases=_phases(status.phases),
        looks=_looks(status.phases),
        proposals=status.proposals,
        origin=tuple(_origin(record, look)),
    )


def _harmless(record: ExperimentRecord) -> ExperimentRecord:
    """The record without characters that act on a terminal or a page, and without the passwords of URIs."""
    tree = harmless(record.model_dump(mode="json", by_alias=True))
    return ExperimentRecord.model_validate_json(canonical(tree))


def _ending(record: ExperimentRecord) -> str:
    """How it ended, in a sentence; empty while it runs."""
    ended = record.status.conclusion
    if ended is None:
        return ""
    won = f" The winner is {ended.model or ended.winner}." if ended.winner else ""
    verdict = f" with the verdict {ended.verdict}" if ended.verdict else " without a verdict"
    return f"{record.status.phase.capitalize()} on {ended.ended_at[:10]}{verdict}: {ended.reason.rstrip('.')}.{won}"


def _figures(record: ExperimentRecord, look: InterimResult, declared: Declared) -> Iterator[Figure]:
    main = [each for each in primary(look) if look.winner in (None, each.baseline, each.arm)]
    if len(main) == 1 and main[0].effect is not None and look.verdict != "invalid":
        each = main[0]
        relative = "" if is_ratio(each) or each.relative_effect is None else f"{relative_text(each)}, "
        value = relative_text(each) if is_ratio(each) else effect_text(each)
        interval = f"interval {interval_words(each)}, " if each.ci else ""
        detail = f"{relative}{interval}{p_is(each.p_value)}"
        yield Figure(f"{each.metric}: {each.arm} against {each.baseline}", value, detail)
    target = f"{counted(declared.target, declared.unit)} an arm" if declared.target else "the target"
    pace = _pace(record, look, declared)
    yield Figure(f"Progress to {target}", percent(look.fraction, 0), pace, look.fraction)
    phase = record.status.phases[record.status.current]
    taken = counted(len(phase.looks), "look")
    when = f", final at look {look.decided_at}" if look.decided_at else ""
    yield Figure(
        "Stopping rule", RULES.get(declared.rule, declared.rule or NONE).partition(":")[0], f"{taken} taken{when}"
    )
    worst = {check.state for check in data_checks(look)}
    sound = (
        "not sound" if look.verdict == "invalid" or "bad" in worst else "look closer" if "open" in worst else "sound"
    )
    yield Figure("Data", sound, f"{look.rows.kept:,} of {counted(look.rows.read, 'row')} count")


def _pace(record: ExperimentRecord, look: InterimResult, declared: Declared) -> str:
    """How many units were seen, and how long it may still take."""
    seen = f"{counted(sum(each.exposed for each in look.arms.values()), declared.unit)} seen"
    weights = [arm.weight for arm in record.status.phases[record.status.current].arms.values() if arm.weight > 0]
    traffic = record.status.traffic
    going_on = record.status.phase == "running" and look.decided_at is None and look.fraction < 1
    if not (going_on and traffic and weights and declared.target):
        return seen
    exposed, units = (sum(getattr(each, key) for each in look.arms.values()) for key in ("exposed", "units"))
    missing = (1 - look.fraction) * declared.target / min(weights) * (exposed / units if units else 1)
    days = counted(math.ceil(missing / traffic), "more day")
    return f"{seen}; about {days} at {trimmed(traffic, 2)} new a day"


def _design(inputs: Json, declared: Declared) -> Iterator[tuple[str, str]]:
    spec: Mapping[str, Any] = inputs if isinstance(inputs, dict) else {}
    yield "counted by", str(spec.get("unit") or NONE)
    yield "decides", _metrics([spec.get("metric")])
    for title, key in (("informs", "secondary"), ("must not get worse", "guardrails")):
        if spec.get(key):
            yield title, _metrics(spec[key])
    yield "stopping rule", RULES.get(declared.rule, declared.rule or NONE)
    yield (
        "target",
        f"{counted(declared.target, declared.unit)} in the arm with the least weight" if declared.target else NONE,
    )
    yield "false alarms borne", percent(declared.alpha)
    yield "power", percent(declared.power)
    yield (
        "smallest effect that matters",
        trimmed(declared.smallest) if declared.smallest else "what the target can find",
    )
    for title, key in (("covariate", "covariate"), ("seed", "seed")):
        if spec.get(key):
            yield title, str(spec[key])
    if isinstance(coverage := spec.get("coverage"), int | float) and coverage != 1:
        yield "takes part", percent(coverage)


def _metrics(metrics: Sequence[Any]) -> str:
    """`rating (rating, more is better), …`."""
    words = []
    for each in metrics:
        if isinstance(each, Mapping):
            better = "less is better" if each.get("direction") == "decrease" else "more is better"
            margin = f", at most {percent(each['margin'])} worse" if each.get("margin") is not None else ""
            words.append(f"{each.get('name', NONE)} ({each.get('type', NONE)}, {better}{margin})")
    return ", ".join(words) or NONE


def _phases(phases: Mapping[str, Phase]) -> Table:
    rows = tuple(
        (
            key,
            each.started_at or "the first row",
            each.ended_at or "now",
            ", ".join(f"{name}: {arm.model} ({percent(arm.weight, 0)})" for name, arm in sorted(each.arms.items())),
        )
        for key, each in sorted(phases.items(), key=lambda item: (len(item[0]), item[0]))
    )
    return Table(("phase", "from", "until", "arms"), rows)


def _looks(phases: Mapping[str, Phase]) -> Table:
    rows = tuple(
        (
            key,
            str(look.number),
            look.taken_at or look.last or NONE,
            f"{sum(each.exposed for each in look.arms.values()):,}",
            percent(look.fraction, 0),
            "; ".join(_effect(each, len(look.arms) > 2) for each in primary(look)) or NONE,
            look.verdict if look.winner is None else f"{look.verdict} {look.winner}",
        )
        for key, phase in sorted(phases.items(), key=lambda item: (len(item[0]), item[0]))
        for _, look in sorted(phase.looks.items(), key=lambda item: int(item[0]))
    )
    return Table(("phase", "look", "taken", "units", "of the target", "effect", "verdict"), rows, frozenset({1, 3, 4}))


def _effect(comparison: Comparison, several: bool) -> str:
    return f"{comparison.arm}: {effect_words(comparison)}" if several else effect_words(comparison)


def _origin(record: ExperimentRecord, look: InterimResult | None) -> Iterator[tuple[str, str]]:
    yield "experiment", record.status.digest
    if record.status.input_commit:
        yield "commit of the specs", record.status.input_commit
    if look is None:
        return
    yield "data", look.data_digest
    yield from sorted(look.software.items())
