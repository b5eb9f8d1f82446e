"""The record of an experiment: what was declared, every look at its data, and what followed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ftops.experiments.analysis.interim_result import Look, Verdict
from ftops.plan.changes import Json
from ftops.resources.fields import Strict
from ftops.training.record import FOLDER, Digest, RecordMetadata


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
    looks: dict[str, Look] = Field(default_factory=dict)


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


class ExperimentRecord(Strict):
    api_version: Literal["ftops/v1"] = "ftops/v1"
    kind: Literal["ExperimentRecord"] = "ExperimentRecord"
    metadata: RecordMetadata
    status: ExperimentStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def path(self) -> str:
        return f"{FOLDER}experiments/{self.metadata.name}.yaml"

    @property
    def look(self) -> Look | None:
        """The last look of the current phase."""
        looks = self.status.phases[self.status.current].looks
        return looks[max(looks, key=int)] if looks else None
