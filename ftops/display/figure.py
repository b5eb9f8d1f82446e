"""Figures and tables as values: the same ones for terminals, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ftops.display.numbers import NONE


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the few numbers at the top; `share` is drawn as a bar."""

    name: str
    value: str
    detail: str
    share: float | None = None


Column = tuple[str, bool]
"""A heading, and whether numbers stand below it."""


@dataclass(frozen=True, slots=True)
class Table:
    """Headings and rows of text, numbers at the right in the columns of `numeric`; `note` says how to read it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""

    @classmethod
    def of(cls, columns: Sequence[Column], rows: Iterable[Sequence[str]], note: str = "") -> Table:
        """A table without the columns in which no row has a figure."""
        found = list(rows)
        kept = [index for index in range(len(columns)) if any(row[index] != NONE for row in found)]
        shown = tuple(tuple(row[index] for index in kept) for row in found)
        numeric = frozenset(place for place, index in enumerate(kept) if columns[index][1])
        return cls(tuple(columns[index][0] for index in kept), shown, numeric, note)
