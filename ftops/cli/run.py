"""`ftops run`."""

from __future__ import annotations

from pathlib import Path

import click

from ftops.errors import Diagnostic, UsageError, did_you_mean


@click.group(epilog="Example:  ftops run render tiny-base")
def run() -> None:
    """Look into a training run."""


@run.command(epilog="Example:  ftops run render tiny-base > config.yaml")
@click.argument("name")
@click.pass_obj
def render(start: Path, name: str) -> None:
    """Print the Axolotl config of TrainingRun NAME, as its first attempt gets it."""
    from ftops import configs
    from ftops.observe import observe, open_workspace
    from ftops.plan import make_plan
    from ftops.values import Address

    workspace = open_workspace(start)
    address = Address("TrainingRun", name.removeprefix("TrainingRun/"))
    known = [each.name for each in workspace.specs.resources if each.kind == "TrainingRun"]
    if address.name not in known:
        raise UsageError(Diagnostic(f"no TrainingRun is called {name!r}", hint=did_you_mean(name, known)))
    plan = make_plan(workspace.specs, observe(workspace), targets=[str(address)])
    changes = {change.address: change for change in plan.changes}
    config = configs.render([changes[address]], changes, workspace)[address]
    click.echo(config.text.rstrip("\n"))
