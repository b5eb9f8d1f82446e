"""Who does a step: the only place that knows what a step means. A new class of step is a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ftops.datasets.apply import fetch_data, prepare_data
from ftops.experiments.apply import look
from ftops.models.apply import add_merged, label, register
from ftops.plan.changes import Change
from ftops.plan.steps import (
    AddMerged,
    Analyze,
    Choose,
    CommitRecords,
    FetchData,
    LabelVersion,
    MakeBaseModel,
    MergeWeights,
    MixData,
    PrepareData,
    RegisterVersion,
    Step,
    Train,
)
from ftops.resources.work import Work
from ftops.training.apply import make_base_model, mix, train
from ftops.training.merge import merge
from ftops.training.sweep.choose import choose_member

Doer = Callable[[Work, Change, Any], str]
"""Does a step of a change; returns what came out in a few words."""


def _commit(work: Work, change: Change, step: CommitRecords) -> str:
    return work.commit(work, change)


DOERS: Final[dict[type[Step], Doer]] = {
    FetchData: fetch_data,
    PrepareData: prepare_data,
    MixData: mix,
    MakeBaseModel: make_base_model,
    Train: train,
    MergeWeights: merge,
    Choose: choose_member,
    RegisterVersion: register,
    AddMerged: add_merged,
    LabelVersion: label,
    Analyze: look,
    CommitRecords: _commit,
}
