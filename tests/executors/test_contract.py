"""What every executor promises, whatever it starts a training with."""

from __future__ import annotations

import json
import signal
from typing import get_args

import pytest

from ftops.executors.attempts import runs_of
from ftops.executors.job_state import JobState
from ftops.executors.protocol import Capabilities, Exists, Gone, Job, Key, Submitted, follow
from ftops.executors.registry import EXECUTORS, RUNNER, executor_for
from ftops.plan.run import RunState
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
    script,
    seen,
    submitter,
    wait,
)


@pytest.fixture
def store(tmp_path):
    return stores.open_store(tmp_path / ".ftops")


RUNNERS = {"local": lambda _: LOCAL, "docker": lambda request: request.getfixturevalue("docker").runner()}
"""A runner of each executor, by what this machine can start for it."""


@pytest.fixture(params=sorted(EXECUTORS))
def runner(request):
    made = RUNNERS[request.param](request)
    assert made.executor == request.param
    return made


@pytest.fixture
def executor(runner, store):
    yield executor_for(runner, store)
    kill_all(store)


def test_every_executor_can_be_named_in_a_project():
    assert sorted(get_args(RUNNER.model_fields["executor"].annotation)) == sorted(EXECUTORS)


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
        handle = executor.submit(KEY, script(code, grace=60)).handle
        wait(lambda: "deaf" in log(executor))
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
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        end(executor, executor.submit(KEY, script(code, env={"OWN": "value"})).handle)
        folder, environment = executor.collect(KEY), json.loads(log(executor))
        assert not secret & environment.keys()
        assert environment["OWN"] == "value"
        assert {"PATH", "HOME"} <= environment.keys()
        assert not any("hidden-value" in path.read_text() for path in folder.iterdir() if path.is_file())

    def test_a_killed_submitter_leaves_its_job_running(self, runner, store, executor):
        process = submitter(runner, store)
        assert b"Submitted" in process.stdout.readline()
        finish(process)
        (handle,) = executor.find(KEY)
        before = len(follow(executor.collect(KEY)).events)
        wait(lambda: len(follow(executor.collect(KEY)).events) > before + 3)
        assert seen(executor, handle).state is JobState.RUNNING
        assert isinstance(executor.submit(KEY, job()), Exists)
        assert executor.stop(handle, 5)
        assert end(executor, handle).state is JobState.CANCELLED

    @pytest.mark.parametrize(("point", "started"), [("submit.taken", False), ("submit.started", True)])
    def test_killed_between_two_steps_of_submitting(self, runner, store, executor, point, started):
        process = submitter(runner, store, FTOPS_FAULT=f"{point}:kill")
        assert process.wait(20) == -signal.SIGKILL
        process.stdout.close()
        (handle,) = executor.find(KEY)
        if started:
            assert seen(executor, handle).state.going_on
            executor.stop(handle, 5)
            end(executor, handle)
            return
        assert seen(executor, handle) == Gone()
        assert isinstance(executor.submit(KEY, job()), Exists)
        again = executor.submit(Key(KEY.run, 2), job())
        assert end(executor, again.handle).state is JobState.SUCCEEDED

    @pytest.mark.parametrize("attempt", range(3))
    def test_of_several_submits_at_once_one_starts_the_job(self, runner, store, executor, attempt):
        gate = store.root / "gate"
        processes = [submitter(runner, store, GATE=str(gate)) for _ in range(4)]
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
        gate.touch()
        outcomes = sorted(process.stdout.readline().partition(b"(")[0] for process in processes)
        for process in processes:
            finish(process)
        assert outcomes == [b"Exists", b"Exists", b"Exists", b"Submitted"]
        wait(lambda: len(follow(executor.collect(KEY)).events) > 3)
        assert len([each for each in follow(executor.collect(KEY)).events if each["event"] == "begin"]) == 1
        assert list((store.root / "runs" / KEY.run).glob(".*")) == []
        executor.stop(executor.find(KEY)[0], 5)
        end(executor, executor.find(KEY)[0])

    def test_the_end_is_seen_in_the_listing_of_the_store(self, store, executor):
        store.write_run(KEY.run, {"id": KEY.run, "name": "tiny-base", "digest": "0" * 64})
        (run,) = runs_of(store)
        assert (run.state, run.attempt) == (RunState.PENDING, 0)
        handle = executor.submit(KEY, job(**LONG)).handle
        begun(executor)
        assert [each.state for each in runs_of(store)] == [RunState.RUNNING]
        executor.stop(handle, 5)
        end(executor, handle)
        assert [each.state for each in runs_of(store)] == [RunState.CANCELLED]
        end(executor, executor.submit(Key(KEY.run, 2), job()).handle)
        (run,) = runs_of(store)
        assert (run.state, run.attempt, run.step, run.max_steps) == (RunState.SUCCEEDED, 2, 3, 3)
