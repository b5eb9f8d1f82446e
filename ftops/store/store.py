"""The store: a local folder with runs, prepared data, made models, journals and caches. Nothing in it is the truth.

    runs/RUN-ID/run.json   runs/RUN-ID/attempt-N/   data/DIGEST/   models/DIGEST/   journal/   cache/   tracking/

What is named by its content is published whole by one rename, small files are replaced whole, and an attempt's end is
written once: whatever is read here was finished. Reading works where no store is: it is empty then, and stays so.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ftops.errors import Diagnostic, ExternalError
from ftops.executors.job_state import JobState, Observation, ended, reached_its_end
from ftops.plan.changes import Json, Run, RunState

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ATTEMPT: Final = re.compile(r"attempt-([1-9][0-9]*)")
TAIL: Final = 1 << 16  # bytes of an events file that hold its last event
RACY_SECONDS: Final = 2.0  # within a tick of a file system's clock a file can change again without a trace
DIGEST: Final = re.compile(r"([0-9:]+)\t((sha256:[0-9a-f]{32}|md5:)[0-9a-f]{32})")
FREE, OPEN = "free some space", "make it writable"
HINTS: Final = {errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EROFS: OPEN, errno.EACCES: OPEN, errno.EPERM: OPEN}


def cannot_write(path: Path, error: OSError) -> ExternalError:
    """The error that tells a person that `path` could not be written, and what to do."""
    hint = HINTS.get(error.errno or 0, "see that it can be written") + ", or set `store` in ftops.yaml to another disk"
    return ExternalError(Diagnostic(f"cannot write {path}: {error.strerror}", hint=hint))


# --------------------------------------------------------------------------------------- files and folders


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


# ------------------------------------------------------------------------------------------------- attempts


def observe_attempt(folder: Path) -> Observation | None:
    """Where the job in attempt folder `folder` stands, by its files and its lock; None when none was ever started."""
    alive = is_locked(folder / "lock")  # before the result is read: who gives the lock back has written it
    handle, stop = read_json(folder / "handle.json"), (folder / "stop.json").exists()
    if (result := read_json(folder / "result.json")) is not None:
        return ended(result, stop)
    if alive and stop:
        return Observation(JobState.STOPPING)
    if alive:
        return Observation(JobState.RUNNING if handle else JobState.STARTING)
    if handle is None:
        return None
    if stop:
        return Observation(JobState.CANCELLED, "its wrapper died without a result")
    if handle.get("bootId") not in (None, boot_id()):
        return Observation(JobState.NODE_LOST, "its machine was restarted, or is another one")
    return Observation(JobState.FAILED, "its wrapper died without a result")


@functools.cache
def boot_id() -> str:
    """What the kernel drew when this machine started; `wrapper.py`, which stands alone, writes it into a handle."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def last_event(folder: Path) -> dict[str, Json]:
    """The last whole event that the job in attempt folder `folder` wrote; empty when there is none."""
    lines: list[bytes] = []
    events = folder / "events.jsonl"
    with contextlib.suppress(OSError, ExternalError), os.fdopen(open_regular(events), "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return next((event for line in reversed(lines) if (event := parsed(line)) is not None), {})


def run_state(job: Observation | None, event: Mapping[str, Json]) -> RunState:
    """The state of a run whose last attempt stands at `job` and wrote `event` last (its weights are not looked at)."""
    if job is None:
        return RunState.PENDING
    if job.state.going_on:
        return RunState.RUNNING
    if job.state is JobState.CANCELLED:
        return RunState.CANCELLED
    return RunState.SUCCEEDED if job.state is JobState.SUCCEEDED and reached_its_end(event) else RunState.FAILED


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

    def runs(self) -> Iterator[Run]:
        """Every run with a readable run.json, by id, with the state of its last attempt."""
        try:
            names = sorted(path.name for path in (self.root / "runs").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in filter(NAME.fullmatch, names):
            about = self.read_run(name)
            if about is None or not {"id", "name", "digest"} <= about.keys():
                continue
            number = max(self.attempts(name), default=0)
            folder = self.attempt(name, number)
            job, event = observe_attempt(folder), last_event(folder)
            identity = about["id"], about["name"], about["digest"]
            steps = event.get("step"), event.get("maxSteps")
            detail, after = job.reason if job else "", about.get("rerunAfter", 0)
            yield Run(*identity, number, run_state(job, event), *steps, detail=detail, rerun_after=after)

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
            file = path.open("a+b", buffering=0)
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
            with contextlib.suppress(OSError), self.path.open("a", encoding="ascii") as cache:
                cache.write(f"{file_identity(before)}\t{digest}\n")
        return digest

    def _load(self) -> dict[tuple[str, str], str]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError):
                found = map(DIGEST.fullmatch, self.path.read_text("ascii", "replace").splitlines())
                self._known = {(match[1], match[2].partition(":")[0]): match[2] for match in found if match}
        return self._known


def file_identity(found: os.stat_result) -> str:
    """What of a file's status changes with its content."""
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
