"""The kind Experiment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.experiments.spec.experiment import Experiment
from ftops.experiments.spec.references import check_experiments
from ftops.plan.standing import Standing
from ftops.resources.kind import IndexTables, Kind, Outcome, Records, Surveyed

if TYPE_CHECKING:
    from ftops.experiments.record import ExperimentRecord
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.resources.work import Work


@cache
def _records() -> Records[ExperimentRecord]:
    from ftops.experiments.record import ExperimentRecord, fold, merge_looks

    return Records(ExperimentRecord, fold, merge_looks, documents=_documents)


def _documents(record: ExperimentRecord) -> Mapping[str, bytes]:
    from ftops.experiments.report.page import experiment_documents  # Jinja

    return experiment_documents(record)


def _index() -> IndexTables[ExperimentRecord]:
    from ftops.experiments.index_tables import INDEX

    return INDEX


def _outcome(work: Work, change: Change) -> Outcome:
    from ftops.experiments.record import ExperimentRecord

    looks = [each for each in work.pending.values() if isinstance(each, ExperimentRecord)]
    return Outcome(looks, ", ".join(each.found for each in looks))


def _standing(address: Address, surveyed: Surveyed) -> Standing:
    state = surveyed.observed.experiments.get(address.name)
    return Standing(address, "pending" if state is None else state.verdict or state.state)


EXPERIMENT: Final = Kind(Experiment, "experiments", _records, _index, _outcome, _standing, check_experiments)
