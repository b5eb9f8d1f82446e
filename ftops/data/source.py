"""A file with rows, opened once, below an allowed folder and through no link: what is hashed is what is parsed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ftops.errors import ChecksFailed, Diagnostic, ExternalError, Where

LINKED: Final = (errno.ELOOP, errno.ENOTDIR)
"""What the system says of a link where a file, or a folder, was asked for."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read: `path` below the folder `root`, its limit in bytes, and what it must be.

    `expected` is `sha256:…` or `md5:…`, the identity that was planned with, None where none is known.
    """

    root: Path
    path: str
    format: str
    size_limit: int
    expected: str | None = None


def read_bytes(file: DataFile) -> bytes:
    """The bytes of `file`, read through one descriptor.

    Raises ExternalError when it can't be opened or is no regular file, ChecksFailed when it is larger than its limit.
    """
    try:
        descriptor = open_below(file.root, file.path)
    except OSError as error:
        raise _cannot_open(file.path, error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ExternalError(Diagnostic(f"{file.path}: not a regular file", hint="expected a file with rows"))
    with os.fdopen(descriptor, "rb") as stream:
        # One byte more than allowed, because a file can grow after its size was asked for.
        raw = stream.read(file.size_limit + 1) if status.st_size <= file.size_limit else None
    if raw is None or len(raw) > file.size_limit:
        raise ChecksFailed(
            Diagnostic(
                f"larger than the limit of {file.size_limit:,} bytes",
                f"it has {status.st_size:,} bytes",
                "raise source.sizeLimit in the data set's spec if this is meant",
                where=Where(file.path),
            )
        )
    return raw


def content_digest(file: DataFile, raw: bytes) -> str:
    """The sha256 of `raw`; raises ExternalError when that, or the md5, is not what `file` says is expected."""
    sha256 = hashlib.sha256(raw).hexdigest()
    if file.expected is None:
        return sha256
    algorithm, _, wanted = file.expected.partition(":")
    planned = algorithm == "sha256"
    found = sha256 if planned else hashlib.new(algorithm, raw, usedforsecurity=False).hexdigest()
    if found != wanted:
        raise ExternalError(
            Diagnostic(
                f"{file.path}: changed since {'it was planned' if planned else 'its .dvc pointer was written'}",
                f"expected {algorithm} {wanted}, found {found}",
                "plan again" if planned else "`dvc checkout` the file, or `dvc add` it and commit the pointer",
            )
        )
    return sha256


def open_below(root: Path, path: str) -> int:
    """A descriptor of `root`/`path`, each part opened from the one before, so that no link can lead elsewhere."""
    *folders, name = path.split("/")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            if part == "..":
                raise PermissionError(errno.EPERM, "it leads out of its folder")
            if part in ("", "."):
                continue
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Without O_NONBLOCK, opening a pipe would wait for a writer.
        return os.open(name, flags | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _cannot_open(path: str, error: OSError) -> ExternalError:
    if error.errno in LINKED:
        return ExternalError(
            Diagnostic(
                f"{path}: cannot be read: it is, or lies behind, a link or something that is no folder",
                "links are not followed, so that no data comes from outside of the project",
                "put the file itself there (under DVC: `dvc config cache.type reflink,copy`, then `dvc checkout`)",
            )
        )
    missing = isinstance(error, FileNotFoundError)
    return ExternalError(
        Diagnostic(
            f"{path}: {'no such file' if missing else f'cannot be read: {error.strerror}'}",
            hint="check source.path of the data set; `dvc pull` brings a file that DVC tracks" if missing else "",
        )
    )
