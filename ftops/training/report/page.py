"""The page of a training, as one HTML file: did it learn, and when was it best?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ftops.display.answer import Answer
from ftops.display.figure import Figure, Table
from ftops.display.numbers import clock, trimmed
from ftops.display.pages import harmless, render_page
from ftops.display.svg import Picture
from ftops.display.text import clean
from ftops.plan.run import RunState
from ftops.training.metrics import RunView, Series
from ftops.training.report.curves_chart import loss_picture, series_picture
from ftops.training.report.documents import parts, said_of
from ftops.training.report.text import MEMORY, SPEED, attempts_table, checkpoints_table, seconds_text, system_title

ENOUGH: Final = 0.01
"""A loss that ends within this share of all that it fell by counts as best at the end, and one that fell less as not fallen."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the template shows."""

    name: str
    over: str
    answer: Answer
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    loss: tuple[Picture, ...]
    beside: tuple[Picture, ...]
    system: tuple[Picture, ...]
    attempts: Table
    checkpoints: Table | None
    answered: str
    answers: tuple[tuple[tuple[str, str], ...], ...]
    origin: tuple[tuple[str, str], ...]


def run_page(view: RunView) -> bytes:
    """One HTML file about a run, complete without a network."""
    return render_page("run.html.j2", page=make_run_page(view))


def make_run_page(view: RunView) -> RunPage:
    """What is said and shown of a run."""
    loss = view.curves.get("loss")
    return RunPage(
        name=clean(view.name),
        over=clean(view.id),
        answer=answer(view),
        notes=tuple(map(clean, _notes(view))),
        figures=tuple(_figures(view)),
        loss=() if loss is None else (loss_picture(loss, view.curves.get("eval_loss"), view.begun_at),),
        beside=tuple(_beside(view)),
        system=tuple(_system(view)),
        attempts=attempts_table(view),
        checkpoints=checkpoints_table(view.checkpoints) if view.checkpoints and view.checkpoints.saved else None,
        answered="" if view.answers is None else said_of(view.answers),
        answers=() if view.answers is None else tuple(parts(each) for each in view.answers.rows),
        origin=tuple(_origin(view)),
    )


# ------------------------------------------------------------------------------------------------ the answer


def answer(view: RunView) -> Answer:
    """Whether it learned, and when it was best."""
    where = (
        "" if view.step is None else f"at step {view.step:,}" + (f" of {view.max_steps:,}" if view.max_steps else "")
    )
    match view.phase:
        case RunState.SUCCEEDED:
            return _learned(view)
        case RunState.FAILED:
            return Answer("It failed", f"{where}: {clean(view.detail)}".strip(": "), "✗", "bad")
        case RunState.CANCELLED:
            return Answer("It was stopped", where or "before its first step", "…", "open")
        case RunState.RUNNING:
            return Answer("Not over", f"it is {where}" if where else "it begins", "…", "open")
        case RunState.PENDING:
            return Answer("Not yet", "it has not begun", "…", "open")


def _learned(view: RunView) -> Answer:
    evaluated, shown = view.curves.get("eval_loss"), view.curves.get("loss")
    if evaluated is not None and len(evaluated) > 1:
        return _generalised(view, evaluated)
    first, last = (shown.smoothed().first.value, shown.smoothed().last.value) if shown else _recorded(view)
    if first is None or last is None:
        return Answer("Unknown", "there is no loss of it here", "…", "open")
    if first - last < ENOUGH * abs(first):
        return Answer("No", f"its loss went from {trimmed(first)} to {trimmed(last)}", "✗", "bad")
    known = view.figures.get("evalLoss")
    beside = (
        "how it does on other text was not followed"
        if known is None
        else f"on the validation split it is {trimmed(known)}"
    )
    return Answer(
        "Yes", f"the loss fell from {trimmed(first)} to {trimmed(last)}; {beside}", "✓", "good" if known else "even"
    )


def _recorded(view: RunView) -> tuple[float | None, float | None]:
    return view.figures.get("firstLoss"), view.figures.get("loss")


