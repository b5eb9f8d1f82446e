"""The store: a local folder with runs, prepared data, made models, journals and caches. Nothing in it is the truth.

    runs/RUN-ID/run.json   runs/RUN-ID/attempt-N/   data/DIGEST/   models/DIGEST/   journal/   cache/   tracking/

What is named by its content is published whole by one rename, small files are replaced whole, and an attempt's end is
written once: whatever is read here was finished. Reading works where no store is: it is empty then, and stays so.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError
from ftops.files import cannot_write, open_lock, parsed, read_json, write_atomic
from ftops.store.digest_cache import Digests

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ATTEMPT: Final = re.compile(r"attempt-([1-9][0-9]*)")


# --------------------------------------------------------------------------------------- files and folders


# ------------------------------------------------------------------------------------------------- attempts


# ---------------------------------------------------------------------------------------------------- store


class Store:
    """The store at `root`, which need not exist: making one, or a path in it, touches no disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "journal"
        self.cache = root / "cache"
        self.tracking = root / "tracking"
        self._digests = Digests(self.cache / "digests.tsv")

    def run(self, run_id: str) -> Path:
        return self._inside("runs", run_id)

    def attempt(self, run_id: str, number: int) -> Path:
        return self.run(run_id) / f"attempt-{number}"

    def data(self, digest: str) -> Path:
        return self._inside("data", digest)

    def model(self, digest: str) -> Path:
        return self._inside("models", digest)

    def tokens(self, digest: str) -> Path:
        """Where the trainer keeps the tokens of prepared data."""
        return self.cache / "tokens" / digest

    def _inside(self, folder: str, name: str) -> Path:
        """Raises ValueError for a name that is no plain one, so that no path leads out of the store."""
        if NAME.fullmatch(name) is None:
            raise ValueError(f"not a name in a store: {name!r}")
        return self.root / folder / name

    def read_run(self, run_id: str) -> dict[str, Json] | None:
        """The run.json of a run, None when there is none."""
        return read_json(self.run(run_id) / "run.json")

    def write_run(self, run_id: str, value: Json) -> None:
        """Replace the run.json of a run, and make its folder."""
        path = self.run(run_id) / "run.json"
        write_atomic(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")

    def attempts(self, run_id: str) -> list[int]:
        """The attempts that a run has a folder for, rising."""
        try:
            names = [path.name for path in self.run(run_id).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(found[1]) for name in names if (found := ATTEMPT.fullmatch(name)))

    def file_digest(self, path: Path, algorithm: str = "sha256") -> str:
        """`sha256:…` or `md5:…` of a regular file, from the cache when neither size, times nor inode of it changed.

        Raises FileNotFoundError where there is nothing, ExternalError for something else, and where it can't be read.
        """
        return self._digests.of(path, algorithm)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Work in the store alone: whoever publishes folders, submits jobs or writes records holds this.

        Also removes what killed processes left half-made. Raises ExternalError, naming the other one, when the store is taken.
        """
        path = self.root / "lock"
        try:
            file = os.fdopen(open_lock(path), "r+b", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        with file:
            for patience in (0.05, 0.05, 0.05, 0.0):  # who only looks if the lock is held has it for a moment
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not patience:
                        file.seek(0)
                        raise taken(self.root, file.readall()) from None
                    time.sleep(patience)
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            with contextlib.suppress(OSError):  # on a full disk the lock still holds, it only can't name its holder
                file.truncate(0)
                file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())
            self._sweep()
            yield

    def _sweep(self) -> None:
        for place in ("data", "cache/data", "cache/tokens", "models", "runs", "runs/*", "runs/*/*/output"):
            for leftover in self.root.glob(f"{place}/.*.tmp"):
                if not leftover.parent.resolve().is_relative_to((self.root / place.partition("/")[0]).resolve()):
                    continue  # what is trained may have put a link there
                shutil.rmtree(leftover, ignore_errors=True)
                with contextlib.suppress(OSError):
                    leftover.unlink()


def taken(root: Path, holder: bytes) -> ExternalError:
    """The error that says who works in the store."""
    about = parsed(holder)
    who = "process {pid} on {host}, since {since},".format_map(about) if about else "another ftops"
    hint = "wait until it ends: trainings go on without it, and a killed one leaves nothing locked"
    return ExternalError(Diagnostic(f"{who} works in the store {root}", hint=hint))


def open_store(root: Path) -> Store:
    """The store at `root`, made when it is not there; git never shows it.

    Raises ExternalError when it can't be made.
    """
    try:
        for name in ("runs", "data", "models", "journal", "cache", "tracking"):
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(root, error) from error
    if not (ignore := root / ".gitignore").exists():
        write_atomic(ignore, b"*\n")
    return Store(root)


# ------------------------------------------------------------------------------------------ content hashes
