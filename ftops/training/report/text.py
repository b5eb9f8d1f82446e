"""A training as text and as JSON: where it stands, its curve, its attempts, its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from ftops.digests import Json
from ftops.display.figure import Table
from ftops.display.numbers import NONE, clock, counted, fixed, number, percent, size_text, trimmed
from ftops.display.phase import paint_phase
from ftops.display.table import table_lines
from ftops.display.text import clean
from ftops.plan.address import FORMAT_VERSION
from ftops.plan.json import as_json
from ftops.plan.run import RunState
from ftops.plan.sweep_choice import Choice
from ftops.training.axolotl.metrics import better
from ftops.training.metrics import Checkpoints, RunView, SavedCheckpoint, Series
from ftops.training.record import Attempt
from ftops.training.report.curve_text import FINE, Glyphs, curve_lines
from ftops.training.report.documents import answers_lines
from ftops.training.report.sweep import sweep_tree

WIDEST: Final = 100
POINTS: Final = 500
"""A curve in JSON has at most so many points."""
SPEED: Final = "tokens_per_second"
MEMORY: Final = ("memory/max_allocated_gib", "memory/max_resident_gib")


def run_text(view: RunView, *, width: int = 80, color: bool = False, glyphs: Glyphs = FINE) -> str:
    """What is known of a run, fitted to a terminal of `width` columns."""
    lines = [headline(view, color=color), *(f"  {clean(each)}" for each in _about(view))]
    if (loss := view.curves.get("loss")) is not None:
        lines += ["", *curve_lines(loss, view.curves.get("eval_loss"), min(width, WIDEST), glyphs)]
    said = [*_losses(view, glyphs), *_figures(view)]
    lines += ["", *(f"  {clean(each)}" for each in said)] if said else []
    lines += ["", "Attempts", *table_lines(attempts_table(view))]
    if view.checkpoints is not None and view.checkpoints.saved:
        lines += ["", "Checkpoints", *table_lines(checkpoints_table(view.checkpoints))]
    if view.answers is not None:
        lines += ["", "Before and after", *answers_lines(view.answers)]
    return "\n".join(lines)


def headline(view: RunView, *, color: bool = False) -> str:
    """`tiny-base-0123456789ab: running, step 63/134 (47 %), 0:11 left`."""
    parts = [paint_phase(view.phase.value, color=color)]
    if view.step is not None:
        done = percent(view.step / view.max_steps, 0) if view.max_steps else ""
        parts.append(f"step {view.step:,}" + (f"/{view.max_steps:,} ({done})" if done else ""))
    if view.eta is not None:
        parts.append(f"{clock(view.eta)} left")
    return f"{clean(view.id)}: {', '.join(parts)}"


def _about(view: RunView) -> Iterator[str]:
    if view.detail:
        yield view.detail
    if not view.curves:
        yield (
            "it has written no events yet"
            if view.phase is RunState.RUNNING
            else "its curve is not in the store of this machine; this is what its record says"
            if view.figures
            else "there are no events of it in the store of this machine"
        )


def _losses(view: RunView, glyphs: Glyphs) -> Iterator[str]:
    """The losses in words; the mark of the evaluations is explained where there are some."""
    names = {"loss": "loss", "eval_loss": f"{glyphs.mark} loss on the validation split"}
    for key, title in names.items():
        if (series := view.curves.get(key)) is not None:
            lowest = series.best("min")
            low = f"lowest {trimmed(lowest.value)} at step {lowest.at:,.0f}"
            yield f"{title}: {trimmed(series.last.value)}, from {trimmed(series.first.value)}; {low}"
    if not view.curves and (loss := view.figures.get("loss")) is not None:
        yield f"loss: {trimmed(loss)}, from {trimmed(view.figures.get('firstLoss'))}"
        if (evaluated := view.figures.get("evalLoss")) is not None:
            yield f"loss on the validation split: {trimmed(evaluated)}"


def _figures(view: RunView) -> Iterator[str]:
    """Learning rate, speed, memory, and what the machine did; each only where it is known."""
    if (rate := view.curves.get("learning_rate")) is not None:
        yield f"learning rate: {rate.last.value:.3g}, at most {rate.best('max').value:.3g}"
    speed = [] if view.step_seconds is None else [f"{seconds_text(view.step_seconds)} a step"]
    if (tokens := view.curves.get(SPEED)) is not None:
        speed.insert(0, f"{tokens.last.value:,.0f} tokens/s")
    elif (known := view.figures.get("tokensPerSecond")) is not None:
        speed.insert(0, f"{known:,.0f} tokens/s")
    if speed:
        yield f"speed: {', '.join(speed)}"
    if memory := [view.curves[each] for each in MEMORY if each in view.curves]:
        yield f"memory of the trainer: {number(memory[0].best('max').value, 3)} GiB at most"
    elif (most := view.figures.get("memoryGib")) is not None:
        yield f"memory of the trainer: {number(most, 3)} GiB at most"
    if said := ", ".join(system_words(view.system)):
        yield f"machine: {said}"


def seconds_text(seconds: float) -> str:
    """The time of a step: `0.084 s`, `12 s`, `3:05`."""
    return f"{trimmed(seconds, 2)} s" if seconds < 10 else clock(seconds)


def system_words(system: Mapping[str, Series]) -> Iterator[str]:
    """`CPU 180 %`, `memory 1.2 GiB, at most 1.4`, `GPU 0 97 %`: the last sample of each figure."""
    for name, series in sorted(system.items()):
        title, unit = system_title(name)
        most = series.best("max").value
        value, top = (fixed(each, 0) if unit == "%" else number(each, 3) for each in (series.last.value, most))
        yield f"{title} {value} {unit}" + (f" (at most {top})" if most > series.last.value else "")


def system_title(name: str) -> tuple[str, str]:
    """The title and the unit of a figure of the machine: `gpu_0_memory_gib` is `GPU 0 memory` in `GiB`."""
    *words, last = name.split("_")
    unit = {"percent": "%", "gib": "GiB"}.get(last, "")
    words = words if unit else [*words, last]
    return " ".join(word.upper() if word in ("cpu", "gpu") else word for word in words), unit


def attempts_table(view: RunView) -> Table:
    """How each attempt began and ended."""
    rows = [
        (
            str(count),
            each.phase.value,
            NONE if each.step is None else f"{each.step:,}",
            (each.started_at or NONE).replace("T", " ").removesuffix("Z"),
            _duration(each),
            _source(each, view.id),
            each.reason or NONE,
        )
        for count, each in view.attempts.items()
    ]
    columns = [
        ("attempt", True), ("state", False), ("to step", True), ("began (UTC)", False), ("took", True),
        ("went on from", False), ("why", False),
    ]  # fmt: skip
    return Table.of(columns, rows)


def _source(attempt: Attempt, run: str) -> str:
    """`checkpoint-50 of attempt 1`, with its run where that is another one."""
    match (attempt.resumed_from or NONE).split("/"):
        case ["runs", where, number, "output", name]:
            return f"{name} of {number.replace('-', ' ')}" + ("" if where == run else f" of {where}")
        case other:
            return "/".join(other)


def _duration(attempt: Attempt) -> str:
    if attempt.started_at is None or attempt.ended_at is None:
        return NONE
    begun, ended = (datetime.fromisoformat(each) for each in (attempt.started_at, attempt.ended_at))
    return clock((ended - begun).total_seconds())


# ---------------------------------------------------------------------------------------------- checkpoints


def checkpoints_table(found: Checkpoints) -> Table:
    """Every checkpoint, with the metric that says which is best."""
    rows = [
        (
            each.name,
            str(each.attempt),
            NONE if found.metric is None else number(each.metrics.get(found.metric)),
            size_text(each.size),
            NONE if each.world_size is None else str(each.world_size),
            ", ".join(_standing(found, each)),
        )
        for each in found.saved
    ]
    columns = [
        ("checkpoint", False), ("attempt", True), (found.metric or "metric", True), ("size", True),
        ("processes", True), ("state", False),
    ]  # fmt: skip
    return Table.of(columns, rows)


def _standing(found: Checkpoints, each: SavedCheckpoint) -> Iterator[str]:
    if each.state == "whole":
        yield "whole" if each.files is None else "whole, every byte read"
    else:
        said = "still being written" if each.state == "writing" else "torn"
        yield f"{said} ({each.reason})"
    if each == found.best:
        yield "the best"
    if each.path == found.resume:
        yield "resumes here"


def checkpoints_text(found: Checkpoints) -> str:
    """The checkpoints of a run, one a line."""
    size = size_text(sum(each.size for each in found.saved))
    lines = [f"{clean(found.run)}: {counted(len(found.saved), 'checkpoint')}" + (f", {size}" if found.saved else "")]
    if found.saved:
        lines += table_lines(checkpoints_table(found))
    if found.best is not None and found.metric is not None:
        less = "lowest" if found.mode == "min" else "highest"
        value = trimmed(found.best.metrics[found.metric])
        lines.append(f"The best has the {less} {clean(found.metric)}, {value}.")
    if found.saved and found.resume is None:
        lines.append("None is whole: there is nothing to resume from.")
    elif found.resume is not None and found.resume.startswith(".."):
        lines.append(f"It would resume from {clean(found.resume.removeprefix('../'))}.")
    return "\n".join(lines)


def checkpoints_json(found: Checkpoints) -> str:
    """The same for programs."""
    return as_json({"formatVersion": FORMAT_VERSION, **_checkpoints(found)})


def _checkpoints(found: Checkpoints) -> dict[str, Json]:
    return {
        "run": found.run,
        "metric": found.metric,
        "mode": None if found.metric is None else found.mode,
        "best": None if found.best is None else found.best.path,
        "resume": found.resume,
        "checkpoints": [_checkpoint(each) for each in found.saved],
    }


def _checkpoint(each: SavedCheckpoint) -> dict[str, Json]:
    tree: dict[str, Json] = {
        "attempt": each.attempt,
        "step": each.step,
        "path": each.path,
        "state": each.state,
        "reason": each.reason or None,
        "size": each.size,
        "worldSize": each.world_size,
        "metrics": dict(each.metrics),
    }
    if each.files is not None:
        tree["files"] = {name: file.model_dump(mode="json") for name, file in each.files.items()}
    return tree


# ----------------------------------------------------------------------------------------------------- JSON


def run_json(view: RunView, sweep: Choice | None = None) -> str:
    """What is known of a run, for programs; what is not known is null. `sweep` is what it was chosen by, if so."""
    document: dict[str, Json] = {
        "formatVersion": FORMAT_VERSION,
        "run": view.id,
        "name": view.name,
        "phase": view.phase.value,
        "detail": view.detail or None,
        "step": view.step,
        "maxSteps": view.max_steps,
        "etaSeconds": view.eta,
        "secondsPerStep": view.step_seconds,
        "attempts": {str(count): each.model_dump(mode="json", by_alias=True) for count, each in view.attempts.items()},
        "figures": dict(view.figures),
        "metrics": {name: _series(each, "step", better(name)) for name, each in sorted(view.curves.items())},
        "system": {name: _series(each, "second", None) for name, each in sorted(view.system.items())},
        "checkpoints": None if view.checkpoints is None else _checkpoints(view.checkpoints),
        "samples": None if view.answers is None else view.answers.model_dump(mode="json"),
    }
    return as_json(document | ({} if sweep is None else {"sweep": sweep_tree(sweep)}))


def _series(series: Series, at: str, way: str | None) -> Json:
    """A curve: how many points it has, where it ends and is lowest and highest, and the means of at most POINTS parts of it."""
    thin = series.thinned(POINTS)
    ends = {"first": series.first, "last": series.last, "lowest": series.best("min"), "highest": series.best("max")}
    return {
        "points": len(series),
        "better": {"min": "lower", "max": "higher"}.get(way or ""),
        **{name: {at: point.at, "value": point.value} for name, point in ends.items()},
        "curve": [list(pair) for pair in zip(thin.at, thin.values, strict=True)],
    }
