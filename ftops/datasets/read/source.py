"""Files with rows, opened once: below an allowed folder and through no link, or from a store that fsspec knows."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

from ftops.datasets.read.parse_options import Form
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, Where
from ftops.files import LINKED, open_below, open_new

NAME: Final = re.compile(r"[a-zA-Z0-9_\-.]+")
CHUNK: Final = 1 << 20
LOCAL: Final = "file://"


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to read: `path` below the folder `root`, or a URL where `root` is None; and what it must be.

    `expected` is `sha256:…` or `md5:…`, the identity that was planned with, None where none is known.
    """

    root: Path | None
    path: str
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that is open for reading, with its size in bytes, and how it is to be read."""

    file: DataFile
    descriptor: int
    size: int
    format: str
    compression: str | None


def opened(file: DataFile, form: Form, folder: Path) -> Opened:
    """`file`, open; one of a store is copied to an unnamed file in `folder` first.

    Raises ExternalError when it can't be opened, ChecksFailed when its name or size is none that is allowed.
    """
    kind, compression = _named(file.path, form)
    if file.root is None and not file.path.startswith(LOCAL):
        descriptor = _spooled(file.path, form.size_limit, folder)
    else:
        descriptor = _opened_here(file)
    size = os.fstat(descriptor).st_size
    if size > form.size_limit:
        os.close(descriptor)
        raise _too_large(file.path, f"it has {size:,} bytes", form.size_limit)
    return Opened(file, descriptor, size, kind, compression)


def _named(path: str, form: Form) -> tuple[str, str | None]:
    """Format and compression by the name; raises ChecksFailed for one that isn't allowed."""
    # The process that parses imports this module, and needs no models.
    from ftops.datasets.spec import COMPRESSIONS, FORMATS

    name = PurePosixPath(path).name
    if not NAME.fullmatch(name):
        raise ChecksFailed(
            Diagnostic(
                f"{path!r}: the name of a file with rows has only letters, digits, _ - and .",
                f"the name is {name!r}",
                "rename the file (the letters are those of ASCII)",
            )
        )
    stem, extension = os.path.splitext(name)  # noqa: PTH122  (a name, no path)
    compression = COMPRESSIONS.get(extension)
    extension = os.path.splitext(stem)[1] if compression else extension  # noqa: PTH122
    kind = form.format or FORMATS.get(extension)
    if kind is None:
        raise ChecksFailed(
            Diagnostic(
                f"{path}: cannot tell the format by the name",
                f"expected one of {', '.join(FORMATS)}, also with {' or '.join(COMPRESSIONS)} after it",
                "rename the file, or say source.format",
            )
        )
    return kind, compression


def _too_large(path: str, found: str, limit: int) -> ChecksFailed:
    return ChecksFailed(
        Diagnostic(
            f"larger than the limit of {limit:,} bytes",
            found,
            "raise source.sizeLimit (--size-limit of `ftops dataset check`) if this is meant",
            where=Where(path),
        )
    )


# ------------------------------------------------------------------------------------------------- local


def _opened_here(file: DataFile) -> int:
    root, path = file.root, file.path
    if root is None:
        whole = Path(unquote(path.removeprefix(LOCAL)))
        root, path = whole.parent, whole.name
    try:
        descriptor = open_below(root, path)
    except OSError as error:
        raise _cannot_open(file.path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ExternalError(Diagnostic(f"{file.path}: not a regular file", hint="expected a file with rows"))
    return descriptor


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
            hint="check the path; `dvc pull` brings a file that DVC tracks" if missing else "",
        )
    )


# ------------------------------------------------------------------------------------------------ stores


def _spooled(url: str, limit: int, folder: Path) -> int:
    """A descriptor of a copy of what `url` names, in a file of `folder` that has no name any more."""
    if "::" in url:
        raise ExternalError(Diagnostic(f"{url}: a store behind another is not read", hint="expected one protocol"))
    path = folder / "remote"
    descriptor = open_new(path, 0o600)
    path.unlink()
    try:
        _copy(url, limit, descriptor)
    except (ChecksFailed, KeyboardInterrupt):
        os.close(descriptor)
        raise
    except Exception as error:  # what a store's library raises is its own: all that matters is that nothing came
        os.close(descriptor)
        raise _cannot_fetch(url, error) from error
    return descriptor


def _copy(url: str, limit: int, descriptor: int) -> None:
    from fsspec.core import url_to_fs  # takes a while, and few files are far

    # Nothing is kept from one time to the next: a file may have been written again, the environment may be another.
    store, name = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    done = 0
    with store.open(name, "rb") as stream, os.fdopen(descriptor, "wb", closefd=False) as copy:
        while data := stream.read(CHUNK):
            done += len(data)
            if done > limit:
                raise _too_large(url, "and there is more of it", limit)
            copy.write(data)


def _cannot_fetch(url: str, error: Exception) -> ExternalError:
    """What the store said is not repeated: its words are its own, and can hold what opens it."""
    hint = "what opens the store comes from the environment (for S3: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and others)"
    match error:
        case ImportError():
            protocol = url.partition("://")[0]
            package = "ftops[s3]" if protocol in ("s3", "s3a") else f"fsspec[{protocol}]"
            return ExternalError(
                Diagnostic(f"{url}: what reads {protocol}:// is not installed", hint=f"pip install '{package}'")
            )
        case FileNotFoundError():
            words = "no such file"
        case PermissionError():
            words = "not allowed"
        case _:
            words = f"cannot be read: {type(error).__name__}"
    return ExternalError(Diagnostic(f"{url}: {words}", hint=hint))
