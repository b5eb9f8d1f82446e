"""Training as a process of this machine that outlives ftops.

Whether a job lives is what its lock says; a pid serves only to stop it, and only when start time, boot and namespace
prove that it is still the same process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.errors import Diagnostic, ExternalError
from ftops.executors import wrapper
from ftops.executors.attempt_folder import find_handle, free_bytes, read_handle, take, write_stop
from ftops.executors.attempts import observe_attempt
from ftops.executors.protocol import (
    Capabilities,
    Exists,
    Gone,
    Handle,
    Job,
    JobStatus,
    Key,
    Submission,
    Submitted,
    Unreachable,
    Unsure,
)
from ftops.files import is_locked, open_append, read_bytes, read_json
from ftops.resources.runner import Runner
from ftops.store.fault_points import fault
from ftops.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ftops.digests import Json

PASSED: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_CACHE_HOME|LD_LIBRARY_PATH|SSL_CERT_(FILE|DIR)"
    r"|(CUDA|NVIDIA|ROCR|HIP)_VISIBLE_DEVICES|CUDA_HOME|CUDA_DEVICE_ORDER|(OMP|MKL|OPENBLAS)_NUM_THREADS|OMP_WAIT_POLICY"
    r"|HF_(HOME|HUB_CACHE|DATASETS_CACHE|ENDPOINT)|TORCH_HOME|TRITON_CACHE_DIR|PYTORCH_CUDA_ALLOC_CONF"
)
"""Variables that a training gets from the caller's environment. Anything else may be a secret."""

START_SECONDS: Final = 60.0


class LocalExecutor:
    """Runs jobs as processes of this machine, for this user, in the attempt folders of `store`."""

    def __init__(self, runner: Runner, store: Store) -> None:  # noqa: ARG002  (a process needs no settings)
        self.store = store

    def probe(self) -> Capabilities | Unreachable:
        return Capabilities(
            cpus=len(os.sched_getaffinity(0)),
            memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            disk=free_bytes(self.store.root),
            gpus=len(list(Path("/proc/driver/nvidia/gpus").glob("*"))),
        )

    def find(self, key: Key) -> tuple[Handle, ...] | Unreachable:
        return find_handle(self._folder(key), key)

    def submit(self, key: Key, job: Job) -> Submission:
        folder = self._folder(key)
        if (lock := take(folder, job)) is None:
            return Exists(read_handle(folder, key))
        try:
            fault("submit.taken")
            code = start(folder, lock)
        except subprocess.TimeoutExpired:
            return Unsure(f"the process of {key.name} did not answer within {START_SECONDS:g} s")
        finally:
            os.close(lock)
        if code != 0:
            log = read_bytes(folder / "output.log").decode("utf-8", "replace")[-2000:]
            raise ExternalError(Diagnostic(f"{key.name} could not be started", detail=log))
        fault("submit.started")
        return Submitted(read_handle(folder, key))

    def observe(self, handles: Iterable[Handle]) -> Mapping[Handle, JobStatus]:
        return {handle: observe_attempt(self._folder(handle.key)) or Gone() for handle in handles}

    def stop(self, handle: Handle, grace: float) -> bool:
        folder = self._folder(handle.key)
        if not (job := observe_attempt(folder)) or not job.state.going_on:
            return False
        found = read_json(folder / "handle.json")
        named = found if found and found.get("submittedAt") == handle.submitted else {}
        write_stop(folder, grace)
        here = (named.get("bootId"), named.get("pidNamespace")) == (wrapper.boot_id(), wrapper.pid_namespace())
        # The wrapper passes it on and enforces `grace`; when only the trainer is left, that one is asked itself.
        for process in (named, named.get("trainer", {})):
            if here and terminate(process):
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


def start(folder: Path, lock: int) -> int:
    """Start the wrapper in `folder`, out of reach of what happens to this process; its exit code, 0 when it runs.

    The process that is waited for is only the first half of the wrapper, which ends when the second one has begun.
    Raises subprocess.TimeoutExpired when it doesn't within START_SECONDS, ExternalError when nothing can be started.
    """
    command = [sys.executable, "-I", str(Path(wrapper.__file__)), "--detach", "--lock", str(lock), str(folder)]
    passed = {name: text for name, text in os.environ.items() if PASSED.fullmatch(name)}
    try:
        with os.fdopen(open_append(folder / "output.log"), "ab") as log:
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
