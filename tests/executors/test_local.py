"""What the local executor leaves when something is killed, and the events that are read from an attempt's folder."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftops.errors import ExternalError
from ftops.executors.job_state import JobState, Observation
from ftops.executors.protocol import Gone, Job, follow
from ftops.executors.registry import executor_for
from ftops.files import is_locked
from ftops.store import store as stores
from tests.support.trainings import (
    KEY,
    LOCAL,
    LONG,
    begun,
    end,
    finish,
    job,
    kill_all,
    log,
    pids,
    script,
    seen,
    submitter,
    wait,
)


@pytest.fixture
def store(tmp_path):
    return stores.open_store(tmp_path / ".ftops")


# ------------------------------------------------------------------------------------------------- kill tests


@pytest.fixture
def local(store):
    yield executor_for(LOCAL, store)
    kill_all(store)


def test_what_chooses_devices_and_language_is_passed_on(local, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    end(local, local.submit(KEY, script("import json, os; print(json.dumps(dict(os.environ)))")).handle)
    assert {"LC_ALL": "C.UTF-8", "CUDA_VISIBLE_DEVICES": "1"}.items() <= json.loads(log(local)).items()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_to_the_submitters_group_does_not_reach_the_training(store, local, number):
    process = submitter(LOCAL, store)
    assert b"Submitted" in process.stdout.readline()
    os.killpg(process.pid, number)
    assert process.wait(10) != 0
    process.stdout.close()
    (handle,) = local.find(KEY)
    trainer = begun(local)
    time.sleep(0.3)
    assert seen(local, handle).state is JobState.RUNNING
    assert Path(f"/proc/{trainer}").exists()
    local.stop(handle, 5)
    end(local, handle)


def test_a_training_is_outside_of_the_submitters_process_tree(store, local):
    process = submitter(LOCAL, store)
    assert b"Submitted" in process.stdout.readline()
    wrapper, trainer = wait(lambda: begun(local) and pids(local.collect(KEY)))
    for pid in (wrapper, trainer):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        parent, group, session, terminal = (int(each) for each in fields[1:5])
        assert parent != process.pid
        assert group == session == pid
        assert terminal == 0
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    assert children == "", "nothing stays a child, or a zombie, of a long ftops"
    finish(process)
    local.stop(local.find(KEY)[0], 5)


def test_a_killed_trainer_failed_by_signal_9(local):
    handle = local.submit(KEY, job(**LONG)).handle
    os.kill(begun(local), signal.SIGKILL)
    observation = end(local, handle)
    assert (observation.state, observation.signal, observation.exit_code) == (JobState.FAILED, 9, None)
    assert observation.killed


def test_a_job_lives_as_long_as_its_trainer_when_its_wrapper_is_killed(store, local):
    handle = local.submit(KEY, job(**LONG)).handle
    trainer = begun(local)
    os.kill(pids(local.collect(KEY))[0], signal.SIGKILL)
    time.sleep(0.3)
    assert seen(local, handle).state is JobState.RUNNING
    os.kill(trainer, signal.SIGKILL)
    observation = end(local, handle)
    assert observation.state is JobState.FAILED
    assert "without a result" in observation.reason
    assert observation.killed
    assert local.stop(handle, 5) is False


def test_a_trainer_without_its_wrapper_can_still_be_stopped(local):
    handle = local.submit(KEY, job(**LONG)).handle
    begun(local)
    os.kill(pids(local.collect(KEY))[0], signal.SIGKILL)
    time.sleep(0.2)
    assert local.stop(handle, 5) is True
    assert end(local, handle).state is JobState.CANCELLED


def test_a_trainer_that_others_told_to_end_has_not_finished(local):
    code = "import signal,sys,time; signal.signal(2, lambda *_: sys.exit(0)); print('on', flush=True); time.sleep(99)"
    handle = local.submit(KEY, Job((sys.executable, "-c", code), grace=5)).handle
    wait(lambda: "on" in (local.collect(KEY) / "output.log").read_text())
    os.kill(pids(local.collect(KEY))[0], signal.SIGINT)
    observation = end(local, handle)
    assert (observation.state, observation.signal) == (JobState.FAILED, signal.SIGINT)
    assert observation.killed


@pytest.mark.parametrize("change", ["startTime", "bootId", "pidNamespace", "submittedAt", "pid"])
def test_a_process_that_is_not_provably_the_job_is_not_stopped(local, change):
    handle = local.submit(KEY, job(**LONG)).handle
    trainer = begun(local)
    path = local.collect(KEY) / "handle.json"
    about = json.loads(path.read_text())
    innocent = subprocess.Popen(["sleep", "60"])
    other = {**about, change: innocent.pid if change == "pid" else about[change] + type(about[change])(1)}
    other["trainer"] = {**about["trainer"], "startTime": 1}
    path.write_text(json.dumps(other))
    with pytest.raises(ExternalError, match="was not stopped"):
        local.stop(handle, 1)
    time.sleep(0.2)
    assert innocent.poll() is None
    assert Path(f"/proc/{trainer}").exists()
    assert seen(local, handle).state is JobState.RUNNING
    path.write_text(json.dumps(about))
    innocent.kill()
    innocent.wait()
    assert local.stop(handle, 1)
    assert end(local, handle).state is JobState.CANCELLED


def test_a_store_that_cannot_be_written_starts_nothing(store, local):
    (store.root / "runs").rmdir()
    (store.root / "runs").write_text("in the way")
    with pytest.raises(ExternalError, match="cannot write"):
        local.submit(KEY, job())


def test_a_wrapper_that_cannot_begin_is_told(store, local, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ExternalError, match="could not be started"):
        local.submit(KEY, job())
    assert seen(local, local.find(KEY)[0]) == Gone()


# --------------------------------------------------------------------------------------------------- events


def test_a_torn_line_waits_and_garbage_is_counted(tmp_path):
    path = tmp_path / "events.jsonl"
    assert follow(tmp_path, 7) == ([], 7, 0)
    path.write_bytes(b'{"step": 1}\nnot json\n[1]\n\xff\xfe\n' + b"[" * 100_000 + b'\n\n{"step": 2}\n{"ste')
    events, offset, skipped = follow(tmp_path)
    assert events == [{"step": 1}, {"step": 2}]
    assert skipped == 4
    assert follow(tmp_path, offset) == ([], offset, 0)
    with path.open("ab") as file:
        file.write(b'p": 3}\n')
    assert follow(tmp_path, offset) == ([{"step": 3}], path.stat().st_size, 0)


def test_a_hundred_thousand_events_are_read_in_well_under_a_second(tmp_path):
    line = {"event": "log", "step": 1, "maxSteps": 100_000, "time": 1.5, "loss": 2.25, "learning_rate": 1e-4}
    (tmp_path / "events.jsonl").write_text((json.dumps(line) + "\n") * 100_000)
    start = time.process_time()
    assert len(follow(tmp_path).events) == 100_000
    assert time.process_time() - start < 1.5


def test_an_observation_is_killed_only_when_it_did_not_end_by_itself():
    assert Observation(JobState.FAILED, signal=9).killed
    assert not Observation(JobState.FAILED, exit_code=1).killed
    assert not Observation(JobState.CANCELLED, signal=15).killed


def test_a_lock_is_held_by_its_descriptor(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    with path.open("w") as file:
        assert not is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(path)
    assert not is_locked(path)
