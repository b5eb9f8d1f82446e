"""Where a resource stands."""

from __future__ import annotations

from dataclasses import dataclass

from ftops.plan.address import Address


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a resource stands: recorded, going on, or not there yet. `eta` in seconds."""

    address: Address
    phase: str
    run: str | None = None
    step: int | None = None
    max_steps: int | None = None
    eta: float | None = None
