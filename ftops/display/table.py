"""Rows as the lines of a table."""

from __future__ import annotations

from collections.abc import Iterator

from ftops.display.figure import Table
from ftops.display.text import clean


def table_lines(table: Table) -> Iterator[str]:
    """Columns as wide as their widest cell, numbers at the right."""
    cells = [[clean(each) for each in row] for row in (table.headings, *table.rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(table.headings))]
    for row in cells:
        parts = (
            f"{cell:>{width}}" if index in table.numeric else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(parts)}".rstrip()
    if table.note:
        yield f"  {clean(table.note)}"
