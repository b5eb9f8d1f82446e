"""The kind Model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from ftops.models.references import check_models
from ftops.models.spec import ARCHIVED, Model
from ftops.plan.standing import Standing
from ftops.resources.kind import IndexTables, Kind, Outcome, Records, Surveyed

if TYPE_CHECKING:
    from ftops.models.record import ModelRecord
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.resources.record import Record
    from ftops.resources.work import Work


@cache
def _records() -> Records[ModelRecord]:
    from ftops.models.record import ModelRecord, fold, kept, merge_versions

    return Records(ModelRecord, fold, merge_versions, kept=kept)


def _index() -> IndexTables[ModelRecord]:
    from ftops.models.index_tables import INDEX

    return INDEX


def _outcome(work: Work, change: Change) -> Outcome:
    from ftops.models.record import ModelRecord

    versions = [each for each in work.pending.values() if isinstance(each, ModelRecord)]
    return Outcome(versions, f"registered: {', '.join(each.metadata.version for each in versions)}")


def _committed(work: Work, records: Sequence[Record]) -> None:
    """Asks for the versions, as they are labelled now, to be seen in MLflow."""
    from ftops import tracking
    from ftops.models.record import ModelRecord

    for record in records:
        if isinstance(record, ModelRecord):
            aliases = tuple(alias for alias in record.status.aliases if alias != ARCHIVED)
            tracking.request_version(
                work.store.root,
                tracking.ModelTracking(
                    name=record.metadata.name,
                    version=record.metadata.version,
                    run_id=record.status.run_id,
                    weights=record.status.output,
                    merged=None if (merged := record.status.merged) is None else merged.output,
                    aliases=aliases,
                    tags=record.status.tags,
                    archived=ARCHIVED in record.status.aliases,
                ),
            )


def _standing(address: Address, surveyed: Surveyed) -> Standing:
    return Standing(address, "registered" if surveyed.observed.versions.get(address.name) else "pending")


MODEL: Final = Kind(
    Model, "models", _records, _index, _outcome, _standing, check_models, committed=_committed, versioned=True
)
