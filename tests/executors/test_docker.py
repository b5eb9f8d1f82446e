"""The docker executor on a real daemon: what a container may, and what becomes of it when something dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tarfile
import time

import pytest

from ftops.errors import ExternalError
from ftops.executors.job_state import JobState
from ftops.executors.protocol import Exists, Gone, Handle, Key, Submitted, Unreachable
from ftops.executors.registry import executor_for
from ftops.store import store as stores
from tests.support.containers import IMAGE
from tests.support.trainings import KEY, LOCAL, LONG, begun, end, job, log, pids, script, seen, submitter, wait


@pytest.fixture
def store(tmp_path):
    return stores.open_store(tmp_path / ".ftops")


@pytest.fixture
def executor(docker, store):
    return executor_for(docker.runner(), store)


def printed(executor, code, key=KEY, **more):
    """The JSON that Python code printed as a job."""
    handle = executor.submit(key, script(f"import json, os\n{code}", **more)).handle
    assert end(executor, handle).state is JobState.SUCCEEDED, log(executor, key)
    return json.loads(log(executor, key))


# ---------------------------------------------------------------------------------------------- what it may


def test_a_job_has_no_rights_no_network_and_a_place_for_temporary_files(executor):
    found = printed(
        executor,
        "status = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "def writes(path):\n"
        "    try: open(path, 'w').close()\n"
        "    except OSError as error: return error.strerror\n"
        "print(json.dumps([os.getuid(), os.getgid(), int(status['CapEff'], 16), int(status['CapBnd'], 16),"
        " status['NoNewPrivs'].strip(), os.listdir('/sys/class/net'), writes('/etc/new'), writes('/tmp/new'),"
        " writes('../new'), writes('new')]))",
    )
    assert found[:6] == [1000, 1000, 0, 0, "1", ["lo"]]
    assert found[6:] == ["Read-only file system", None, "Read-only file system", None]


def test_a_job_sees_what_it_reads_and_no_more(executor, store, tmp_path):
    data, other = store.data("abc"), store.data("def")
    for folder in (data, other):
        folder.mkdir()
        (folder / "train.jsonl").write_text("rows")
        (folder / "train.jsonl").chmod(0o600)
    (tmp_path / "model").mkdir()
    found = printed(
        executor,
        "def tries(do):\n"
        "    try: return do()\n"
        "    except OSError as error: return error.strerror\n"
        "print(json.dumps([tries(lambda: open('../../../data/abc/train.jsonl').read()),"
        " tries(lambda: open('../../../data/abc/train.jsonl', 'w').close()), os.listdir('../../../data'),"
        " tries(lambda: os.mkdir('../../../cache/tokens/abc/new')), os.listdir('../../../../model'),"
        " tries(lambda: os.mkdir(os.environ['HF_HOME'] + '/hub'))]))",
        reads=(data, tmp_path / "model"),
        writes=(store.tokens("abc"),),
    )
    assert found == ["rows", "Read-only file system", ["abc"], None, [], None]
    assert (store.tokens("abc") / "new").is_dir()
    assert (store.cache / "huggingface" / "hub").is_dir()


def test_the_limits_hold(docker, store):
    executor = executor_for(docker.runner(memory="100MiB", cpus=0.5, sharedMemory="8MiB", user="1234:1235"), store)
    found = printed(
        executor,
        "shm = os.statvfs('/dev/shm')\nprint(json.dumps([os.getuid(), os.getgid(), shm.f_blocks * shm.f_bsize]))",
    )
    assert found == [1234, 1235, 8 << 20]
    with docker.client() as client:
        limits = client.inspect_container(KEY.name)["HostConfig"]
    assert (limits["Memory"], limits["NanoCpus"]) == (100 << 20, 500_000_000)
    assert (executor.probe().memory, executor.probe().cpus) == (100 << 20, 1)


def test_the_network_that_is_asked_for(docker, store):
    executor = executor_for(docker.runner(network="host"), store)
    assert printed(executor, "import socket; print(json.dumps([name for _, name in socket.if_nameindex()]))") == [
        name for _, name in socket.if_nameindex()
    ]


def test_what_is_secret_is_nowhere_to_be_seen(docker, executor, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hidden-value")
    handle = executor.submit(KEY, job()).handle
    end(executor, handle)
    with docker.client() as client:
        about = json.dumps(client.inspect_container(KEY.name))
    assert "hidden-value" not in about
    assert not any(b"hidden-value" in path.read_bytes() for path in executor.collect(KEY).rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------ process 1


def test_the_first_process_lets_go_of_orphans(executor):
    """A grandchild whose parent ended belongs to the container's first process, which must wait for it."""
    found = printed(
        executor,
        "import subprocess, sys, time\n"
        "for _ in range(5): subprocess.run([sys.executable, '-c', 'import os; os.fork() or os.fork()'])\n"
        "time.sleep(0.5)\n"
        "states = [open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] for pid in os.listdir('/proc')"
        " if pid.isdigit()]\n"
        "print(json.dumps([os.getppid(), states.count('Z')]))",
    )
    assert found == [1, 0]


