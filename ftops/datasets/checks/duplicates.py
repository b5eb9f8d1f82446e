"""Rows that say the same as an earlier row, exactly or nearly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding
from ftops.resources.fields import Strict

if TYPE_CHECKING:
    from ftops.datasets.checks.rows import Rows
    from ftops.datasets.checks.similarity.clusters import Shared
    from ftops.datasets.checks.similarity.join import Bound

VERSION: Final = 1

Action = Literal["report", "drop", "fail"]


class Near(Strict):
    threshold: float = Field(
        default=0.95, ge=0.7, le=1, description="Rows whose sets of tokens have at least this Jaccard index are alike."
    )
    action: Action = Field(default="report", description="What happens to a row that is like an earlier one.")
    ngrams: int | None = Field(
        default=None, ge=2, le=32, description="Compare runs of so many characters; words when absent."
    )


class Duplicates(Strict):
    exact: Action = Field(
        default="drop", description="What happens to a row whose text fields all equal those of an earlier row."
    )
    near: Near | None = Field(default=None, description="Whether rows that are nearly equal are looked for.")

    def run(self, rows: Rows) -> CheckResult:
        """The rows beyond the first of each group of equal rows (`exactRows`), and the further ones beyond the first of
        each cluster (`nearRows`); `clusters` counts those of two rows and more.

        A cluster is what chains of equal and nearly equal rows connect. Its lowest row stays. Where near-duplicates are
        dropped, a row that equals one of them goes with it.
        """
        from ftops.datasets.checks.similarity.clusters import alike
        from ftops.datasets.checks.similarity.join import Bound

        near = self.near
        bound = Bound.of(1 if near is None else near.threshold)
        found = alike(rows, near.threshold, near.ngrams) if near is not None else alike(rows, None)
        findings: list[Finding] = []
        dropped: set[int] = set()
        clusters: dict[int, int] = {}
        numbers = found.numbers.tolist()
        for place in (found.lowest != range(len(numbers))).nonzero()[0].tolist():
            row, first, lowest = numbers[place], numbers[found.first[place]], numbers[found.lowest[place]]
            entity, detail = "exact", f"says the same as row {first}"
            if first == row:
                entity, detail = "near", _nearly(lowest, found.shared[place], bound)
            findings.append(Finding("duplicates", row, "", detail, entity))
            clusters[row] = lowest
            if (first != row and self.exact == "drop") or (first != lowest and near and near.action == "drop"):
                dropped.add(row)
        exact = sum(finding.entity == "exact" for finding in findings)
        fails = (self.exact == "fail" and exact) or (near and near.action == "fail" and exact < len(findings))
        return CheckResult(
            tuple(findings),
            {"exactRows": exact, "nearRows": len(findings) - exact, "clusters": len(set(clusters.values()))},
            frozenset(dropped),
            clusters=clusters,
            failed=bool(fails),
        )


def _nearly(lowest: int, shared: Shared, bound: Bound) -> str:
    """Why a row is in the cluster of the row `lowest`, of which it can be unlike: others stand between them."""
    if shared.reaches(bound):
        return f"is nearly the same as row {lowest}, Jaccard {shared}"
    return f"is nearly the same as a row that leads to row {lowest}, which it has a Jaccard index of {shared} with"
