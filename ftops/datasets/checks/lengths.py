"""Fields that are too short or too long to learn from."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.datasets.checks.data_check import Action, DataCheck
from ftops.datasets.checks.rows import CheckResult, Rows
from ftops.datasets.checks.scripts import OPTIONAL, characters
from ftops.datasets.finding import Finding
from ftops.display.numbers import counted
from ftops.errors import Diagnostic, SpecError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


class Lengths(DataCheck):
    name: ClassVar = "lengths"
    about: ClassVar = "Fields that are too short or too long."

    min: int = Field(default=1, ge=0, description="The fewest characters (code points) that a field may have.")
    max: int = Field(default=100_000, ge=1, description="The most.")
    fields: tuple[str, ...] | None = Field(default=None, description="Which fields; all required ones when absent.")
    action: Action = Field(default="drop", description="What happens to such a row.")

    @model_validator(mode="after")
    def _some_lengths_are_allowed(self) -> Lengths:
        if self.min > self.max:
            raise PydanticCustomError("lengths", "min is more than max: no field would do")
        return self

    def run(self, rows: Rows) -> CheckResult:
        """The fields outside of the bounds; that of a chat is as long as its messages together. Raises SpecError for a
        field that rows have not."""
        for name in self.fields or ():
            if name not in rows.fields:
                raise SpecError(
                    Diagnostic(f"checks.lengths: rows have no field {name!r}", hint=did_you_mean(name, rows.fields))
                )
        names = self.fields or tuple(each for each in rows.fields if each not in OPTIONAL)
        found = tuple(chain.from_iterable(rows.each(partial(self._findings, names))))
        return CheckResult(
            findings=found,
            summary=Counter(str(each.entity) for each in found),
            dropped=frozenset(each.row for each in found if self.action == "drop"),
            failed=self.action == "fail" and bool(found),
        )

    def _findings(self, names: tuple[str, ...], batch: pa.RecordBatch) -> list[Finding]:
        found = []
        for name in names:
            lengths = characters(batch.column(name))
            for place in ((lengths < self.min) | (lengths > self.max)).nonzero()[0].tolist():
                length, row = int(lengths[place]), batch.column("row")[place].as_py()
                kind, bound = (
                    ("short", f"min is {self.min:,}") if length < self.min else ("long", f"max is {self.max:,}")
                )
                found.append(Finding(self.name, row, name, f"has {counted(length, 'character')}, {bound}", entity=kind))
        return sorted(found, key=lambda each: each.row)
