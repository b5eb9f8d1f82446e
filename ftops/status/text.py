"""How far things are: one line of a training, and the table of all resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from ftops.display.terminal import Style, paint
from ftops.plan.changes import Address, Json
from ftops.plan.json import as_json
from ftops.plan.step_text import clean, clock

_COLORS: Final = {
    "succeeded": Style.GREEN,
    "prepared": Style.GREEN,
    "registered": Style.GREEN,
    "failed": Style.RED,
    "cancelled": Style.RED,
    "running": Style.YELLOW,
}


class Training(Protocol):
    """Where a training stands: `rate` in tokens a second, `eta` in seconds; None where not known yet."""

    @property
    def step(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def loss(self) -> float | None: ...
    @property
    def rate(self) -> float | None: ...
    @property
    def eta(self) -> float | None: ...


class Standing(Protocol):
    """Where a resource stands; `eta` in seconds."""

    @property
    def address(self) -> Address: ...
    @property
    def phase(self) -> str: ...
    @property
    def run(self) -> str | None: ...
    @property
    def step(self) -> int | None: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def eta(self) -> float | None: ...


def training_text(training: Training) -> str:
    """`step 20/100, loss 3.214, 1,520 tokens/s, 0:42 left`; what is not known yet is left out."""
    parts = [f"step {training.step}/{training.max_steps}"]
    if training.loss is not None:
        parts.append(f"loss {training.loss:.4g}")
    if training.rate is not None:
        parts.append(f"{training.rate:,.0f} tokens/s")
    if training.eta is not None and training.step < training.max_steps:
        parts.append(f"{clock(training.eta)} left")
    return ", ".join(parts)


def paint_phase(phase: str, width: int = 0, *, color: bool = False) -> str:
    """A phase in its colour, filled up to `width`."""
    return paint(f"{phase:<{width}}", _COLORS.get(phase, Style.PLAIN), color)


def status_text(rows: Sequence[Standing], *, color: bool = False) -> str:
    """A line for each resource: its address, its phase, and how far its training is."""
    wide = max((len(str(each.address)) for each in rows), default=0)
    lines = []
    for each in rows:
        phase = paint_phase(each.phase, 10, color=color)
        far = [each.run or ""]
        if each.step is not None:
            far.append(f"step {each.step}" if each.max_steps is None else f"step {each.step}/{each.max_steps}")
        if each.eta is not None:
            far.append(f"{clock(each.eta)} left")
        lines.append(
            f"{clean(str(each.address)):<{wide}}  {phase}  {clean(', '.join(part for part in far if part))}".rstrip()
        )
    return "\n".join(lines) or "There are no resources."


def status_json(rows: Iterable[Standing]) -> str:
    """The same for programs; what is not known is absent."""
    return as_json([_row(each) for each in rows])


def _row(row: Standing) -> Json:
    known = {"run": row.run, "step": row.step, "maxSteps": row.max_steps, "etaSeconds": row.eta}
    return {
        "address": str(row.address),
        "phase": row.phase,
        **{key: value for key, value in known.items() if value is not None},
    }
