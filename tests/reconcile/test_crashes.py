"""A fault on purpose at every boundary of an apply: the next one converges, with one training's worth of steps, and nothing lost.

The boundaries are those that an apply passes, asked of itself, so that a new one can't be forgotten. The trainer is a stand-in
under the real wrapper and executor; what the real engine does is in test_apply.py, test_docker_apply.py and test_runs.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import projects
from tests.support.projects import ROOT, commit_all, dataset, environment, ftops, git, run

pytestmark = pytest.mark.slow

STAND_IN = "ftops-stand-in:latest"

RECORD = """
import sys
from ftops.store import fault_points
told = sys.argv[1]
def passed(point):
    with open(told, "a") as file:
        file.write(point + "\\n")
fault_points.fault = passed  # whoever imports it from here on gets this one
from ftops.cli import main
sys.argv = ["ftops", "apply", "--yes"]
main()
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """An engine that is a stand-in, and no MLflow, which would only take time here: test_tracking.py is about it."""
    home = tmp_path_factory.mktemp("home")
    (home / "left-out/mlflow").mkdir(parents=True)
    (home / "left-out/mlflow/__init__.py").write_text("raise ImportError('left out')\n")
    made = environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))
    return {**made, "PYTHONPATH": f"{home}/left-out:{ROOT}"}


def fresh(place, yaml=projects.PROJECT):
    """A project that nothing was done for yet."""
    root = projects.write(
        place / "project", dataset(), run(checkpoints={"every": 2}), files={"ftops.yaml": yaml}.items()
    )
    commit_all(root)
    return root


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    return fresh(tmp_path_factory.mktemp("cold"))


@pytest.fixture(scope="module")
def contained(tmp_path_factory, daemon):
    """The same, on a runner whose trainings are in containers."""
    daemon.add_program("axolotl", projects.STAND_IN.format(python="/usr/bin/python3"), STAND_IN)
    yaml = projects.PROJECT.replace("{executor: local}", json.dumps(daemon.settings(image=STAND_IN, allow=[STAND_IN])))
    return fresh(tmp_path_factory.mktemp("contained"), yaml)


@pytest.fixture(scope="module")
def points(cold, env, tmp_path_factory):
    return passed_by(cold, env, tmp_path_factory.mktemp("points"))


def passed_by(cold, env, place):
    """Every fault point that one apply passes, each time it does: `git.moved:2` is the second time."""
    root, told = shutil.copytree(cold, place / "project"), place / "points"
    subprocess.run([sys.executable, "-c", RECORD, told], cwd=root, env=env, check=True, capture_output=True)
    seen: Counter[str] = Counter()
    found = []
    for point in told.read_text().split():
        seen[point] += 1
        found.append(f"{point}:{seen[point]}")
    return found


def test_every_point_of_the_code_is_passed(points):
    """But for that of containers, which is passed there."""
    code = "\n".join(path.read_text() for path in (ROOT / "ftops").rglob("*.py"))
    written = set(re.findall(r'(?<![\w.])fault\("([\w.-]+)"\)', code))
    assert {each.partition(":")[0] for each in points} >= written - {"submit.created"}
    named = [each.partition(":")[0].split(".") for each in points if each[0].isupper()]
    assert {step for step, _ in named} == {"PrepareData", "Train", "CommitRecords"}
    assert {moment for _, moment in named} == {"begin", "begun", "end", "ended"}
    assert sum(each.startswith("journal:") for each in points) == len(named) == 16


def is_idle(pid):
    """Whether a process took no time of the processor for half a second."""

    def taken():
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = taken()
    time.sleep(0.5)
    return taken() == before


def crash(root, env, fault):
    """Apply with a fault on purpose; what it said."""
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env={**env, "FTOPS_FAULT": fault}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if fault.endswith("hang"):
        deadline = time.monotonic() + 60
        # A training that goes on is followed five times a second, which takes time.
        while not is_idle(process.pid) and process.poll() is None:
            assert time.monotonic() < deadline
        assert process.poll() is None, "it did not hang"
        process.kill()
    said, _ = process.communicate(timeout=120)
    wanted = {"kill": (-signal.SIGKILL,), "hang": (-signal.SIGKILL,)}.get(fault.rpartition(":")[2], (1, 6, 7))
    assert process.returncode in wanted, f"{fault}: exit {process.returncode}\n{said}"
    assert "Traceback" not in said, said
    return said


def steps(root):
    lines = [
        line for each in root.glob(".ftops/runs/*/attempt-*/events.jsonl") for line in each.read_text().splitlines()
    ]
    return sorted(event["step"] for line in lines if (event := json.loads(line))["event"] == "log")


def converges(root, env):
    """Apply without a fault, until nothing is left to do; what must hold then."""
    ftops(root, "apply", "--yes", env=env)
    ftops(root, "plan", "--detailed-exitcode", env=env)
    assert steps(root) == [*range(1, 11)], "one training's worth of steps"
    subjects = Counter(git(root, "log", "--format=%s").splitlines())
    assert subjects["ftops: Dataset/chat prepared"] == subjects["ftops: TrainingRun/base succeeded"] == 1
    assert git(root, "status", "--porcelain") == ""
    left = [path for path in (root / ".ftops").rglob("*.tmp") if "tracking" not in path.parts]
    assert left == []