def test_a_stop_right_after_the_start_is_not_lost(executor):
    """The kernel drops a TERM to the first process of a container that does not listen yet."""
    for number in range(1, 6):
        key = Key(KEY.run, number)
        handle = executor.submit(key, job(**LONG)).handle
        assert executor.stop(handle, 5) is True
        assert end(executor, handle).state is JobState.CANCELLED


def test_the_signal_of_somebody_else_is_passed_on(docker, executor):
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    with docker.client() as client:
        client.stop(KEY.name)
    ended = end(executor, handle)
    assert (ended.state, ended.signal) == (JobState.FAILED, signal.SIGTERM)
    assert ended.killed


def test_no_process_of_this_machine_is_taken_for_that_of_a_container(docker, executor, store):
    """In its container the wrapper is process 1, which is somebody else here."""
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    assert pids(executor.collect(KEY))[0] == 1
    with pytest.raises(ExternalError, match="no process can be proved to be it"):
        executor_for(LOCAL, store).stop(handle, 1)
    assert seen(executor, handle).state is JobState.RUNNING


# ----------------------------------------------------------------------------------------------------- ends


def test_memory_over_the_limit_is_told_from_other_ends(docker, store):
    executor = executor_for(docker.runner(memory="64MiB"), store)
    handle = executor.submit(KEY, script("x = bytearray(200 << 20)")).handle
    ended = end(executor, handle)
    assert (ended.state, ended.signal) == (JobState.OUT_OF_MEMORY, signal.SIGKILL)
    assert ended.reason == "it ran out of memory at the limit of 64 MiB, and the kernel killed it"
    result = json.loads((executor.collect(KEY) / "result.json").read_text())
    assert result["memory"]["oomKills"] == 1
    assert result["memory"]["limit"] == 64 << 20
    executor.forget(handle)
    assert seen(executor, handle) == ended, "the files say it alone"


def test_a_killed_container_left_no_result(docker, executor):
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    with docker.client() as client:
        client.kill(KEY.name)
    ended = end(executor, handle)
    assert (ended.state, ended.signal, ended.exit_code) == (JobState.FAILED, signal.SIGKILL, None)
    assert ended.reason == "its container ended with 137 and left no result"
    assert ended.killed
    assert executor.stop(handle, 1) is False


def test_a_container_removed_by_hand(docker, executor):
    done = executor.submit(KEY, job()).handle
    end(executor, done)
    going = executor.submit(Key(KEY.run, 2), job(**LONG)).handle
    begun(executor, going.key)
    docker.clear()
    assert seen(executor, done).state is JobState.SUCCEEDED, "the result is in its folder"
    ended = end(executor, going)
    assert (ended.state, ended.reason) == (JobState.FAILED, "its container was removed")
    assert ended.killed
    again = executor.submit(Key(KEY.run, 3), job()).handle
    assert end(executor, again).state is JobState.SUCCEEDED


