"""Training as a process of this machine that outlives ftops.

An attempt folder appears by one rename, with everything in it and with its lock held, so who sees a folder whose lock
is free and that holds no handle knows that nothing was ever started there. Whether a job lives is what its lock says;
a pid serves only to stop it, and only when start time and boot prove that it is still the same process.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from ftops import wrapper
from ftops.errors import Diagnostic, ExternalError
from ftops.executors import (
    Capabilities,
    Exists,
    Gone,
    Handle,
    Job,
    Key,
    Sight,
    Submission,
    Submitted,
    Unreachable,
    Unsure,
)
from ftops.journal import fault
from ftops.store import (
    Store,
    cannot_write,
    is_locked,
    observe_attempt,
    read_json,
    rename_new,
    temporary_name,
    write_atomic,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ftops.values import Json

PASSED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_CACHE_HOME|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)"
    r"|(CUDA|NVIDIA|ROCR|HIP)_VISIBLE_DEVICES|CUDA_HOME|CUDA_DEVICE_ORDER|(OMP|MKL|OPENBLAS)_NUM_THREADS|OMP_WAIT_POLICY"
    r"|HF_(HOME|HUB_CACHE|DATASETS_CACHE|ENDPOINT)|TORCH_HOME|TRITON_CACHE_DIR|PYTORCH_CUDA_ALLOC_CONF"
)
"""Variables that a training gets from the caller's environment. Anything else may be a secret."""

OWN: Final = ("lock", "job.json", "handle.json", "stop.json", "result.json")
START_SECONDS: Final = 60.0


class LocalExecutor:
    """Runs jobs as processes of this machine, for this user, in the attempt folders of `store`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def probe(self) -> Capabilities | Unreachable:
        disk = self.store.root
        while not disk.exists():
            disk = disk.parent
        return Capabilities(
            cpus=len(os.sched_getaffinity(0)),
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            disk=shutil.disk_usage(disk).free,
            gpus=len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        )

    def find(self, key: Key) -> tuple[Handle, ...] | Unreachable:
        folder = self._folder(key)
        return (self._handle(key),) if (folder / "job.json").exists() else ()

    def submit(self, key: Key, job: Job) -> Submission:
        folder = self._folder(key)
        if (folder / "job.json").exists() or (lock := take(folder, job)) is None:
            return Exists(self._handle(key))
        try:
            fault("submit.taken")
            code = start(folder, lock)
        except subprocess.TimeoutExpired:
            return Unsure(f"the process of {key.name} did not answer within {START_SECONDS:g} s")
        finally:
            os.close(lock)
        if code != 0:
            log = (folder / "output.log").read_text("utf-8", "replace")[-2000:]
            raise ExternalError(Diagnostic(f"{key.name} could not be started", detail=log))
        fault("submit.started")
        return Submitted(self._handle(key))

    def observe(self, handles: Iterable[Handle]) -> Mapping[Handle, Sight]:
        return {handle: observe_attempt(self._folder(handle.key)) or Gone() for handle in handles}

    def stop(self, handle: Handle, grace: float) -> bool:
        folder = self._folder(handle.key)
        if not (job := observe_attempt(folder)) or not job.state.going_on:
            return False
        found = read_json(folder / "handle.json")
        named = found if found and found.get("submittedAt") == handle.submitted else {}
        write_atomic(folder / "stop.json", json.dumps({"graceSeconds": grace, "time": time.time()}).encode())
        # The wrapper passes it on and enforces `grace`; when only the trainer is left, that one is asked itself.
        for process in (named, named.get("trainer", {})):
            if named.get("bootId") == wrapper.boot_id() and terminate(process):
                return True
        (folder / "stop.json").unlink(missing_ok=True)
        if not is_locked(folder / "lock"):
            return False
        raise ExternalError(
            Diagnostic(
                f"{handle.key.name} was not stopped: it lives, but no process can be proved to be it",
                detail=f"its handle says process {named.get('pid')} on {named.get('host')}",
                hint=f"on the machine that it runs on, `fuser -v {folder / 'lock'}` tells which processes hold it",
            )
        )

    def collect(self, key: Key) -> Path | Unreachable:
        return self._folder(key)

    def forget(self, handle: Handle) -> None:
        """Nothing: outside of the attempt folder nothing is kept of a process that ended."""

    def _folder(self, key: Key) -> Path:
        return self.store.attempt(key.run, key.attempt)

    def _handle(self, key: Key) -> Handle:
        job = read_json(self._folder(key) / "job.json") or {}
        return Handle(key, key.name, job.get("submittedAt", 0.0))


def take(folder: Path, job: Job) -> int | None:
    """Make the attempt folder of `job`, if nobody did: a descriptor that holds its lock, or None.

    Raises ExternalError when it can't be written, ValueError when one of the job's files would lie outside.
    """
    about: dict[str, Json] = {"argv": list(job.argv), "env": dict(job.env), "submittedAt": time.time()}
    about |= {"timeoutSeconds": job.timeout, "graceSeconds": job.grace}
    files = {plain(name): content for name, content in job.files.items()}
    files["job.json"] = json.dumps(about, indent=2).encode() + b"\n"
    temporary = temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        lock = os.open(temporary / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name, content in files.items():
                write_atomic(temporary / name, content)
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


def start(folder: Path, lock: int) -> int:
    """Start the wrapper in `folder`, out of reach of what happens to this process; its exit code, 0 when it runs.

    The process that is waited for is only the first half of the wrapper, which ends when the second one has begun.
    Raises subprocess.TimeoutExpired when it doesn't within START_SECONDS, ExternalError when nothing can be started.
    """
    command = [sys.executable, "-I", str(Path(wrapper.__file__)), "--detach", "--lock", str(lock), str(folder)]
    passed = {name: text for name, text in os.environ.items() if PASSED.fullmatch(name)}
    try:
        with (folder / "output.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=passed,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock],
            )
    except OSError as error:
        raise ExternalError(Diagnostic(f"cannot start a process in {folder}: {error.strerror}")) from error
    return process.wait(START_SECONDS)


def terminate(process: Json) -> bool:
    """Send TERM to a process that its handle names; False when there is none that is provably the same one."""
    if not isinstance(process, dict) or not all(isinstance(process.get(each), int) for each in ("pid", "startTime")):
        return False
    try:
        # The descriptor stands for one process, so the number can't pass to another one after the comparison.
        descriptor = os.pidfd_open(process["pid"])
    except OSError:
        return False
    try:
        same: bool = wrapper.start_time(process["pid"]) == process["startTime"]
        if same:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except ProcessLookupError:
        same = False
    finally:
        os.close(descriptor)
    return same
