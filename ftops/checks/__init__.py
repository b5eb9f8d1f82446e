"""Data checks, one a file. To add one:

1. A file here, named after the check, with its parameters as a `Strict` model: `ftops/checks/length.py`, `class Length`.
2. Its method `run(table) -> CheckResult`. `table` has the text fields (text, or `messages`: a list of {role, content}),
   and `row`, the number in the source (from 1, rising): see `checks/rows.py`.
3. A check that drops rows gives back a table without them; one that masks, a table with other texts; `failed` stops.
4. A `Finding` names check, row, field and reason, and never holds the text: findings are shown, kept and committed.
5. It is a pure function: no files, no clock, no chance; what it finds doesn't depend on other checks' findings.
6. Arrow is imported inside `run`, because every command loads the parameters and few look at rows.
7. A field of `Check` below, under the name that specs call it by. The order in a spec is the order of running.
8. Tests: what it must find, what it must leave alone, and its laws (`tests/test_checks.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pydantic import Field, model_validator

from ftops.checks.duplicates import Duplicates
from ftops.fields import Strict, exactly_one

if TYPE_CHECKING:
    import pyarrow as pa

    from ftops.checks.rows import CheckResult


class Runnable(Protocol):
    """The parameters of a check, which know how to run it."""

    def run(self, table: pa.Table) -> CheckResult: ...


class Check(Strict):
    """One entry of a data set's `checks`: the name of a check, and its parameters."""

    duplicates: Duplicates | None = Field(default=None, description="Rows that say the same.")

    @model_validator(mode="after")
    def _one(self) -> Check:
        exactly_one(self, *type(self).model_fields)
        return self

    @classmethod
    def default(cls) -> Check:
        """What is checked where a spec says nothing."""
        return cls(duplicates=Duplicates())

    @property
    def name(self) -> str:
        """The name of the check that this entry is for."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    def run(self, table: pa.Table) -> CheckResult:
        """What the check leaves of `table`, and what it found."""
        return cast("Runnable", getattr(self, self.name)).run(table)
