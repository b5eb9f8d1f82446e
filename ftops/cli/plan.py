"""`ftops plan`."""

from __future__ import annotations

import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftops.cli import wants_color
from ftops.errors import Diagnostic, UsageError
from ftops.plan.json import plan_json
from ftops.plan.markdown import plan_markdown
from ftops.plan.request import Request
from ftops.plan.text import plan_text

if TYPE_CHECKING:
    from collections.abc import Callable


def choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of plan and apply that choose resources; the command gets them as `request`."""

    @wraps(command)
    def chosen(*args: Any, **options: Any) -> Any:
        request = Request(*(options.pop(name) for name in ("targets", "excludes", "reruns")))
        return command(*args, request=request, **options)

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
def plan(start: Path, form: str, out: Path | None, request: Request, *, explain: bool, detailed_exitcode: bool) -> None:
    """Show what apply would do, and why. Nothing is changed, fetched or run."""
    from ftops.files import write_given
    from ftops.reconcile import session

    if explain and form != "text":
        raise UsageError(Diagnostic("--explain goes with --format text only"))
    workspace = session.open_workspace(start)
    made = session.plan(workspace, request).plan
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