def _generalised(view: RunView, evaluated: Series) -> Answer:
    first, last, best = evaluated.first, evaluated.last, evaluated.best("min")
    what = "the loss on the validation split"
    if first.value - best.value < ENOUGH * abs(first.value):
        return Answer(
            "No", f"{what} never fell below {trimmed(best.value)}; it began at {trimmed(first.value)}", "✗", "bad"
        )
    fell = f"{what} fell from {trimmed(first.value)} to {trimmed(best.value)}"
    if last.value - best.value <= ENOUGH * (first.value - best.value):
        return Answer("Yes", f"{fell}, and was best at the end", "✓", "good")
    if "best" in view.inputs:
        return Answer("Yes", f"{fell}; it was best at step {best.at:,.0f}, whose weights it ended with", "✓", "good")
    return Answer(
        "Yes, but",
        f"it was best at step {best.at:,.0f}: {fell}, and has risen to {trimmed(last.value)} since",
        "!",
        "open",
    )


def _notes(view: RunView) -> Iterator[str]:
    if view.phase is RunState.SUCCEEDED and view.detail:
        yield f"{view.detail[:1].upper()}{view.detail[1:]}."
    if not view.curves:
        yield "Its curve is not in the store of this machine: this is what its record says."
    if view.eta is not None:
        yield f"About {clock(view.eta)} are left."
    if view.begun_at:
        yield f"It has had {len(view.attempts)} attempts; steps that were lost with one and done again are counted once."


# ------------------------------------------------------------------------------------------------- the parts


def _figures(view: RunView) -> Iterator[Figure]:
    if view.step is not None:
        share = view.step / view.max_steps if view.max_steps else None
        yield Figure("steps", f"{view.step:,}", f"of {view.max_steps:,}" if view.max_steps else "", share)
    if (evaluated := view.curves.get("eval_loss")) is not None:
        best = evaluated.best("min")
        yield Figure("best loss on the validation split", trimmed(best.value), f"at step {best.at:,.0f}")
    if (loss := view.curves.get("loss")) is not None:
        yield Figure("loss", trimmed(loss.last.value), f"of the last step; {trimmed(loss.first.value)} of the first")
    elif (known := view.figures.get("loss")) is not None:
        yield Figure("loss", trimmed(known), f"of the last step; {trimmed(view.figures.get('firstLoss'))} of the first")
    if (took := _seconds(view)) is not None:
        each = f"{seconds_text(view.step_seconds)} a step" if view.step_seconds else ""
        yield Figure("time", clock(took), each)
    tokens = view.curves.get(SPEED)
    if (speed := tokens.last.value if tokens else view.figures.get("tokensPerSecond")) is not None:
        yield Figure("speed", f"{speed:,.0f}", "tokens a second")
    memory = [view.curves[each].best("max").value for each in MEMORY if each in view.curves]
    if (most := memory[0] if memory else view.figures.get("memoryGib")) is not None:
        yield Figure("memory", f"{trimmed(most, 3)} GiB", "of the trainer, at most")


def _seconds(view: RunView) -> float | None:
    """The time of all attempts; None where one goes on, or its times are not known."""
    times = [(each.started_at, each.ended_at) for each in view.attempts.values()]
    known = [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in times if a and b]
    return sum((b - a).total_seconds() for a, b in known) if known and len(known) == len(times) else None


def _beside(view: RunView) -> Iterator[Picture]:
    for key, title, unit in (
        ("learning_rate", "Learning rate", ""), (SPEED, "Tokens a second", ""), ("grad_norm", "Gradient norm", ""),
    ):  # fmt: skip
        if (series := view.curves.get(key)) is not None:
            yield series_picture(title, series, unit)


def _system(view: RunView) -> Iterator[Picture]:
    for name, series in sorted(view.system.items()):
        title, unit = system_title(name)
        minutes = Series([each / 60 for each in series.at], series.values)
        yield series_picture(f"{title[:1].upper()}{title[1:]}", minutes, unit, at="minute")


def _origin(view: RunView) -> Iterator[tuple[str, str]]:
    """What it was made from, as its digest was taken of it."""
    for key, value in view.inputs.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        yield clean(key), harmless(text)
