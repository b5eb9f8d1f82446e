"""Data checks, one a file. To add one:

1. A file here, named after the check: its parameters as a `DataCheck`, as `ftops/datasets/checks/lengths.py` shows.
2. Its method `run(rows) -> CheckResult`: what `rows` and the result hold is in `checks/rows.py`.
3. Texts in messages and tool calls too: `leaves(batch)` of `checks/texts.py` gives all, `replaced` puts others in place.
4. A row that is to go is named in `dropped`, a row with other texts stands in `changed`; `failed` stops everything.
5. A `Finding` names check, row, field and reason, and never holds the text: findings are shown, kept and committed.
6. It is a pure function of the rows: no files, no clock, no chance; the rows may come in any batches.
7. Arrow and numpy are imported inside `run`, because every command loads the parameters and few look at rows.
8. It says what else is to be said of it by what it overrides of `DataCheck`; no check imports another one.
9. A line in `CLASSES` below, and in the contract `checks` of `pyproject.toml`. The order in a spec is the order of running.
10. `version` is raised when the same rows and parameters would give another result.
11. Tests: what it must find, what it must leave alone, and its laws (`tests/datasets/checks/test_lengths.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import Field, create_model, model_validator

from ftops.datasets.checks.data_check import DataCheck
from ftops.datasets.checks.rows import CheckResult, Rows, TableRows
from ftops.datasets.checks.told import Told
from ftops.datasets.record import CheckReport, DatasetReport
from ftops.digests import Json
from ftops.resources.fields import Strict, exactly_one

if TYPE_CHECKING:
    import pyarrow as pa

CLASSES: Final[Mapping[str, str]] = {
    "pii": "Pii",
    "duplicates": "Duplicates",
    "contamination": "Contamination",
    "lengths": "Lengths",
    "quality": "Quality",
}
"""Each check's name, which is its module's name too, and its class, in the order of the reference."""

CHECKS: Final[Mapping[str, type[DataCheck]]] = {
    name: cast("type[DataCheck]", getattr(import_module(f"{__name__}.{name}"), found))
    for name, found in CLASSES.items()
}
"""Every check, by name."""


class Entry(Strict):
    """One entry of a data set's `checks`: the name of a check, and its parameters."""

    @model_validator(mode="after")
    def _one(self) -> Entry:
        exactly_one(self, *type(self).model_fields)
        return self

    @property
    def parameters(self) -> DataCheck:
        """What the check was given."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return cast("DataCheck", next(each for each in given if each is not None))

    @property
    def name(self) -> str:
        """The name of the check that this entry is for."""
        return self.parameters.name

    @property
    def version(self) -> int:
        """The version of the check's code: the same parameters and rows give the same result under the same version."""
        return self.parameters.version

    def run(self, rows: Rows) -> CheckResult:
        """What the check found in `rows`, and what is to become of them."""
        return self.parameters.run(rows)


if TYPE_CHECKING:
    Check = Entry
else:
    # One optional field for each check.
    Check = create_model(
        "Check",
        __base__=Entry,
        __module__=__name__,
        __doc__=Entry.__doc__,
        **{name: (each | None, Field(default=None, description=each.about)) for name, each in CHECKS.items()},
    )


def _default() -> tuple[Check, ...]:
    found = {name: each.by_default() for name, each in CHECKS.items()}
    return tuple(Check(**cast("Any", {name: each})) for name, each in found.items() if each is not None)


DEFAULT: Final = _default()
"""What is checked where a spec says nothing: equal rows are dropped, all else is reported."""


def for_files(alike: Mapping[str, Json], against: Sequence[str]) -> list[Json]:
    """The checks, as a spec writes them, for files without a spec: everything is looked for, and only reported.

    `alike` says when rows are alike, `against` names the data that rows are compared with.
    """
    found = {name: each.only_reporting(alike, against) for name, each in CHECKS.items()}
    return [{name: parameters} for name, parameters in found.items() if parameters is not None]


def decides_rows(entry: Mapping[str, Json]) -> bool:
    """Whether the check that `entry` of a spec or record names can decide which rows come out."""
    return not any(name in CHECKS and CHECKS[name].judges for name in entry)


def masked(table: pa.Table) -> pa.Table:
    """A few rows, with `row` and all their fields, in which everything is masked that a check can find and mask."""
    import pyarrow as pa

    for check in filter(None, (each.masking() for each in CHECKS.values())):
        changed = check.run(TableRows(table)).changed
        if changed is not None:
            new = {row["row"]: row for row in changed.to_pylist()}
            rows = [row | new.get(row["row"], {}) for row in table.to_pylist()]
            table = pa.Table.from_pylist(rows, schema=table.schema)
    return table


def told(report: DatasetReport) -> tuple[tuple[CheckReport, Told], ...]:
    """What is shown of each check of `report`; one that this ftops doesn't know is told by its counts."""
    return tuple((each, CHECKS.get(each.name, DataCheck).told(each, report)) for each in report.checks)
