"""What was found, row by row, as people and programs are told it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice, zip_longest
from typing import Final, Literal

from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding
from ftops.datasets.prepare.check_rows import CheckedRows
from ftops.datasets.read import Reading
from ftops.datasets.record import FindingReport
from ftops.errors import ChecksFailed, Diagnostic, Where

SHOWN: Final = 20
"""Findings that are told one by one when they stop everything; all are counted."""
RECORDED: Final = 50
"""Findings that a record holds."""
Done = Literal["reported", "masked", "dropped", "left out", "failed"]


def findings(checked: CheckedRows, on_invalid: str) -> Iterator[FindingReport]:
    """Every finding, with the place of its row and what was done with it: the faults of format, then check by check."""
    reading = checked.reading
    yield from _faults(reading, on_invalid)
    places = reading.rows.places({finding.row for _, result in checked.results for finding in result.findings})
    for check, result in checked.results:
        asked = check.parameters.asked()
        for finding in result.findings:
            action = _action(finding, asked(finding.entity), result)
            yield _report(finding, action, reading, places[finding.row])


def _faults(reading: Reading, on_invalid: str) -> Iterator[FindingReport]:
    for fault in reading.faults:
        yield _report(fault, "failed" if on_invalid == "fail" else "left out", reading, (fault.line, fault.byte))


def _report(finding: Finding, action: Done, reading: Reading, place: tuple[int | None, int | None]) -> FindingReport:
    return FindingReport(
        check=finding.check,
        row=finding.row,
        field=finding.field,
        detail=finding.detail,
        entity=finding.entity,
        start=finding.start,
        end=finding.end,
        masked=finding.masked,
        action=action,
        file=reading.files[_number(reading, finding.row)].path,
        line=place[0],
        byte=place[1],
    )


def _number(reading: Reading, row: int) -> int:
    """Which of the files `row` comes from."""
    return bisect_right(reading.first_rows, row) - 1


def _action(finding: Finding, asked: str, result: CheckResult) -> Done:
    if asked == "fail":
        return "failed" if result.failed else "reported"
    if finding.row in result.dropped:
        return "dropped"
    return "masked" if asked == "mask" else "reported"


def first_of_each(found: Iterable[FindingReport], count: int = RECORDED) -> tuple[FindingReport, ...]:
    """At most `count` findings, of each check as many as of the others where it has them, in their order.

    Takes all of `found`, check by check, and holds few of them.
    """
    by_check = [list(islice(each, count)) for _, each in groupby(found, key=lambda finding: finding.check)]
    in_turn = (each for turn in zip_longest(*by_check) for each in turn if each is not None)
    chosen = {id(each) for each in islice(in_turn, count)}
    return tuple(each for check in by_check for each in check if id(each) in chosen)


# ------------------------------------------------------------------------------------------------- refusals


def refuse_faults(reading: Reading) -> None:
    """Raises ChecksFailed, naming rows, when there is a row that breaks the shape."""
    if reading.faults:
        raise ChecksFailed(*_told(tuple(_faults(reading, "fail")), reading))


def refuse_failed(checked: CheckedRows) -> None:
    """Raises ChecksFailed, naming rows, when there is a check whose findings are to stop everything."""
    failed = {check.name for check, result in checked.results if result.failed}
    if not failed:
        return
    diagnostics: list[Diagnostic] = []
    for name, group in groupby(findings(checked, "skip"), key=lambda finding: finding.check):
        stopping = [finding for finding in group if name in failed and finding.action == "failed"]
        diagnostics += _told(stopping, checked.reading)
    raise ChecksFailed(*_refusals(checked), *diagnostics)


def _refusals(checked: CheckedRows) -> Iterator[Diagnostic]:
    """What checks say of all rows together, of the data as a whole."""
    for check, result in checked.results:
        if result.failed and (refusal := check.parameters.refusal(result)) is not None:
            yield replace(refusal, where=Where(checked.reading.files[0].path))


def _told(found: Sequence[FindingReport], reading: Reading) -> Iterator[Diagnostic]:
    """The first findings, each with the place of its row; then how many more there are."""
    for finding in found[:SHOWN]:
        first = reading.first_rows[_number(reading, finding.row)]
        detail = [f"row {finding.row - first + 1} of {finding.file}"] if len(reading.files) > 1 else []
        if finding.byte is not None:
            detail.append(f"at byte {finding.byte:,}")
        what = f"{finding.field!r} {finding.detail}" if finding.field else finding.detail
        yield Diagnostic(f"row {finding.row}: {what}", ", ".join(detail), where=Where(finding.file or "", finding.line))
    if len(found) > SHOWN:
        yield Diagnostic(f"and {len(found) - SHOWN:,} more like these")
