"""What was read, found and written → the report that is recorded, and all pages are made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ftops.datasets.checks import Check
from ftops.datasets.checks.format import CHECK as FORMAT
from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding, row_list
from ftops.datasets.prepare.check_rows import CheckedRows
from ftops.datasets.prepare.split import SPLITS
from ftops.datasets.record import (
    CheckReport,
    Counts,
    DatasetReport,
    FindingReport,
    SplitReport,
    Statistics,
)
from ftops.datasets.spec import DatasetSpec


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out beside the findings of checks."""

    statistics: Statistics
    findings: tuple[FindingReport, ...]
    splits: Mapping[str, SplitReport] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def dataset_report(spec: DatasetSpec, checked: CheckedRows, outcome: Outcome) -> DatasetReport:
    """All that is known of the data set, without a row or a part of one."""
    reading, results = checked.reading, checked.results
    faulty = {fault.row for fault in reading.faults}
    dropped = frozenset[int]().union(*(result.dropped for _, result in results))
    changed = {row for _, result in results for row in result.changed_rows}
    found = Counter({FORMAT: len(reading.faults)}) if reading.faults else Counter[str]()
    found.update({check.name: len(result.findings) for check, result in results if result.findings})
    failed = any(result.failed for _, result in results) or (bool(faulty) and spec.on_invalid == "fail")
    parts: dict[str, Any] = {}
    for check, result in results:
        parts |= check.parameters.recorded(result)
    return DatasetReport(
        shape=spec.shape,
        files=reading.files,
        unused_columns=reading.unused,
        rows=Counts(
            read=reading.read,
            invalid=len(faulty),
            dropped=len(dropped),
            masked=len(changed - dropped),
            kept=checked.rows.count,
        ),
        valid=not failed and checked.rows.count > 0,
        format=_by_fault(reading.faults),
        checks=tuple(_check(check, result) for check, result in results),
        statistics=outcome.statistics,
        splits=dict(outcome.splits),
        found=dict(found),
        findings=outcome.findings,
        warnings=(*_warnings(spec, checked), *outcome.warnings),
        **parts,
    )


def _by_fault(faults: tuple[Finding, ...]) -> dict[str, int]:
    """Rows by fault; what differs only in a number is one."""
    kinds = {(fault.row, re.sub(r"[0-9]+", "N", f"{fault.field} {fault.detail}".strip())) for fault in faults}
    return dict(sorted(Counter(kind for _, kind in kinds).items(), key=lambda each: (-each[1], each[0])))


def _check(check: Check, result: CheckResult) -> CheckReport:
    return CheckReport(
        name=check.name,
        parameters=check.parameters.model_dump(mode="json", by_alias=True, exclude_none=True),
        summary=dict(result.summary),
        rows=len({finding.row for finding in result.findings}),
        dropped=len(result.dropped),
        masked=len(result.changed_rows),
        failed=result.failed,
    )


# ------------------------------------------------------------------------------------------------ warnings


def _warnings(spec: DatasetSpec, checked: CheckedRows) -> Iterator[str]:
    if checked.reading.faults and spec.on_invalid == "skip":
        yield f"left out, because they break the shape: {row_list({fault.row for fault in checked.reading.faults})}"
    for check, result in checked.results:
        if warning := check.parameters.warning(result):
            yield warning


def empty_splits(spec: DatasetSpec, splits: Mapping[str, SplitReport]) -> Iterator[str]:
    """A warning for each split that should have rows and got none."""
    for name in SPLITS:
        if getattr(spec.split, name) > 0 and not splits[name].rows:
            yield f"the {name} split has no rows: there are too few for its ratio of {getattr(spec.split, name):g}"
