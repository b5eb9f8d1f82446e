"""Jobs for tests of executors: a stand-in trainer that writes the events of a training, and ways to wait for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ftops.executors import wrapper
from ftops.executors.job_state import Observation
from ftops.executors.protocol import Job, Key, follow
from ftops.executors.registry import RUNNER

LOCAL = RUNNER(executor="local")

KEY = Key("tiny-base-0123456789ab", 1)

TRAINER = """
import json, os, pathlib, signal, sys, time
steps, code, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
def event(name, step, **more):
    with open(os.environ["FTOPS_EVENTS"], "a") as file:
        file.write(json.dumps({"event": name, "step": step, "maxSteps": steps, "time": time.time(), **more}) + "\\n")
event("begin", 0, pid=os.getpid())
print("training", flush=True)
for step in range(1, steps + 1):
    time.sleep(pause)
    event("log", step, loss=1 / step)
if code:
    sys.exit(code)
pathlib.Path("output").mkdir()
event("end", steps)
"""

LONG = {"steps": 1000, "pause": 0.1}


def job(steps=3, code=0, pause=0.01, **more):
    return Job(
        argv=("python3", "-I", "trainer.py", str(steps), str(code), str(pause)),
        files={"trainer.py": TRAINER.encode(), "plugin/empty.py": b""},
        env={"FTOPS_EVENTS": "events.jsonl"},
        **{"grace": 5.0, **more},
    )


def script(code, **more):
    """A job that runs Python code."""
    return Job(("python3", "-u", "-c", code), **more)


def wait(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


def seen(executor, handle):
    return executor.observe([handle])[handle]


def end(executor, handle):
    """How a job ended, once it did."""
    wait(lambda: isinstance(found := seen(executor, handle), Observation) and not found.state.going_on)
    return seen(executor, handle)


def begun(executor, key=KEY):
    """The pid of the trainer, when it has begun."""
    folder = executor.collect(key)
    return wait(lambda: follow(folder).events)[0]["pid"]


def pids(folder):
    about = json.loads((folder / "handle.json").read_text())
    return about["pid"], about["trainer"]["pid"]


def log(executor, key=KEY):
    """What the job printed until now."""
    path = executor.collect(key) / "output.log"
    return path.read_text() if path.exists() else ""


def kill_all(store):
    """Whatever processes a test left running in `store`."""
    for path in store.root.glob("runs/*/attempt-*/handle.json"):
        about = json.loads(path.read_text())
        here = about["pidNamespace"] == wrapper.pid_namespace()
        for pid in (about.get("pid"), about.get("trainer", {}).get("pid")):
            # A process may end by itself at any of these steps: then there is nothing left to kill.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if here and pid and Path(f"/proc/{pid}/cwd").readlink() == path.parent:
                    os.kill(pid, signal.SIGKILL)


SUBMITTER = """
import os, sys, time
from pathlib import Path
from ftops.executors.registry import RUNNER, executor_for
from ftops.store.store import open_store
from tests.support.trainings import KEY, LONG, job
if gate := os.environ.get("GATE"):
    print("ready", flush=True)
    while not os.path.exists(gate):
        pass
runner = RUNNER.model_validate_json(sys.argv[1])
print(executor_for(runner, open_store(Path(sys.argv[2]))).submit(KEY, job(**LONG)), flush=True)
time.sleep(99)
"""


def submitter(runner, store, **environment):
    """A process that submits a long job, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", SUBMITTER, runner.model_dump_json(by_alias=True, exclude_unset=True), store.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
    )


def finish(process):
    process.kill()
    process.stdout.close()
    process.wait()
