"""What people read of a record, beside it."""

from __future__ import annotations

from collections.abc import Mapping

from ftops.registry.record_files import kind_at
from ftops.resources.record import Record


def documents(record: Record) -> Mapping[str, bytes]:
    """What people read of a record, beside it, by path."""
    kind = kind_at(record.path)
    return {} if kind is None else kind.records().documents(record)
