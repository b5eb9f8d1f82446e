"""The process around a trainer: `python -I wrapper.py FOLDER` runs the job that FOLDER/job.json names.

It stands alone (standard library only, no import of ftops), because it outlives ftops, runs in containers and on other
machines, and must not break when ftops is upgraded under it. It works in FOLDER and writes there

    handle.json   who runs: pid, start time and boot id, which together name one process for ever
    output.log    what the trainer prints
    system.jsonl  what it takes of the machine, written by resource_usage.py beside this file, where that is there
    result.json   how it ended, once, atomically: the only truth about the end of a job

While wrapper or trainer live, the lock on FOLDER/lock is held: both have its open descriptor, and the kernel releases
it with the last of them. The submitter hands a descriptor that holds it (`--lock FD`), else the wrapper takes it.
With `--detach` it goes into a session of its own and the call returns when the trainer was started. With `--container`
it is the first process of a container: its own lines go to output.log too, and the submitter may hold the lock a little
longer, until it knows that the container runs.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

LISTENED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
RESULT_SECONDS: Final = 600.0  # how long it tries to write a result when the disk is full
CANNOT_START: Final = 127  # what shells answer for a command that cannot be run
LOOK_SECONDS: Final = 1.0  # who only looks if the lock is held has it for a moment
CONTROL_GROUPS: Final = (  # cgroups(7), version 2, then version 1
    ("/sys/fs/cgroup", "memory.events", "memory.max", "memory.peak"),
    ("/sys/fs/cgroup/memory", "memory.oom_control", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
)
SUBMIT_SECONDS: Final = 30.0  # who starts a container has the lock until the container runs


def boot_id() -> str:
    """The id that the kernel drew when this machine started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def start_time(pid: int) -> int | None:
    """When process `pid` started (clock ticks since boot), None when there is none or it is a zombie.

    Field 22 of /proc/PID/stat, see proc_pid_stat(5); the command's name may hold spaces and parentheses.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def pid_namespace() -> str:
    """What tells the pids of a container from those of the machine that it runs on."""
    return str(Path("/proc/self/ns/pid").readlink())


def process_name(pid: int) -> dict[str, Any]:
    """What names a process of this boot and namespace for ever: its pid and its start time."""
    return {"pid": pid, "startTime": start_time(pid)}


def memory() -> dict[str, int]:
    """What the kernel says of the memory of the control group that is mounted here, which in a container is its own: how
    often it killed for want of memory (`oomKills`), the `limit` and the `peak` in bytes. Empty where it says nothing.
    """
    for folder, kills, limit, peak in CONTROL_GROUPS:
        try:
            counts = dict(line.split() for line in Path(folder, kills).read_text("ascii").splitlines())
        except OSError:
            continue
        found = {"oomKills": int(counts.get("oom_kill", 0))}
        for name, file in (("limit", limit), ("peak", peak)):
            # An old kernel keeps no peak; no limit is `max` or a huge number.
            with contextlib.suppress(OSError, ValueError):
                if (number := int(Path(folder, file).read_text("ascii"))) < 1 << 60:
                    found[name] = number
        return found
    return {}


def say(text: str) -> None:
    """A line of the wrapper's own in the log."""
    sys.stderr.write(f"ftops: {text}\n")
    sys.stderr.flush()


