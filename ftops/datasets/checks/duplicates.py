"""Rows that say the same as an earlier row, exactly or nearly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field

from ftops.datasets.checks.data_check import Action, DataCheck
from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.checks.told import Told
from ftops.datasets.finding import Finding
from ftops.datasets.record import CheckReport, ClusterReport, DatasetReport
from ftops.digests import Json
from ftops.display.numbers import counted
from ftops.resources.fields import Strict

if TYPE_CHECKING:
    from ftops.datasets.checks.rows import Rows
    from ftops.datasets.checks.similarity.clusters import Shared
    from ftops.datasets.checks.similarity.join import Bound


class Near(Strict):
    threshold: float = Field(
        default=0.95, ge=0.7, le=1, description="Rows whose sets of tokens have at least this Jaccard index are alike."
    )
    action: Action = Field(default="report", description="What happens to a row that is like an earlier one.")
    ngrams: int | None = Field(
        default=None, ge=2, le=32, description="Compare runs of so many characters; words when absent."
    )


class Duplicates(DataCheck):
    name: ClassVar = "duplicates"
    about: ClassVar = "Rows that say the same."
    labels: ClassVar[Mapping[str, str]] = {
        "exactRows": "rows equal to an earlier one", "nearRows": "rows nearly equal to an earlier one", "clusters": "",
    }  # fmt: skip

    exact: Action = Field(
        default="drop", description="What happens to a row whose text fields all equal those of an earlier row."
    )
    near: Near | None = Field(default=None, description="Whether rows that are nearly equal are looked for.")

    @classmethod
    def by_default(cls) -> Self:
        return cls(near=Near())

    @classmethod
    def only_reporting(cls, alike: Mapping[str, Json], against: Sequence[str]) -> Json:
        return {"exact": "report", "near": {"action": "report", **alike}}

    def asked(self) -> Callable[[str | None], str]:
        exact, near = self.exact, self.near
        return lambda entity: exact if entity == "exact" or near is None else near.action

    def finds_alike(self, threshold: float) -> bool:
        return self.near is not None and self.near.ngrams is None and self.near.threshold <= threshold

    def recorded(self, result: CheckResult) -> Mapping[str, Strict]:
        sizes = Counter(count + 1 for count in Counter(result.clusters.values()).values())
        clusters = ClusterReport(
            clusters=sizes.total(),
            rows=sum(size * count for size, count in sizes.items()),
            largest=max(sizes, default=0),
            sizes={str(size): sizes[size] for size in sorted(sizes)},
        )
        return {"clusters": clusters}

    @classmethod
    def told(cls, check: CheckReport, report: DatasetReport) -> Told:
        return replace(super().told(check, report), remark=_alike(report.clusters))

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
            findings.append(Finding(self.name, row, "", detail, entity))
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


def _alike(clusters: ClusterReport) -> str:
    """How many rows are like others, in a sentence."""
    if not clusters.clusters:
        return "No two rows are alike."
    groups = f"{counted(clusters.rows, 'row')} lie in {counted(clusters.clusters, 'group')} of rows that are alike"
    return f"{groups}; the largest has {clusters.largest:,}. The lowest row of a group is the one that counts."
