"""`ftops plan`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from ftops.cli import wants_color
from ftops.errors import Diagnostic, UsageError
from ftops.plan.json import plan_json
from ftops.plan.markdown import plan_markdown
from ftops.plan.text import plan_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ftops.plan.changes import Plan
    from ftops.plan.observed import Observed
    from ftops.resources.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Choice:
    """Which resources a command is about: the addresses given with --target and --exclude; and those of --rerun."""

    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    reruns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.targets or self.excludes or self.reruns)


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of plan and apply that choose resources; the command gets them as `choice`."""

    @wraps(command)
    def chosen(*args: Any, **options: Any) -> Any:
        choice = Choice(*(options.pop(name) for name in ("targets", "excludes", "reruns")))
        return command(*args, choice=choice, **options)

    target = click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="ADDRESS",
        help="Only this resource and what it needs; repeatable.",
    )
    exclude = click.option(
        "--exclude",
        "excludes",
        multiple=True,
        metavar="ADDRESS",
        help="All but this resource and what needs it; repeatable.",
    )
    rerun = click.option(
        "--rerun",
        "reruns",
        multiple=True,
        metavar="ADDRESS",
        help="Train this TrainingRun again although it has succeeded, from the start; repeatable.",
    )
    return target(exclude(rerun(chosen)))


def sealed_plan(
    workspace: Workspace, choice: Choice, begins: Mapping[str, str] = MappingProxyType({})
) -> tuple[Plan, Observed]:
    """The plan for a project as it is now, sealed, and what it was made from; nothing is written anywhere.

    The TrainingRuns `begins` go on also where they were stopped; each may say where.
    """
    from ftops.datasets.diff import with_rows
    from ftops.plan.address import Address
    from ftops.reconcile.observe import observe
    from ftops.reconcile.planner import make_plan, make_seal
    from ftops.training.configs import check_resumes, render_plan
    from ftops.training.costs import with_costs

    observed = observe(workspace)
    resumed = {Address("TrainingRun", name) for name in begins}
    chosen = {"targets": choice.targets, "excludes": choice.excludes, "reruns": choice.reruns}
    plan = make_plan(workspace.specs, observed, resumed=resumed, **chosen)
    plan = with_rows(plan, workspace.specs, observed, workspace.root, workspace.store)
    configs = render_plan(plan, workspace)
    check_resumes(plan, workspace, configs, {Address("TrainingRun", name) for name, where in begins.items() if where})
    plan = with_costs(plan, {address: config.tree for address, config in configs.items()}, workspace, observed)
    digests = {str(address): config.digest for address, config in configs.items()}
    return replace(plan, seal=make_seal(plan, workspace.specs, observed, digests)), observed


@click.command(epilog="Example:  ftops plan --target TrainingRun/tiny-base --out plan.json")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How the plan is printed.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan for `ftops apply FILE`.")
@click.option("--explain", is_flag=True, help="Show every spec as it counts, and which line says each field.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is something to do.")
@choosing
@click.pass_obj
def plan(start: Path, form: str, out: Path | None, choice: Choice, *, explain: bool, detailed_exitcode: bool) -> None:
    """Show what apply would do, and why. Nothing is changed, fetched or run."""
    from ftops.files import write_given
    from ftops.reconcile.observe import open_workspace

    if explain and form != "text":
        raise UsageError(Diagnostic("--explain goes with --format text only"))
    workspace = open_workspace(start)
    made, _ = sealed_plan(workspace, choice)
    if out is not None:
        write_given(out, plan_json(made).encode())
    match form:
        case "json":
            click.echo(plan_json(made))
        case "markdown":
            click.echo(plan_markdown(made))
        case _:
            specs = {each.address: workspace.specs.resolved(each.address) for each in made.changes} if explain else None
            click.echo(plan_text(made, color=wants_color(), unchanged=explain, explained=specs))
            if out is not None:
                click.echo(f"\nSaved. To do just this: ftops apply {out}")
    if detailed_exitcode and made.has_changes:
        sys.exit(2)
