"""The records of data sets, runs and model versions."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from ftops.datasets.record import DatasetReport
from ftops.plan.changes import Json, RunState
from ftops.resources.fields import Name, Semver, Strict
from ftops.training.axolotl.failure_classes import Fault

FOLDER: Final = "registry/"
Digest = str


class RecordMetadata(Strict):
    name: Name


class SourceEntry(Strict):
    """Which content a file of a spec had: its digest, and that of the DVC pointer that covered it."""

    digest: str
    pointer: str | None = None


class DatasetStatus(Strict):
    """`pruned`: its prepared rows were removed on purpose; what is known of them stays. `same_rows` are digests that it had
    before, with the same rows: only what is reported of them was another."""

    phase: Literal["prepared", "pruned"]
    digest: Digest
    inputs: Json
    same_rows: tuple[Digest, ...] = ()
    sources: dict[str, SourceEntry]
    report: DatasetReport
    prepared_at: str
    input_commit: str | None = None


class DatasetRecord(Strict):
    api_version: Literal["ftops/v1"] = "ftops/v1"
    kind: Literal["DatasetRecord"] = "DatasetRecord"
    metadata: RecordMetadata
    status: DatasetStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def path(self) -> str:
        return f"{FOLDER}datasets/{self.metadata.name}.yaml"


class CheckpointEntry(Strict):
    """A checkpoint that an attempt left: its bytes, what was measured at its step, and why it must not be used, if so."""

    size: int
    metrics: dict[str, float] = Field(default_factory=dict)
    torn: str | None = None


class Attempt(Strict):
    """One process of a run: how far it came, how it ended, and the checkpoints that it left, by step."""

    phase: RunState
    started_at: str | None = None
    ended_at: str | None = None
    step: int | None = None
    resumed_from: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    fault: Fault | None = None
    reason: str | None = None
    checkpoints: dict[str, CheckpointEntry] | None = None


class FileEntry(Strict):
    sha256: Digest
    size: int


class Sample(Strict):
    """A prompt, what the data answer, and what the model answered before and after the training, as far as it did."""

    prompt: str
    reference: str
    before: str | None = None
    after: str | None = None


class Samples(Strict):
    """Rows of a split, and what a model made of them."""

    split: Literal["validation", "train"]
    rows: tuple[Sample, ...]


class RunEntry(Strict):
    """One training of one digest. A person asked to train it again after attempt `rerun_after`, if any."""

    id: str
    phase: RunState
    inputs: Json
    engine: str
    config_digest: Digest
    attempts: dict[str, Attempt]
    steps: int | None = None
    max_steps: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    output: str | None = None
    weights: dict[str, FileEntry] = Field(default_factory=dict)
    samples: Samples | None = None
    rerun_after: int | None = None
    input_commit: str | None = None

    @property
    def final_attempt(self) -> int:
        """The attempt whose result is the run's; 0 where it has none."""
        return 0 if self.output is None else int(self.output.split("/attempt-")[1].partition("/")[0])

    @property
    def measured(self) -> dict[str, float]:
        """The metrics of what the run ends with, as its evaluation names them: those of its best checkpoint, where the run ends
        with that, else the last ones. Empty where it has no result."""
        last = self.attempts.get(str(self.final_attempt))
        if last is None:
            return {}
        names = {"loss": "loss", "evalLoss": "eval_loss"}
        found = {names[name]: value for name, value in self.metrics.items() if name in names}
        saved = [
            each.metrics for _, each in sorted((int(step), each) for step, each in (last.checkpoints or {}).items())
        ]
        newest = {name: value for metrics in saved for name, value in metrics.items()} | found
        if (best := self.inputs.get("best")) is None:
            return newest
        name, way = best["metric"], min if best["mode"] == "min" else max
        known = [metrics for metrics in saved if name in metrics]
        return newest | (way(known, key=lambda metrics: metrics[name]) if known else {})


class RunStatus(Strict):
    phase: RunState
    current: Digest
    runs: dict[Digest, RunEntry]


class RunRecord(Strict):
    api_version: Literal["ftops/v1"] = "ftops/v1"
    kind: Literal["RunRecord"] = "RunRecord"
    metadata: RecordMetadata
    status: RunStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return tuple(entry.input_commit for entry in self.status.runs.values())

    @property
    def path(self) -> str:
        return f"{FOLDER}runs/{self.metadata.name}.yaml"


class ModelRecordMetadata(Strict):
    name: Name
    version: Semver


class ModelDigests(Strict):
    data: Digest
    config: Digest
    weights: dict[str, FileEntry]


class MergedWeights(Strict):
    """The adapter of a version merged into its base model: the folder in the store, its bytes, and the digest of each file."""

    output: str
    size: int
    weights: dict[str, FileEntry]


class ModelStatus(Strict):
    phase: Literal["registered"]
    run: Name
    run_digest: Digest
    run_id: str
    method: str
    base_model: Json
    size: int
    digests: ModelDigests
    output: str
    merged: MergedWeights | None = None
    mlflow: str
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    registered_at: str
    input_commit: str | None = None


class ModelRecord(Strict):
    api_version: Literal["ftops/v1"] = "ftops/v1"
    kind: Literal["ModelRecord"] = "ModelRecord"
    metadata: ModelRecordMetadata
    status: ModelStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def path(self) -> str:
        return f"{FOLDER}models/{self.metadata.name}/{self.metadata.version}.yaml"
