"""`kind: Dataset`: where rows come from, what must hold for them, and how they are split and written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.checks import Check
from ftops.errors import Diagnostic, PlanError
from ftops.fields import RelativePath, Size, Strict, exactly_one
from ftops.kinds.resource import Context, Resource, differences, noop
from ftops.values import (
    Action,
    Address,
    Change,
    ChangeClass,
    CommitRecords,
    DatasetState,
    FetchData,
    Json,
    PrepareData,
    Source,
    Step,
    digest,
)

PIPELINE_VERSION: Final = 1
"""Part of every data set's digest: raised when the same source and options would give other rows."""

Format = Literal["csv", "json", "jsonl", "parquet"]
FORMATS: Final[dict[str, Format]] = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet"}

SHAPES: Final = {"instruction": ("instruction", "output"), "chat": ("messages",)}
"""The fields that a row of each shape must have."""

OPTIONAL: Final = {"instruction": ("input", "system"), "chat": ()}
"""The fields that a row of each shape may have."""


class SourceSpec(Strict):
    path: RelativePath | None = Field(default=None, description="The file, relative to the project.")
    paths: tuple[RelativePath, ...] | None = Field(
        default=None, min_length=1, description="Several files, read one after the other."
    )
    format: Format | None = Field(default=None, description="By the file's extension when absent.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="Which column of the file is which field: `target: source`."
    )
    size_limit: Size = Field(default=100 * 2**20, description="A larger file is refused.", validate_default=False)

    @model_validator(mode="after")
    def _one_way(self) -> SourceSpec:
        exactly_one(self, "path", "paths")
        for path in self.files:
            self.format_of(path)
        return self

    @property
    def files(self) -> tuple[str, ...]:
        return self.paths if self.paths is not None else (self.path or "",)

    def format_of(self, path: str) -> Format:
        """The format to read `path` in."""
        if self.format is not None:
            return self.format
        for extension, name in FORMATS.items():
            if path.endswith(extension):
                return name
        raise PydanticCustomError(
            "format",
            "cannot tell the format of {path}: expected one of {known}, or `format:`",
            {"path": path, "known": ", ".join(FORMATS)},
        )


class Split(Strict):
    train: float = Field(default=0.9, ge=0, le=1)
    validation: float = Field(default=0.05, ge=0, le=1)
    test: float = Field(default=0.05, ge=0, le=1)
    seed: int = Field(default=42, ge=0, description="Another seed, another split; rows added later move no row.")

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
    format: Literal["alpaca", "messages"] = Field(default="alpaca", description="The form that the trainer reads.")


class DatasetSpec(Strict):
    source: SourceSpec
    shape: Literal["instruction", "chat"] = Field(default="instruction", description="What a row is.")
    on_invalid: Literal["fail", "skip"] = Field(
        default="fail", description="Whether a row that breaks the shape stops everything or is left out and counted."
    )
    checks: tuple[Check, ...] = Field(
        default=(Check.default(),), description="Data checks, in this order.", validate_default=False
    )
    split: Split = Field(default_factory=Split)
    output: Output = Field(default_factory=Output)

    @model_validator(mode="after")
    def _fits(self) -> DatasetSpec:
        if self.shape == "chat" and self.output.format != "messages":
            raise PydanticCustomError("output", "a chat cannot be written as alpaca: expected output.format messages")
        for name in self.source.columns:
            if name not in self.fields:
                raise PydanticCustomError(
                    "columns",
                    "source.columns: {name} is no field of shape {shape} written as {format}: expected {fields}",
                    {
                        "name": name,
                        "shape": self.shape,
                        "format": self.output.format,
                        "fields": ", ".join(self.fields),
                    },
                )
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise PydanticCustomError("checks", "the same check stands twice: {names}", {"names": ", ".join(names)})
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a row may have. Alpaca rows have no place for a system prompt."""
        optional = [name for name in OPTIONAL[self.shape] if (name, self.output.format) != ("system", "alpaca")]
        return (*SHAPES[self.shape], *optional)


class Dataset(Resource):
    """Rows for training: read strictly, checked, split, written once under their digest."""

    kind_name: ClassVar[str] = "Dataset"
    kind: Literal["Dataset"]
    spec: DatasetSpec

    def source_paths(self) -> Iterator[str]:
        yield from self.spec.source.files

    def plan(self, context: Context) -> Change:
        recorded = context.observed.datasets.get(self.metadata.name)
        sources = tuple(self._identify(path, context, recorded) for path in self.spec.source.files)
        inputs = self._inputs(sources)
        identity = digest(inputs)
        if recorded is not None and recorded.digest == identity:
            return noop(self.address, "the data and its options are as recorded", digest=identity, inputs=inputs)
        return Change(
            self.address,
            Action.CREATE if recorded is None else Action.UPDATE,
            ChangeClass.PREPARE,
            reasons=differences({} if recorded is None else recorded.inputs, inputs),
            steps=(*preparation(self, identity, context), CommitRecords(self.address)),
            digest=identity,
            inputs=inputs,
        )

    def _inputs(self, sources: tuple[Source, ...]) -> Json:
        """What the prepared rows depend on: the content and the options, never the names of files."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "pipeline": PIPELINE_VERSION,
            "source": [each.digest or each.pointer for each in sources],
            "format": [self.spec.source.format_of(each.path) for each in sources],
            "columns": spec["source"]["columns"],
            **{key: spec[key] for key in ("shape", "onInvalid", "checks", "split", "output")},
        }

    def _identify(self, path: str, context: Context, recorded: DatasetState | None) -> Source:
        source = context.observed.sources.get(path, Source(path, None, present=False))
        if source.digest is None and source.pointer is not None and recorded is not None:
            before = recorded.sources.get(path)
            if before is not None and before.pointer == source.pointer:
                return before
        if source.digest is None and source.pointer is None:
            raise PlanError(
                Diagnostic(
                    f"{path}: no such file, and no .dvc pointer covers it",
                    hint="check the path, or commit the pointer (`dvc add`) that goes with it",
                    address=str(self.address),
                )
            )
        return source


def preparation(dataset: Dataset, identity: str, context: Context) -> tuple[Step, ...]:
    """The steps that bring the prepared rows of `dataset` into the store, none when they are there."""
    if identity in context.observed.prepared:
        return ()
    missing = tuple(
        path
        for path in dataset.spec.source.files
        if not context.observed.sources.get(path, Source(path, None, present=False)).present
    )
    fetch: tuple[Step, ...] = (FetchData(missing),) if missing else ()
    return (*fetch, PrepareData(dataset.metadata.name, identity))


def dataset_address(name: str) -> Address:
    """The address of the data set `name`."""
    return Address(Dataset.kind_name, name)
