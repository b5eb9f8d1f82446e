"""A data set in words that everybody understands: may I train on this?"""

from __future__ import annotations

from collections.abc import Iterator

from ftops.datasets.checks import told
from ftops.datasets.record import DatasetReport
from ftops.display.answer import Answer
from ftops.display.numbers import counted


def verdict(report: DatasetReport) -> Answer:
    """May I train on this?"""
    against, concerns = list(reasons_against(report)), list(warned(report))
    if against:
        return Answer("No", "it did not pass" if report.rows.kept else "no row is left", "✗", "bad")
    if concerns:
        return Answer("Yes, but", f"look at {counted(len(concerns), 'point')} first", "!", "open")
    return Answer("Yes", "nothing speaks against it", "✓", "good")


def reasons_against(report: DatasetReport) -> Iterator[str]:
    """Why the rows may not be trained on; nothing where they may."""
    if report.valid:
        return
    rows = report.rows
    failed = [each.forbids for check, each in told(report) if check.failed]
    yield from failed
    if rows.invalid and (not failed or not rows.kept):
        yield f"{counted(rows.invalid, 'row')} of {rows.read:,} {'break' if rows.invalid > 1 else 'breaks'} the shape {report.shape}."
    if not rows.kept:
        yield f"Of {counted(rows.read, 'row')} none is left."


def warned(report: DatasetReport) -> Iterator[str]:
    """What to look at before."""
    for warning in report.warnings:
        yield f"{warning.rstrip('.')}."
