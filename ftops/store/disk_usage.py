"""What folders take on disk, and their removal at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ftops.files import temporary_name

BLOCK = 512
"""Bytes of a block of `st_blocks`, whatever those of the file system are (stat(2))."""


@dataclass(frozen=True, slots=True)
class Freed:
    """Something of the store that nobody needs: what it is, in words, and the bytes that its removal gives back."""

    path: Path
    what: str
    bytes: int

    @classmethod
    def of(cls, path: Path, what: str) -> Freed:
        return cls(path, what, allocated([path]))


def allocated(paths: Iterable[Path]) -> int:
    """The bytes that removing all of `paths` gives back to their disk.

    A sparse file counts what it holds, and one that keeps another name elsewhere nothing. No link is followed.
    """
    size = 0
    names: Counter[tuple[int, int]] = Counter()
    for path in paths:
        for found in _statuses(path):
            identity = found.st_dev, found.st_ino
            names[identity] += 1
            if stat.S_ISDIR(found.st_mode) or names[identity] == found.st_nlink:
                size += found.st_blocks * BLOCK
    return size


def written(path: Path) -> float:
    """When something at or below `path` was last written, in unix seconds; 0 where nothing is there. No link is followed."""
    return max((found.st_mtime for found in _statuses(path)), default=0.0)


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """What the file system says of `path` and all below it, but for what vanishes meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        yield path.lstat()
        if path.is_dir() and not path.is_symlink():
            for _, folders, names, inside in os.fwalk(path):
                for name in (*folders, *names):
                    with contextlib.suppress(FileNotFoundError):
                        yield os.stat(name, dir_fd=inside, follow_symlinks=False)


def remove(path: Path, aside: Path | None = None) -> None:
    """Removes a file, a link or a folder: under its name it is whole, or not there, whenever this is cut off.

    It gets a temporary name first (that of `aside` where it is given), which `Store.exclusive` clears away after a kill. Raises
    FileNotFoundError where there is nothing, OSError where it can't be removed.
    """
    gone = temporary_name(aside or path)
    path.rename(gone)
    if stat.S_ISDIR(gone.lstat().st_mode):
        shutil.rmtree(gone)
    else:
        gone.unlink()
