"""What the data of an experiment says, and what may be concluded from it. Pure.

`observations` are the rows as columns, `outcomes` one figure a unit, `compare` effects, `stopping_rule` when they may be
called results, `validity` whether the data may be believed, `verdict` what follows, `make_result` all of it in turn, and
`interim_result` the value that keeps it. No module of the room is called `analyze`: it would take the function's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.analysis.observations import wanted

if TYPE_CHECKING:
    from ftops.experiments.analysis.observations import Observations
    from ftops.experiments.spec.experiment import ExperimentSpec

__all__ = ["InterimResult", "analyze", "wanted"]


def analyze(
    spec: ExperimentSpec,
    observations: Observations,
    earlier: Sequence[InterimResult] = (),
    fractions: Sequence[float] = (),
) -> InterimResult:
    """One more look at an experiment: at all of its data, after the looks `earlier` at parts of it.

    `fractions` are parts of the target at which it was looked at before, where nothing else is known of these looks.
    """
    from ftops.experiments.analysis.make_result import (
        take,  # numpy and scipy: whoever only reads records does not wait for them
    )

    return take(spec, observations, earlier, fractions)
