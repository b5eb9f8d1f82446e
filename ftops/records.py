"""What is committed under registry/: the schema of each record, its text, and how two of them merge. Pure.

A record is YAML with sorted keys, so that a diff shows only what changed. It holds no absolute path and no secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import yaml
from pydantic import Field, ValidationError

from ftops.errors import Diagnostic, ExternalError, Where
from ftops.fields import Name, Semver, Strict
from ftops.simple_yaml import simple_tree
from ftops.values import Json, RunState, canonical

FOLDER: Final = "registry/"
HEADER: Final = "# Written by ftops; edits are overwritten. What should be is in specs/.\n"
Digest = str
_TERMINAL: Final = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})


class RecordMetadata(Strict):
    name: Name


class SourceEntry(Strict):
    """Which content a file of a spec had: its digest, and that of the DVC pointer that covered it."""

    digest: str
    pointer: str | None = None


class DatasetStatus(Strict):
    phase: Literal["prepared"]
    digest: Digest
    inputs: Json
    sources: dict[str, SourceEntry]
    statistics: Json
    splits: dict[str, Json]
    findings: Json = None
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


class Attempt(Strict):
    """One process of a run: how far it came and how it ended."""

    phase: RunState
    started_at: str | None = None
    ended_at: str | None = None
    step: int | None = None
    resumed_from: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None


class FileEntry(Strict):
    sha256: Digest
    size: int


class RunEntry(Strict):
    """One training of one digest."""

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
    input_commit: str | None = None


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


Record = DatasetRecord | RunRecord | ModelRecord
_KINDS: Final[Mapping[str, type[Record]]] = {
    "datasets": DatasetRecord,
    "runs": RunRecord,
    "models": ModelRecord,
}
_PATH: Final = re.compile(r"registry/(?:(datasets|runs)/[-a-z0-9]+|(models)/[-a-z0-9]+/[-+.0-9A-Za-z]+)\.yaml")


def is_record(path: str) -> bool:
    """Whether a record may stand at `path`."""
    return _PATH.fullmatch(path) is not None


def dump(record: Record) -> bytes:
    """The text of a record: the same record, the same bytes."""
    tree = record.model_dump(mode="json", by_alias=True, exclude_none=True)
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=120, default_flow_style=False)
    return (HEADER + text).encode()


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (what PyYAML calls)
        """Never an anchor: a reader sees every value where it stands."""
        return True


def tree_of(text: bytes) -> Json:
    """The plain tree of a record's text; raises yaml.YAMLError."""
    tree = simple_tree(text.removeprefix(HEADER.encode()))
    return yaml.load(text, Loader=yaml.CSafeLoader) if tree is None else tree


def parse(path: str, text: bytes) -> Record:
    """The record in `text`; raises ExternalError where it is none, or not the one that belongs at `path`."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ExternalError(Diagnostic(f"{path}: no record belongs there", where=Where(path)))
    try:
        record = _KINDS[match[1] or match[2]].model_validate_json(canonical(tree_of(text)))
    except (yaml.YAMLError, ValidationError, ValueError, TypeError) as error:
        raise ExternalError(
            Diagnostic(
                f"{path}: not a record that ftops wrote",
                detail=_reason(error),
                hint="records are written by `ftops apply` only: `git checkout` the committed one",
                where=Where(path),
            )
        ) from error
    if record.path != path:
        raise ExternalError(Diagnostic(f"{path}: holds the record of {record.path}", where=Where(path)))
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)


# --------------------------------------------------------------------------------------------------- merging


class RecordConflict(ExternalError):
    """Two records that can't both be true; caught where results are pushed, to make a branch of them."""


def merge(tip: Record | None, mine: Record) -> Record:
    """`mine` on top of what stands at the newest tip, by key, so that nothing that others wrote is lost.

    Raises RecordConflict where both claim another result for the same thing.
    """
    match tip, mine:
        case None, _:
            return mine
        case DatasetRecord(), DatasetRecord():
            same = tip.status.digest == mine.status.digest and tip.status.splits == mine.status.splits
            return tip if same else mine
        case RunRecord(), RunRecord():
            return _merge_runs(tip, mine)
        case ModelRecord(), ModelRecord():
            return _merge_versions(tip, mine)
        case _:
            raise RecordConflict(
                Diagnostic(f"{mine.path}: another kind of record stands there", where=Where(mine.path))
            )


def instead(tip: Record | None, mine: Record) -> Record:
    """What would stand if `mine` won where the two are in conflict, for a person to choose in a pull request."""
    if isinstance(tip, RunRecord) and isinstance(mine, RunRecord):
        runs = {**tip.status.runs, **mine.status.runs}
        return mine.model_copy(update={"status": mine.status.model_copy(update={"runs": runs})})
    return mine


def _merge_runs(tip: RunRecord, mine: RunRecord) -> RunRecord:
    runs = dict(tip.status.runs)
    for digest, entry in mine.status.runs.items():
        runs[digest] = _merge_entry(runs[digest], entry, mine.path) if digest in runs else entry
    current = mine.status.current
    return tip.model_copy(update={"status": RunStatus(phase=runs[current].phase, current=current, runs=runs)})


def _merge_entry(tip: RunEntry, mine: RunEntry, path: str) -> RunEntry:
    """The account that knows the later attempt, with the attempts of both; a success stands whatever comes later."""
    if tip.phase is mine.phase is RunState.SUCCEEDED and mine.weights != tip.weights:
        raise RecordConflict(
            Diagnostic(
                f"{path}: {mine.id} was trained twice with different weights",
                hint="keep one: the committed record stands; the other result stays in the store of its machine",
                where=Where(path),
            )
        )
    attempts = dict(tip.attempts)
    for number, attempt in mine.attempts.items():
        there = attempts.get(number)
        attempts[number] = attempt if there is None or _says_more(_weight(attempt), _weight(there)) else there
    entry = mine if _says_more(_weight(mine), _weight(tip)) else tip
    return entry.model_copy(update={"attempts": attempts})


def _weight(account: RunEntry | Attempt) -> tuple[bool, int, bool]:
    """What of two accounts decides which stands: a success, the number of the last attempt, then whether it has ended."""
    attempts = account.attempts if isinstance(account, RunEntry) else {}
    last = max((int(number) for number in attempts), default=0)
    return account.phase is RunState.SUCCEEDED, last, account.phase in _TERMINAL


def _says_more(mine: tuple[bool, int, bool], tip: tuple[bool, int, bool]) -> bool:
    """Between equals the newer account of what goes on, and the first one of an end: that is written once."""
    return mine > tip or (mine == tip and not tip[-1])


def _merge_versions(tip: ModelRecord, mine: ModelRecord) -> ModelRecord:
    if tip.status.run_digest != mine.status.run_digest or tip.status.digests != mine.status.digests:
        raise RecordConflict(
            Diagnostic(
                f"{mine.path}: version {mine.metadata.version} is registered already, from {tip.status.run_id}",
                hint="a version never changes: register the other result under a new version",
                where=Where(mine.path),
            )
        )
    labels = {"aliases": mine.status.aliases, "tags": mine.status.tags}
    return tip.model_copy(update={"status": tip.status.model_copy(update=labels)})
