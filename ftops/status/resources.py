"""Where each resource of the specs stands."""

from __future__ import annotations

from ftops.plan.observed import Observed
from ftops.plan.run import Run, RunState
from ftops.plan.standing import Standing
from ftops.resources.kind import Surveyed
from ftops.resources.workspace import Workspace
from ftops.specs.kinds import kind_of


def standings(workspace: Workspace, observed: Observed) -> tuple[Standing, ...]:
    """Every resource of the specs and where it stands; a training that goes on here counts before what is recorded."""
    live: dict[str, Run] = {}
    for run in observed.live.values():
        if run.name not in live or run.state is RunState.RUNNING:
            live[run.name] = run
    surveyed = Surveyed(observed, live, workspace.store)
    return tuple(
        kind_of(resource).standing(address, surveyed) for address, resource in workspace.specs.resources.items()
    )
