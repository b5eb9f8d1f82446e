"""What was read, found and written → the report that is recorded, and all pages are made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ftops.datasets.checks import Check
from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding
from ftops.datasets.prepare.check_rows import Looked
from ftops.datasets.prepare.findings import FORMAT, SHOWN
from ftops.datasets.prepare.split import SPLITS
from ftops.datasets.record import (
    CheckReport,
    ClusterReport,
    ComponentReport,
    Counts,
    DatasetReport,
    FindingReport,
    QualityReport,
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


def dataset_report(spec: DatasetSpec, looked: Looked, outcome: Outcome) -> DatasetReport:
    """All that is known of the data set, without a row or a part of one."""
    reading, results = looked.reading, looked.results
    faulty = {fault.row for fault in reading.faults}
    dropped = frozenset[int]().union(*(result.dropped for _, result in results))
    changed = {row for _, result in results for row in _changed(result)}
    found = Counter({FORMAT: len(reading.faults)}) if reading.faults else Counter[str]()
    found.update({check.name: len(result.findings) for check, result in results if result.findings})
    failed = any(result.failed for _, result in results) or (bool(faulty) and spec.on_invalid == "fail")
    return DatasetReport(
        shape=spec.shape,
        files=reading.files,
        unused_columns=reading.unused,
        rows=Counts(
            read=reading.read,
            invalid=len(faulty),
            dropped=len(dropped),
            masked=len(changed - dropped),
            kept=looked.rows.count,
        ),
        valid=not failed and looked.rows.count > 0,
        format=_by_fault(reading.faults),
        checks=tuple(_check(check, result) for check, result in results),
        quality=next((_quality(check, result) for check, result in results if check.quality is not None), None),
        clusters=next(
            (_clusters(result) for check, result in results if check.duplicates is not None), ClusterReport()
        ),
        statistics=outcome.statistics,
        splits=dict(outcome.splits),
        found=dict(found),
        findings=outcome.findings,
        warnings=(*_warnings(spec, looked), *outcome.warnings),
    )


def _changed(result: CheckResult) -> list[int]:
    return [] if result.changed is None else result.changed["row"].to_pylist()


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
        masked=len(_changed(result)),
        failed=result.failed,
    )


def _quality(check: Check, result: CheckResult) -> QualityReport | None:
    asked = check.quality
    if asked is None:
        return None
    components = result.summary["components"].items()
    return QualityReport(
        score=result.summary["score"],
        min_score=asked.min_score,
        action=asked.action,
        components=tuple(ComponentReport(name=name, **each) for name, each in components),
    )


def _clusters(result: CheckResult) -> ClusterReport:
    sizes = Counter(count + 1 for count in Counter(result.clusters.values()).values())
    return ClusterReport(
        clusters=sizes.total(),
        rows=sum(size * count for size, count in sizes.items()),
        largest=max(sizes, default=0),
        sizes={str(size): sizes[size] for size in sorted(sizes)},
    )


# ------------------------------------------------------------------------------------------------ warnings


def _warnings(spec: DatasetSpec, looked: Looked) -> Iterator[str]:
    if looked.reading.faults and spec.on_invalid == "skip":
        yield f"left out, because they break the shape: {listed({fault.row for fault in looked.reading.faults})}"
    for check, result in looked.results:
        asked = check.quality
        if asked is not None:
            if result.summary["score"] < asked.min_score and not result.failed:
                yield f"the quality score is {result.summary['score']:.3f}, less than {asked.min_score:g}"
            continue
        kept = {each.row for each in result.findings} - result.dropped - set(_changed(result))
        if kept and not result.failed:
            yield f"{check.name} found and kept: {listed(kept)}"


def empty_splits(spec: DatasetSpec, splits: Mapping[str, SplitReport]) -> Iterator[str]:
    """A warning for each split that should have rows and got none."""
    for name in SPLITS:
        if getattr(spec.split, name) > 0 and not splits[name].rows:
            yield f"the {name} split has no rows: there are too few for its ratio of {getattr(spec.split, name):g}"


def listed(numbers: set[int]) -> str:
    """`numbers` of rows in words, the first ones at least."""
    more = f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)[:SHOWN]))}{more}"