def write(path: str, value: dict[str, Any]) -> None:
    """Write JSON so that `path` is either as it was or complete, also after a power cut."""
    temporary = Path(f"{path}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(".", os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_result(result: dict[str, Any], seconds: float = RESULT_SECONDS) -> bool:
    """Write result.json; a full disk may get room again, so try for `seconds`. False when it could not be written."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            write("result.json", result)
        except OSError as error:
            if time.monotonic() > deadline:
                say(f"cannot write result.json: {error}; it would have said {json.dumps(result)}")
                return False
            time.sleep(min(1.0, seconds / 10))
        else:
            return True


def take_lock(seconds: float) -> int | None:
    """A descriptor that holds the lock of this folder, None when another job still has it after `seconds`."""
    descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                return None
            time.sleep(0.05)
        else:
            return descriptor


class Trainer:
    """The job's own process, in a session and so a process group of its own."""

    def __init__(self, job: dict[str, Any], lock: int) -> None:
        """Start it. Raises OSError when the command cannot be run."""
        with Path("output.log").open("ab") as log:
            self.process = subprocess.Popen(
                job["argv"],
                env={**os.environ, **job["env"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
                # What this process listens to is blocked here, and a blocked signal stays blocked in a child.
                preexec_fn=default_signals,  # noqa: PLW1509  (there are no threads here)
            )
        self.pid = self.process.pid

    def send(self, number: int) -> None:
        """Signal the whole group. Safe until `reap`: the group's id is taken as long as its leader is not reaped."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def ended(self) -> bool:
        """Whether the trainer ended, without reaping it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def reap(self) -> int:
        """The trainer's exit code, or minus the signal that ended it. What it left behind in its group is killed:
        it would go on writing into the output and hold the memory of a GPU."""
        self.send(signal.SIGKILL)
        return self.process.wait()


def default_signals() -> None:
    # Where memory runs out, the kernel shall take the trainer and not this process, which tells of it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    for number in LISTENED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, LISTENED)


def watch(trainer: Trainer, timeout: float | None, grace: float) -> dict[str, Any]:
    """Wait for the trainer's end, pass on what this process is told, keep the time limit. The end, as in result.json."""
    limit = None if timeout is None else time.monotonic() + timeout
    kill_at: float | None = None
    timed_out, told = False, None
    while not trainer.ended():
        now = time.monotonic()
        if limit is not None and now >= limit:
            say(f"the time limit of {timeout:g} s is reached")
            trainer.send(signal.SIGTERM)
            timed_out, limit, kill_at = True, None, now + grace
        if kill_at is not None and now >= kill_at:
            say("it did not end in time and is killed")
            trainer.send(signal.SIGKILL)
            kill_at = None
        waits = [each - now for each in (limit, kill_at) if each is not None]
        event = signal.sigtimedwait(LISTENED, max(0.0, min([*waits, 3600.0])))
        reap_orphans(trainer.pid)
        if event is not None and event.si_signo != signal.SIGCHLD:
            trainer.send(event.si_signo)
            told = event.si_signo
            kill_at = kill_at or time.monotonic() + stop_grace(grace)
    code = trainer.reap()
    return {
        "exitCode": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "timedOut": timed_out,
        "stopSignal": told,
        **taken(),
    }


def taken() -> dict[str, Any]:
    """What the trainer took in all: bytes of memory of the largest of its processes, and seconds of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"peakMemory": used.ru_maxrss * 1024, "cpuSeconds": round(used.ru_utime + used.ru_stime, 2)}


def sample(leader: int) -> None:
    """Have sampled what the trainer takes of the machine, in a process of its own, that nothing in it can harm this one.

    It ends by itself with the trainer.
    """
    script = Path(__file__).with_name("resource_usage.py")
    if script.exists():
        with contextlib.suppress(OSError):
            subprocess.Popen(
                [sys.executable, "-I", str(script), str(leader), "system.jsonl"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                preexec_fn=default_signals,  # noqa: PLW1509  (there are no threads here)
            )


def reap_orphans(trainer: int) -> None:
    """Let go of the processes that ended and whose parents ended before: the first process of a container gets them."""
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)) and ended.si_pid != trainer:
        os.waitpid(ended.si_pid, 0)


def stop_grace(default: float) -> float:
    """The seconds that a stop request (stop.json) grants, else the job's own."""
    try:
        return float(json.loads(Path("stop.json").read_bytes())["graceSeconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return default


def run(lock: int, started: int | None) -> bool:
    """Run the job of the current folder to its end; `started` is told as soon as there is something to find.

    Returns whether result.json, where the trainer's fate stands, could be written.
    """
    job = json.loads(Path("job.json").read_bytes())
    begun, host = time.time(), socket.gethostname()
    place = {"pidNamespace": pid_namespace(), "bootId": boot_id(), "host": host}
    handle = {**process_name(os.getpid()), **place, "submittedAt": job["submittedAt"]}
    write("handle.json", handle)
    if started is not None:
        with contextlib.suppress(BrokenPipeError):
            os.write(started, b".")
        os.close(started)
    if Path("stop.json").exists():  # asked to end before this process listened
        os.kill(os.getpid(), signal.SIGTERM)
    kills = memory().get("oomKills", 0)
    try:
        trainer = Trainer(job, lock)
    except OSError as error:
        say(f"cannot run {job['argv'][0]}: {error}")
        end = {"exitCode": CANNOT_START, "signal": None, "timedOut": False, "stopSignal": None}
    else:
        try:
            write("handle.json", {**handle, "trainer": process_name(trainer.pid)})
        except OSError as error:  # it only serves to stop a trainer whose wrapper is gone
            say(f"cannot write handle.json: {error}")
        sample(trainer.pid)
        end = watch(trainer, job["timeoutSeconds"], job["graceSeconds"])
    used = memory()
    if "oomKills" in used:
        used["oomKills"] -= kills
    return write_result({**end, "memory": used, "startedAt": begun, "endedAt": time.time(), "host": host})


def detach() -> int:
    """Go on in a process of a session of its own, whose parent is not the caller.

    Returns where that process says that there is something to find. The caller's process ends then, with exit code 0;
    with 1 when the other one ended before it said so.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os._exit(0 if os.read(reader, 1) else 1)
    os.close(reader)
    os.setsid()
    return writer


def main() -> int:
    """Exit code 0: result.json is written. 1: it could not be, or nothing was started. 2: wrong usage."""
    parser = argparse.ArgumentParser(prog="wrapper.py", description="Run the job of an attempt folder to its end.")
    parser.add_argument("folder")
    parser.add_argument("--lock", type=int, metavar="FD", help="an inherited descriptor that holds the folder's lock")
    parser.add_argument("--detach", action="store_true", help="return as soon as the job has begun")
    parser.add_argument("--container", action="store_true", help="be the first process of a container")
    arguments = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some parents leave it, children could not be waited for
    signal.pthread_sigmask(signal.SIG_BLOCK, LISTENED)
    os.chdir(arguments.folder)
    seconds = SUBMIT_SECONDS if arguments.container else LOOK_SECONDS
    lock = take_lock(seconds) if arguments.lock is None else arguments.lock
    if lock is None or Path("result.json").exists():
        say("this attempt is running or has ended: an attempt runs once")
        return 1
    if arguments.container:
        log = os.open("output.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(log, sys.stderr.fileno())
    return 0 if run(lock, detach() if arguments.detach else None) else 1


if __name__ == "__main__":
    sys.exit(main())
