"""What the trainings of a plan would take, and whether that is allowed: counted before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ftops.digests import Json
from ftops.display.numbers import clock, counted, gib
from ftops.errors import Diagnostic, SpecError
from ftops.plan.address import Address
from ftops.plan.changes import Change, Note, NoteKind, Plan
from ftops.plan.details import TrainingDetails
from ftops.plan.estimates import Cost
from ftops.plan.observed import Observed
from ftops.plan.run import RunState, run_id
from ftops.plan.steps import Train
from ftops.training.axolotl.memory_estimate import GIB, Load, checkpoint, memory
from ftops.training.base_model_files import shape_of
from ftops.training.spec.mixture import portions_of
from ftops.training.spec.training_run import TrainingRun, runner_of

if TYPE_CHECKING:
    from ftops.resources.workspace import Workspace
    from ftops.training.axolotl.model_shape import Shape


def with_costs(
    plan: Plan, configs: Mapping[Address, Mapping[str, Json]], workspace: Workspace, observed: Observed
) -> Plan:
    """`plan` with the cost of every training whose rendered config is among `configs`, where the model's shape is known.

    Raises SpecError for each training that can't fit into its GPUs, or that its budget does not allow.
    """
    faults: list[Diagnostic] = []
    changes = []
    for change in plan.changes:
        run = workspace.specs.resources[change.address]
        if change.address in configs and isinstance(run, TrainingRun):
            cost = _cost(change, run, configs[change.address], workspace, observed)
            priced = replace(change, details=replace(change.details_of(TrainingDetails), cost=cost))
            faults += _refusals(priced, run, configs[change.address], workspace)
            changes.append(priced)
        else:
            changes.append(change)
    if faults:
        raise SpecError(*faults)
    places = {each.address: place for place, each in enumerate(changes)}
    return replace(plan, changes=tuple(_summed(each, changes, places) for each in changes))


def _summed(change: Change, changes: Sequence[Change], places: Mapping[Address, int]) -> Change:
    """`change`; where it is of a sweep, with what those of its members take together that are to be trained, as far as it is known.

    `places` says where in `changes` each is: nearly no change is of a sweep, and none is worth a walk over all of them.
    """
    if change.selected_member is None:
        return change
    needed = [changes[place] for place in sorted({places[each] for each in change.needs if each in places})]
    members = [each for each in needed if any(isinstance(step, Train) for step in each.steps)]
    if len(members) < 2:
        return change
    said = [counted(len(members), "training")]
    details = [each.details_of(TrainingDetails) for each in members]
    costs = [each.cost for each in details if each.cost is not None]
    steps = [each.steps for each in costs if each.steps is not None]
    times = [each.estimate.seconds for each in details if each.estimate is not None]
    disk = [each.disk for each in costs]
    if len(steps) == len(members):
        said.append(counted(sum(steps), "step"))
    if len(times) == len(members):
        said.append(f"about {clock(sum(times))} of training")
    if len(disk) == len(members):
        said.append(f"{gib(sum(disk))} on the disk")
    together = Note(NoteKind.STATE, f"together {', '.join(said)}")
    return replace(change, notes=(together, *change.notes))


def _cost(
    change: Change, run: TrainingRun, config: Mapping[str, Json], workspace: Workspace, observed: Observed
) -> Cost | None:
    shape = shape_of(run, workspace.specs.resources, workspace.root)
    if shape is None:
        return None
    gpus = runner_of(run, workspace.specs.project).gpus
    load = Load.of(shape, config, gpus)
    measured, like = _measured(run, observed)
    final = load.trainable * (4 if load.adapted else load.width)
    return Cost(
        parameters=shape.parameters,
        trainable=load.trainable,
        memory=memory(load, cpu=gpus == 0),
        gpus=gpus,
        # While one more is being written, those that are kept are still there.
        disk=checkpoint(load) * (run.spec.checkpoints.keep + 1) + final,
        steps=steps(config, _rows(change, run, observed), gpus),
        measured=measured,
        like=like,
    )


def steps(config: Mapping[str, Json], rows: int | None, gpus: int) -> int | None:
    """How many steps `config` trains: as many as it says, or as go through its epochs; None where the rows are not known.

    Packing puts several rows into one: how many, only their tokens tell.
    """
    if isinstance(most := config.get("max_steps"), int) and most > 0:
        return most
    if rows is None or config.get("sample_packing"):
        return None
    rows *= 2 if config.get("rl") == "kto" else 1  # a pair makes two
    step = int(config.get("micro_batch_size") or 1) * int(config.get("gradient_accumulation_steps") or 1) * max(gpus, 1)
    return math.ceil(rows * float(config.get("num_epochs") or 1) / step)  # as Axolotl rounds: once, at the end


def _rows(change: Change, run: TrainingRun, observed: Observed) -> int | None:
    """The rows of the train splits, as the records say of just this data."""
    weights = dict(portions_of(change.inputs))
    known = [observed.datasets.get(each.name) for each in run.spec.portions]
    rows = [
        each.train_rows * weights[each.digest]
        for each in known
        if each is not None and each.train_rows is not None and each.digest in weights
    ]
    return math.ceil(sum(rows)) if len(rows) == len(known) else None


def _measured(run: TrainingRun, observed: Observed) -> tuple[int | None, str | None]:
    """The most memory that the newest run of this resource took, and which it was."""
    history = observed.runs.get(run.metadata.name)
    known = [] if history is None else [each for each in history.runs.values() if each.memory is not None]
    known = [each for each in known if each.phase is RunState.SUCCEEDED]
    if history is None or not known:
        return None, None
    newest = max(known, key=lambda each: each.digest == history.current)
    return newest.memory, run_id(run.metadata.name, newest.digest)


def _refusals(
    change: Change, run: TrainingRun, config: Mapping[str, Json], workspace: Workspace
) -> Iterator[Diagnostic]:
    details, budget = change.details_of(TrainingDetails), run.spec.budget
    cost, estimate = details.cost, details.estimate
    runner = runner_of(run, workspace.specs.project)
    room = runner.capabilities.gpu_memory
    where = workspace.specs.where
    if cost is not None and room is not None and cost.memory.low > room:
        shape = shape_of(run, workspace.specs.resources, workspace.root)
        yield Diagnostic(
            f"needs {gib(cost.memory.low)} to {gib(cost.memory.high)} of each GPU, which has {gib(room)}",
            hint=what_fits(shape, config, runner.gpus, room) if shape else "",
            address=str(change.address),
            where=where(change.address, ("spec",)),
        )
    if cost is not None and budget.disk_gib is not None and cost.disk > budget.disk_gib * GIB:
        yield Diagnostic(
            f"leaves {gib(cost.disk)} of checkpoints and weights, more than its budget of {budget.disk_gib:g} GiB",
            hint="keep fewer checkpoints (checkpoints.keep), train an adapter, or raise budget.diskGiB",
            address=str(change.address),
            where=where(change.address, ("spec", "budget", "diskGiB")),
        )
    if estimate is not None and budget.gpu_hours is not None:
        hours = estimate.seconds / 3600 * max(runner.gpus, 1)
        if hours > budget.gpu_hours:
            yield Diagnostic(
                f"takes about {hours:,.1f} GPU hours, by what {estimate.like} took, more than its budget of "
                f"{budget.gpu_hours:g}",
                hint="train fewer steps, or raise budget.gpuHours",
                address=str(change.address),
                where=where(change.address, ("spec", "budget", "gpuHours")),
            )


def what_fits(shape: Shape, config: Mapping[str, Json], gpus: int, room: int, *, surely: bool = False) -> str:
    """The least change of `config` with which it is expected to fit into `room` bytes of each GPU, with the arithmetic.

    With `surely` it fits also where more is needed than expected: what is expected was not enough.
    """
    lighter: dict[str, Json] = {}
    said: list[str] = []
    for key, value, words in _LIGHTER:
        if config.get(key) == value:
            continue
        lighter |= {key: value, **({"load_in_4bit": True} if value == "qlora" else {})}
        said.append(words)
        needed = memory(Load.of(shape, {**config, **lighter}, gpus))
        if (needed.high if surely else needed.expected) <= room:
            return f"{' and '.join(said)} would take about {gib(needed.expected)} of its {gib(room)}"
    return "none of gradient checkpointing, a micro batch of 1 and 4 bits is enough: divide it (`distributed`), or take larger GPUs"


_LIGHTER: Final[tuple[tuple[str, Json, str], ...]] = (
    ("gradient_checkpointing", True, "gradient_checkpointing: true"),
    ("micro_batch_size", 1, "micro_batch_size: 1"),
    ("adapter", "qlora", "the adapter qlora"),
)
"""What makes a training take less of a GPU, the one first that costs least."""
