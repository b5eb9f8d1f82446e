"""What checks found in a data set, as text for terminals, JSON for programs, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ftops.datasets.checks import told
from ftops.datasets.checks.format import CHECK as FORMAT
from ftops.datasets.checks.told import score_text
from ftops.datasets.record import DatasetReport, FindingReport
from ftops.datasets.report.page import place
from ftops.datasets.report.verdict import reasons_against, verdict
from ftops.digests import Json
from ftops.display.numbers import counted, trimmed
from ftops.display.terminal import Style, paint
from ftops.display.text import clean
from ftops.plan.address import FORMAT_VERSION

SHOWN: Final = 20
"""Findings that are shown where not all are asked for."""
_TONES: Final = {"good": Style.BOLD_GREEN, "open": Style.BOLD_YELLOW, "bad": Style.BOLD_RED, "even": Style.BOLD}
_COLUMNS: Final = (
    "check",
    "entity",
    "row",
    "field",
    "detail",
    "start",
    "end",
    "masked",
    "action",
    "file",
    "line",
    "byte",
)


def check_text(report: DatasetReport, color: bool = False, shown: int = SHOWN) -> str:
    """The answer, what was counted, and the first `shown` of the report's findings, one a line."""
    said = verdict(report)
    lines: list[str] = []
    lines += [f"  {each}" for each in reasons_against(report)]
    lines += [f"  {each}" for each in report.warnings]
    lines += ["", *_counts(report)]
    if report.findings and shown:
        lines += ["", *(_finding(each) for each in report.findings[:shown])]
        if (more := sum(report.found.values()) - len(report.findings[:shown])) > 0:
            lines.append(f"and {counted(more, 'more finding')}")
    return "\n".join([paint(f"{said}.", _TONES[said.tone], color), *map(clean, lines)])


def _counts(report: DatasetReport) -> Iterator[str]:
    rows = report.rows
    parts = ((rows.invalid, "left out"), (rows.dropped, "dropped"), (rows.masked, "masked"))
    yield f"rows          {rows.read:,} read, {rows.kept:,} kept" + "".join(
        f", {count:,} {words}" for count, words in parts if count
    )
    yield f"{FORMAT:<13} {_listed(report.format.items())}"
    yield from _by_check(report)
    if (whole := report.statistics.characters.get("row")) is not None:
        yield f"characters    {trimmed(whole.mean)} a row, median {whole.p50:,}, 95 % at most {whole.p95:,}, {whole.max:,} at most"
    if (tokens := report.statistics.tokens) is not None:
        low_end, high_end = (trimmed(each) for each in tokens.mean_interval)
        margin = "" if low_end == high_end else f" ({low_end} to {high_end}, from {counted(tokens.sampled, 'row')})"
        yield f"tokens        {trimmed(tokens.mean)} a row{margin}, by {tokens.tokenizer}"
    for file in report.files:
        if file.notes:
            yield f"read          {file.path}: {', '.join(file.notes)}"
    if report.unused_columns:
        yield f"not used      {', '.join(report.unused_columns)}"


def _by_check(report: DatasetReport) -> Iterator[str]:
    """What each check counted; then scores, and what is to be said of the rows that are left."""
    checks = told(report)
    for check, each in checks:
        if each.counts is not None:
            yield f"{check.name:<13} {_listed((count.name, count.number) for count in each.counts)}"
    for check, each in checks:
        if each.score is not None:
            low = [
                f"{part.name} {score_text(part.value)} ({counted(part.rows, 'row')})"
                for part in each.score.parts
                if part.rows
            ]
            yield f"{check.name:<13} {score_text(each.score.value)}" + (f": {', '.join(low)}" if low else "")
    for _, each in checks:
        if each.remark:
            yield f"alike         {each.remark[:1].lower()}{each.remark[1:].rstrip('.')}"


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts if count) or "nothing found"


def _finding(finding: FindingReport) -> str:
    where = f"{place(finding)}: " if finding.file else ""
    field = f" {finding.field}" if finding.field else ""
    looks = f" {finding.masked}" if finding.masked else ""
    what = f"{finding.check} {finding.entity}" if finding.entity and finding.check != FORMAT else finding.check
    return f"{where}row {finding.row}:{field} {finding.detail}{looks} [{what}, {finding.action}]"


def check_json(report: DatasetReport, findings: Sequence[FindingReport], everything: bool = False) -> Json:
    """What was counted and found, in the form that programs rely on: the first 20 findings, or all."""
    shown = findings if everything else findings[:SHOWN]
    several = len(report.files) > 1
    return {
        "formatVersion": FORMAT_VERSION,
        "rows": report.rows.read,
        "valid": report.valid,
        "summary": {
            FORMAT: dict(report.format),
            **{check.name: check.summary for check, each in told(report) if each.counts is not None},
        },
        "score": report.score,
        "findings": [_tree(each, several) for each in shown],
    }


def _tree(finding: FindingReport, several: bool) -> Json:
    tree: dict[str, Json] = {
        "check": finding.check,
        "entity": finding.entity,
        "row": finding.row,
        "field": finding.field,
    }
    tree |= {key: getattr(finding, key) for key in ("start", "end", "masked", "detail", "line", "byte")}
    if several:
        tree["file"] = finding.file
    return {key: value for key, value in tree.items() if value is not None}


def findings_csv(findings: Iterable[FindingReport]) -> str:
    """Every finding as a line of CSV; what a spreadsheet would run as a formula is marked as text by an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for each in findings:
        values = (getattr(each, name) for name in _COLUMNS)
        writer.writerow(["" if value is None else _cell(str(value)) for value in values])
    return out.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
