"""Rows that say the same as an earlier row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ftops.checks.rows import CheckResult, row_digests, row_numbers
from ftops.fields import Strict
from ftops.values import Finding

if TYPE_CHECKING:
    import pyarrow as pa


class Duplicates(Strict):
    exact: Literal["report", "drop", "fail"] = Field(
        default="drop", description="What happens to a row whose text fields all equal those of an earlier row."
    )

    def run(self, table: pa.Table) -> CheckResult:
        """The rows beyond the first of each group of equal rows; `clusters` counts the groups.

        Of a group the first row stays, which is the one with the lowest number.
        """
        import pyarrow as pa

        first: dict[bytes, int] = {}
        repeated: set[int] = set()
        kept: list[bool] = []
        findings: list[Finding] = []
        for row, digest in zip(row_numbers(table), row_digests(table), strict=True):
            earlier = first.setdefault(digest, row)
            kept.append(earlier == row)
            if earlier != row:
                repeated.add(earlier)
                findings.append(Finding("duplicates", row, "", f"says the same as row {earlier}"))
        if self.exact == "drop" and findings:
            table = table.filter(pa.array(kept, pa.bool_()))
        return CheckResult(
            table,
            tuple(findings),
            {"exactRows": len(findings), "clusters": len(repeated)},
            failed=self.exact == "fail" and bool(findings),
        )
