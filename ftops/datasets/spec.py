"""`kind: Dataset`: where rows come from, what must hold for them, and how they are split and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.datasets.checks import DEFAULT, Check, decides_rows
from ftops.digests import Json, digest
from ftops.errors import Diagnostic, PlanError
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind
from ftops.plan.details import DatasetDetails
from ftops.plan.observed import DatasetState, Source
from ftops.plan.steps import CommitRecords, FetchData, PrepareData, Step
from ftops.resources.fields import RelativePath, Size, Strict, exactly_one
from ftops.resources.resource import Context, Reference, Resource, advice, differences, noop

PIPELINE_VERSION: Final = 2
"""Part of every data set's digest: raised when the same source and options would give other rows."""

Format = Literal["csv", "json", "jsonl", "parquet"]
FORMATS: Final[dict[str, Format]] = {
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip
COMPRESSIONS: Final = {".gz": "gzip", ".zst": "zstd"}
"""By the last extension of a name, whatever stands before it."""

Shape = Literal["instruction", "chat", "preference", "completion"]
REQUIRED: Final[dict[Shape, tuple[str, ...]]] = {
    "instruction": ("instruction", "output"),
    "chat": ("messages",),
    "preference": ("messages", "chosen", "rejected"),
    "completion": ("text",),
}
"""The fields that a row of each shape must have."""
OPTIONAL: Final[dict[Shape, tuple[str, ...]]] = {
    "instruction": ("input", "system"),
    "chat": ("tools",),
    "preference": (),
    "completion": (),
}
"""The fields that a row of each shape may have."""

OutputFormat = Literal["alpaca", "messages", "sharegpt", "preference", "completion"]
OUTPUTS: Final[dict[Shape, tuple[OutputFormat, ...]]] = {
    "instruction": ("alpaca", "messages", "sharegpt"),
    "chat": ("messages", "sharegpt"),
    "preference": ("preference",),
    "completion": ("completion",),
}
"""The forms that rows of each shape can be written in; the first is meant where a spec names none."""

URL_PATTERN: Final = r"^[a-z][a-z0-9+]*://[^\s?#@]+$"
"""No user, no query: what opens a store is no part of a spec."""


class SourceSpec(Strict):
    path: RelativePath | None = Field(default=None, description="The file, relative to the project.")
    paths: tuple[RelativePath, ...] | None = Field(
        default=None, min_length=1, description="Several files, read one after the other."
    )
    url: str | None = Field(
        default=None,
        pattern=URL_PATTERN,
        max_length=2048,
        description="A file of a store that fsspec knows, such as `s3://bucket/rows.jsonl`. "
        "What opens it comes from the environment.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="What the file of `url` must be. Without it a new content behind the URL goes unnoticed.",
    )
    format: Format | None = Field(default=None, description="By the file's extension when absent.")
    encoding: Literal["utf-8", "cp949", "utf-16"] | None = Field(
        default=None, description="Of CSV; recognised, and said, when absent."
    )
    delimiter: Literal[",", ";", "\t", "|"] | None = Field(
        default=None, description="Of CSV; recognised, and said, when absent."
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Which column of the file is which field: `target: source`."
    )
    size_limit: Size = Field(default=100 * 2**20, description="A larger file is refused.", validate_default=False)
    decoded_limit: Size | None = Field(
        default=None, description="How much a file may decode to; ten times `sizeLimit` when absent."
    )
    memory_limit: Size = Field(
        default=4 * 2**30, description="The memory of each process that reads.", validate_default=False
    )

    @model_validator(mode="after")
    def _one_way(self) -> SourceSpec:
        exactly_one(self, "path", "paths", "url")
        if self.sha256 is not None and self.url is None:
            raise PydanticCustomError("sha256", "sha256 goes with url only: a file's content is looked at anyway")
        for path in self.files:
            self.format_of(path)
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """The paths, or the URL, in the order in which they are read."""
        if self.paths is not None:
            return self.paths
        return (self.path or self.url or "",)

    @property
    def decoded(self) -> int:
        """How many bytes a file may decode to."""
        return 10 * self.size_limit if self.decoded_limit is None else self.decoded_limit

    def format_of(self, path: str) -> Format:
        """The format to read `path` in."""
        if self.format is not None:
            return self.format
        name = path
        for extension in COMPRESSIONS:
            name = name.removesuffix(extension)
        for extension, found in FORMATS.items():
            if name.endswith(extension):
                return found
        raise PydanticCustomError(
            "format",
            "cannot tell the format of {path}: expected one of {known} (also .gz and .zst of them), or `format:`",
            {"path": path, "known": ", ".join(FORMATS)},
        )


class Split(Strict):
    train: float = Field(default=0.9, ge=0, le=1)
    validation: float = Field(default=0.05, ge=0, le=1)
    test: float = Field(default=0.05, ge=0, le=1)
    seed: int = Field(default=42, ge=0, description="Another seed, another split; rows added later move no row.")
    near: float | None = Field(
        default=0.95,
        ge=0.7,
        le=1,
        description="Rows whose sets of words have at least this Jaccard index stay on one side; null: only equal rows.",
    )
    stratify: str | None = Field(
        default=None,
        description="A column of the source: the ratios then hold within each of its values, to the row.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise PydanticCustomError(
                "split",
                "train + validation + test must be 1, found {total}",
                {"total": f"{self.train + self.validation + self.test:g}"},
            )
        if self.train == 0:
            raise PydanticCustomError("split", "train must be more than 0: nothing would be left to train on")
        return self


class Output(Strict):
    format: OutputFormat | None = Field(
        default=None, description="The form that the trainer reads; the first that fits the shape when absent."
    )


class Statistics(Strict):
    tokenizer: RelativePath | None = Field(
        default=None,
        description="A tokenizer.json of the base model, or the folder with it: tokens are then counted with it.",
    )
    tokens: Literal["sample", "all"] = Field(
        default="sample", description="Whether tokens are counted of 2,000 rows, with the error that makes, or of all."
    )


class DatasetSpec(Strict):
    source: SourceSpec
    shape: Shape = Field(default="instruction", description="What a row is.")
    on_invalid: Literal["fail", "skip"] = Field(
        default="fail", description="Whether a row that breaks the shape stops everything or is left out and counted."
    )
    checks: tuple[Check, ...] = Field(
        default=DEFAULT, description="Data checks, in this order.", validate_default=False
    )
    split: Split = Field(default_factory=Split)
    output: Output = Field(default_factory=Output)
    statistics: Statistics = Field(default_factory=Statistics)

    @model_validator(mode="after")
    def _fits(self) -> DatasetSpec:
        if self.output_format not in OUTPUTS[self.shape]:
            raise PydanticCustomError(
                "output",
                "rows of shape {shape} cannot be written as {format}: expected output.format {known}",
                {"shape": self.shape, "format": self.output_format, "known": " or ".join(OUTPUTS[self.shape])},
            )
        for name in self.source.columns:
            if name not in self.fields:
                raise PydanticCustomError(
                    "columns",
                    "source.columns: {name} is no field of shape {shape} written as {format}: expected {fields}",
                    {
                        "name": name,
                        "shape": self.shape,
                        "format": self.output_format,
                        "fields": ", ".join(self.fields),
                    },
                )
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise PydanticCustomError("checks", "the same check stands twice: {names}", {"names": ", ".join(names)})
        return self

    @property
    def output_format(self) -> OutputFormat:
        """The form that rows are written in."""
        return self.output.format or OUTPUTS[self.shape][0]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a row may have. Alpaca rows have no place for a system prompt."""
        optional = [name for name in OPTIONAL[self.shape] if (name, self.output_format) != ("system", "alpaca")]
        return (*REQUIRED[self.shape], *optional)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the data sets that checks compare this one with."""
        return tuple(dict.fromkeys(name for check in self.checks for _, name in check.parameters.compared_with()))


class Dataset(Resource):
    """Rows for training: read strictly, checked, split, written once under their digest."""

    kind_name: ClassVar[str] = "Dataset"
    kind: Literal["Dataset"]
    spec: DatasetSpec

    def references(self) -> Iterator[Reference]:
        for number, check in enumerate(self.spec.checks):
            for place, name in check.parameters.compared_with():
                yield Reference(("spec", "checks", number, check.name, *place), dataset_address(name))

    def source_paths(self) -> Iterator[str]:
        if self.spec.source.url is None:
            yield from self.spec.source.files
        if self.spec.statistics.tokenizer is not None:
            yield self.spec.statistics.tokenizer

    def refuse_rerun(self) -> Diagnostic | None:
        hint = "ftops dataset prune NAME frees its rows, and what needs them prepares them anew"
        return Diagnostic("only a TrainingRun can be run again", hint=hint, address=str(self.address))

    def plan(self, context: Context) -> Change:
        recorded = context.observed.datasets.get(self.metadata.name)
        inputs = self._inputs(context, recorded)
        identity = digest(inputs)
        needs = tuple(dict.fromkeys(reference.target for reference in self.references()))
        same = () if recorded is None else _same_rows(recorded, inputs, identity)
        if recorded is not None and recorded.digest == identity:
            note = "the data and its options are as recorded"
            if recorded.pruned:
                note += "; its rows were pruned, and are prepared again when something needs them"
            change = noop(self.address, note, digest=identity, needs=needs)
        else:
            change = Change(
                self.address,
                Action.CREATE if recorded is None else Action.UPDATE,
                ChangeClass.PREPARE,
                reasons=differences({} if recorded is None else recorded.inputs, inputs),
                steps=(*preparation(self, identity, context), CommitRecords(self.address)),
                needs=needs,
                digest=identity,
                notes=(Note(NoteKind.REUSED, "the rows stay what they are: nothing is trained again"),) if same else (),
            )
        notes = (*change.notes, *advice(self._advice(recorded)))
        return replace(change, notes=notes, details=DatasetDetails(inputs, equivalent_digests=same))

    def _inputs(self, context: Context, recorded: DatasetState | None) -> Json:
        """What the prepared rows and their report depend on: the content and the options, never the names of files."""
        source = self.spec.source
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        inputs = {
            "pipeline": PIPELINE_VERSION,
            "source": [self._identify(path, context, recorded) for path in source.files],
            "format": [source.format_of(path) for path in source.files],
            **{key: spec["source"][key] for key in ("columns", "encoding", "delimiter") if key in spec["source"]},
            **{key: spec[key] for key in ("shape", "onInvalid", "checks", "split")},
            "output": {"format": self.spec.output_format},
        }
        if (tokenizer := self.spec.statistics.tokenizer) is not None:
            content = self._identify(tokenizer, context, recorded)
            inputs["statistics"] = {"tokenizer": content, "tokens": self.spec.statistics.tokens}
        if self.spec.others:
            inputs["against"] = {name: context.digest_of(dataset_address(name)) for name in self.spec.others}
        return inputs

    def _identify(self, path: str, context: Context, recorded: DatasetState | None) -> str:
        """What stands for the content of `path`, or for that behind the URL, which nobody looks at to plan."""
        if path == self.spec.source.url:
            return f"url:{path}" if self.spec.source.sha256 is None else f"sha256:{self.spec.source.sha256}"
        source = context.observed.sources.get(path, Source(path, None, present=False))
        if source.digest is not None:
            return source.digest
        before = None if recorded is None else recorded.sources.get(path)
        if source.pointer is not None:
            known = before is not None and before.pointer == source.pointer
            return (before.digest if known and before is not None else None) or source.pointer
        raise PlanError(
            Diagnostic(
                f"{path}: no such file, and no .dvc pointer covers it",
                hint="check the path, or commit the pointer (`dvc add`) that goes with it",
                address=str(self.address),
            )
        )

    def _advice(self, recorded: DatasetState | None) -> Iterator[str]:
        source = self.spec.source
        if source.url is None or source.sha256 is not None or recorded is None:
            return
        known = recorded.sources.get(source.url)
        if known is not None and known.digest is not None:
            pin = known.digest.removeprefix("sha256:")
            yield f"new content behind {source.url} goes unnoticed: pin what was read with source.sha256: {pin}"


def _same_rows(recorded: DatasetState, inputs: Json, identity: str) -> tuple[str, ...]:
    """The digests under which the rows were what they are now: a score and statistics change none."""
    if _of_rows(recorded.inputs) != _of_rows(inputs):
        return ()
    return tuple(each for each in dict.fromkeys((*recorded.same_rows, recorded.digest)) if each != identity)


def _of_rows(inputs: Json) -> Json:
    """What of a data set's meaning decides which rows come out, and where they go."""
    checks = [check for check in inputs["checks"] if decides_rows(check)]
    return {**{name: value for name, value in inputs.items() if name != "statistics"}, "checks": checks}


def preparation(dataset: Dataset, identity: str, context: Context) -> tuple[Step, ...]:
    """The steps that bring the prepared rows of `dataset` into the store, none when they are there.

    Rows that it is compared with come first, where no change of their own brings them.
    """
    if identity in context.observed.prepared:
        return ()
    steps: list[Step] = []
    for name in dataset.spec.others:
        other = context.resources[dataset_address(name)]
        if context.planned[other.address].is_noop and isinstance(other, Dataset):
            steps += preparation(other, context.digest_of(other.address), context)
    missing = tuple(
        path
        for path in dataset.source_paths()
        if not context.observed.sources.get(path, Source(path, None, present=False)).present
    )
    if missing:
        steps.append(FetchData(missing))
    return (*dict.fromkeys(steps), PrepareData(dataset.metadata.name, identity))


def dataset_address(name: str) -> Address:
    """The address of the data set `name`."""
    return Address(Dataset.kind_name, name)
