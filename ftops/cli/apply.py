"""`ftops apply`."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from ftops.cli import wants_color
from ftops.cli.plan import Choice, choosing, sealed_plan
from ftops.errors import Diagnostic, ExternalError, PlanError, RunFailed, UsageError, did_you_mean
from ftops.plan.json import saved_seal
from ftops.plan.text import plan_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import FrameType

    from ftops.plan.address import Address
    from ftops.plan.changes import Plan
    from ftops.plan.observed import Observed
    from ftops.plan.steps import Resume
    from ftops.reconcile.apply import Applied
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
    choice: Choice,
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
    if saved is not None and (choice or begins):
        raise UsageError(
            Diagnostic("a saved plan says what to do: --target, --exclude, --rerun and --resume don't go with it")
        )
    chosen = _named(begins, choice.reruns)
    from ftops.reconcile.observe import open_workspace

    workspace = open_workspace(start)
    if saved is not None:
        text = saved.read_bytes()
        made, observed = _check_saved(workspace, saved, text)
    else:
        made, observed = sealed_plan(workspace, choice, chosen)
    resume = _where(workspace, made, observed, chosen)
    click.echo(plan_text(made, color=wants_color()))
    if not made.has_changes:
        _catch_up(workspace, writes=results is None)
        return
    for address, where in resume.items():
        click.echo(f"{address} begins at {where.checkpoint.name if where.checkpoint else 'the start'}.")
    if saved is None and not yes and not _agreed():
        raise click.Abort
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started this with SIGINT ignored
        signal.signal(number, _interrupt)
    ended = _make_so(workspace, made, observed, results, resume)
    later = _later(workspace, made, ended, results, choice, yes=yes) if saved is None else ()
    _conclude([ended, *later])


def _later(
    workspace: Workspace, made: Plan, ended: Applied, results: Path | None, choice: Choice, *, yes: bool
) -> Iterator[Applied]:
    """How that went which waited for the choices of sweeps: planned, asked for and done when they are known."""
    while True:
        workspace = replace(workspace, written={**workspace.written, **ended.written})
        if (more := _decided(workspace, made, choice)) is None:
            return
        made, observed = more
        click.echo(f"\n{plan_text(made, color=wants_color())}")
        if not yes and not _agreed():
            return
        ended = _make_so(workspace, made, observed, results, {})
        yield ended


def _make_so(
    workspace: Workspace,
    made: Plan,
    observed: Observed,
    results: Path | None,
    resume: Mapping[Address, Resume],
) -> Applied:
    """How the plan went, which is said."""
    from ftops.cli.progress import Bars, Lines
    from ftops.reconcile.apply import apply as make_so

    watch = Bars() if sys.stdout.isatty() else Lines()
    try:
        applied = make_so(made, workspace, observed, results, watch, resume)
    finally:
        watch.close()
    done = sum(each.ok for each in applied.changes)
    skipped = sum(each.because is not None for each in applied.changes)
    failed = len(applied.changes) - done - skipped
    unchanged = sum(change.is_noop for change in made.changes)
    click.echo(f"\nApplied: {done} done, {failed} failed, {skipped} skipped, {unchanged} unchanged.")
    return applied


def _decided(workspace: Workspace, made: Plan, choice: Choice) -> tuple[Plan, Observed] | None:
    """The plan for what waited for the choice of a sweep that is known now, and for nothing else, as what failed is not tried
    again; None where nothing waited, or nothing is known."""
    from ftops.reconcile.planner import undecided

    if not (before := undecided(made)):
        return None
    now, _ = sealed_plan(workspace, replace(choice, reruns=()))
    waited = {change.address for change in made.changes if change.blocked_by}
    ready = [str(change.address) for change in now.changes if change.address in waited and not change.is_noop]
    if not ready or not undecided(now) < before:
        return None
    return sealed_plan(workspace, replace(choice, targets=tuple(ready), reruns=()))


def _named(begins: tuple[str, ...], reruns: Iterable[str]) -> dict[str, str]:
    """Where each TrainingRun begins, by its name; empty where that is not said. Raises UsageError for what is not NAME=WHERE,
    and where a run is also to be trained again.
    """
    found = {}
    for each in begins:
        name, equals, where = each.removeprefix("TrainingRun/").partition("=")
        if not name or (equals and where not in ("best", "last", "none") and not where.isdecimal()):
            raise UsageError(Diagnostic(f"--resume {each}: expected NAME, or NAME= with best, last, none or a step"))
        found[name] = where
    if both := found.keys() & {each.removeprefix("TrainingRun/") for each in reruns}:
        raise UsageError(Diagnostic(f"{min(both)}: --rerun begins at the start, so --resume does not go with it"))
    return found


def _where(workspace: Workspace, made: Plan, observed: Observed, chosen: Mapping[str, str]) -> dict[Address, Resume]:
    """The checkpoint that each chosen run begins at. Raises UsageError where it will not begin, or there is no such one."""
    if not chosen:
        return {}
    from ftops.plan.address import Address
    from ftops.plan.run import RunState
    from ftops.plan.steps import Resume, Train
    from ftops.training.run_checkpoints import choose

    steps = {step.run: step for change in made.changes for step in change.steps if isinstance(step, Train)}
    found = {}
    for name, where in chosen.items():
        step = steps.get(name)
        if step is None:
            hint = did_you_mean(name, [*steps]) if steps else "the plan trains nothing"
            raise UsageError(Diagnostic(f"--resume {name}={where}: the plan does not train {name!r}", hint=hint))
        if not where:  # where it would begin by itself
            continue
        live = observed.live.get(step.run_id)
        if live is not None and live.state in (RunState.RUNNING, RunState.SUCCEEDED):
            raise UsageError(
                Diagnostic(f"--resume {name}={where}: {live.id} is {live.state}; apply follows or collects it")
            )
        source = live or observed.live.get(step.resume_run or "")
        if source is None and where != "none":
            raise UsageError(Diagnostic(f"--resume {name}={where}: {step.run_id} has no checkpoint in this store"))
        found[Address("TrainingRun", name)] = Resume(None if source is None else choose(workspace, source, where))
    return found


def _catch_up(workspace: Workspace, *, writes: bool) -> None:
    """What a killed commit left undone in the work tree, and what MLflow and the index lack, is done although nothing else is."""
    from ftops import tracking

    if writes and workspace.repository is not None:
        from ftops.git.branch import heal

        heal(workspace.repository)

    if tracking.pending(workspace.store.root):
        from ftops.reconcile.apply import catch_up

        if left := catch_up(workspace):
            click.echo(left, err=True)
    if writes and workspace.specs.project.spec.index is not None:
        from ftops.index.update import update_index

        if left := update_index(workspace):
            click.echo(left, err=True)


def _check_saved(workspace: Workspace, saved: Path, text: bytes) -> tuple[Plan, Observed]:
    """The plan for now, which is the saved one when nothing has moved; raises PlanError saying what has."""
    from ftops.reconcile.planner import moved

    seal, targets, reruns = saved_seal(text)
    made, observed = sealed_plan(workspace, Choice(targets, reruns=reruns))
    if made.seal is None or (changes := moved(seal, made.seal)):
        raise PlanError(
            Diagnostic(
                f"{saved} is stale: what it was made from has moved",
                detail="\n".join(changes),
                hint=f"look at the new plan: ftops plan --out {saved}",
            )
        )
    return made, observed


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


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  (what signal calls)
    raise KeyboardInterrupt


def _conclude(rounds: Sequence[Applied]) -> None:
    """The exit code: 6 when a training failed, else that of the first failure, 7 for a failed push."""
    codes = [each.exit_code for applied in rounds for each in applied.changes if each.exit_code]
    if codes:
        sys.exit(RunFailed.exit_code if RunFailed.exit_code in codes else codes[0])
    if not rounds[-1].pushed:
        raise ExternalError(
            Diagnostic(
                "results are committed here, but could not be pushed",
                hint="`git push` when the remote answers; the next push of ftops takes them along too",
            )
        )