def one(cold, env, place, fault):
    """None, or what went wrong with a fault."""
    root = shutil.copytree(cold, place / fault.replace(":", "-"), symlinks=True)
    # A container is named by its run, so that there is one of it on a machine: every case has a run of its own.
    seed = 100 + zlib.crc32(fault.encode())
    projects.edit(root, "specs/all.yaml", "num_epochs: 1", f"num_epochs: 1\n    seed: {seed}")
    commit_all(root, "another seed")
    try:
        said = crash(root, env, fault)
        converges(root, env)
    except AssertionError as error:
        return f"{fault}: {error}"
    shutil.rmtree(root)
    return None if said is not None else fault


def after_any_fault(cold, env, points, tmp_path, action):
    # `journal:n` and the named boundary are one place.
    places = [each for each in points if each.startswith(("journal:", "git.", "submit."))]
    assert len(places) > 15
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda point: one(cold, env, tmp_path, f"{point}:{action}"), places))
    assert "\n".join(filter(None, ended)) == ""


ACTIONS = ["kill", "raise", "enospc", "hang"]


@pytest.mark.parametrize("action", ACTIONS)
def test_after_a_fault_at_any_point_the_next_apply_converges(cold, env, points, tmp_path, action):
    after_any_fault(cold, env, points, tmp_path, action)


@pytest.mark.parametrize("action", ACTIONS)
def test_and_so_does_one_with_containers(contained, env, docker, tmp_path, action):
    points = passed_by(contained, env, tmp_path)
    assert "submit.created:1" in points
    after_any_fault(contained, env, points, tmp_path, action)
    assert docker.names() == []


# --------------------------------------------------------------------------------------- killed from outside


def wait(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def carries(pid, text):
    """Whether a process has `text` in its environment, as a CI runner finds what a job left behind."""
    try:
        return text.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def cancel(process, mark):
    """As CI does: SIGINT, then SIGTERM 7.5 s later, then SIGKILL 2.5 s later, of the tree and of all that carries the mark."""
    for number, patience in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 30)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    for pid in (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()):
        if carries(pid, mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_left_alone(cold, env, place):
    """A job that CI cancels leaves its training going on, and the next apply follows it to its end."""
    root = shutil.copytree(cold, place / "project", symlinks=True)
    projects.edit(root, "specs/all.yaml", "num_epochs: 1", "num_epochs: 1\n    seed: 7")  # 0.3 s a step
    commit_all(root, "slower")
    mark = f"RUNNER_TRACKING_ID=github_{place.name}"
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env={**env, **dict([mark.split("=")])}, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait(lambda: steps(root))
    cancel(process, mark)
    before = len(steps(root))
    assert before < 10
    wait(lambda: len(steps(root)) > before)
    converges(root, env)
    assert [each.name for each in root.glob(".ftops/runs/*/attempt-*")] == ["attempt-1"]


def test_a_job_that_ci_cancels_leaves_its_training_alone(cold, env, tmp_path):
    is_left_alone(cold, env, tmp_path)


def test_and_its_container(contained, env, docker, tmp_path):
    is_left_alone(contained, env, tmp_path)
    assert docker.names() == []


def test_of_two_applies_at_once_one_does_the_work(cold, env, tmp_path):
    root = shutil.copytree(cold, tmp_path / "project", symlinks=True)
    projects.edit(root, "specs/all.yaml", "num_epochs: 1", "num_epochs: 1\n    seed: 7")
    commit_all(root, "slower")
    both = [
        subprocess.Popen(
            projects.command("apply", "--yes"), cwd=root, env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = {process.communicate(timeout=120)[0]: process.returncode for process in both}
    assert sorted(said.values()) == [0, 7], said
    (refused,) = (text for text, code in said.items() if code)
    assert "works in the store" in refused
    assert f"process {both[0].pid} on" in refused or f"process {both[1].pid} on" in refused
    converges(root, env)
    assert [each.name for each in root.glob(".ftops/runs/*/attempt-*")] == ["attempt-1"]


@pytest.fixture
def on_small_disk(cold, tmp_path):
    """A project whose store is a disk of a few MiB."""
    root = shutil.copytree(cold, tmp_path / "project", symlinks=True)
    (root / ".ftops").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", root / ".ftops"], check=True)
    yield root
    subprocess.run(["umount", "-l", root / ".ftops"], check=True)


def test_a_disk_that_is_full_while_a_checkpoint_is_written(on_small_disk, env):
    root, store = on_small_disk, on_small_disk / ".ftops"
    projects.edit(root, "specs/all.yaml", "num_epochs: 1", "num_epochs: 1\n    seed: 7")
    commit_all(root, "slower")
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    (saved,) = wait(lambda: list(store.glob("runs/*/attempt-1/output/checkpoint-4/trainer_state.json")))
    folder = saved.parents[2]
    with contextlib.suppress(OSError), (store / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(1 << 12))
    trainer = json.loads((folder / "handle.json").read_text())["trainer"]["pid"]
    wait(lambda: is_gone(trainer))
    (store / "ballast").unlink()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 6, said
    torn = folder / "output/checkpoint-6"
    torn.mkdir(exist_ok=True)  # there was no room for a folder
    assert "torn" in ftops(root, "run", "checkpoints", "base", env=env).stdout
    ftops(root, "apply", "--yes", env=env)
    config = (folder.with_name("attempt-2") / "config.yaml").read_text()
    assert "resume_from_checkpoint: ../attempt-1/output/checkpoint-4" in config
    ftops(root, "plan", "--detailed-exitcode", env=env)


def is_gone(pid):
    """Whether a process has ended, whoever has been told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
