"""Apply with a runner in a container: with a stand-in for the engine in the image, and with the real one mounted."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import yaml

from ftops.executors import engine
from tests.support import projects
from tests.support.attempts import attempts, entry, events, wait
from tests.support.projects import commit_all, dataset, edit, environment, ftops, model, records, run

STAND_IN = "ftops-stand-in:latest"


@pytest.fixture
def stand_in(docker):
    """A daemon with an image that trains nothing in a second, and the runner's settings for it."""
    docker.add_program("axolotl", projects.STAND_IN.format(python="/usr/bin/python3"), STAND_IN)
    return docker.settings(image=STAND_IN, allow=[STAND_IN])


def project(root, runner, *documents):
    """A project whose runner `contained` is the default."""
    tree = yaml.safe_load(projects.PROJECT)
    tree["spec"] |= {"runners": {"contained": runner}, "defaultRunner": "contained"}
    made = projects.write(root, dataset(), *documents, files={"ftops.yaml": yaml.safe_dump(tree)}.items())
    commit_all(made)
    return made


@pytest.fixture
def env(tmp_path):
    """An environment without an engine of this machine."""
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=tmp_path / "no-engine")


def start(root, env):
    """An apply in the background, and the folder of the attempt that it starts."""
    known = set(attempts(root))
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    (folder,) = wait(lambda: set(attempts(root)) - known)
    return process, folder


@pytest.mark.slow
def test_apply_trains_in_a_container_and_then_nothing_is_left(tmp_path, env, docker, stand_in):
    root = project(tmp_path / "project", stand_in, run(), run("on-base", {"run": "base"}, method="lora"))
    assert "ok: runner contained: " in ftops(root, "doctor", env=env).stdout
    assert "Applied: 3 done, 0 failed" in ftops(root, "apply", "--yes", env=env).stdout
    assert [path.name for path in attempts(root)] == ["attempt-1", "attempt-1"]
    for folder in attempts(root):
        assert events(folder)[-1]["event"] == "end"
        assert (folder / "output").stat().st_uid == 1000
    assert entry(root, "base")["engine"] == f"{engine.AXOLOTL} in {STAND_IN}"
    assert entry(root, "on-base")["phase"] == "succeeded"
    ftops(root, "plan", "--detailed-exitcode", env=env)
    assert docker.names() == []
    assert not [each for each in (str(root), docker.url) if each in json.dumps(records(root), default=str)]


@pytest.mark.slow
def test_an_adapter_is_merged_in_a_container(tmp_path, env, docker, stand_in):
    versions = {"1.0.0": {"run": "lora", "export": ["adapter", "merged"]}}
    lora = run("lora", {"run": "base"}, method="lora")
    root = project(tmp_path / "project", stand_in, run(), lora, model("chat", versions))
    ftops(root, "apply", "--yes", env=env)
    merged = records(root)["registry/models/chat/1.0.0.yaml"]["status"]["merged"]
    assert (root / ".ftops" / merged["output"] / "model.safetensors").stat().st_uid == 1000
    assert docker.names() == []
    ftops(root, "plan", "--detailed-exitcode", env=env)


@pytest.mark.slow
def test_ftops_killed_the_container_goes_on_and_is_attached_to(tmp_path, env, docker, stand_in):
    root = project(tmp_path / "project", stand_in, run(hyperparameters={"num_epochs": 20}))
    process, folder = start(root, env)
    wait(lambda: events(folder, "log"))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(events(folder))
    wait(lambda: len(events(folder)) > before)
    assert "apply follows it to its end" in ftops(root, "plan", env=env).stdout
    ftops(root, "apply", "--yes", env=env)
    assert len(events(folder, "begin")) == 1
    assert len(events(folder, "log")) == 200
    assert list(entry(root, "base")["attempts"]) == ["1"]
    assert docker.names() == []


@pytest.mark.slow
@pytest.mark.parametrize("point", ["submit.taken", "submit.created", "submit.started"])
def test_ftops_killed_while_it_submits(tmp_path, env, docker, stand_in, point):
    root = project(tmp_path / "project", stand_in, run())
    ftops(root, "apply", "--yes", env={**env, "FTOPS_FAULT": f"{point}:kill"}, code=-signal.SIGKILL)
    ftops(root, "apply", "--yes", env=env)
    assert sum(len(events(folder, "log")) for folder in attempts(root)) == 10, "one run's worth of steps"
    assert entry(root, "base")["phase"] == "succeeded"
    ftops(root, "plan", "--detailed-exitcode", env=env)
    assert docker.names() == []


def test_a_failure_in_a_container_is_recorded_and_its_container_removed(tmp_path, env, docker, stand_in):
    root = project(tmp_path / "project", stand_in, run(hyperparameters={"learning_rate": 1000.0}))
    done = ftops(root, "apply", "--yes", env=env, code=6)
    assert "attempt 1 failed (unknown): exit code 1" in done.stdout
    assert "loss is nan" in done.stdout
    assert entry(root, "base")["attempts"]["1"]["exitCode"] == 1
    assert docker.names() == []


