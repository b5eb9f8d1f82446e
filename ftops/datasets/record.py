"""What is known of a data set that was looked at: the body of its record, and all that its page is made of.

Nothing here is a row or a part of one: it is committed.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ftops.digests import Json
from ftops.plan.observed import DatasetState, Source
from ftops.resources.fields import Strict
from ftops.resources.kind import Kept
from ftops.resources.record import Digest, Record


class SourceFile(Strict):
    """A file as it was read. `notes` say what was recognised: an encoding, a delimiter, a compression."""

    path: str
    sha256: str
    bytes: int
    rows: int
    notes: tuple[str, ...] = ()


class Counts(Strict):
    """Rows: `read` of the source; of these `invalid` ones were left out, `dropped` by checks, `masked` changed, `kept` go on."""

    read: int
    invalid: int = 0
    dropped: int = 0
    masked: int = 0
    kept: int


class CheckReport(Strict):
    """A check as it was asked for, and what it counted; `rows` are those with a finding, `dropped` those that ended here."""

    name: str
    parameters: Json
    summary: Json
    rows: int = 0
    dropped: int = 0
    masked: int = 0
    failed: bool = False


class FindingReport(Strict):
    """A finding without the data it is about: see `ftops.datasets.finding.Finding`. `file` and `line` say where its row starts."""

    check: str
    row: int
    field: str = ""
    detail: str
    entity: str | None = None
    start: int | None = None
    end: int | None = None
    masked: str | None = None
    action: Literal["reported", "masked", "dropped", "left out", "failed"] = "reported"
    file: str | None = None
    line: int | None = None
    byte: int | None = None


class ComponentReport(Strict):
    """A component of the score: `value` is the share of rows read that it finds nothing in, `rows` the number of the others."""

    name: str
    weight: float
    value: float
    rows: int


class QualityReport(Strict):
    score: float
    min_score: float | None = None
    action: Literal["warn", "fail"] = "warn"
    components: tuple[ComponentReport, ...]


class Distribution(Strict):
    """Of a count of something: quantiles are values that occur; `counts[i]` rows lie in [edges[i], edges[i+1]), the last in both."""

    rows: int
    total: int
    min: int
    mean: float
    p50: int
    p95: int
    max: int
    edges: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


class TokenReport(Strict):
    """Tokens of a row's texts by a tokenizer, without what a chat template adds.

    Where `sampled` is less than the rows that are kept, `mean` and `total` are estimates with a 95 % `interval` each.
    """

    tokenizer: str
    sampled: int
    mean: float
    mean_interval: tuple[float, float]
    total: int
    total_interval: tuple[int, int]
    distribution: Distribution


class SplitReport(Strict):
    rows: int
    bytes: int
    sha256: str
    characters: Distribution | None = None
    tokens: TokenReport | None = None


class ClusterReport(Strict):
    """Groups of rows that are alike: how many, how many rows lie in them, and how many groups have each size."""

    clusters: int = 0
    rows: int = 0
    largest: int = 0
    sizes: dict[str, int] = Field(default_factory=dict)


class Statistics(Strict):
    """`characters` by field of the rows kept (a chat's is that of all its messages together) and `row`, of a whole row;
    `scripts` counts rows by the writing that most of their letters are of; `turns` messages of a chat."""

    characters: dict[str, Distribution] = Field(default_factory=dict)
    scripts: dict[str, int] = Field(default_factory=dict)
    turns: Distribution | None = None
    tokens: TokenReport | None = None


class DatasetReport(Strict):
    """`format` counts rows by fault. `findings` are the first ones; `found` says how many there are, by check."""

    shape: str
    files: tuple[SourceFile, ...]
    unused_columns: tuple[str, ...] = ()
    rows: Counts
    valid: bool
    format: dict[str, int] = Field(default_factory=dict)
    checks: tuple[CheckReport, ...] = ()
    quality: QualityReport | None = None
    clusters: ClusterReport = Field(default_factory=ClusterReport)
    statistics: Statistics = Field(default_factory=Statistics)
    splits: dict[str, SplitReport] = Field(default_factory=dict)
    found: dict[str, int] = Field(default_factory=dict)
    findings: tuple[FindingReport, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def score(self) -> float | None:
        """How good the rows are as they came, from 0 to 1; None where no check gave a score."""
        return None if self.quality is None else self.quality.score


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


class DatasetRecord(Record):
    folder: ClassVar = "datasets"

    kind: Literal["DatasetRecord"] = "DatasetRecord"
    status: DatasetStatus

    def input_commits(self) -> tuple[str | None, ...]:
        """The commits that its content was made from."""
        return (self.status.input_commit,)


def merge_datasets(tip: DatasetRecord, mine: DatasetRecord) -> DatasetRecord:
    """`mine`, unless it says the same, or prunes what is not the current version any more."""
    same = tip.status.digest == mine.status.digest
    if mine.status.phase == "pruned":
        return mine if same else tip
    splits = tip.status.report.splits == mine.status.report.splits
    return tip if same and splits and tip.status.phase == mine.status.phase else mine


def dataset_state(record: DatasetRecord) -> DatasetState:
    sources = {
        path: Source(path, entry.digest, entry.pointer, present=False) for path, entry in record.status.sources.items()
    }
    status = record.status
    train = status.report.splits.get("train")
    rows = None if train is None else train.rows
    return DatasetState(status.digest, status.inputs, sources, status.phase == "pruned", status.same_rows, rows)


def fold(known: dict[str, DatasetState], record: DatasetRecord) -> None:
    known[record.metadata.name] = dataset_state(record)


def kept(record: DatasetRecord) -> Kept:
    """The rows that it is about, unless they were removed on purpose."""
    return Kept() if record.status.phase == "pruned" else Kept(rows=frozenset({record.status.digest}))
