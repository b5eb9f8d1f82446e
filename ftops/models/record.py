"""The record of a model version, and how two accounts of one version become one."""

from __future__ import annotations

from typing import ClassVar, Literal

from ftops.digests import Json
from ftops.errors import Diagnostic, RecordConflict, Where
from ftops.plan.observed import VersionState
from ftops.resources.fields import Name, Semver, Strict
from ftops.resources.kind import Kept
from ftops.resources.record import Digest, FileEntry, Record, RecordMetadata


class ModelRecordMetadata(RecordMetadata):
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


class ModelRecord(Record):
    folder: ClassVar = "models"

    kind: Literal["ModelRecord"] = "ModelRecord"
    metadata: ModelRecordMetadata
    status: ModelStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)

    @property
    def path(self) -> str:
        return self.path_of(self.metadata.name, self.metadata.version)


def merge_versions(tip: ModelRecord, mine: ModelRecord) -> ModelRecord:
    if tip.status.run_digest != mine.status.run_digest or tip.status.digests != mine.status.digests:
        raise RecordConflict(
            Diagnostic(
                f"{mine.path}: version {mine.metadata.version} is registered already, from {tip.status.run_id}",
                hint="a version never changes: register the other result under a new version",
                where=Where(mine.path),
            )
        )
    # Merged weights are added once; merging the same again gives other bytes on another machine.
    after = {
        "aliases": mine.status.aliases,
        "tags": mine.status.tags,
        "merged": tip.status.merged or mine.status.merged,
    }
    return tip.model_copy(update={"status": tip.status.model_copy(update=after)})


def fold(known: dict[str, dict[str, VersionState]], record: ModelRecord) -> None:
    metadata, status = record.metadata, record.status
    state = VersionState(
        status.run, status.run_digest, status.aliases, status.tags, status.output, status.merged is not None
    )
    known.setdefault(metadata.name, {})[metadata.version] = state


def kept(record: ModelRecord) -> Kept:
    """The run that it is made of, and its weights, as they are and merged."""
    status = record.status
    merged = () if status.merged is None else (status.merged.output,)
    return Kept({status.run_id: {}}, frozenset({status.output, *merged}))
