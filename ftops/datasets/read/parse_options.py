"""What rows are to be made of files, as plain values: the process that parses them needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from ftops.datasets.spec import DatasetSpec, Format, Shape


@dataclass(frozen=True, slots=True)
class Form:
    """The shape of the rows, where their fields come from, and the limits of reading, in bytes.

    `columns` says which column of the file a field is read from, where that isn't the one of its own name. `format`,
    `encoding` and `delimiter` are recognised where they are None. `stratum` is a column that is kept beside the fields.
    """

    shape: Shape
    fields: tuple[str, ...]
    required: tuple[str, ...]
    columns: Mapping[str, str]
    format: Format | None
    encoding: str | None
    delimiter: str | None
    stratum: str | None
    size_limit: int
    decoded_limit: int
    memory_limit: int

    @classmethod
    def of(cls, spec: DatasetSpec) -> Self:
        """What `spec` asks for."""
        from ftops.datasets.spec import REQUIRED  # the process that parses imports this module, and needs no models

        source = spec.source
        return cls(
            spec.shape, spec.fields, REQUIRED[spec.shape], source.columns, source.format, source.encoding, source.delimiter,
            spec.split.stratify, source.size_limit, source.decoded, source.memory_limit,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The fields by their names; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        return cls(**{**tree, "fields": tuple(tree["fields"]), "required": tuple(tree["required"])})
