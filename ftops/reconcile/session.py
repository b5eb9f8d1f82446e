"""Plans a project, seals the plan, and makes it so: what the command line does, callable without a terminal.

    from pathlib import Path

    from ftops.reconcile.session import Request, apply, open_workspace, plan

    planned = plan(open_workspace(Path()), Request(targets=("Dataset/chat",)))
    for change in planned.plan.changes:
        print(change.address, change.action)
    applied = apply(planned, emit=lambda event: None, agree=lambda more: False)
    print(all(change.ok for change in applied.changes))

Who calls `apply` has agreed to what is planned. What waits for the choice of a sweep can be planned only when that is known:
`agree` is asked for each such plan; without it, the next apply does that.

`ftops.plan.json.plan_json(planned.plan)` is what `ftops plan --out` saves, and `plan_again` makes the same plan of it, or
refuses. What goes wrong is an `FtopsError`: its `diagnostics` say what, where, and what to do. A change that fails ends none of
the others: it is in what `apply` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ftops.datasets.diff import with_rows
from ftops.errors import Diagnostic, StalePlan, UsageError, did_you_mean
from ftops.plan.address import Address
from ftops.plan.apply_events import Applied, ApplyEvent, Notice, RoundEnded
from ftops.plan.changes import Plan, Seal
from ftops.plan.json import saved_seal
from ftops.plan.observed import Observed
from ftops.plan.request import Request
from ftops.plan.run import RunState
from ftops.plan.steps import Resume, Train
from ftops.reconcile.observe import observe, open_workspace
from ftops.reconcile.planner import make_plan, make_seal, moved, undecided
from ftops.resources.workspace import Workspace
from ftops.training import configs
from ftops.training.costs import with_costs
from ftops.training.run_checkpoints import choose
from ftops.training.spec.training_run import run_address

__all__ = ["Planned", "Request", "RoundEnded", "apply", "open_workspace", "plan", "plan_again", "render_config"]

EVERYTHING: Final = Request()


@dataclass(frozen=True, slots=True)
class Planned:
    """A sealed plan, and what it was made for and from. `begins` are the checkpoints that trainings begin at, where the request
    says so."""

    workspace: Workspace
    request: Request
    observed: Observed
    plan: Plan
    begins: Mapping[Address, Resume]

    @property
    def seal(self) -> Seal:
        """What the plan was made from."""
        if self.plan.seal is None:
            raise TypeError("the plan of a session is sealed")
        return self.plan.seal


Emit = Callable[[ApplyEvent | RoundEnded], None]


# ------------------------------------------------------------------------------------------------------- plan


def plan(workspace: Workspace, request: Request = EVERYTHING) -> Planned:
    """The plan for a project as it is now, sealed; nothing is written anywhere.

    Raises PlanError or SpecError with all that stands in the way, UsageError where a training can't begin as it is asked to.
    """
    observed = observe(workspace)
    made = make_plan(
        workspace.specs,
        observed,
        targets=request.targets,
        excludes=request.excludes,
        resumed={run_address(name) for name in request.resumes},
        reruns=request.reruns,
    )
    made = with_rows(made, workspace.specs, observed, workspace.root, workspace.store)
    rendered = configs.render_plan(made, workspace)
    chosen = {run_address(name) for name, where in request.resumes.items() if where}
    configs.check_resumes(made, workspace, rendered, chosen)
    made = with_costs(made, {address: config.tree for address, config in rendered.items()}, workspace, observed)
    digests = {str(address): config.digest for address, config in rendered.items()}
    made = replace(made, seal=make_seal(made, workspace.specs, observed, digests))
    return Planned(workspace, request, observed, made, _begins(workspace, made, observed, request.resumes))


def plan_again(workspace: Workspace, saved: str | bytes) -> Planned:
    """The plan that was saved as JSON, made anew. Raises StalePlan where what it was made from has moved, PlanError where `saved`
    is none."""
    seal, targets, reruns = saved_seal(saved)
    planned = plan(workspace, Request(targets, reruns=reruns))
    if changes := moved(seal, planned.seal):
        raise StalePlan(
            Diagnostic(
                "the saved plan is stale: what it was made from has moved",
                detail="\n".join(changes),
                hint="plan again, and look at that",
            )
        )
    return planned


def render_config(workspace: Workspace, address: Address) -> configs.Config:
    """The Axolotl config of a TrainingRun, as its first attempt gets it. Raises PlanError, and SpecError for what is wrong in it."""
    made = make_plan(workspace.specs, observe(workspace), targets=[str(address)])
    changes = {change.address: change for change in made.changes}
    return configs.render([changes[address]], changes, workspace)[address]


def _begins(workspace: Workspace, made: Plan, observed: Observed, resumes: Mapping[str, str]) -> dict[Address, Resume]:
    """The checkpoint that each chosen run begins at. Raises UsageError where it will not begin, or there is no such one."""
    steps = {step.run: step for change in made.changes for step in change.steps if isinstance(step, Train)}
    begins = {}
    for name, where in resumes.items():
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
        begins[run_address(name)] = Resume(None if source is None else choose(workspace, source, where))
    return begins


# ------------------------------------------------------------------------------------------------------ apply


def apply(
    planned: Planned,
    emit: Emit,
    agree: Callable[[Planned], bool] | None = None,
    results: Path | None = None,
) -> Applied:
    """How every change of `planned` ended, and of the plans for what waited for the choices of sweeps to which `agree` says yes.

    Where there is nothing to do, what an earlier apply left undone is done. With the folder `results`, records are written
    below it, and nothing is committed. Raises ExternalError or UsageError where nothing can be begun: another apply works here,
    the store or git can't be written.
    """
    if not planned.plan.has_changes:
        _catch_up(planned.workspace, emit, writes=results is None)
        return Applied(())
    done = _round(planned, emit, results)
    while agree is not None and (more := _decided(planned, done)) is not None and agree(more):
        ended = _round(more, emit, results)
        done = Applied((*done.changes, *ended.changes), ended.pushed, {**done.written, **ended.written})
    return done


def _round(planned: Planned, emit: Emit, results: Path | None) -> Applied:
    # With all that does the steps: it takes a second to import, and planning does without.
    from ftops.reconcile.apply import apply as make_so

    applied = make_so(planned.plan, planned.workspace, planned.observed, results, emit, planned.begins)
    emit(RoundEnded(planned.plan, applied))
    return applied


def _decided(planned: Planned, done: Applied) -> Planned | None:
    """The plan for what waited in `planned` for the choice of a sweep that is known after what is `done`, and for nothing else,
    as what failed is not tried again; None where nothing waited, or nothing more is known."""
    if not (before := undecided(planned.plan)):
        return None
    workspace = replace(planned.workspace, written={**planned.workspace.written, **done.written})
    request = replace(planned.request, reruns=(), resumes={})
    now = plan(workspace, request).plan
    waited = {change.address for change in planned.plan.changes if change.blocked_by}
    waited -= {each.address for each in done.changes}
    ready = [str(change.address) for change in now.changes if change.address in waited and not change.is_noop]
    if not ready or not undecided(now) < before:
        return None
    return plan(workspace, replace(request, targets=tuple(ready)))


def _catch_up(workspace: Workspace, emit: Emit, *, writes: bool) -> None:
    """What a killed commit left undone in the work tree, and what MLflow and the index lack, is done although nothing else is."""
    from ftops import tracking

    if writes and workspace.repository is not None:
        from ftops.git.branch import heal

        heal(workspace.repository)
    if tracking.pending(workspace.store.root):
        from ftops.reconcile.apply import catch_up

        if left := catch_up(workspace):
            emit(Notice(left))
    if writes and workspace.specs.project.spec.index is not None:
        from ftops.index.update import update_index

        if left := update_index(workspace):
            emit(Notice(left))
