"""What apply tells, shown: bars that move on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol

import click

from ftops.cli import wants_color
from ftops.display.numbers import clock
from ftops.plan.apply_events import (
    ApplyEvent,
    ChangeEnded,
    DataProgress,
    Notice,
    RoundEnded,
    StepBegan,
    StepEnded,
    TrainingProgress,
)
from ftops.plan.step_text import step_text
from ftops.plan.text import diagnostics_text
from ftops.status.text import training_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress, TaskID

    from ftops.plan.address import Address

QUIET_SECONDS = 10.0
"""Between two plain lines about the same training."""


class Rounds:
    """Shows each round of an apply by a watch of its own, and at its end how it went; between them the terminal is free."""

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def __call__(self, event: ApplyEvent | RoundEnded) -> None:
        if isinstance(event, RoundEnded):
            self.close()
            click.echo(f"\n{_summary(event)}")
        else:
            self._watch = self._watch or (Bars() if sys.stdout.isatty() else Lines())
            self._watch(event)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


class Watch(Protocol):
    """Takes the news of a round."""

    def __call__(self, event: ApplyEvent) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line for each step, and one for a training every ten seconds."""

    def __init__(self) -> None:
        self._said: dict[Address, float] = {}

    def __call__(self, event: ApplyEvent) -> None:
        match event:
            case StepBegan(address, step):
                click.echo(f"{address}: {step_text(step)}")
            case StepEnded(address, step, seconds, detail):
                click.echo(f"{address}: done in {clock(seconds)}" + (f": {detail}" if detail else ""))
            case TrainingProgress(address, progress):
                last = progress.step == progress.max_steps
                if last or time.monotonic() - self._said.get(address, -QUIET_SECONDS) >= QUIET_SECONDS:
                    self._said[address] = time.monotonic()
                    click.echo(f"{address}: {training_text(progress)}")
            case ChangeEnded():
                _ended(event, click.echo)
            case Notice(text):
                click.echo(text, err=True)
            case DataProgress():
                pass

    def close(self) -> None:
        """Nothing is held open."""


class Bars:
    """The same, with a moving bar for what is going on."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._console = Console(no_color=not wants_color())
        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
        )
        self._progress.start()
        self._tasks: dict[Address, TaskID] = {}

    def __call__(self, event: ApplyEvent) -> None:
        match event:
            case StepBegan(address, step):
                self._tasks[address] = self._progress.add_task(str(address), total=None, text=step_text(step))
            case DataProgress(address, stage, done, total):
                self._update(address, done, total, stage)
            case TrainingProgress(address, progress):
                self._update(address, progress.step, progress.max_steps, training_text(progress))
            case StepEnded(address, step, seconds, detail):
                self._finish(address)
                after = f": {detail}" if detail else ""
                self._say(f"{address}: {step_text(step)}, {clock(seconds)}{after}")
            case ChangeEnded():
                self._finish(event.address)
                _ended(event, self._say)
            case Notice(text):
                self._say(text)

    def _update(self, address: Address, done: int, total: int, text: str) -> None:
        if address in self._tasks:
            self._progress.update(self._tasks[address], completed=done, total=total or None, text=text)

    def _finish(self, address: Address) -> None:
        if address in self._tasks:
            self._progress.remove_task(self._tasks.pop(address))

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        self._progress.stop()


def _summary(event: RoundEnded) -> str:
    changes = event.applied.changes
    done = sum(each.ok for each in changes)
    skipped = sum(each.because is not None for each in changes)
    failed = len(changes) - done - skipped
    unchanged = sum(change.is_noop for change in event.plan.changes)
    return f"Applied: {done} done, {failed} failed, {skipped} skipped, {unchanged} unchanged."


def _ended(event: ChangeEnded, say: Callable[[str], None]) -> None:
    if event.because is not None:
        say(f"{event.address}: skipped, because {event.because} failed")
    elif event.diagnostics:
        say(diagnostics_text(event.diagnostics, color=wants_color()))
