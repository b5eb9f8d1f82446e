"""Rows out, a line each."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ftops.files import open_new

if TYPE_CHECKING:
    import pyarrow as pa


class JsonlWriter:
    """Writes lines to a new file; counts and hashes what it wrote."""

    def __init__(self, path: Path) -> None:
        self._file = os.fdopen(open_new(path), "wb")  # closed by __exit__
        self._sha256 = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, lines: pa.LargeBinaryArray) -> None:
        """Add `lines`, which have their ends and are no slice; raises OSError when the disk does."""
        if not len(lines):
            return
        text = memoryview(lines.buffers()[2])[: lines.total_values_length]
        self._file.write(text)
        self._sha256.update(text)
        self.rows += len(lines)
        self.bytes += len(text)

    @property
    def sha256(self) -> str:
        """The sha256 of all that was written, 64 hex digits."""
        return self._sha256.hexdigest()
