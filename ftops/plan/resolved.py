"""A field of a spec as it counts, for people who ask why."""

from __future__ import annotations

from dataclasses import dataclass

from ftops.digests import Json
from ftops.errors import Where


@dataclass(frozen=True, slots=True)
class Resolved:
    """A field of a resource as it counts, and where that is said; None where nobody says it and ftops has a default."""

    field: str
    value: Json
    where: Where | None
