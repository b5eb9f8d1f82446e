"""The step that looks at the logs of an experiment."""

from __future__ import annotations

from ftops.errors import Diagnostic, ExternalError
from ftops.experiments.interim_analysis import run_interim_analysis
from ftops.experiments.record import ExperimentRecord
from ftops.experiments.spec.experiment import Experiment
from ftops.plan.apply_events import Notice
from ftops.plan.changes import Change
from ftops.plan.steps import Analyze
from ftops.resources.work import Work


def look(work: Work, change: Change, step: Analyze) -> str:
    """Looks at the data of an experiment as it is now; tells what a person should decide."""
    experiment = work.specs.get(Experiment, step.experiment)
    before = work.records.get(ExperimentRecord.path_of(step.experiment))
    if before is not None and not isinstance(before, ExperimentRecord):
        raise ExternalError(Diagnostic(f"{before.path} is no record of an experiment"))
    record = run_interim_analysis(
        work.workspace, experiment, change, step, before, lambda text: work.emit(Notice(text))
    )
    status = record.status.model_copy(update={"input_commit": work.observed.commit})
    if before is not None and status.model_copy(update={"input_commit": before.status.input_commit}) == before.status:
        status = before.status  # the same found from the same: no commit that says only that it was looked for again
    record = record.model_copy(update={"status": status})
    work.pending[record.path] = record
    for proposal in record.status.proposals:
        work.emit(Notice("\n".join((f"proposed: {proposal.why}", *proposal.diff.splitlines()))))
    return ": ".join((record.found, *(() if record.look is None else record.look.reasons[:1])))