@pytest.mark.slow
def test_without_a_daemon_nothing_is_half_made(tmp_path, env, docker, stand_in):
    root = project(tmp_path / "project", stand_in, run())
    docker.stop()
    assert "no Docker daemon listens on" in ftops(root, "apply", "--yes", env=env, code=7).stdout
    assert attempts(root) == []
    assert "runner contained: no Docker daemon listens on" in ftops(root, "doctor", env=env, code=7).stdout
    docker.start()
    ftops(root, "apply", "--yes", env=env)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "crashed"])
def test_the_daemon_ends_while_a_container_trains(tmp_path, env, docker, stand_in, kill):
    """Ended as a service it ends its containers; crashed it leaves them."""
    root = project(tmp_path / "project", stand_in, run(hyperparameters={"num_epochs": 20}, checkpoints={"every": 10}))
    process, folder = start(root, env)
    wait(lambda: events(folder, "save"))
    docker.stop(kill=kill)
    docker.start()
    process.wait(120)
    ftops(root, "apply", "--yes", env=env)
    assert [sum(1 for each in attempts(root) for _ in events(each, "log"))] == [200], "one run's worth of steps"
    assert entry(root, "base")["phase"] == "succeeded"
    ftops(root, "plan", "--detailed-exitcode", env=env)
    assert docker.names() == []


def test_an_image_that_moved_makes_a_saved_plan_stale(tmp_path, env, stand_in):
    root = project(tmp_path / "project", stand_in, run())
    ftops(root, "plan", "--out", "saved.json", env=env)
    edit(root, "ftops.yaml", f"image: {STAND_IN}", f"image: sha256:{'0' * 64}")
    assert f"→ {engine.AXOLOTL} in sha256:000" in ftops(root, "apply", "saved.json", env=env, code=4).stderr


# ---------------------------------------------------------------------------------------------- with Axolotl

SMALL = {"family": "llama", "hiddenSize": 32, "layers": 1, "heads": 2, "vocabSize": 400}
SHORT = {"micro_batch_size": 8, "sequence_len": 256, "learning_rate": 0.005, "num_epochs": 60, "lora_r": 4}


@pytest.mark.slow
@pytest.mark.axolotl
def test_axolotl_in_a_container_is_attached_to_and_resumed(tmp_path, docker):
    """The engine's environment of this machine is mounted. First ftops is killed, then the container, then it is stopped."""
    assert engine.find() is not None, "make engine"
    (tmp_path / "home").mkdir()
    env = environment(tmp_path / "home")
    lora = run("lora", {"init": SMALL}, method="lora", hyperparameters=SHORT, checkpoints={"every": 10})
    root = project(tmp_path / "project", docker.settings(engine="host", memory="6GiB"), lora)
    process, folder = start(root, env)
    wait(lambda: events(folder, "save") or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    told = tmp_path / "told"
    with told.open("w") as out:
        again = subprocess.Popen(
            projects.command("apply", "--yes"), cwd=root, env=env, stdout=out, stderr=subprocess.STDOUT
        )
    wait(lambda: (": step " in told.read_text() and len(events(folder, "save")) >= 3) or again.poll() is not None)
    with docker.client() as client:
        client.kill(*docker.names())
    second = folder.with_name("attempt-2")
    wait(lambda: events(second, "log") or again.poll() is not None)
    stopped = ftops(root, "stop", "lora", env=env).stdout
    assert again.wait(60) == 6
    said = told.read_text()
    why = "failed (killed): its container ended with 137 and left no result; it goes on from its checkpoint-"
    assert f"attempt 1 {why}" in said, said
    assert "attempt 2 was stopped" in said
    assert len(events(folder, "begin")) == 1
    (begin,) = events(second, "begin")
    assert begin["step"] >= 20
    last = events(second)[-1]
    assert f"is stopped at checkpoint-{last['step']}:" in stopped
    assert last["step"] < last["maxSteps"]
    assert "was stopped" in ftops(root, "apply", "--yes", env=env).stdout
    assert [path.name for path in attempts(root)] == ["attempt-1", "attempt-2"]

    ftops(root, "apply", "--yes", "--resume", "lora", env=env)
    (begin,) = events(folder.with_name("attempt-3"), "begin")
    assert begin["step"] == last["step"]
    ended = entry(root, "lora")["attempts"]
    assert {number: each["phase"] for number, each in ended.items()} == {
        "1": "failed",
        "2": "cancelled",
        "3": "succeeded",
    }
    assert docker.names() == []
    assert ftops(root, "plan", "--detailed-exitcode", env=env).stdout.startswith("No changes")
