"""A look at an experiment's logs → the record that says what was found."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.digests import Json
from ftops.errors import FtopsError
from ftops.experiments.analysis import InterimResult, analyze, wanted
from ftops.experiments.analysis.observations import Wanted, seconds
from ftops.experiments.record import Conclusion, ExperimentRecord, ExperimentStatus, Phase, PhaseArm
from ftops.experiments.spec.experiment import RUNNING, Experiment
from ftops.experiments.spec_edits import propose
from ftops.plan.changes import Change
from ftops.plan.steps import Analyze
from ftops.resources.project import FromEnvironment
from ftops.resources.record import RecordMetadata
from ftops.resources.workspace import Workspace

if TYPE_CHECKING:
    from ftops.experiments.analysis.observations import Observations

_DIGITS: Final = 10
"""Digits that a record keeps of a figure: more differ between machines, and hide in a diff what changed."""


def read_logs(root: Path, experiment: Experiment, rows: Wanted) -> Observations:
    """What the logs say that the spec of `experiment` names: its files below `root`, or its table.

    Raises ChecksFailed where no row can be used, ExternalError where they can't be read.
    """
    logs = experiment.spec.logs
    if logs.sql is not None:
        url = logs.sql.url
        if isinstance(url, FromEnvironment):
            url = url.read(os.environ, "spec.logs.sql.url")
        from ftops.experiments.logs.sql import read_sql  # SQLAlchemy: only those whose rows are in a table wait for it

        return read_sql(_from_root(url, root), logs.sql.table, rows)
    from ftops.experiments.logs.files import LogFile, names  # numpy and Arrow, which only a look needs
    from ftops.experiments.logs.read_files import read

    files = [LogFile.of_project(root, name) for name in names(root, logs.path or "")]
    return read(files, rows)


def _from_root(url: str, root: Path) -> str:
    """`url`, in which a path of SQLite counts from the project, wherever ftops was called."""
    start = "sqlite:///"
    return f"{start}{(root / url.removeprefix(start)).absolute()}" if url.startswith(start) else url


def run_interim_analysis(
    workspace: Workspace,
    experiment: Experiment,
    change: Change,
    step: Analyze,
    before: ExperimentRecord | None,
    tell: Callable[[str], None],
) -> ExperimentRecord:
    """The record after one more look; the same look again where the data is what it was.

    An experiment that ends does so also when its logs can't be read any more: by its last look, which `tell` is told.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    phases = {} if before is None else dict(before.status.phases)
    if step.opens and before is not None:
        ended = phases[before.status.current].ended_at or now
        phases[before.status.current] = phases[before.status.current].model_copy(update={"ended_at": ended})
    phase = phases.get(step.phase) or Phase(started_at=_start(change.inputs, before, now), arms=_arms(change.inputs))
    if step.phase in phases:
        phase = phase.model_copy(update={"arms": _arms(change.inputs)})
    rows = wanted(experiment, seconds(phase.started_at), seconds(phase.ended_at))
    running = experiment.spec.state == RUNNING
    try:
        phase = _looked(phase, experiment, read_logs(workspace.root, experiment, rows), now)
    except FtopsError as error:
        if running:
            raise
        tell(f"{experiment.address} ends by its last look, because its logs can't be used: {error}")
    phases[step.phase] = phase if running else phase.model_copy(update={"ended_at": phase.ended_at or now})
    last = _last(phase)
    models = {name: arm.model for name, arm in phase.arms.items()}
    proposals = (
        () if last is None or not running else propose(workspace.root, workspace.specs, experiment, last, models)
    )
    return ExperimentRecord(
        metadata=RecordMetadata(name=experiment.metadata.name),
        status=ExperimentStatus(
            phase=experiment.spec.state,
            inputs=change.inputs,
            digest=change.digest or "",
            current=step.phase,
            phases=phases,
            traffic=_traffic(last),
            proposals=proposals,
            conclusion=None if running else _conclusion(experiment, phases[step.phase], last),
        ),
    )


def _start(inputs: Json, before: ExperimentRecord | None, now: str) -> str | None:
    """When a new phase begins. The first one has every row of the spec's period; a later one those from now on, or from the
    start of the period where that was moved."""
    if before is None:
        return None
    then, start = (tree.get("period", {}).get("start") for tree in (before.status.inputs, inputs))
    return now if start is None or start == then else str(start)


def _arms(inputs: Json) -> dict[str, PhaseArm]:
    return {
        name: PhaseArm(
            model=arm["model"],
            weight=arm["weight"],
            baseline=name == inputs["baseline"],
            ranges=tuple((start, end) for start, end in arm["ranges"]),
        )
        for name, arm in inputs["arms"].items()
    }


def _looked(phase: Phase, experiment: Experiment, observations: Observations, now: str) -> Phase:
    """The phase with one more look; as it is where there are no rows, or the same as at the last look."""
    last = _last(phase)
    if not observations.units or (last is not None and last.data_digest == observations.digest):
        return phase
    earlier = [phase.looks[number] for number in sorted(phase.looks, key=int)]
    found = analyze(experiment.spec, observations, earlier).model_copy(update={"taken_at": now})
    # The pictures are of the last look's data, which holds that of the looks before.
    plain = {key: each.model_copy(update={"days": (), "distributions": ()}) for key, each in phase.looks.items()}
    looks = {
        **plain,
        str(found.number): InterimResult.model_validate(_short(found.model_dump(mode="json")), strict=False),
    }
    return phase.model_copy(update={"looks": looks})


def _short(tree: Json) -> Json:
    """`tree` with its figures cut to as many digits as a record keeps."""
    match tree:
        case float():
            return float(f"{tree:.{_DIGITS}g}")
        case dict():
            return {key: _short(value) for key, value in tree.items()}
        case list():
            return [_short(value) for value in tree]
        case _:
            return tree


def _last(phase: Phase) -> InterimResult | None:
    return phase.looks[max(phase.looks, key=int)] if phase.looks else None


def _traffic(look: InterimResult | None) -> float | None:
    """New units a day."""
    first, last = (None, None) if look is None else (seconds(look.first), seconds(look.last))
    if look is None or first is None or last is None:
        return None
    days = max((last - first) / 86400, 1.0)
    return float(f"{sum(arm.exposed for arm in look.arms.values()) / days:.4g}")


def _conclusion(experiment: Experiment, phase: Phase, look: InterimResult | None) -> Conclusion:
    winner = None if look is None else look.winner
    guardrails = {
        each.metric: each.guardrail
        for each in (() if look is None else look.comparisons)
        if each.arm == winner and each.guardrail is not None
    }
    return Conclusion(
        verdict=None if look is None else look.verdict,
        winner=winner,
        model=None if winner is None else phase.arms[winner].model,
        baseline=phase.arms[experiment.spec.baseline].model,
        metric=experiment.spec.metric.name,
        guardrails=guardrails,
        data_digest=None if look is None else look.data_digest,
        simulated=look is not None and look.simulated,
        reason=experiment.spec.reason.strip(),
        ended_at=phase.ended_at or "",
    )
