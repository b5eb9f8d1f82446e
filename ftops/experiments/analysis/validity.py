"""Whether the data may be believed: before anything is concluded from it, and whatever it seems to show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ftops.display.numbers import percent
from ftops.experiments.analysis.interim_result import Response, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ftops.experiments.analysis.observations import Observations
    from ftops.experiments.spec.experiment import ExperimentSpec

BLOCKS: Final = 0.001
WARNS: Final = 0.01
"""p-values of a mismatch: low, because it is tested at every look."""
ANSWERS_BLOCK: Final = 0.01
ANSWERS_WARN: Final = 0.05
"""p-values of unequal answers: not as low, because a small difference of who answers moves the means by as much as an effect."""
MISASSIGNED_BLOCKS: Final = 0.05
MISASSIGNED_WARNS: Final = 0.01
"""Shares of the rows that are not in the arm that the hash gives."""


@dataclass(frozen=True, slots=True)
class Validity:
    """What was tested, and in sentences what forbids a verdict (`faults`) and what a reader should know (`cautions`)."""

    srm: Split
    response: Response
    faults: tuple[str, ...]
    cautions: tuple[str, ...]


def examine(spec: ExperimentSpec, observations: Observations, answered: NDArray[np.float64]) -> Validity:
    """Tests the split, the share of answers, and the arms of the rows. `answered` counts for each unit its rows with a value
    of the primary metric."""
    srm, response = split(spec, observations), answers(spec, observations, answered)
    found = [*_of_split(srm), *_of_answers(response, spec), *_of_arms(observations)]
    faults = tuple(text for blocks, text in found if blocks)
    return Validity(srm, response, faults, tuple(text for blocks, text in found if not blocks))


def split(spec: ExperimentSpec, observations: Observations) -> Split:
    """The units of each arm against its weight, by chi-square."""
    import numpy as np

    from ftops.statistics.sample_ratio import srm

    counts = np.bincount(observations.arm, minlength=len(observations.arms))
    units = {name: int(count) for name, count in zip(observations.arms, counts, strict=True)}
    weights = {name: spec.arms[name].weight for name in observations.arms}
    expected = {name: observations.units * weight for name, weight in weights.items()}
    return Split(units=units, expected=expected, p_value=srm(units, weights) if observations.units else None)


def answers(spec: ExperimentSpec, observations: Observations, answered: NDArray[np.float64]) -> Response:
    """The share of rows with a value of the primary metric in each arm, clustered by unit."""
    import numpy as np

    from ftops.statistics.sample_ratio import response

    rows = np.bincount(observations.unit, minlength=observations.units).astype(np.float64)
    names = observations.arms
    seen = np.bincount(observations.arm, weights=rows, minlength=len(names))
    told = np.bincount(observations.arm, weights=answered, minlength=len(names))
    rates = {name: float(told[index] / seen[index]) if seen[index] else None for index, name in enumerate(names)}
    if told.sum() == seen.sum():
        return Response(rates=rates)
    base = observations.arm == names.index(spec.baseline)
    found = []
    for index, name in enumerate(names):
        if name != spec.baseline and rates[name] is not None and rates[spec.baseline] is not None:
            mine = observations.arm == index
            found.append(response(answered[mine], rows[mine], answered[base], rows[base]))
    tested = [each for each in found if each is not None]
    return Response(rates=rates, p_value=min(1.0, min(tested) * len(tested)) if tested else None)


def _of_split(srm: Split) -> Iterator[tuple[bool, str]]:
    if srm.p_value is None or srm.p_value >= WARNS:
        return
    total = sum(srm.units.values())
    shares = ", ".join(
        f"{name} has {count:,} ({percent(count / total)} instead of {percent(srm.expected[name] / total)})"
        for name, count in srm.units.items()
    )
    blocks = srm.p_value < BLOCKS
    often = f"once in {1 / srm.p_value:,.0f} times" if srm.p_value > 1e-6 else "less than once in a million times"
    words = "The users are not split as declared" if blocks else "The split of the users looks odd"
    yield (
        blocks,
        (
            f"{words}: {shares}; chance alone does this {often}. "
            "Some of them are lost or counted twice in one arm, so the arms are not comparable."
        ),
    )


def _of_answers(response: Response, spec: ExperimentSpec) -> Iterator[tuple[bool, str]]:
    if response.p_value is None or response.p_value >= ANSWERS_WARN:
        return
    rates = ", ".join(f"{name} {percent(rate)}" for name, rate in response.rates.items() if rate is not None)
    blocks = response.p_value < ANSWERS_BLOCK
    follows = (
        "who answers in one arm is not like who answers in the other, so their values can't be compared."
        if blocks
        else "should that not be chance, who answers in one arm is not like who answers in the other."
    )
    yield blocks, f"The arms have a value of {spec.metric.name} for different shares of their rows ({rates}): {follows}"


def _of_arms(observations: Observations) -> Iterator[tuple[bool, str]]:
    rows = observations.rows
    seen = rows.kept + rows.misassigned
    share = rows.misassigned / seen if seen else 0.0
    if share > MISASSIGNED_WARNS:
        blocks = share > MISASSIGNED_BLOCKS
        yield (
            blocks,
            (
                f"{percent(share)} of the rows are in another arm than the declared assignment gives their user: "
                "the application assigns in some other way (another seed, other weights, its own list)."
                + ("" if blocks else " They were left out.")
            ),
        )
