"""What is sampled of a trainer: its whole process tree, its GPUs where something tells of them, and nothing after its end."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ftops
from ftops.executors import resource_usage

SCRIPT = Path(ftops.__file__).parent / "executors" / "resource_usage.py"
BUSY = "import subprocess, sys, time\nif sys.argv[1:]: subprocess.Popen([sys.executable, '-c', sys.argv[1]])\nx = bytearray(64 << 20)\n"


@pytest.fixture
def trainer():
    """A process that leads a session, as a trainer does, with a child that keeps a core busy."""
    child = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    process = subprocess.Popen([sys.executable, "-c", BUSY + "time.sleep(30)", child], start_new_session=True)
    yield process
    os.killpg(process.pid, 9)
    process.wait()


def test_it_needs_the_standard_library_only():
    names = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {each.partition(".")[0] for each in names} <= sys.stdlib_module_names


def test_the_whole_tree_counts(trainer):
    deadline = time.monotonic() + 20
    while len(before := resource_usage.processes(trainer.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    now = resource_usage.processes(trainer.pid)
    assert {pid for pid, _ in now} >= {trainer.pid}
    assert 20 < resource_usage.share_of_processor(before, now, 1.0) < 250
    assert 64 / 1024 < resource_usage.memory_gib(now) < 1
    assert resource_usage.processes(os.getpid()).keys().isdisjoint(now)


def test_samples_are_written_until_the_trainer_ends(tmp_path, trainer):
    fast = tmp_path / "sampling.py"
    fast.write_text(SCRIPT.read_text().replace("SECONDS: Final = 5.0", "SECONDS: Final = 0.1", 1))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvidia-smi").write_text("#!/bin/sh\necho '0, 97, 40960'\necho '1, [N/A], 512'\n")
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    env = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    process = subprocess.Popen([sys.executable, "-I", fast, str(trainer.pid), tmp_path / "system.jsonl"], env=env)
    deadline = time.monotonic() + 20
    while not (tmp_path / "system.jsonl").exists() or len((tmp_path / "system.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    trainer.kill()
    trainer.wait()
    assert process.wait(10) == 0
    found = [json.loads(line) for line in (tmp_path / "system.jsonl").read_text().splitlines()]
    assert [each["time"] for each in found] == sorted(each["time"] for each in found)
    assert found[-1].keys() == {
        "time", "cpu_percent", "memory_gib", "gpu_0_percent", "gpu_0_memory_gib", "gpu_1_memory_gib",
    }  # fmt: skip
    assert (found[-1]["gpu_0_percent"], found[-1]["gpu_0_memory_gib"]) == (97, 40)


def test_who_has_ended_is_not_sampled(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    done = subprocess.run([sys.executable, "-I", SCRIPT, str(process.pid), tmp_path / "it"], timeout=20, check=False)
    assert done.returncode == 0
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\nexec sleep 60\n", "no program\n"])
def test_gpus_that_do_not_answer_are_left_out(tmp_path, monkeypatch, program):
    (tmp_path / "nvidia-smi").write_text(program)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(resource_usage, "GPU_SECONDS", 0.2)
    assert resource_usage.gpus() == {}


def test_only_the_visible_gpus_are_asked_for(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "7, 5, $(echo "$@" | grep -c -- --id=2,3)"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert resource_usage.gpus() == {"gpu_7_percent": 5.0, "gpu_7_memory_gib": round(1 / 1024, 3)}


def test_the_file_stays_small():
    interval, seconds, count = resource_usage.SECONDS, 0.0, 0
    while seconds < 7 * 86_400:
        seconds += interval
        count += 1
        interval *= 1 if count % resource_usage.SAMPLES else 2
    assert count < 4000
