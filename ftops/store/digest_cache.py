"""Digests of files, taken once: kept by what changes with the content of a file."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import time
from pathlib import Path
from typing import Final

from ftops.errors import Diagnostic, ExternalError
from ftops.files import open_append, open_regular, read_bytes

RACY_SECONDS: Final = 2.0  # within a tick of a file system's clock a file can change again without a trace
DIGEST: Final = re.compile(r"([0-9:]+)\t((sha256:[0-9a-f]{32}|md5:)[0-9a-f]{32})")


class Digests:
    """Digests of files, kept by device, inode, size and times one a line in an append-only file.

    The time of the inode's change is part of the key, because content can change under a restored modification time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[str, str], str] | None = None

    def of(self, path: Path, algorithm: str) -> str:
        with os.fdopen(open_regular(path), "rb") as file:
            before = os.fstat(file.fileno())
            known = self._load()
            if (found := known.get((file_identity(before), algorithm))) is not None:
                return found
            now, new = time.time(), functools.partial(hashlib.new, algorithm, usedforsecurity=False)
            digest = f"{algorithm}:{hashlib.file_digest(file, new).hexdigest()}"
            if file_identity(os.fstat(file.fileno())) != file_identity(before):
                raise ExternalError(Diagnostic(f"{path} changed while it was read", hint="try again when it is whole"))
        if max(before.st_mtime, before.st_ctime) < now - RACY_SECONDS:
            known[file_identity(before), algorithm] = digest
            # Only a cache: without a store, or where it can't be written, files are hashed again.
            with contextlib.suppress(OSError), os.fdopen(open_append(self.path), "a", encoding="ascii") as cache:
                cache.write(f"{file_identity(before)}\t{digest}\n")
        return digest

    def _load(self) -> dict[tuple[str, str], str]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ExternalError):
                found = map(DIGEST.fullmatch, read_bytes(self.path, None).decode("ascii", "replace").splitlines())
                self._known = {(match[1], match[2].partition(":")[0]): match[2] for match in found if match}
        return self._known


def file_identity(found: os.stat_result) -> str:
    """What of a file's status changes with its content."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
