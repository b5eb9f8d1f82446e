"""The journal of an apply: what is on the disk at each moment, and faults on purpose at each boundary."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftops.errors import ExternalError, UsageError
from ftops.store import fault_points
from ftops.store import journal as journals
from ftops.store.fault_points import fault
from ftops.store.journal import Journal, interrupted


@pytest.fixture(autouse=True)
def no_points_passed():
    fault_points._passed.clear()


def lines(folder):
    (path,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_step_is_written_before_and_after(tmp_path):
    with Journal.open(tmp_path) as journal:
        with journal.step("train", {"run": "a"}):
            assert [(each["number"], each["state"]) for each in lines(tmp_path)] == [(1, "begin")]
        with pytest.raises(ValueError, match="wrong"), journal.step("commit"):
            raise ValueError("wrong")
    found = [(each["number"], each["state"], each["name"], each["detail"]) for each in lines(tmp_path)]
    assert found == [
        (1, "begin", "train", {"run": "a"}),
        (1, "done", "train", None),
        (2, "begin", "commit", None),
        (2, "failed", "commit", "ValueError: wrong"),
    ]
    assert all(abs(each["time"] - time.time()) < 60 for each in lines(tmp_path))
    assert interrupted(tmp_path) is None


def test_an_interruption_leaves_the_step_open(tmp_path):
    with Journal.open(tmp_path) as journal, pytest.raises(KeyboardInterrupt), journal.step("train", {"run": "a"}):
        raise KeyboardInterrupt
    found = interrupted(tmp_path)
    assert [(each.name, each.detail, each.state) for each in found.open] == [("train", {"run": "a"}, "begin")]
    assert len(found.entries) == 1


def test_nested_steps_are_told_apart(tmp_path):
    with Journal.open(tmp_path) as journal, journal.step("apply"):
        with journal.step("inner"):
            pass
        text = journal.path.read_bytes()
    journal.path.write_bytes(text)
    assert [each.name for each in interrupted(tmp_path).open] == ["apply"]


def test_only_the_last_journal_counts(tmp_path):
    assert interrupted(tmp_path) is None
    assert interrupted(tmp_path / "absent") is None
    with Journal.open(tmp_path) as first, pytest.raises(KeyboardInterrupt), first.step("train"):
        raise KeyboardInterrupt
    with Journal.open(tmp_path) as second:
        assert interrupted(tmp_path).path == first.path, "one that is being written is not interrupted"
        with second.step("train"):
            assert interrupted(tmp_path).path == first.path
    assert interrupted(tmp_path) is None


def test_a_torn_last_line_is_tolerated(tmp_path):
    with Journal.open(tmp_path) as journal, journal.step("train"):
        pass
    whole = journal.path.read_bytes()
    begin = whole.index(b"\n") + 1
    for length in range(begin, len(whole) - 1):
        journal.path.write_bytes(whole[:length])
        assert [each.name for each in interrupted(tmp_path).open] == ["train"]


def test_garbage_is_no_entry(tmp_path):
    (tmp_path / "20200101T000000.000000Z-1.jsonl").write_bytes(b'\xff\n[1]\n{"number": 1}\n"text"\n\n')
    assert interrupted(tmp_path) is None


def test_old_journals_are_pruned(tmp_path):
    for number in range(60):
        (tmp_path / f"20200101T0000{number:02}.000000Z-1.jsonl").touch()
    (tmp_path / "notes.txt").touch()
    with Journal.open(tmp_path) as journal:
        found = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert len(found) == 50
    assert found[0] == "20200101T000011.000000Z-1.jsonl"
    assert found[-1] == journal.path.name
    assert journal.path.name.endswith(f"Z-{os.getpid()}.jsonl")
    assert (tmp_path / "notes.txt").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExternalError, match=r"cannot write the journal .*file"):
        Journal.open(tmp_path / "file")


def test_a_full_disk_stops_the_step_before_it_is_done(tmp_path):
    """A limit on the size of files stands for the full disk: the kernel refuses the write alike."""
    done = []
    journal = Journal.open(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(ExternalError, match="cannot write the journal"), journal.step("train"):
            done.append("train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.close()
    assert done == []


# --------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("wanted", ["kill", "a:b:kill", "a:1:2:kill", "a:explode", ":", "a:-1:kill"])
def test_a_fault_that_cannot_be_meant(monkeypatch, wanted):
    monkeypatch.setenv("FTOPS_FAULT", wanted)
    with pytest.raises(UsageError, match="expected point"):
        fault("a")


def test_a_fault_happens_at_its_point_and_passing_only(monkeypatch):
    fault("point")
    monkeypatch.setenv("FTOPS_FAULT", "point:3:raise")
    for _ in range(2):
        fault("point")
        fault("other")
    with pytest.raises(ExternalError, match="on purpose at point"):
        fault("point")
    fault("point")
    monkeypatch.setenv("FTOPS_FAULT", "disk:enospc")
    with pytest.raises(OSError, match="No space left") as caught:
        fault("disk")
    assert caught.value.errno == errno.ENOSPC


def test_a_failing_step_is_written_as_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("FTOPS_FAULT", "inside:raise")
    with Journal.open(tmp_path) as journal, pytest.raises(ExternalError), journal.step("train"):
        fault("inside")
    assert [each["state"] for each in lines(tmp_path)] == ["begin", "failed"]


APPLY = """
import sys
from pathlib import Path
from ftops.store.journal import Journal
with Journal.open(Path(sys.argv[1])) as journal:
    for name in ("prepare", "train"):
        with journal.step(name):
            print(name, flush=True)
"""


def apply(folder, wanted):
    environment = {**os.environ, "FTOPS_FAULT": wanted, "PYTHONPATH": str(Path(journals.__file__).parents[2])}
    command = [sys.executable, "-c", APPLY, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_every_boundary_can_be_killed_at(tmp_path):
    """`journal:1`, `journal:2`, … are all boundaries; what is open after each kill is what had begun."""
    seen = []
    for nth in range(1, 20):
        process = apply(tmp_path / str(nth), f"journal:{nth}:kill")
        output = process.communicate(timeout=30)[0].split()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        found = interrupted(tmp_path / str(nth))
        seen.append(([each.name for each in found.open] if found else [], output))
    prepare, train = ["prepare"], ["prepare", "train"]
    assert seen == [
        ([], []),
        (["prepare"], []),
        (["prepare"], prepare),
        ([], prepare),
        ([], prepare),
        (["train"], prepare),
        (["train"], train),
        ([], train),
    ]


@pytest.mark.parametrize("moment", ["begin", "begun", "end", "ended"])
def test_a_step_can_be_hung_at_by_name(tmp_path, moment):
    process = apply(tmp_path, f"train.{moment}:hang")
    expected = ["prepare\n"] + ["train\n"] * moment.startswith("end")
    assert [process.stdout.readline() for _ in expected] == expected
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    assert process.communicate()[0] == ""
