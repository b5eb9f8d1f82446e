"""The one reader and writer of files. A test of the house refuses any other that opens one by its path.

Three kinds of paths, and who may follow a link:

- *Files of a project or a store*: `open_regular`, `read_bytes`, `read_json` and all that writes here. Whoever sent a pull
  request, or what was trained, may have put a link, a pipe or a device there: it is refused, never waited for. With `root`
  no folder between that and the file may be a link either. Files that DVC checked out as links into its cache are refused
  like any link; `ftops.datasets.read.source` says how to get them as files.
- *Paths that a person named*, as an option or an argument: `open_given`, `read_given`, `write_given`. Their links are
  followed, for the person made them or chose them; a tokenizer in the cache of Hugging Face is one. Pipes and devices are
  read and written as they are: `<(…)`, `/dev/stdout`.
- *Files that come with ftops*: `read_shipped`. Some installers make links of them.

Databases are opened by their libraries, by URL. What stands alone, without ftops, opens its files itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError, UsageError

FREE, OPEN = "free some space", "make it writable"
HINTS: Final = {errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EROFS: OPEN, errno.EACCES: OPEN, errno.EPERM: OPEN}
LINKED: Final = (errno.ELOOP, errno.ENOTDIR)
"""What the system says of a link where a file, or a folder, was asked for."""
LARGEST: Final = 1 << 28
"""Bytes of a file that is read whole, where nothing smaller is said: far more than any record, config or saved plan has."""
CHUNK: Final = 1 << 16
READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without O_NONBLOCK, opening a pipe would wait for a writer."""
WRITE: Final = os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
STREAMS: Final = {"/dev/stdout": 1, "/dev/stderr": 2}


# ------------------------------------------------------------------------------------------------- reading


def open_regular(path: Path, root: Path | None = None) -> int:
    """A descriptor to read the regular file `path`, following no link at its end, nor between `root` and it.

    Raises FileNotFoundError where there is nothing, ExternalError where there is something else or it can't be read.
    """
    try:
        descriptor = os.open(path, READ) if root is None else open_below(root, path.relative_to(root).as_posix())
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        reason: str | None = "it is no file"
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        if root is not None and error.errno == errno.ENOTDIR:
            reason = "it lies behind a symbolic link, or something that is no folder"
    raise ExternalError(Diagnostic(f"cannot read {path}: {reason}", hint="a readable regular file is expected"))


def open_below(root: Path, path: str) -> int:
    """A descriptor of `root`/`path`, each part opened from the one before, so that no link can lead elsewhere.

    It may be of anything: a folder, a pipe. Raises OSError, with an errno of LINKED for a link.
    """
    *folders, name = path.split("/")
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            if part == "..":
                raise PermissionError(errno.EPERM, "it leads out of its folder")
            if part in ("", "."):
                continue
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, READ, dir_fd=folder)
    finally:
        os.close(folder)


def read_bytes(path: Path, limit: int | None = LARGEST, root: Path | None = None) -> bytes:
    """The content of the regular file `path` (see `open_regular`), at most `limit` bytes; None is for what ftops itself wrote
    and checks.

    Raises FileNotFoundError where there is nothing, ExternalError where there is something else, or more.
    """
    with os.fdopen(open_regular(path, root), "rb") as file:
        content = file.read() if limit is None else _beginning(file, limit + 1)
    if limit is not None and len(content) > limit:
        raise ExternalError(_too_large(path, limit))
    return content


def _beginning(file: BinaryIO, count: int) -> bytes:
    """The first `count` bytes of a file, or all that it has: asked for at once, so many would be set aside for the smallest."""
    pieces = []
    while count and (piece := file.read(min(count, CHUNK))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _too_large(path: Path, limit: int) -> Diagnostic:
    return Diagnostic(
        f"cannot read {path}: it has more than the {limit:,} bytes that are read of it",
        hint="see whether it is the file that is meant, and take out what does not belong there",
    )


def parsed(text: bytes) -> dict[str, Json] | None:
    """The JSON object that `text` is, or None."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_json(path: Path) -> dict[str, Json] | None:
    """The JSON object in the regular file `path`, None where there is no file, or something else in it."""
    try:
        return parsed(read_bytes(path))
    except (OSError, ExternalError):
        return None


@contextlib.contextmanager
def by_descriptor(path: Path) -> Iterator[str]:
    """A name of the regular file `path`, which is open meanwhile: for libraries that open a file only by its name."""
    descriptor = open_regular(path)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def open_given(path: Path, *, waits: bool = True) -> int:
    """A descriptor to read what a person named: links are followed. Raises OSError, also for a folder.

    `waits` is for who reads pipes too: a pipe is waited for until somebody writes into it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if waits else os.O_NONBLOCK))
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return descriptor


def read_given(path: Path, limit: int = LARGEST) -> bytes:
    """The content of a file or a pipe that a person named, at most `limit` bytes. Raises UsageError."""
    try:
        with os.fdopen(open_given(path), "rb") as file:
            content = _beginning(file, limit + 1)
    except OSError as error:
        raise UsageError(Diagnostic(f"{path} cannot be read: {error.strerror}")) from error
    if len(content) > limit:
        raise UsageError(_too_large(path, limit))
    return content


