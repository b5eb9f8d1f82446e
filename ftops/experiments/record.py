"""The record of an experiment: what was declared, every look at its data, and what followed."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from ftops.digests import Json
from ftops.errors import Diagnostic, RecordConflict, Where
from ftops.experiments.analysis.interim_result import InterimResult, Verdict
from ftops.plan.observed import ExperimentState
from ftops.resources.fields import Strict
from ftops.resources.record import Digest, Record


class PhaseArm(Strict):
    """An arm as it was in a phase: the version that its model's name or alias stood for, and its buckets of 10,000."""

    model: str
    weight: float
    baseline: bool = False
    ranges: tuple[tuple[int, int], ...] = ()


class Phase(Strict):
    """A time in which the arms stayed the same. `started_at` is None where every row from the first on counts.

    Of the looks only the last one has days and distributions: it was taken at all the data of those before it.
    """

    started_at: str | None = None
    ended_at: str | None = None
    arms: dict[str, PhaseArm]
    looks: dict[str, InterimResult] = Field(default_factory=dict)


class Proposal(Strict):
    """An edit of a spec that a person may make; ftops never makes it. `diff` is a unified one, of `file`."""

    why: str
    file: str
    diff: str


class Conclusion(Strict):
    """How an experiment ended: what a gate that asks for a concluded experiment reads."""

    verdict: Verdict | None
    winner: str | None = None
    model: str | None = None
    """The version that won, as `model@version`."""
    baseline: str
    """The version that the others were compared with."""
    metric: str
    guardrails: dict[str, Literal["kept", "open", "broken"]] = Field(default_factory=dict)
    """Of the winner, by metric."""
    data_digest: str | None = None
    simulated: bool = False
    reason: str
    ended_at: str


class ExperimentStatus(Strict):
    """`inputs` is what was declared. `traffic`: new units a day, by what the last look saw."""

    phase: Literal["running", "stopped", "concluded"]
    inputs: Json
    digest: Digest
    current: str
    phases: dict[str, Phase]
    traffic: float | None = None
    proposals: tuple[Proposal, ...] = ()
    conclusion: Conclusion | None = None
    input_commit: str | None = None


class ExperimentRecord(Record):
    folder: ClassVar = "experiments"

    kind: Literal["ExperimentRecord"] = "ExperimentRecord"
    status: ExperimentStatus

    @property
    def found(self) -> str:
        """What was found, in a few words: the verdict, or that it began or ended."""
        ended = self.status.conclusion
        verdict = "started" if self.look is None else f"look {self.look.number}: {self.look.verdict}"
        return verdict if ended is None else f"{self.status.phase}: {ended.verdict or 'no data'}"

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def look(self) -> InterimResult | None:
        """The last look of the current phase."""
        looks = self.status.phases[self.status.current].looks
        return looks[max(looks, key=int)] if looks else None


def merge_looks(tip: ExperimentRecord, mine: ExperimentRecord) -> ExperimentRecord:
    """Every look of both; two that were taken at different data under one number can't both be that look."""
    phases = dict(tip.status.phases)
    for number, phase in mine.status.phases.items():
        there = phases.get(number)
        for look, found in phase.looks.items():
            other = None if there is None else there.looks.get(look)
            if other is not None and other.data_digest != found.data_digest:
                raise RecordConflict(
                    Diagnostic(
                        f"{mine.path}: look {look} of phase {number} was taken twice, at different data",
                        hint="keep the committed one and run `ftops apply` again: it takes the next look",
                        where=Where(mine.path),
                    )
                )
        looks = {} if there is None else there.looks
        phases[number] = phase.model_copy(update={"looks": {**looks, **phase.looks}})
    return mine.model_copy(update={"status": mine.status.model_copy(update={"phases": phases})})


def experiment_state(record: ExperimentRecord) -> ExperimentState:
    status, look = record.status, record.look
    state = ExperimentState(
        status.phase,
        status.inputs,
        status.current,
        traffic=status.traffic,
        proposals=tuple(each.why for each in status.proposals),
    )
    if look is None:
        return state
    return replace(
        state,
        looks=look.number,
        fraction=look.fraction,
        mean=look.arms[status.inputs["baseline"]].mean,
        verdict=look.verdict,
        decided=look.decided_at is not None,
    )


def fold(known: dict[str, ExperimentState], record: ExperimentRecord) -> None:
    known[record.metadata.name] = experiment_state(record)
