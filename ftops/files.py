"""The one reader and writer of files: regular files only, no link on the way, limits, atomic writes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError

FREE, OPEN = "free some space", "make it writable"


HINTS: Final = {errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EROFS: OPEN, errno.EACCES: OPEN, errno.EPERM: OPEN}


def cannot_write(path: Path, error: OSError) -> ExternalError:
    """The error that tells a person that `path` could not be written, and what to do."""
    hint = HINTS.get(error.errno or 0, "see that it can be written") + ", or set `store` in ftops.yaml to another disk"
    return ExternalError(Diagnostic(f"cannot write {path}: {error.strerror}", hint=hint))


def open_regular(path: Path) -> int:
    """A descriptor to read the regular file `path`, following no link at its end and waiting for no pipe.

    Raises FileNotFoundError where there is nothing, ExternalError where there is something else or it can't be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        reason: str | None = "it is no file"
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    raise ExternalError(Diagnostic(f"cannot read {path}: {reason}", hint="a readable regular file is expected"))


def parsed(text: bytes) -> dict[str, Json] | None:
    """The JSON object that `text` is, or None."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json(path: Path) -> dict[str, Json] | None:
    """The JSON object in `path`, None where there is no file, or something else in it."""
    try:
        return parsed(path.read_bytes())
    except OSError:
        return None


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(target: Path) -> Path:
    """A free name beside `target`, so on its disk; `Store.exclusive` removes what a killed process leaves there."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, making its folder: a reader, or a crash, sees the old file or the new one.

    Raises ExternalError when it can't be written; the old file stays, and nothing else.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def publish_folder(build: Callable[[Path], None], target: Path) -> None:
    """Make folder `target` with what `build` writes into the empty folder that it is given: whole, or not at all.

    When `target` appeared meanwhile, that one is kept and this one dropped: equal names mean equal content here.
    Raises what `build` raises; ExternalError when the disk is full or can't be written.
    """
    temporary = temporary_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        build(temporary)
        for folder, _, names in os.walk(temporary):
            for name in (*names, "."):
                sync(Path(folder, name))
        rename_new(temporary, target)
    except OSError as error:
        if error.errno in HINTS:
            raise cannot_write(target, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rename_new(folder: Path, target: Path) -> bool:
    """Give a non-empty folder the name `target`, at once; False when a folder (with something in it) has that name."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync(target.parent)
    return True


def is_locked(path: Path) -> bool:
    """Whether some living process, here or under the same mount elsewhere, holds the lock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