def read_shipped(path: Path) -> bytes:
    """The content of a file that comes with ftops."""
    return path.read_bytes()


# ------------------------------------------------------------------------------------------------- writing


def cannot_write(path: Path, error: OSError) -> ExternalError:
    """The error that tells a person that `path` could not be written, and what to do."""
    hint = HINTS.get(error.errno or 0, "see that it can be written") + ", or set `store` in ftops.yaml to another disk"
    return ExternalError(Diagnostic(f"cannot write {path}: {error.strerror}", hint=hint))


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, last through a power cut. Raises OSError, also for a link."""
    _sync(os.open(path, READ))


def sync_names(folder: Path) -> None:
    """`sync` of a folder that may be a link to one, as that of the store may be, on another disk. Raises OSError."""
    _sync(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(target: Path) -> Path:
    """A free name beside `target`, so on its disk; `Store.exclusive` removes what a killed process leaves there."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")


def open_new(path: Path, mode: int = 0o666) -> int:
    """A descriptor to write, and read, a file that is made here. Raises OSError, FileExistsError where something is there."""
    return os.open(path, os.O_RDWR | os.O_EXCL | WRITE, mode)


def open_append(path: Path) -> int:
    """A descriptor to write at the end of the regular file `path`, which is made where it is not there. Raises OSError."""
    return _only_regular(os.open(path, os.O_WRONLY | os.O_APPEND | WRITE, 0o666))


def open_lock(path: Path) -> int:
    """A descriptor of the regular file `path` to take a lock on, which is made where it is not there; nothing in it is
    changed. Raises OSError.
    """
    return _only_regular(os.open(path, os.O_RDWR | WRITE, 0o666))


def _only_regular(descriptor: int) -> int:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.set_blocking(descriptor, True)  # it may be given to another program, as its output
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no file")


def write_new(path: Path, content: bytes) -> None:
    """Make the file `path`. It lasts no power cut by itself. Raises OSError, FileExistsError where something is there."""
    with os.fdopen(open_new(path), "wb") as file:
        file.write(content)


def copy(source: Path, target: Path, *, as_old: bool = False) -> None:
    """Make the file `target` with the content of the regular file `source`, with `as_old` also its mode and times.

    Raises OSError, and ExternalError for a source that is no file.
    """
    with os.fdopen(open_regular(source), "rb") as file, os.fdopen(open_new(target), "wb") as new:
        shutil.copyfileobj(file, new, 1 << 20)
        if as_old:
            new.flush()  # or it would be written later, and so be of another time
            found = os.fstat(file.fileno())
            os.fchmod(new.fileno(), stat.S_IMODE(found.st_mode))
            os.utime(new.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))


def replace_file(path: Path, content: bytes, temporary: Path | None = None) -> None:
    """`write_atomic` for who tells of its own of an OSError, which this raises. The folder must be there.

    `temporary` is a name for the new file meanwhile, where nobody clears away what a kill leaves: it is taken over.
    """
    if temporary is None:
        temporary = temporary_name(path)
    else:
        temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(open_new(temporary), "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG((before := path.lstat()).st_mode):
                    _as_before(file.fileno(), before)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def _as_before(descriptor: int, before: os.stat_result) -> None:
    """Give a new file the mode of the old one, and its owner as far as that is possible: root in a container works on what is
    a user's outside of it. Some file systems have no owners, and a user namespace doesn't know all of them."""
    made = os.fstat(descriptor)
    if (before.st_uid, before.st_gid) != (made.st_uid, made.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, before.st_mode & 0o777)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, making its folder: a reader, or a crash, sees the old file or the new one.

    The new file has the mode of the old one, and its owner where that is possible. A link, a pipe or a device is replaced like
    a file, never written through: what was trained may have put it there. Raises ExternalError when it can't be written, or is a folder; what was there stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_given(path: Path, content: bytes) -> None:
    """Write what a person named: a file is replaced as by `write_atomic`, a pipe or a device written into.

    Of a link, that which it leads to: it stays a link, as with any other program that writes a file. Raises ExternalError.
    """
    try:
        status = None
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
        if (stream := _stream(path)) is not None or (status and not stat.S_ISREG(status.st_mode)):
            # The descriptor itself: one that is opened anew would begin at the start of a file that stdout leads to.
            flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY
            with os.fdopen(os.open(path, flags) if stream is None else os.dup(stream), "wb") as file:
                file.write(content)
        else:
            place = Path(os.path.realpath(path))
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, content)
    except OSError as error:
        hint = HINTS.get(error.errno or 0, "see that it can be written") + ", or name another file"
        raise ExternalError(Diagnostic(f"cannot write {path}: {error.strerror}", hint=hint)) from error


def _stream(path: Path) -> int | None:
    """The descriptor of this process that a path is another name of, None for any other."""
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/([0-9]{1,9})", str(path))
    return STREAMS.get(str(path)) if found is None else int(found[1])


# ------------------------------------------------------------------------------------------------- folders


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
    sync_names(target.parent)
    return True


def is_locked(path: Path) -> bool:
    """Whether some living process, here or under the same mount elsewhere, holds the lock on `path`."""
    try:
        descriptor = os.open(path, READ)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link in its place is no lock of ours
            return False
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
