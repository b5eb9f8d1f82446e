"""What every executor promises, and what the local one leaves when something is killed."""

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

from ftops import store as stores
from ftops.errors import ExternalError, SpecError
from ftops.executors import (
    EXECUTORS,
    Capabilities,
    Exists,
    Gone,
    Job,
    Key,
    Submitted,
    executor_for,
    follow,
)
from ftops.jobs import JobState, Observation
from ftops.values import RunState

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


def job(steps=3, code=0, pause=0.01, **more):
    return Job(
        argv=(sys.executable, "-I", "trainer.py", str(steps), str(code), str(pause)),
        files={"trainer.py": TRAINER.encode(), "plugin/empty.py": b""},
        env={"FTOPS_EVENTS": "events.jsonl"},
        **{"grace": 5.0, **more},
    )


LONG = {"steps": 1000, "pause": 0.1}


@pytest.fixture
def store(tmp_path):
    return stores.open_store(tmp_path / ".ftops")


@pytest.fixture(params=sorted(EXECUTORS))
def executor(request, store):
    made = executor_for(request.param, store)
    yield made
    for path in store.root.glob("runs/*/attempt-*/handle.json"):
        kill_all(path.parent)


def kill_all(folder):
    """Whatever a test left running in `folder`."""
    about = json.loads((folder / "handle.json").read_text())
    for pid in (about.get("pid"), about.get("trainer", {}).get("pid")):
        if pid and (place := Path(f"/proc/{pid}/cwd")).exists() and place.readlink() == folder:
            os.kill(pid, signal.SIGKILL)


