"""Data checks, one a file. To add one:

1. A file here, named after the check, with its parameters as a `Strict` model: `ftops/checks/lengths.py`, `class Lengths`.
2. Its method `run(rows) -> CheckResult`: what `rows` and the result hold is in `checks/rows.py`.
3. Texts in messages and tool calls too: `leaves(batch)` of `checks/texts.py` gives all, `replaced` puts others in place.
4. A row that is to go is named in `dropped`, a row with other texts stands in `changed`; `failed` stops everything.
5. A `Finding` names check, row, field and reason, and never holds the text: findings are shown, kept and committed.
6. It is a pure function of the rows: no files, no clock, no chance; the rows may come in any batches.
7. Arrow and numpy are imported inside `run`, because every command loads the parameters and few look at rows.
8. A field of `Check` below, under the name that specs call it by. The order in a spec is the order of running.
9. `VERSION` in its file is raised when the same rows and parameters would give another result.
10. Tests: what it must find, what it must leave alone, and its laws (`tests/test_checks_lengths.py`).
"""

from __future__ import annotations

import sys
from typing import Final, Protocol, cast

from pydantic import Field, model_validator

from ftops.datasets.checks.contamination import Contamination
from ftops.datasets.checks.duplicates import Duplicates, Near
from ftops.datasets.checks.lengths import Lengths
from ftops.datasets.checks.pii import Pii
from ftops.datasets.checks.quality import Quality
from ftops.datasets.checks.rows import CheckResult, Rows
from ftops.resources.fields import Strict, exactly_one


class Runnable(Protocol):
    """The parameters of a check, which know how to run it."""

    def run(self, rows: Rows) -> CheckResult: ...


class Check(Strict):
    """One entry of a data set's `checks`: the name of a check, and its parameters."""

    pii: Pii | None = Field(default=None, description="Personal data.")
    duplicates: Duplicates | None = Field(default=None, description="Rows that say the same.")
    contamination: Contamination | None = Field(default=None, description="Rows that another data set has too.")
    lengths: Lengths | None = Field(default=None, description="Fields that are too short or too long.")
    quality: Quality | None = Field(default=None, description="One score for the whole.")

    @model_validator(mode="after")
    def _one(self) -> Check:
        exactly_one(self, *type(self).model_fields)
        return self

    @property
    def name(self) -> str:
        """The name of the check that this entry is for."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def parameters(self) -> Strict:
        """What the check was given."""
        return cast("Strict", getattr(self, self.name))

    @property
    def version(self) -> int:
        """The version of the check's code: the same parameters and rows give the same result under the same version."""
        return int(getattr(sys.modules[type(self.parameters).__module__], "VERSION", 1))

    def run(self, rows: Rows) -> CheckResult:
        """What the check found in `rows`, and what is to become of them."""
        return cast("Runnable", self.parameters).run(rows)


DEFAULT: Final = (
    Check(pii=Pii()),
    Check(duplicates=Duplicates(near=Near())),
    Check(quality=Quality()),
)
"""What is checked where a spec says nothing: equal rows are dropped, all else is reported."""
