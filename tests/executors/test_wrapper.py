"""The process around a trainer, run as it is run in a container: by itself, on a folder."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ftops.executors import wrapper
from ftops.files import is_locked

WRAPPER = Path(wrapper.__file__)


def attempt(folder, code, *, timeout=None, grace=5.0, env=None, argv=None):
    about = {"argv": argv or [sys.executable, "-u", "-c", code], "env": env or {}, "submittedAt": 1.5}
    about |= {"timeoutSeconds": timeout, "graceSeconds": grace}
    (folder / "job.json").write_text(json.dumps(about))
    return folder


def start(folder):
    return subprocess.Popen([sys.executable, "-I", str(WRAPPER), str(folder)], stderr=subprocess.PIPE, text=True)


def run(folder):
    return subprocess.run(
        [sys.executable, "-I", str(WRAPPER), str(folder)], capture_output=True, text=True, timeout=60, check=False
    )


def result(folder):
    return json.loads((folder / "result.json").read_text())


def wait(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


def log(folder):
    path = folder / "output.log"
    return path.read_text() if path.exists() else ""


def test_it_needs_nothing_but_python():
    """It is copied to other machines and outlives an upgrade of ftops."""
    names = set()
    for node in ast.walk(ast.parse(WRAPPER.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {each.partition(".")[0] for each in names} <= sys.stdlib_module_names


def test_the_end_of_a_trainer_is_written(tmp_path):
    before = time.time()
    attempt(tmp_path, "import os, sys; print(os.getcwd(), os.environ['OWN']); sys.exit(7)", env={"OWN": "value"})
    assert run(tmp_path).returncode == 0
    found = result(tmp_path)
    assert (found["exitCode"], found["signal"], found["timedOut"], found["stopSignal"]) == (7, None, False, None)
    assert before <= found["startedAt"] <= found["endedAt"] <= time.time()
    assert found["host"] == os.uname().nodename
    assert found["peakMemory"] > 1 << 20
    assert 0 < found["cpuSeconds"] < 10
    assert log(tmp_path) == f"{tmp_path} value\n"
    assert not is_locked(tmp_path / "lock")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "handle.json", "job.json", "lock", "output.log", "result.json",
    ]  # fmt: skip


def test_the_handle_names_the_process(tmp_path):
    attempt(tmp_path, "import time; print('on'); time.sleep(99)")
    process = start(tmp_path)
    wait(lambda: "on" in log(tmp_path))
    about = json.loads((tmp_path / "handle.json").read_text())
    assert about["pid"] == process.pid
    assert about["startTime"] == wrapper.start_time(process.pid)
    assert about["bootId"] == wrapper.boot_id()
    assert about["submittedAt"] == 1.5
    assert about["trainer"]["startTime"] == wrapper.start_time(about["trainer"]["pid"])
    assert is_locked(tmp_path / "lock")
    process.terminate()
    process.communicate(timeout=20)
    assert wrapper.start_time(process.pid) is None


def test_a_trainer_killed_by_a_signal(tmp_path):
    attempt(tmp_path, "import os; os.kill(os.getpid(), 11)")
    assert run(tmp_path).returncode == 0
    assert (result(tmp_path)["exitCode"], result(tmp_path)["signal"]) == (None, 11)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on(tmp_path, number):
    attempt(tmp_path, f"import signal, sys, time\nsignal.signal({int(number)}, lambda *_: sys.exit(3))\n"
            "print('on')\ntime.sleep(99)")  # fmt: skip
    process = start(tmp_path)
    wait(lambda: "on" in log(tmp_path))
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert (result(tmp_path)["exitCode"], result(tmp_path)["stopSignal"]) == (3, number)


def test_a_signal_reaches_the_whole_group_of_the_trainer(tmp_path):
    child = "import time; print('child on'); time.sleep(99)"
    attempt(tmp_path, f"import subprocess, sys; subprocess.run([sys.executable, '-uc', {child!r}])")
    process = start(tmp_path)
    wait(lambda: "child on" in log(tmp_path))
    process.terminate()
    process.communicate(timeout=20)
    assert result(tmp_path)["signal"] == 15
    assert not is_locked(tmp_path / "lock")


def test_what_a_trainer_leaves_behind_is_killed(tmp_path):
    child = "import time; print('child on'); time.sleep(99)"
    attempt(tmp_path, f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-uc', {child!r}], "
            "pass_fds=[int(name) for name in __import__('os').listdir('/proc/self/fd') if int(name) > 2 and "
            "__import__('os').path.exists('/proc/self/fd/' + name)]); time.sleep(1); __import__('os')._exit(0)"
            )  # fmt: skip
    assert run(tmp_path).returncode == 0
    assert "child on" in log(tmp_path)
    assert result(tmp_path)["exitCode"] == 0
    wait(lambda: not is_locked(tmp_path / "lock"))


@pytest.mark.parametrize("ignores", [False, True])
def test_the_time_limit(tmp_path, ignores):
    first = "import signal; signal.signal(15, signal.SIG_IGN)\n" if ignores else ""
    attempt(tmp_path, f"{first}import time; time.sleep(99)", timeout=0.5, grace=0.5)
    begun = time.monotonic()
    assert "time limit" in run(tmp_path).stderr
    assert 0.5 <= time.monotonic() - begun < 10
    assert result(tmp_path)["timedOut"] is True
    assert result(tmp_path)["signal"] == (9 if ignores else 15)


def test_signals_of_the_wrapper_are_not_blocked_in_the_trainer(tmp_path):
    code = (
        "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(2) is not signal.SIG_IGN)"
    )
    attempt(tmp_path, code)
    subprocess.run(
        ["/bin/sh", "-c", 'trap "" INT CHLD; exec "$@"', "sh", sys.executable, "-I", str(WRAPPER), str(tmp_path)],
        check=True,
        timeout=30,
    )
    assert log(tmp_path) == "set() True\n"


def test_an_attempt_runs_once(tmp_path):
    attempt(tmp_path, "print('trained')")
    assert run(tmp_path).returncode == 0
    before = (tmp_path / "result.json").read_bytes()
    again = run(tmp_path)
    assert again.returncode == 1
    assert "runs once" in again.stderr
    assert (tmp_path / "result.json").read_bytes() == before
    assert log(tmp_path) == "trained\n"


def test_a_stop_from_before_it_listened_is_heard(tmp_path):
    attempt(tmp_path, "import time; time.sleep(99)")
    (tmp_path / "stop.json").write_text('{"graceSeconds": 5}')
    begun = time.monotonic()
    assert run(tmp_path).returncode == 0
    assert time.monotonic() - begun < 20
    assert (result(tmp_path)["stopSignal"], result(tmp_path)["signal"]) == (15, 15)


def test_in_a_container_it_waits_for_the_submitter_and_speaks_into_the_log(tmp_path):
    attempt(tmp_path, "import time; time.sleep(99)", timeout=0.1)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(1.5, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        found = subprocess.run(
            [sys.executable, "-I", str(WRAPPER), "--container", str(tmp_path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    assert "the time limit of 0.1 s is reached" in log(tmp_path)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"memory.events": "low 0\noom 2\noom_kill 1\n", "memory.max": "max\n", "memory.peak": "5\n"}, {"peak": 5}),
        ({"memory.events": "oom_kill 1\n", "memory.max": "64\n"}, {"limit": 64}),
        ({"memory.oom_control": "under_oom 0\noom_kill 1\n", "memory.limit_in_bytes": f"{2**63 - 4096}\n"}, {}),
    ],
    ids=["2", "2, an older kernel", "1"],
)
def test_what_the_control_group_says_of_memory(tmp_path, monkeypatch, files, found):
    groups = [(tmp_path, *names) for _, *names in wrapper.CONTROL_GROUPS]
    monkeypatch.setattr(wrapper, "CONTROL_GROUPS", groups)
    assert wrapper.memory() == {}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert wrapper.memory() == {"oomKills": 1, **found}


def test_two_wrappers_of_one_attempt_start_one_trainer(tmp_path):
    attempt(tmp_path, "import time; print('trained'); time.sleep(2)")
    processes = [start(tmp_path) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=30)
    assert sorted(process.returncode for process in processes) == [0, 1, 1]
    assert log(tmp_path) == "trained\n"


def test_who_looks_at_the_lock_does_not_hinder_the_wrapper(tmp_path):
    attempt(tmp_path, "print('trained')")
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.3, fcntl.flock, (file, fcntl.LOCK_UN)).start()
        assert run(tmp_path).returncode == 0


def test_a_result_that_cannot_be_written_is_tried_again(tmp_path):
    attempt(tmp_path, "print('trained')")
    (tmp_path / "result.json.tmp").mkdir()
    process = start(tmp_path)
    wait(lambda: "trained" in log(tmp_path))
    time.sleep(0.5)
    assert process.poll() is None
    (tmp_path / "result.json.tmp").rmdir()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert result(tmp_path)["exitCode"] == 0


def test_a_result_that_can_never_be_written_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "result.json.tmp").mkdir()
    assert wrapper.write_result({"exitCode": 5}, seconds=0.2) is False
    assert '"exitCode": 5' in capsys.readouterr().err


def test_wrong_usage():
    found = subprocess.run([sys.executable, "-I", str(WRAPPER)], capture_output=True, timeout=30, check=False)
    assert found.returncode == 2
    assert b"usage" in found.stderr


def test_a_process_name_with_parentheses_is_read():
    """Field 2 of /proc/PID/stat is the command's name and may hold anything."""
    begun = wrapper.start_time(os.getpid())
    name = Path(f"/proc/{os.getpid()}/comm")
    before = name.read_text()
    name.write_text("a) Z 1 (b")
    try:
        assert wrapper.start_time(os.getpid()) == begun
    finally:
        name.write_text(before)
    assert wrapper.start_time(2**22 + 1) is None
