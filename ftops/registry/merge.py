"""How two accounts of one thing become one record, so that nothing that others wrote is lost."""

from __future__ import annotations

from ftops.errors import Diagnostic, RecordConflict, Where
from ftops.registry.record_files import kind_at
from ftops.resources.record import Record


def merge(tip: Record | None, mine: Record) -> Record:
    """`mine` on top of what stands at the newest tip, by key, so that nothing that others wrote is lost.

    Raises RecordConflict where both claim another result for the same thing.
    """
    kind = kind_at(mine.path)
    if tip is None or kind is None:
        return mine
    if type(tip) is not type(mine):
        raise RecordConflict(Diagnostic(f"{mine.path}: another kind of record stands there", where=Where(mine.path)))
    merged: Record = kind.records().merge(tip, mine)
    return merged


def instead(tip: Record | None, mine: Record) -> Record:
    """What would stand if `mine` won where the two are in conflict, for a person to choose in a pull request."""
    kind = kind_at(mine.path)
    if kind is None or type(tip) is not type(mine):
        return mine
    chosen: Record = kind.records().instead(tip, mine)
    return chosen