def test_only_the_container_of_what_has_ended_is_forgotten(docker, executor):
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    executor.forget(handle)
    assert docker.names() == [KEY.name]
    executor.stop(handle, 5)
    end(executor, handle)
    wait(lambda: executor.forget(handle) or not docker.names())
    assert seen(executor, handle).state is JobState.CANCELLED
    executor.forget(handle)


def test_a_wrapper_that_cannot_work_is_told(executor):
    handle = executor.submit(KEY, script("pass", files={"output.log/folder": b""})).handle
    ended = end(executor, handle)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 1)
    assert "it ended with 1 before the training began" in ended.reason
    assert "output.log" in ended.reason


# -------------------------------------------------------------------------------------------------- refusals


def refused(executor, store, words):
    """Whether a submission fails for this reason and leaves nothing half-made."""
    with pytest.raises(ExternalError) as caught:
        executor.submit(KEY, job())
    (found,) = caught.value.diagnostics
    assert words in f"{found.summary}: {found.detail}"
    assert list(store.root.glob("runs/*/*")) == []
    assert executor.find(KEY) == ()
    return found


def test_a_gpu_without_the_runtime_for_it(docker, store):
    found = refused(executor_for(docker.runner(gpus="all"), store), store, "no NVIDIA runtime")
    assert "could not select device driver" in found.detail
    assert "nvidia-container-toolkit" in found.hint
    assert docker.names() == []


def test_an_image_that_is_not_there(docker, store):
    name = f"axolotlai/axolotl@sha256:{'0' * 64}"
    executor = executor_for(docker.runner(image=name), store)
    assert refused(executor, store, "is not on this machine").hint == f"docker pull {name}"
    with pytest.raises(ExternalError, match="is not on this machine"):
        executor.probe()


