"""Where each resource of the specs stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ftops.plan.address import Address
from ftops.plan.observed import Observed
from ftops.plan.run import Run, RunState, run_id
from ftops.plan.sweep_choice import Choice
from ftops.resources.workspace import Workspace
from ftops.store.store import Store
from ftops.training.sweep.members import Sweep


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a resource stands: recorded, going on, or not there yet. `eta` in seconds."""

    address: Address
    phase: str
    run: str | None = None
    step: int | None = None
    max_steps: int | None = None
    eta: float | None = None


def standings(workspace: Workspace, observed: Observed) -> tuple[Standing, ...]:
    """Every resource of the specs and where it stands; a training that goes on here counts before what is recorded."""
    live: dict[str, Run] = {}
    for run in observed.live.values():
        if run.name not in live or run.state is RunState.RUNNING:
            live[run.name] = run
    return tuple(
        _chosen(address, observed.sweeps.get(address.name))
        if isinstance(resource, Sweep)
        else _standing(address, workspace.store, observed, live)
        for address, resource in workspace.specs.resources.items()
    )


def _chosen(address: Address, choice: Choice | None) -> Standing:
    """Where a sweep stands: it has chosen, could not, or has not begun to."""
    if choice is None or choice.best is None:
        return Standing(address, "pending" if choice is None else "failed")
    return Standing(address, "chosen", run_id(choice.best.name, choice.best.digest))


def _standing(address: Address, store: Store, observed: Observed, live: Mapping[str, Run]) -> Standing:
    if address.kind == "Dataset":
        recorded = observed.datasets.get(address.name)
        return Standing(address, "pending" if recorded is None else "pruned" if recorded.pruned else "prepared")
    if address.kind == "Experiment":
        state = observed.experiments.get(address.name)
        return Standing(address, "pending" if state is None else state.verdict or state.state)
    if address.kind == "Model":
        return Standing(address, "registered" if observed.versions.get(address.name) else "pending")
    run, history = live.get(address.name), observed.runs.get(address.name)
    if run is not None and (run.state is RunState.RUNNING or history is None):
        from ftops.training.follow import remaining_seconds  # see _live

        eta = remaining_seconds(store, run) if run.state is RunState.RUNNING else None
        return Standing(address, run.state.value, run.id, run.step, run.max_steps, eta)
    if history is None:
        return Standing(address, RunState.PENDING.value)
    return Standing(address, history.runs[history.current].phase.value, run_id(address.name, history.current))
