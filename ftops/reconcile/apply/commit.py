"""The step that commits what came out for a resource."""

from __future__ import annotations

from ftops.plan.changes import Change
from ftops.reconcile.write_back import WriteBack
from ftops.resources.work import Work
from ftops.specs.kinds import kind_of


def commit(write_back: WriteBack, work: Work, change: Change) -> str:
    """Writes what came out for a resource; says in a few words where it went."""
    kind = kind_of(work.specs.resources[change.address])
    outcome = kind.outcome(work, change)
    said = write_back.write(outcome.records, f"ftops: {change.address} {outcome.subject}", outcome.trailers)
    kind.committed(work, outcome.records)
    return said