def test_an_image_without_python(docker, store, tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.add(tmp_path, "empty", recursive=False)
    docker.load(tmp_path / "empty.tar", "empty:latest")
    executor = executor_for(docker.runner(image="empty:latest", allow=["empty:latest"]), store)
    assert "Python 3.8 or newer" in refused(executor, store, "its image has no python3").hint
    assert docker.names() == []


def test_a_network_that_is_not_there(docker, store):
    refused(executor_for(docker.runner(network="nowhere"), store), store, "nowhere")
    assert docker.names() == []


def foreign(docker, **labels):
    with docker.client() as client:
        made = client.create_container(IMAGE, ["sleep", "99"], name=KEY.name, labels=labels, network_disabled=True)
        client.start(made["Id"])
    return made["Id"]


def test_a_name_that_somebody_else_has(docker, executor, store):
    other = foreign(docker)
    refused(executor, store, "is taken by a container that is not of ftops")
    with docker.client() as client:
        assert client.inspect_container(other)["State"]["Running"]


def test_an_attempt_that_another_store_makes(docker, executor, store):
    foreign(docker, **{"ftops.store": "/another/.ftops"})
    assert f"docker rm --force {KEY.name}" in refused(executor, store, "trains for the store /another/.ftops").hint


def test_what_an_attempt_left_whose_folder_is_gone(docker, executor, store):
    end(executor, executor.submit(KEY, job()).handle)
    shutil.rmtree(store.run(KEY.run))
    assert isinstance(submitted := executor.submit(KEY, job()), Submitted)
    assert end(executor, submitted.handle).state is JobState.SUCCEEDED
    shutil.rmtree(store.run(KEY.run))
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    shutil.rmtree(store.run(KEY.run))
    refused(executor, store, f"trains for the store {store.root}")
    assert docker.names() == [handle.key.name]


def test_a_container_of_another_submission_is_left_alone(docker, executor, store):
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    other = Handle(handle.key, handle.id, handle.submitted - 1)
    with pytest.raises(ExternalError, match="no container can be proved to be it"):
        executor.stop(other, 1)
    executor.forget(other)
    assert seen(executor, handle).state is JobState.RUNNING
    assert executor.stop(handle, 5)


# ------------------------------------------------------------------------------------- submitter, daemon: killed


def test_killed_between_making_and_starting_the_container(docker, executor, store):
    process = submitter(docker.runner(), store, FTOPS_FAULT="submit.created:kill")
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()
    (handle,) = executor.find(KEY)
    assert seen(executor, handle) == Gone()
    assert isinstance(executor.submit(KEY, job()), Exists)
    executor.forget(handle)
    assert docker.names() == []


def test_without_a_daemon(docker, executor, store):
    process = submitter(docker.runner(), store, FTOPS_FAULT="submit.taken:kill")
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()
    (unknown,) = executor.find(KEY)
    ended = executor.submit(Key(KEY.run, 2), job()).handle
    end(executor, ended)
    docker.stop()
    for found in (executor.probe(), seen(executor, unknown)):
        assert isinstance(found, Unreachable)
        assert "no Docker daemon listens on" in found.reason
        assert "systemctl start docker" in found.reason
    with pytest.raises(ExternalError, match="no Docker daemon listens on"):
        executor.submit(Key(KEY.run, 3), job())
    assert executor.find(Key(KEY.run, 3)) == ()
    assert seen(executor, ended).state is JobState.SUCCEEDED
    executor.forget(ended)
    docker.start()
    assert seen(executor, unknown) == Gone()


def test_a_daemon_that_ends_ends_its_containers(docker, executor):
    """Unless it is configured with live-restore. It grants them the time for a checkpoint."""
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    docker.stop()
    ended = end(executor, handle)
    assert (ended.state, ended.signal) == (JobState.FAILED, signal.SIGTERM)
    assert ended.killed
    docker.start()
    assert seen(executor, handle) == ended
    executor.forget(handle)
    assert docker.names() == []


def test_a_daemon_that_is_killed(docker, executor):
    """Its containers go on without it, and die when the next daemon clears up."""
    handle = executor.submit(KEY, job(**LONG)).handle
    begun(executor)
    docker.stop(kill=True)
    time.sleep(0.3)
    assert seen(executor, handle).state is JobState.RUNNING
    with pytest.raises(ExternalError, match="was not stopped: it lives, but no Docker daemon"):
        executor.stop(handle, 1)
    docker.start()
    found = wait(lambda: seen(executor, handle))
    if not found.state.going_on:
        assert (found.state, found.exit_code) == (JobState.FAILED, None)
        assert found.killed
    else:
        assert executor.stop(handle, 5)


def test_an_end_that_nobody_knows_yet(docker, executor):
    handle = executor.submit(KEY, job(**LONG)).handle
    trainer = begun(executor)
    assert trainer > 1
    with docker.client() as client:
        wrapper = client.inspect_container(KEY.name)["State"]["Pid"]
    docker.stop(kill=True)
    os.kill(wrapper, signal.SIGKILL)
    found = wait(lambda: isinstance(seen(executor, handle), Unreachable) and seen(executor, handle))
    assert "no Docker daemon" in found.reason
    docker.start()
    assert end(executor, handle).killed


def test_a_right_that_is_missing(docker, store, tmp_path, monkeypatch):
    executor = executor_for(docker.runner(user="4321:4321"), store)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (
        "leave out `docker.user`" in refused(executor, store, "user 4321 of the container can't write the store").hint
    )


def test_a_daemon_of_another_machine_is_refused(store, docker, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    runner = docker.runner(host=None)
    with pytest.raises(ExternalError, match="no daemon of this machine"):
        executor_for(runner, store)
    monkeypatch.setenv("DOCKER_HOST", docker.url)
    assert executor_for(runner, store).probe().cpus >= 1