def wait(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


def seen(executor, handle):
    return executor.observe([handle])[handle]


def end(executor, handle):
    wait(lambda: not seen(executor, handle).state.going_on)
    return seen(executor, handle)


def begun(executor, key=KEY):
    """The pid of the trainer, when it has begun."""
    folder = executor.collect(key)
    return wait(lambda: follow(folder).events)[0]["pid"]


def pids(folder):
    about = json.loads((folder / "handle.json").read_text())
    return about["pid"], about["trainer"]["pid"]


# ---------------------------------------------------------------------------------------------- the contract


class TestContract:
    def test_a_runner_has_something_to_run_on(self, executor):
        found = executor.probe()
        assert isinstance(found, Capabilities)
        assert found.cpus >= 1
        assert found.memory > 1 << 20
        assert found.disk > 0
        assert found.gpus >= 0

    def test_a_job_runs_in_its_folder_and_is_followed_from_its_files(self, executor):
        submitted = executor.submit(KEY, job())
        assert isinstance(submitted, Submitted)
        observation = end(executor, submitted.handle)
        assert observation.state is JobState.SUCCEEDED
        assert observation.exit_code == 0
        assert observation.signal is None
        assert observation.started <= observation.ended
        folder = executor.collect(KEY)
        assert [each["event"] for each in follow(folder).events] == ["begin", "log", "log", "log", "end"]
        assert "training" in (folder / "output.log").read_text()
        assert (folder / "output").is_dir()
        assert (folder / "plugin" / "empty.py").is_file()

    def test_what_was_not_submitted_is_not_found(self, executor):
        assert executor.find(KEY) == ()

    def test_a_job_is_found_again_by_its_key(self, executor):
        handle = executor.submit(KEY, job()).handle
        assert executor.find(KEY) == (handle,)
        end(executor, handle)
        assert executor.find(KEY) == (handle,)
        assert executor.find(Key(KEY.run, 2)) == ()

    def test_the_same_key_is_started_once(self, executor):
        first = executor.submit(KEY, job())
        assert executor.submit(KEY, job()) == Exists(first.handle)
        end(executor, first.handle)
        assert executor.submit(KEY, job()) == Exists(first.handle)
        assert len([each for each in follow(executor.collect(KEY)).events if each["event"] == "begin"]) == 1

    def test_several_are_observed_at_once(self, executor):
        going = executor.submit(KEY, job(**LONG)).handle
        failed = executor.submit(Key(KEY.run, 2), job(code=3)).handle
        end(executor, failed)
        found = executor.observe([going, failed])
        assert found[going].state is JobState.RUNNING
        assert found[failed].state is JobState.FAILED
        assert found[failed].exit_code == 3
        assert not found[failed].killed
        executor.stop(going, 5)
        end(executor, going)

    def test_a_stopped_job_is_cancelled(self, executor):
        handle = executor.submit(KEY, job(**LONG)).handle
        begun(executor)
        assert executor.stop(handle, 5) is True
        observation = end(executor, handle)
        assert observation.state is JobState.CANCELLED
        assert executor.stop(handle, 5) is False

    def test_a_job_that_ignores_a_stop_is_killed(self, executor):
        code = "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
        handle = executor.submit(KEY, Job((sys.executable, "-c", code), grace=60)).handle
        wait(lambda: "deaf" in (executor.collect(KEY) / "output.log").read_text())
        executor.stop(handle, 0.2)
        assert seen(executor, handle).state in (JobState.STOPPING, JobState.CANCELLED)
        observation = end(executor, handle)
        assert observation.state is JobState.CANCELLED
        assert observation.signal == signal.SIGKILL

    def test_a_time_limit_is_kept_without_ftops(self, executor):
        handle = executor.submit(KEY, job(**LONG, timeout=0.5)).handle
        assert end(executor, handle).state is JobState.TIMED_OUT

    def test_a_command_that_cannot_run_fails(self, executor):
        handle = executor.submit(KEY, Job(("/nonexistent/axolotl",))).handle
        observation = end(executor, handle)
        assert observation.state is JobState.FAILED
        assert observation.exit_code == 127
        assert "/nonexistent/axolotl" in (executor.collect(KEY) / "output.log").read_text()

    def test_what_has_ended_is_forgotten_but_its_folder_stays(self, executor):
        handle = executor.submit(KEY, job()).handle
        end(executor, handle)
        executor.forget(handle)
        assert (executor.collect(KEY) / "result.json").exists()

    def test_files_outside_of_the_folder_are_refused(self, executor, tmp_path):
        for name in ("../escaped", "/escaped", "a/../../escaped", "", "lock", "./result.json"):
            with pytest.raises(ValueError, match="not a file of an attempt folder"):
                executor.submit(KEY, Job(("true",), files={name: b""}))
        assert executor.find(KEY) == ()
        assert list(tmp_path.rglob("*escaped*")) == []

    def test_secrets_of_the_caller_do_not_reach_the_job(self, executor, monkeypatch):
        secret = {"GITHUB_TOKEN", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RUNNER_TRACKING_ID"}
        for name in secret:
            monkeypatch.setenv(name, "hidden-value")
        monkeypatch.setenv("LC_ALL", "C.UTF-8")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        handle = executor.submit(KEY, Job((sys.executable, "-c", code), env={"OWN": "value"})).handle
        end(executor, handle)
        folder = executor.collect(KEY)
        environment = json.loads((folder / "output.log").read_text())
        assert not secret & environment.keys()
        assert environment["OWN"] == "value"
        assert environment["LC_ALL"] == "C.UTF-8"
        assert environment["CUDA_VISIBLE_DEVICES"] == "1"
        assert {"PATH", "HOME"} <= environment.keys()
        assert not any("hidden-value" in path.read_text() for path in folder.iterdir() if path.is_file())


def test_an_unknown_executor_is_named(store):
    with pytest.raises(SpecError, match=r"'lokal'.*local"):
        executor_for("lokal", store)


# ------------------------------------------------------------------------------------------------- kill tests


@pytest.fixture
def local(store):
    made = executor_for("local", store)
    yield made
    for path in store.root.glob("runs/*/attempt-*/handle.json"):
        kill_all(path.parent)


SUBMITTER = """
import os, sys, time
from pathlib import Path
from ftops.executors import Job, Key, executor_for
from ftops.store import open_store
sys.path.insert(0, {tests!r})
from test_executors import KEY, LONG, job
if gate := os.environ.get("GATE"):
    print("ready", flush=True)
    while not os.path.exists(gate):
        pass
print(executor_for("local", open_store(Path({root!r}))).submit(KEY, job(**LONG)), flush=True)
time.sleep(99)
"""


def submitter(store, **environment):
    """A process that submits a long job, in a process group of its own."""
    code = SUBMITTER.format(tests=str(Path(__file__).parent), root=str(store.root))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        env={**os.environ, "PYTHONPATH": str(Path(stores.__file__).parents[1]), **environment},
    )


def finish(process):
    process.kill()
    process.stdout.close()
    process.wait()


def test_a_killed_submitter_leaves_its_job_running(store, local):
    process = submitter(store)
    assert b"Submitted" in process.stdout.readline()
    finish(process)
    (handle,) = local.find(KEY)
    before = len(follow(local.collect(KEY)).events)
    wait(lambda: len(follow(local.collect(KEY)).events) > before + 3)
    assert seen(local, handle).state is JobState.RUNNING
    assert isinstance(local.submit(KEY, job()), Exists)
    assert local.stop(handle, 5)
    assert end(local, handle).state is JobState.CANCELLED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_signal_to_the_submitters_group_does_not_reach_the_training(store, local, number):
    process = submitter(store)
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
    process = submitter(store)
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


@pytest.mark.parametrize(("point", "started"), [("submit.taken", False), ("submit.started", True)])
def test_killed_between_two_steps_of_submitting(store, local, point, started):
    process = submitter(store, FTOPS_FAULT=f"{point}:kill")
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()
    (handle,) = local.find(KEY)
    if started:
        assert seen(local, handle).state.going_on
        local.stop(handle, 5)
        end(local, handle)
        return
    assert seen(local, handle) == Gone()
    assert isinstance(local.submit(KEY, job()), Exists)
    again = local.submit(Key(KEY.run, 2), job())
    assert end(local, again.handle).state is JobState.SUCCEEDED


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


@pytest.mark.parametrize("change", ["startTime", "bootId", "submittedAt", "pid"])
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


@pytest.mark.parametrize("attempt", range(3))
def test_of_several_submits_at_once_one_starts_the_job(store, local, attempt):
    gate = store.root / "gate"
    processes = [submitter(store, GATE=str(gate)) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    gate.touch()
    outcomes = sorted(process.stdout.readline().partition(b"(")[0] for process in processes)
    for process in processes:
        finish(process)
    assert outcomes == [b"Exists", b"Exists", b"Exists", b"Submitted"]
    wait(lambda: len(follow(local.collect(KEY)).events) > 3)
    assert len([each for each in follow(local.collect(KEY)).events if each["event"] == "begin"]) == 1
    assert list((store.root / "runs" / KEY.run).glob(".*")) == []
    local.stop(local.find(KEY)[0], 5)
    end(local, local.find(KEY)[0])


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


def test_the_end_is_seen_in_the_listing_of_the_store(store, local):
    store.write_run(KEY.run, {"id": KEY.run, "name": "tiny-base", "digest": "0" * 64})
    (run,) = store.runs()
    assert (run.state, run.attempt) == (RunState.PENDING, 0)
    handle = local.submit(KEY, job(**LONG)).handle
    begun(local)
    assert [each.state for each in store.runs()] == [RunState.RUNNING]
    local.stop(handle, 5)
    end(local, handle)
    assert [each.state for each in store.runs()] == [RunState.CANCELLED]
    end(local, local.submit(Key(KEY.run, 2), job()).handle)
    (run,) = store.runs()
    assert (run.state, run.attempt, run.step, run.max_steps) == (RunState.SUCCEEDED, 2, 3, 3)


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
    assert not stores.is_locked(path)
    with path.open("w") as file:
        assert not stores.is_locked(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert stores.is_locked(path)
    assert not stores.is_locked(path)
