"""The journal of one apply: a line before and after each step, on the disk before anything goes on.

A step that began and has no end was cut off, and the next apply looks at what is there before it does it again. The
journal serves to know where that was; what exists is always asked of the store, the executor and git.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from ftops.errors import Diagnostic, ExternalError
from ftops.files import open_new, open_regular, sync_names
from ftops.store.fault_points import boundary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ftops.digests import Json

KEPT: Final = 50
"""How many journals stay: enough to look back at, and few enough to read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a journal: `state` is begin, done or failed; `number` counts the journal's steps from 1."""

    number: int
    state: str
    name: str
    detail: Json
    time: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A journal whose process was cut off: `open` are the steps that began and did not end."""

    path: Path
    entries: tuple[Entry, ...]
    open: tuple[Entry, ...]


class Journal:
    """A journal that is being written. Made by `Journal.open`; a context manager that closes its file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._numbers = itertools.count(1)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """A new journal in `folder` (the store's), which keeps the last ones of those before.

        Raises ExternalError when it can't be written.
        """
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in journals(folder)[: 1 - KEPT]:
                old.unlink(missing_ok=True)
            descriptor = open_new(path)
            # Tells a journal that is being written from one that was cut off.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_names(folder)
        except OSError as error:
            raise _cannot_write(path, error) from error
        return cls(path, descriptor)

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def step(self, name: str, detail: Json = None) -> Iterator[None]:
        """Write that step `name` begins, and after the block that it is done, or failed and why.

        An interruption (Ctrl-C) writes no end, like a kill. `detail` is JSON without secrets. Fault points, in this
        order: NAME.begin, NAME.begun, NAME.end, NAME.ended; each is also a point called `journal`, so that
        `journal:1`, `journal:2`, … are all of them.
        """
        number = next(self._numbers)
        boundary(name, "begin")
        self._write(number, "begin", name, detail)
        boundary(name, "begun")
        try:
            yield
        except Exception as error:
            with contextlib.suppress(ExternalError):  # the error itself matters more than that it is not in the journal
                self._write(number, "failed", name, f"{type(error).__name__}: {error}")
            raise
        boundary(name, "end")
        self._write(number, "done", name, None)
        boundary(name, "ended")

    def _write(self, number: int, state: str, name: str, detail: Json) -> None:
        line = {"number": number, "state": state, "name": name, "detail": detail, "time": time.time()}
        content = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        try:
            while content:  # a disk that is nearly full takes a part
                content = content[os.write(self._descriptor, content) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise _cannot_write(self.path, error) from error


def interrupted(folder: Path) -> Interrupted | None:
    """The last journal in `folder` that nobody writes any more, if one of its steps began and did not end."""
    for path in reversed(journals(folder)):
        # One that is locked is being written: the one before it counts.
        with contextlib.suppress(OSError, ExternalError), os.fdopen(open_regular(path), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            entries = tuple(_parsed(file.read()))
            ended = {each.number for each in entries if each.state != "begin"}
            cut = tuple(each for each in entries if each.number not in ended)
            return Interrupted(path, entries, cut) if cut else None
    return None


def journals(folder: Path) -> list[Path]:
    """The journals in `folder`, oldest first."""
    return sorted(folder.glob("*.jsonl"))


def _parsed(text: bytes) -> Iterator[Entry]:
    """The entries of a journal; a line that was cut off in the middle is none."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError, TypeError):
            yield Entry(**json.loads(line))


def _cannot_write(path: Path, error: OSError) -> ExternalError:
    return ExternalError(
        Diagnostic(
            f"cannot write the journal {path}: {error.strerror}",
            hint="nothing is done without it: make room on this disk, or make it writable",
        )
    )
