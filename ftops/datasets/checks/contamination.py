"""Rows that another data set has too: an evaluation set that is trained on measures nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ftops.datasets.checks.data_check import Action, DataCheck
from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding
from ftops.digests import Json
from ftops.resources.fields import Name

if TYPE_CHECKING:
    from ftops.datasets.checks.rows import Rows


class Contamination(DataCheck):
    name: ClassVar = "contamination"
    about: ClassVar = "Rows that another data set has too."

    against: tuple[Name, ...] = Field(min_length=1, description="Other data sets, by name.")
    threshold: float = Field(
        default=0.95, ge=0.7, le=1, description="Rows whose sets of tokens have at least this Jaccard index are alike."
    )
    ngrams: int | None = Field(
        default=None, ge=2, le=32, description="Compare runs of so many characters; words when absent."
    )
    action: Action = Field(default="drop", description="What happens to a row that another data set has too.")

    @classmethod
    def only_reporting(cls, alike: Mapping[str, Json], against: Sequence[str]) -> Json:
        return {"against": list(against), "action": "report", **alike} if against else None

    def compared_with(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        for place, name in enumerate(self.against):
            yield ("against", place), name

    def run(self, rows: Rows) -> CheckResult:
        """The rows that are like any row of another data set, whatever the fields of that one are called.

        `summary` counts them by data set.
        """
        from ftops.datasets.checks.similarity.clusters import matches

        found = {name: matches(rows, rows.others[name], self.threshold, self.ngrams) for name in self.against}
        findings = sorted(
            (
                Finding(self.name, row, "", f"is nearly the same as a row of {name}, Jaccard {shared}", name)
                for name, shares in found.items()
                for row, shared in shares.items()
            ),
            key=lambda finding: finding.row,
        )
        hit = frozenset(finding.row for finding in findings)
        return CheckResult(
            tuple(findings),
            {name: len(shares) for name, shares in found.items()},
            hit if self.action == "drop" else frozenset(),
            failed=self.action == "fail" and bool(hit),
        )
