"""Files of log rows: opened once, regular ones only, and read as far as they went when they were opened."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ftops.documents.globs import glob_pattern
from ftops.errors import Diagnostic, ExternalError, SpecError
from ftops.files import LINKED, open_below, open_given

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FORMATS: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
PACKED: Final = {".gz": "gzip", ".zst": "zstd"}
"""How a file of JSONL or CSV may be compressed."""
READ: Final = ".jsonl, .ndjson, .csv (each also with .gz or .zst) and .parquet"


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file to read: what it is called, and where it is. `root`, where given, is the folder that it must be in: no
    part of `path` from there on may be a link."""

    path: str
    place: Path
    root: Path | None = None

    @classmethod
    def of_project(cls, root: Path, path: str) -> LogFile:
        return cls(path, root / path, root)

    @classmethod
    def named(cls, path: Path) -> LogFile:
        """A file that a person named, wherever it is."""
        return cls(str(path), path)

    @property
    def format(self) -> tuple[str, str | None]:
        """jsonl, csv or parquet, and how it is compressed. Raises ExternalError for any other."""
        *_, ending = [self.place.suffix.lower()]
        packed = PACKED.get(ending)
        kind = FORMATS.get(Path(self.place.stem).suffix.lower() if packed else ending)
        if kind is None or (kind == "parquet" and packed):
            raise ExternalError(
                Diagnostic(f"{self.path}: not a format of logs that ftops reads", f"it reads {READ}", "name it so")
            )
        return kind, packed


class Snapshot(io.RawIOBase):
    """The bytes of an open file, as many as it had when it was opened; several may read the same file at once."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self.size, self._at = descriptor, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")[: max(self.size - self._at, 0)]
        count = os.preadv(self._descriptor, [view], self._at) if len(view) else 0
        self._at += count
        return count

    def read(self, size: int | None = -1) -> bytes:
        left = max(self.size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces = []
        while wanted and (piece := os.pread(self._descriptor, wanted, self._at)):
            pieces.append(piece)
            self._at += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def again(self) -> Snapshot:
        """Another reader of the same bytes, from their beginning."""
        return Snapshot(self._descriptor, self.size)


@contextmanager
def opened(file: LogFile) -> Iterator[Snapshot]:
    """The content of `file`. Raises ExternalError when it can't be opened or is no regular file."""
    try:
        root, place = file.root, file.place
        descriptor = open_given(place, waits=False) if root is None else open_below(root, file.path)
    except OSError as error:
        linked = file.root is not None and error.errno in LINKED
        raise ExternalError(
            Diagnostic(
                f"{file.path}: cannot be read: {'it is, or lies behind, a link' if linked else error.strerror}",
                "links are not followed, so that no rows come from outside of the project" if linked else "",
                "put the file itself there" if linked else "check the path of the logs",
            )
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ExternalError(Diagnostic(f"{file.path}: not a regular file", hint="expected a file with log rows"))
        yield Snapshot(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def names(root: Path, pattern: str) -> tuple[str, ...]:
    """The files below `root` that `pattern` stands for, a path or a glob (`*`, `?`, `[…]`, `**` for any folders), in
    the order of their names. Links are not followed; what is hidden is found only where the pattern says so.
    """
    parts = PurePosixPath(pattern).parts
    if ".." in parts or pattern.startswith("/"):
        raise SpecError(Diagnostic(f"{pattern}: expected a path inside of the project", "see logs.path"))
    magic = next((place for place, part in enumerate(parts) if re.search(r"[*?[]", part)), None)
    if magic is None:
        return (PurePosixPath(pattern).as_posix(),) if os.path.lexists(root / pattern) else ()
    if any((root / Path(*parts[:end])).is_symlink() for end in range(1, magic + 1)):
        return ()
    hidden = any(part.startswith(".") for part in parts)
    wanted = glob_pattern(parts)
    found = []
    for current, folders, files in os.walk(root / Path(*parts[:magic])):
        if not hidden:
            folders[:] = [each for each in folders if not each.startswith(".")]
        for name in files:
            file = (Path(current) / name).relative_to(root).as_posix()
            plain = not name.startswith(".") or hidden
            if plain and wanted.fullmatch(file) and (root / file).is_file() and not (root / file).is_symlink():
                found.append(file)
    return tuple(sorted(found))
