"""What every data check is: its parameters as a spec gives them, how it runs, and what is told of what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal, Self

from ftops.datasets.checks.rows import CheckResult, Rows
from ftops.datasets.checks.told import Count, Told, flat_counts
from ftops.datasets.finding import row_list
from ftops.datasets.record import CheckReport, DatasetReport
from ftops.digests import Json
from ftops.display.numbers import counted
from ftops.errors import Diagnostic
from ftops.resources.fields import Strict

Action = Literal["report", "drop", "fail"]
"""What a spec may want to happen to a row in which something is found."""


class DataCheck(Strict):
    """The parameters of a check, which know how to run it and what to say of it. Only `run` must be written.

    `name` is what specs, records and findings call it, `about` what the reference says. `version` is raised when the same
    rows and parameters would give another result. A check that `judges` only looks: which rows come out is not up to it.
    `labels` are what pages call the counts of its summary, "" for one that counts no rows.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    version: ClassVar[int] = 1
    judges: ClassVar[bool] = False
    labels: ClassVar[Mapping[str, str]] = {}

    def run(self, rows: Rows) -> CheckResult:
        """What the check finds in `rows`, and what is to become of them."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------- what it is asked for

    @classmethod
    def by_default(cls) -> Self | None:
        """What runs where a spec names no checks; None where this check doesn't."""
        return None

    @classmethod
    def only_reporting(cls, alike: Mapping[str, Json], against: Sequence[str]) -> Json:
        """The parameters, as a spec writes them, for files without a spec: look for everything, change nothing.

        `alike` says when rows are alike (`threshold`, `ngrams`, as far as they are given), `against` names the data that rows
        are compared with. None where this check isn't run on files.
        """
        return None

    @classmethod
    def masking(cls) -> Self | None:
        """What masks all that it finds; None for a check that masks nothing."""
        return None

    def compared_with(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The names of the data sets whose rows it needs, each after its place in the parameters."""
        yield from ()

    def asked(self) -> Callable[[str | None], str]:
        """What is to happen to what is found, by entity."""
        action = str(getattr(self, "action", "report"))
        return lambda _: action

    def finds_alike(self, threshold: float) -> bool:
        """Whether its `clusters` hold all rows whose sets of words have at least this Jaccard index."""
        return False

    # ------------------------------------------------------------------------------------- what is told of it

    def warning(self, result: CheckResult) -> str:
        """What to look at although nothing is stopped; "" where there is nothing."""
        kept = {each.row for each in result.findings} - result.dropped - set(result.changed_rows)
        return f"{self.name} found and kept: {row_list(kept)}" if kept and not result.failed else ""

    def refusal(self, result: CheckResult) -> Diagnostic | None:
        """What is said before the findings that stop everything; None where they say enough."""
        return None

    def recorded(self, result: CheckResult) -> Mapping[str, Strict]:
        """The fields of a DatasetReport that are made of its result alone."""
        return {}

    @classmethod
    def told(cls, check: CheckReport, report: DatasetReport) -> Told:
        """What is shown of the check, of which `report` says `check`."""
        counts = (Count(name, number, cls.labels.get(name, name)) for name, number in flat_counts(check.summary))
        return Told(f"The check {check.name} forbids what it found in {counted(check.rows, 'row')}.", tuple(counts))
