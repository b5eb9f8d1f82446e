"""`ftops apply`."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from ftops.cli import wants_color
from ftops.cli.plan import choosing
from ftops.errors import Diagnostic, ExternalError, PlanError, RunFailed, StalePlan, UsageError
from ftops.plan.apply_events import Applied, ApplyEvent, Notice, RoundEnded
from ftops.plan.request import Request
from ftops.plan.text import plan_text

if TYPE_CHECKING:
    from types import FrameType

    from ftops.reconcile.session import Planned
    from ftops.resources.workspace import Workspace


EXAMPLES: Final = """\b
Examples:
  ftops apply
  ftops apply --yes --target Dataset/example
  ftops apply plan.json
  ftops apply --resume tiny-base
  ftops apply --resume tiny-base=best
  ftops apply --rerun TrainingRun/tiny-base
"""


@click.command(epilog=EXAMPLES)
@click.argument("saved", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Don't ask; needed where no terminal is there to answer.")
@click.option("--no-commit", is_flag=True, help="Commit nothing; needs --results.")
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), help="Write the records below this folder instead."
)
@click.option(
    "--resume",
    "begins",
    multiple=True,
    metavar="NAME[=WHERE]",
    help="Train TrainingRun NAME on, also after `ftops stop`. WHERE its next attempt begins: `best`, `last` or the step of "
    "a checkpoint, `none` for the start; repeatable.  [default: last]",
)
@choosing
@click.pass_obj
def apply(  # noqa: PLR0913  (click gives it every option)
    start: Path,
    saved: Path | None,
    results: Path | None,
    begins: tuple[str, ...],
    request: Request,
    *,
    yes: bool,
    no_commit: bool,
) -> None:
    """Make it so: prepare data, train, register, and commit what came out.

    SAVED is a plan that `ftops plan --out` made; it is refused when anything it was made from has moved. What begins from
    the choice of a sweep is planned, and asked for, when the sweep has chosen; after a saved plan by the next apply.
    """
    _refuse_pull_requests()
    if no_commit != (results is not None):
        raise UsageError(Diagnostic("--no-commit and --results DIR go together"))
    if saved is not None and (request != Request() or begins):
        raise UsageError(
            Diagnostic("a saved plan says what to do: --target, --exclude, --rerun and --resume don't go with it")
        )
    request = replace(request, resumes=_named(begins))
    from ftops.cli.progress import Rounds
    from ftops.reconcile import session

    workspace = session.open_workspace(start)
    planned = session.plan(workspace, request) if saved is None else _plan_again(workspace, saved)
    click.echo(plan_text(planned.plan, color=wants_color()))
    if not planned.plan.has_changes:
        session.apply(planned, _to_stderr, results=results)
        return
    for address, where in planned.begins.items():
        click.echo(f"{address} begins at {where.checkpoint.name if where.checkpoint else 'the start'}.")
    if saved is None and not yes and not _agreed():
        raise click.Abort
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started this with SIGINT ignored
        signal.signal(number, _interrupt)
    with closing(Rounds()) as emit:
        applied = session.apply(planned, emit, partial(_agree, yes=yes) if saved is None else None, results)
    _conclude(applied)


def _agree(more: Planned, *, yes: bool) -> bool:
    """Shows what waited for the choice of a sweep; whether it is to be done too."""
    click.echo(f"\n{plan_text(more.plan, color=wants_color())}")
    return yes or _agreed()


def _to_stderr(event: ApplyEvent | RoundEnded) -> None:
    if isinstance(event, Notice):
        click.echo(event.text, err=True)


def _named(begins: tuple[str, ...]) -> dict[str, str]:
    """Where each TrainingRun begins, by its name; empty where that is not said. Raises UsageError for what is not NAME=WHERE."""
    found = {}
    for each in begins:
        name, equals, where = each.removeprefix("TrainingRun/").partition("=")
        if not name or (equals and where not in ("best", "last", "none") and not where.isdecimal()):
            raise UsageError(Diagnostic(f"--resume {each}: expected NAME, or NAME= with best, last, none or a step"))
        found[name] = where
    return found


def _plan_again(workspace: Workspace, saved: Path) -> Planned:
    """The saved plan; raises PlanError saying what has moved since it was made."""
    from ftops.files import read_given
    from ftops.reconcile import session

    try:
        return session.plan_again(workspace, read_given(saved))
    except StalePlan as error:
        hint = f"look at the new plan: ftops plan --out {saved}"
        summary = f"{saved} is stale: what it was made from has moved"
        raise PlanError(*(replace(each, summary=summary, hint=hint) for each in error.diagnostics)) from error


def _refuse_pull_requests() -> None:
    """Training code of a pull request must not run on a runner with secrets and GPUs."""
    event = os.environ.get("GITHUB_EVENT_NAME", "")
    if event.startswith("pull_request"):
        raise UsageError(
            Diagnostic(
                f"ftops apply does not run for the event {event}",
                hint="pull requests are planned (`ftops plan`); apply runs on the branch after the merge",
            )
        )


def _agreed() -> bool:
    """Whether a person says yes; raises UsageError where nobody is there."""
    if not sys.stdin.isatty():
        raise UsageError(
            Diagnostic("nobody is there to say yes", hint="pass --yes, or a saved plan (`ftops plan --out plan.json`)")
        )
    return bool(click.prompt("\nApply this? Only 'yes' is taken", default="no", show_default=False) == "yes")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _conclude(applied: Applied) -> None:
    """The exit code: 6 when a training failed, else that of the first failure, 7 for a failed push."""
    codes = [each.exit_code for each in applied.changes if each.exit_code]
    if codes:
        sys.exit(RunFailed.exit_code if RunFailed.exit_code in codes else codes[0])
    if not applied.pushed:
        raise ExternalError(
            Diagnostic(
                "results are committed here, but could not be pushed",
                hint="`git push` when the remote answers; the next push of ftops takes them along too",
            )
        )
