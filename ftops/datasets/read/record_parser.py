"""A file on its way through its parser, and what a parser gives: one strict one a format, what is ambiguous is refused.

Parsers run in a child. A row comes with its line (from 1) and byte (from 0), None where the format knows none; a row that
can't be understood comes as the text that says why. What breaks the file as a whole raises RefusedError.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ftops.datasets.read.decompress import CHUNK, Decoded, Piece, RefusedError
from ftops.digests import Json

NAMES: Final = 10_000
"""More columns are a mistake, or an attack."""


Record = tuple[int | None, int | None, dict[str, Json] | str]
"""A row: its line, its byte, and its values by column or why it can't be read."""


@dataclass(slots=True)
class Parse:
    """A piece of a file on its way through a parser: how it is to be read, and what was learned of it beside the rows.

    `columns` are those that somebody will look at. `lines` counts those of JSONL.
    """

    piece: Piece
    compression: str | None
    decoded_limit: int
    columns: Collection[str]
    encoding: str | None = None
    delimiter: str | None = None
    names: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lines: int = 0

    def stream(self, *, text: bool = True) -> io.BufferedReader:
        """The decoded bytes from their beginning; a `text` has no NUL."""
        return io.BufferedReader(Decoded(self.piece, self.compression, self.decoded_limit, text=text), CHUNK)

    def saw(self, names: Iterable[str]) -> None:
        """Keep the names of a row's columns; raises RefusedError when there are too many."""
        self.names.update(dict.fromkeys(names))
        if len(self.names) > NAMES:
            raise RefusedError(f"more than {NAMES:,} different columns", hint="rows of a file have the same columns")

    def header(self, names: list[str]) -> list[str]:
        """`names` of all columns, seen; raises RefusedError when one is empty, or stands twice."""
        for number, name in enumerate(names, 1):
            if not name:
                raise RefusedError(f"column {number} has no name in the header", 1, hint="give every column a name")
            if name in self.names:
                raise RefusedError(f"two columns are called {name[:80]!r}", 1, hint="give every column its own name")
            self.saw([name])
        return names
