"""What the stages of preparing data made, kept under names that say what it was made of: the same is never made twice.

A cache, so nothing is synced to disk: a folder that is not whole any more, or never was, is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ftops.digests import Json, digest
from ftops.errors import ExternalError
from ftops.files import HINTS, cannot_write, open_regular, read_json, rename_new, temporary_name, write_new
from ftops.store.store import Store

THREADS: Final = 4
"""Files that are hashed at once."""
CONTENTS: Final = "contents.json"
"""Says what a stage's other files are, by sha256. Written last."""


@dataclass(slots=True)
class Stages:
    """Folders below `folder`, one for each stage that was run; `used` are the names of those that were asked for."""

    folder: Path
    used: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, store: Store) -> Stages:
        """Those that `store` keeps."""
        return cls(store.cache / "data")

    @property
    def empty(self) -> bool:
        """Whether no stage was ever kept."""
        return not self.folder.is_dir() or not any(self.folder.iterdir())

    def get(self, key: Json, build: Callable[[Path], Mapping[str, str] | None]) -> Path:
        """The folder for `key`, which names all that its content depends on; `build` fills one that is missing or damaged.

        It may give the sha256 of files that it knows already.
        Raises what `build` raises, and then leaves nothing; ExternalError when the disk is full or can't be written.
        """
        name = digest(key)[:40]
        folder = self.folder / name
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, build)
        self.used.append(name)
        return folder

    def keep_only(self, needed: Collection[str]) -> None:
        """Removes what is neither `needed` nor was used here."""
        for folder in self.folder.iterdir():
            if folder.name not in needed and folder.name not in self.used:
                shutil.rmtree(folder, ignore_errors=True)


def scratch(folder: Path) -> Path:
    """A new folder below `folder`, for what has no name yet; who asked removes it, or the store when that one was killed."""
    found = temporary_name(folder / "scratch")
    found.mkdir(parents=True)
    return found


def _make(folder: Path, build: Callable[[Path], Mapping[str, str] | None]) -> None:
    temporary = temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        known = build(temporary) or {}
        others = [path for path in temporary.iterdir() if path.name not in known]
        with ThreadPoolExecutor(THREADS) as pool:
            contents = {**known, **dict(zip((path.name for path in others), pool.map(_sha256, others), strict=True))}
        write_new(temporary / CONTENTS, json.dumps(contents).encode())
        rename_new(temporary, folder)
    except OSError as error:
        if error.errno in HINTS:
            raise cannot_write(folder, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    contents = read_json(folder / CONTENTS)
    if contents is None:
        return False
    try:
        return all(_sha256(folder / name) == sha256 for name, sha256 in contents.items())
    except (OSError, ExternalError):
        return False


def _sha256(path: Path) -> str:
    with os.fdopen(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
