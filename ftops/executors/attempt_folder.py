"""The folder of an attempt as an executor makes and reads it: taken by one, and told from the outside to end.

It appears by one rename, with everything in it and with its lock held, so who sees a folder whose lock is free and that
holds no handle knows that nothing was ever started there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ftops.executors.protocol import Handle, Job, Key
from ftops.files import cannot_write, open_lock, read_json, rename_new, temporary_name, write_atomic

if TYPE_CHECKING:
    from ftops.digests import Json

OWN: Final = ("lock", "job.json", "handle.json", "stop.json", "result.json")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose the files are that a job works on: user and group by number."""

    uid: int
    gid: int


def take(folder: Path, job: Job, owner: Owner | None = None) -> int | None:
    """Make the attempt folder of `job`, if nobody did: a descriptor that holds its lock, or None.

    It is given to `owner`, where that is not who makes it. Raises ExternalError when it can't be written, ValueError
    when one of the job's files would lie outside.
    """
    about: dict[str, Json] = {"argv": list(job.argv), "env": dict(job.env), "submittedAt": time.time()}
    about |= {"timeoutSeconds": job.timeout, "graceSeconds": job.grace}
    files = {plain(name): content for name, content in job.files.items()}
    files["job.json"] = json.dumps(about, indent=2).encode() + b"\n"
    if (folder / "job.json").exists():
        return None
    temporary = temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        lock = open_lock(temporary / "lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name, content in files.items():
                write_atomic(temporary / name, content)
            if owner is not None:
                give(temporary, owner)
            ours = rename_new(temporary, folder)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if ours:
        return lock
    os.close(lock)
    return None


def plain(name: str) -> str:
    """`name`, when it is a relative path that stays inside and is not ours; raises ValueError otherwise."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or str(path) in OWN:
        raise ValueError(f"not a file of an attempt folder: {name!r}")
    return name


def give(folder: Path, owner: Owner) -> None:
    """Make `owner` the owner of a folder and all in it, following no link, also none that is put there meanwhile.

    Raises OSError.
    """
    for _, _, names, inside in os.fwalk(folder):
        for name in (".", *names):
            os.chown(name, owner.uid, owner.gid, dir_fd=inside, follow_symlinks=False)


def discard(folder: Path) -> None:
    """Remove the folder of an attempt that was certainly not started, at once as far as others see."""
    temporary = temporary_name(folder)
    folder.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def find_handle(folder: Path, key: Key) -> tuple[Handle, ...]:
    """The handle of the job that took the folder, if one did."""
    return (read_handle(folder, key),) if (folder / "job.json").exists() else ()


def read_handle(folder: Path, key: Key) -> Handle:
    """The handle of the job that took the folder."""
    job = read_json(folder / "job.json") or {}
    return Handle(key, key.name, job.get("submittedAt", 0.0))


def write_stop(folder: Path, grace: float) -> None:
    """Write down that the job is asked to end, and killed `grace` seconds later: whoever ends it, it was cancelled."""
    write_atomic(folder / "stop.json", json.dumps({"graceSeconds": grace, "time": time.time()}).encode())


def free_bytes(path: Path) -> int:
    """The free space of the disk that `path` is on, or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
