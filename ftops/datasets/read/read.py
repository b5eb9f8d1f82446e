"""From files to rows: opened and hashed here, parsed by children with limits, put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ftops.datasets.finding import Finding
from ftops.datasets.read.parse_options import Form
from ftops.datasets.read.parser_pool import Progress, Whole, names_of, read_files
from ftops.datasets.read.row_errors import FAULTS, TOO_MANY, WHICH_SHAPE
from ftops.datasets.read.row_shapes import sources
from ftops.datasets.read.source import DataFile
from ftops.datasets.read.stored_rows import Part, StoredRows
from ftops.digests import Json
from ftops.errors import ChecksFailed, Diagnostic, Where, nearest

if TYPE_CHECKING:
    from ftops.datasets.record import SourceFile

NAMES_SHOWN: Final = 40
LEARNED: Final = ("names", "used", "unread", "notes")
SAY_WHICH: Final = (
    "say which column it is, in source.columns of the data set or with --columns of `ftops dataset check`"
)


@dataclass(frozen=True)
class Reading:
    """What was read: the rows that have their shape, and the faults of those that have not.

    `first_rows` are the numbers of the first row of each of `files`, which count on from file to file. `unused` are the
    columns, and parts of messages, that nobody looked at.
    """

    rows: StoredRows
    faults: tuple[Finding, ...]
    files: tuple[SourceFile, ...]
    first_rows: tuple[int, ...]
    unused: tuple[str, ...]

    @property
    def read(self) -> int:
        """How many rows there were, with those that have faults."""
        return self.rows.read

    def to_json(self) -> Json:
        """All but the rows themselves, which stay in their folder."""
        rows = self.rows
        return {
            "parts": [list(part) for part in rows.parts],
            "fields": list(rows.fields),
            "read": rows.read,
            "faults": [[each.row, each.field, each.detail, each.entity, each.line, each.byte] for each in self.faults],
            "files": [file.model_dump(mode="json") for file in self.files],
            "first_rows": list(self.first_rows),
            "unused": list(self.unused),
        }

    @classmethod
    def from_json(cls, tree: Json, folder: Path) -> Self:
        """What `to_json` gave `tree`, its rows in `folder`."""
        from ftops.datasets.record import SourceFile

        faults = tuple(
            Finding("format", row, where, detail, entity, line=line, byte=byte)
            for row, where, detail, entity, line, byte in tree["faults"]
        )
        parts = tuple(Part(*part) for part in tree["parts"])
        rows = StoredRows(folder, parts, tuple(tree["fields"]), tree["read"], faults)
        files = tuple(SourceFile.model_validate(file, strict=False) for file in tree["files"])
        return cls(rows, faults, files, tuple(tree["first_rows"]), tuple(tree["unused"]))


def read_rows(files: Sequence[DataFile], form: Form, folder: Path, progress: Progress) -> Reading:
    """The rows of `files` in the shape of `form`, as Arrow files in `folder`, which must be there and have none yet.

    `progress` is called with the bytes that were read, and the bytes of all files that are open or were. Raises
    ExternalError when a file can't be opened, is not what was expected, or changes meanwhile; ChecksFailed when it passes a
    limit, can't be parsed, or lacks a column.
    """
    together = _Together(form)
    with closing(read_files(files, form, folder, progress)) as wholes:
        for whole in wholes:
            together.add(whole)
    faults = tuple(together.faults)
    rows = StoredRows(folder, tuple(together.parts), tuple(sorted(form.fields)), together.read, faults)
    return Reading(rows, faults, tuple(together.files), tuple(together.first_rows), tuple(together.unused))


def peek(file: DataFile, form: Form) -> tuple[str, ...]:
    """The names of the columns of `file`, by its header or its first rows; raises what `read_rows` raises."""
    return names_of(file, form)


class _Together:
    """What was learned of the files read so far, in numbers of the whole."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.parts: list[Part] = []
        self.faults: list[Finding] = []
        self.files: list[SourceFile] = []
        self.first_rows: list[int] = []
        self.unused: dict[str, None] = {}
        self.read = 0

    def add(self, whole: Whole) -> None:
        """Go on with a file; raises ChecksFailed when it lacks a column, or there are too many faults."""
        from ftops.datasets.record import SourceFile  # not above: the process that parses imports this package

        source, first, line, sound = whole.source, self.read, 0, 0
        learned = {
            name: dict.fromkeys(each for piece in whole.pieces for each in piece.learned[name]) for name in LEARNED
        }
        for piece, found in whole.pieces:
            part = Part(piece.name, found["count"], self.read, line, piece.start)
            self.parts.append(part)
            self.read += found["read"]
            line += found["lines"]
            sound += found["count"]
            if len(self.faults) + len(found["faults"]) > FAULTS:
                raise ChecksFailed(Diagnostic(TOO_MANY, hint=WHICH_SHAPE, where=Where(source.file.path)))
            self.faults += _findings(found, part)
        _require(source.file.path, list(learned["names"]), self._form, sound)
        self.first_rows.append(first + 1)
        self.unused.update(dict.fromkeys(name for name in learned["names"] if name not in learned["used"]))
        self.unused.update(learned["unread"])
        notes = (*([source.compression] if source.compression else []), *learned["notes"])
        self.files.append(
            SourceFile(
                path=source.file.path, sha256=whole.sha256, bytes=source.size, rows=self.read - first, notes=notes
            )
        )


def _findings(learned: Mapping[str, Any], part: Part) -> Iterator[Finding]:
    kinds = learned["kinds"]
    for row, line, byte, index in learned["faults"]:
        where, name, words = kinds[index]
        yield Finding(
            "format", row + part.row, where, words, name,
            line=None if line is None else line + part.line, byte=None if byte is None else byte + part.byte,
        )  # fmt: skip


def _require(path: str, present: Sequence[str], form: Form, sound: int) -> None:
    """Raises ChecksFailed, naming each column that must be in the file and is not."""
    needed = {name: sources(form, name) for name in form.fields if name in form.required or name in form.columns}
    if sound:
        # A prompt can be part of the answers, so what says if there is one are the rows.
        needed = {name: found for name, found in needed.items() if len(found) == 1}
    if form.stratum is not None:
        needed["split.stratify"] = (form.stratum,)
    more = f", and {len(present) - NAMES_SHOWN} more" if len(present) > NAMES_SHOWN else ""
    missing = [
        Diagnostic(
            f"no column {' or '.join(map(repr, found))} for {'the field ' if name in form.fields else ''}{name!r}",
            f"the file has {', '.join(name[:80] for name in present[:NAMES_SHOWN])}{more}",
            f"did you mean {match!r}?" if (match := nearest(found[0], present)) else SAY_WHICH,
            where=Where(path),
        )
        for name, found in needed.items()
        if not set(found) & set(present)
    ]
    if missing and present:
        raise ChecksFailed(*missing)
