"""A training seen and its checkpoints used: show, checkpoints, prune, resume, logs and status, on attempts that a stand-in made."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from ftops.executors import engine
from tests.support import projects
from tests.support.html import Page
from tests.support.projects import commit_all, dataset, edit, environment, ftops, run

EVERY_TWO = {"every": 2, "keep": 2, "best": {"metric": "eval_loss"}}
SPLIT = {"split": {"train": 0.8, "validation": 0.2, "test": 0}}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


def project(place, **hyperparameters):
    spec = {"checkpoints": EVERY_TWO, "hyperparameters": {"num_epochs": 1, "learning_rate": 0.1, **hyperparameters}}
    root = projects.write(place, dataset(**SPLIT), run(**spec))
    commit_all(root)
    return root


@pytest.fixture(scope="module")
def applied(tmp_path_factory, env):
    """Two projects that were applied, by how their runs ended."""
    place = tmp_path_factory.mktemp("applied")
    ftops(project(place / "trained"), "apply", "--yes", env=env)
    ftops(project(place / "failed", learning_rate=1000.0), "apply", "--yes", env=env, code=6)
    return place


@pytest.fixture
def trained(tmp_path, applied):
    """A project whose run has succeeded: ten steps, a checkpoint every two, the best at step 4."""
    return projects.copy(applied / "trained", tmp_path / "project")


@pytest.fixture
def failed(tmp_path, applied):
    """One whose run fails at step 5 of each attempt, with checkpoints of steps 2 and 4."""
    return projects.copy(applied / "failed", tmp_path / "project")


def folder(root, attempt=1):
    (found,) = root.glob(f".ftops/runs/base-*/attempt-{attempt}")
    return found


def tear(root, step, attempt=1):
    path = folder(root, attempt) / f"output/checkpoint-{step}/optimizer.pt"
    path.write_bytes(path.read_bytes()[:-5])


def begun(root, attempt):
    """Where an attempt began: the checkpoint in its config, and the step in its events."""
    config = yaml.safe_load((folder(root, attempt) / "config.yaml").read_text())
    first = json.loads((folder(root, attempt) / "events.jsonl").read_text().splitlines()[0])
    return config.get("resume_from_checkpoint"), first["step"]


def shown(root, env, *arguments, code=0):
    return json.loads(ftops(root, "run", *arguments, "--format", "json", env=env, code=code).stdout)


# ---------------------------------------------------------------------------------------------------- show


def test_a_run_is_shown(trained, env):
    text = ftops(trained, "run", "show", "base", env={**env, "COLUMNS": "70"}).stdout
    assert re.match(r"base-[0-9a-f]{12}: succeeded, step 10/10 \(100 %\)\n", text)
    assert max(map(len, text.splitlines()[:13])) <= 70
    assert "loss: 0.5, from 5; lowest 0.5 at step 10" in text
    assert "loss on the validation split: 1.6, from 1.2; lowest 1 at step 4" in text
    assert re.search(r"checkpoint-4 .* whole, the best", text)
    assert "\x1b" not in text
    identity = text.partition(":")[0]
    assert ftops(trained, "run", "show", identity, env=env).stdout.startswith(identity)
    plain = ftops(trained, "run", "show", "TrainingRun/base", env={**env, "PYTHONIOENCODING": "ascii"}).stdout
    assert plain.isascii()


def test_a_run_as_json(trained, env):
    found = shown(trained, env, "show", "base")
    assert (found["phase"], found["step"], found["maxSteps"], found["etaSeconds"]) == ("succeeded", 10, 10, None)
    assert found["metrics"]["loss"]["first"] == {"step": 1, "value": 5.0}
    assert found["metrics"]["eval_loss"]["lowest"] == {"step": 4, "value": 1.0}
    assert found["metrics"]["loss"]["better"] == "lower"
    assert len(found["metrics"]["loss"]["curve"]) == found["metrics"]["loss"]["points"] == 10
    assert found["attempts"]["1"]["exitCode"] == 0
    assert found["checkpoints"]["best"] == "attempt-1/output/checkpoint-4"


def test_a_run_that_ended_early_has_succeeded_and_says_so(tmp_path, env):
    root = project(tmp_path, num_epochs=2)
    edit(root, "specs/all.yaml", "  method: full\n", "  method: full\n  earlyStopping: {patience: 2}\n")
    told = ftops(root, "apply", "--yes", env=env).stdout
    why = "it got no better, and ended early at step 8 of 20"
    assert why in told
    assert "No changes" in ftops(root, "plan", env=env).stdout
    (record,) = projects.records(root)["registry/runs/base.yaml"]["status"]["runs"].values()
    assert (record["phase"], record["steps"], record["maxSteps"]) == ("succeeded", 8, 20)
    assert record["attempts"]["1"]["reason"] == why
    for _ in "store", "record alone":
        assert ftops(root, "run", "show", "base", env=env).stdout.startswith(
            f"base-{record['id'][5:]}: succeeded, step 8/20"
        )
        found = shown(root, env, "show", "base")
        assert (found["phase"], found["step"], found["detail"]) == ("succeeded", 8, why)
        ftops(root, "run", "show", "base", "--html", "it.html", env=env)
        assert why[1:] in Page((root / "it.html").read_text()).text
        shutil.rmtree(root / ".ftops", ignore_errors=True)


def test_a_run_of_another_machine_is_shown_by_its_record(trained, env):
    (trained / ".ftops").rename(trained / "elsewhere")
    found = shown(trained, env, "show", "base")
    assert (found["phase"], found["step"], found["metrics"], found["checkpoints"]) == ("succeeded", 10, {}, None)
    assert found["figures"] == {"evalLoss": 1.6, "firstLoss": 5.0, "loss": 0.5, "memoryGib": 0.93}
    text = ftops(trained, "run", "show", "base", env=env).stdout
    assert "its curve is not in the store of this machine" in text
    ftops(trained, "run", "show", "base", "--html", "it.html", env=env)
    assert "Yes" in Page((trained / "it.html").read_text()).text


def test_a_page_needs_nothing_but_itself(trained, env):
    assert ftops(trained, "run", "show", "base", "--html", "it.html", env=env).stdout == ""
    page = Page((trained / "it.html").read_text())
    assert "script" not in page.tags
    assert not [value for _, name, value in page.attributes if name in ("src", "href")]
    assert "Did it learn, and when was it best?" in page.text
    assert "Yes: the loss on the validation split fell from 1.2 to 1; it was best at step 4, whose weights" in page.text
    assert "Loss of every step" in page.text


def test_attempts_are_one_curve(failed, env):
    ftops(failed, "apply", "--yes", env=env, code=6)
    found = shown(failed, env, "show", "base")
    assert (found["phase"], found["detail"]) == ("failed", "exit code 1")
    assert [each["resumedFrom"] and each["resumedFrom"].rpartition("/")[2] for each in found["attempts"].values()] == [
        None, "checkpoint-4",
    ]  # fmt: skip
    assert [step for step, _ in found["metrics"]["loss"]["curve"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("command", [("run", "show"), ("run", "checkpoints"), ("logs",)])
def test_unknown_names_are_answered_with_the_nearest(trained, env, command):
    done = ftops(trained, *command, "bsae", env=env, code=64)
    assert "did you mean 'base'?" in done.stderr


# ---------------------------------------------------------------------------------------------- checkpoints


def test_checkpoints_are_listed(trained, env):
    text = ftops(trained, "run", "checkpoints", "base", env=env).stdout
    assert re.match(r"base-[0-9a-f]{12}: 5 checkpoints, ", text)
    assert re.search(r"checkpoint-4 +1 +1 +\S+ \S+ +1  whole, the best\n", text)
    assert re.search(r"checkpoint-10 .* whole, resumes here\n", text)
    assert text.endswith("The best has the lowest eval_loss, 1.\n")


def test_the_best_by_any_metric(trained, env):
    def chosen(*options):
        return shown(trained, env, "checkpoints", "base", *options)["best"].rpartition("-")[2]

    assert chosen() == "4"
    assert chosen("--mode", "max") == "10"
    assert chosen("--metric", "loss") == "10"
    assert chosen("--metric", "loss", "--mode", "max") == "2"
    done = ftops(trained, "run", "checkpoints", "base", "--metric", "eval_los", env=env, code=64)
    assert "did you mean 'eval_loss'?" in done.stderr


def test_a_torn_checkpoint_is_told_and_never_used(failed, env):
    tear(failed, 4)
    found = shown(failed, env, "checkpoints", "base")
    states = {each["step"]: each["state"] for each in found["checkpoints"]}
    assert states == {2: "whole", 4: "torn"}
    assert found["resume"] == found["best"] == "attempt-1/output/checkpoint-2"
    assert "torn (optimizer.pt is torn: it has no directory at its end)" in ftops(
        failed, "run", "checkpoints", "base", env=env
    ).stdout  # fmt: skip
    ftops(failed, "apply", "--yes", env=env, code=6)
    assert begun(failed, 2) == ("../attempt-1/output/checkpoint-2", 2)


def test_verify_reads_every_byte(trained, env):
    found = shown(trained, env, "checkpoints", "base", "--verify")
    assert found["checkpoints"][0]["files"]["optimizer.pt"].keys() == {"sha256", "size"}
    path = folder(trained) / "output/checkpoint-6/optimizer.pt"
    path.write_bytes(path.read_bytes().replace(b"optimizer.ptoptimizer", b"optimizer.ptOptimizer", 1))
    assert shown(trained, env, "checkpoints", "base")["checkpoints"][2]["state"] == "whole"
    done = ftops(trained, "run", "checkpoints", "base", "--verify", env=env, code=5)
    assert "checkpoint-6 is torn: optimizer.pt is damaged: archive/data.pkl" in done.stderr


# ---------------------------------------------------------------------------------------------------- prune


def steps(root, attempt=1):
    return sorted(int(path.name.partition("-")[2]) for path in folder(root, attempt).glob("output/checkpoint-*"))


def test_pruning_keeps_the_last_ones_and_the_best(trained, env):
    done = ftops(trained, "run", "checkpoints", "base", "--prune", env=env, code=64)
    assert "nothing was removed: nobody is there to say yes" in done.stderr
    assert steps(trained) == [2, 4, 6, 8, 10]
    done = ftops(trained, "run", "checkpoints", "base", "--prune", "--yes", env=env)
    assert "To remove: attempt-1/output/checkpoint-2, attempt-1/output/checkpoint-6\n" in done.stderr
    assert steps(trained) == [4, 8, 10]
    assert "Nothing to remove." in ftops(trained, "run", "checkpoints", "base", "--prune", env=env).stderr
    assert not list(folder(trained).glob("output/.checkpoint*"))


def test_pruning_while_a_training_writes_leaves_what_it_needs(failed, env):
    """An attempt goes on that began at step 2, and is writing step 8."""
    for step in (6, 8, 10):
        shutil.copytree(folder(failed) / "output/checkpoint-4", folder(failed) / f"output/checkpoint-{step}")
        state = folder(failed) / f"output/checkpoint-{step}/trainer_state.json"
        state.write_text(json.dumps({"global_step": step, "log_history": []}))
    tear(failed, 8)
    second = folder(failed).with_name("attempt-2")
    shutil.copytree(folder(failed) / "output/checkpoint-4", second / "output/checkpoint-12")
    (second / "output/checkpoint-12/trainer_state.json").unlink()
    (second / "handle.json").write_text("{}")
    (second / "config.yaml").write_text("resume_from_checkpoint: ../attempt-1/output/checkpoint-2\n")
    with (second / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = shown(failed, env, "checkpoints", "base")
        assert {each["step"]: each["state"] for each in found["checkpoints"]}[12] == "writing"
        ftops(failed, "run", "checkpoints", "base", "--prune", "--yes", env=env)
    assert steps(failed) == [2, 4, 6, 10]  # begun at; best; kept; kept
    assert steps(failed, 2) == [12]


# --------------------------------------------------------------------------------------------------- resume


def test_a_training_resumes_where_it_is_told_to(failed, env):
    for number, (where, step) in enumerate([("best", 4), ("2", 2), ("last", 4), ("none", 0)], 2):
        done = ftops(failed, "apply", "--yes", "--resume", f"base={where}", env=env, code=6)
        assert f"TrainingRun/base begins at {f'checkpoint-{step}' if step else 'the start'}." in done.stdout
        assert begun(failed, number)[1] == step, where
    # Attempt 5 began again and wrote checkpoints of its own.
    ftops(failed, "apply", "--yes", env=env, code=6)
    assert begun(failed, 6) == ("../attempt-5/output/checkpoint-4", 4)


def test_an_attempt_that_died_early_begins_again_where_it_was_told_to(failed, env):
    ftops(failed, "apply", "--yes", "--resume", "base=2", env=env, code=6)
    shutil.rmtree(folder(failed, 2) / "output")
    ftops(failed, "apply", "--yes", env=env, code=6)
    assert begun(failed, 3) == ("../attempt-1/output/checkpoint-2", 2)


@pytest.mark.parametrize(
    ("resume", "told"),
    [
        ("base=first", "expected NAME, or NAME="),
        ("=best", "expected NAME, or NAME="),
        ("bsae=best", "did you mean 'base'?"),
        ("base=3", "has no whole checkpoint that is '3'"),
    ],
)
def test_a_resume_that_cannot_be_meant(failed, env, resume, told):
    assert told in ftops(failed, "apply", "--yes", "--resume", resume, env=env, code=64).stderr
    assert not list(failed.glob(".ftops/runs/*/attempt-2"))


def test_nothing_is_resumed_that_has_succeeded(trained, env):
    done = ftops(trained, "apply", "--yes", "--resume", "base=best", env=env, code=64)
    assert "the plan trains nothing" in done.stderr


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"optimizer": "adamw_8bit"}, "optimizer: adamw_8bit then, adamw_torch now"),
        ({"adapter": "lora", "lora_r": 8}, "adapter: lora then, none now\nlora_r: 8 then, none now"),
        ({"datasets": [{"path": "other.jsonl"}]}, 'datasets: [{"path": "other.jsonl"}] then, '),
    ],
    ids=["optimizer", "adapter", "data"],
)
def test_a_checkpoint_of_something_else_is_refused(failed, env, other, told):
    config = folder(failed) / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **other}))
    for command in (("plan",), ("apply", "--yes")):
        done = ftops(failed, *command, env=env, code=4)
        assert "it can't go on from checkpoint-4" in done.stderr
        assert told in re.sub("\n +", "\n", done.stderr)
    ftops(failed, "apply", "--yes", "--resume", "base=best", env=env, code=4)
    ftops(failed, "apply", "--yes", "--resume", "base=none", env=env, code=6)
    assert begun(failed, 2) == (None, 0)


def test_a_checkpoint_of_more_processes_is_refused(failed, env):
    for step in (2, 4):
        place = folder(failed) / f"output/checkpoint-{step}"
        shutil.copy(place / "rng_state.pth", place / "rng_state_1.pth")
        (place / "rng_state.pth").rename(place / "rng_state_0.pth")
    assert "processes: 2 then, 1 now" in ftops(failed, "plan", env=env, code=4).stderr


# ----------------------------------------------------------------------------------------- while it goes on


def going_on(root, env):
    """An apply that trains for some seconds."""
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 180
    while not list(root.glob(".ftops/runs/*/attempt-*/events.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.slow
def test_status_is_watched_until_nothing_goes_on(tmp_path, env):
    root = project(tmp_path / "project", num_epochs=20)
    process = going_on(root, env)
    watched = ftops(root, "status", "--watch", env=env).stdout.splitlines()
    assert process.wait(180) == 0
    phases = [re.split(r"  +", line)[1] for line in watched if line.startswith("TrainingRun/base ")]
    assert phases[0] == "running"
    assert phases[-1] == "succeeded"
    # Nothing goes on any more: each resource once.
    lines = ftops(root, "status", "--watch", "--format", "json", env=env).stdout.splitlines()
    assert [json.loads(line)["phase"] for line in lines] == ["prepared", "succeeded"]


@pytest.mark.slow
def test_a_terminal_is_drawn_anew_and_an_interrupt_stops_only_the_watching(tmp_path, env):
    root = project(tmp_path / "project", num_epochs=30)
    process = going_on(root, env)
    leader, follower = pty.openpty()
    watch = subprocess.Popen(
        projects.command("status", "--watch"), cwd=root, env=env, stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    said = b""
    while said.count(b"running") < 2:
        said += os.read(leader, 65536)
    watch.send_signal(signal.SIGINT)
    assert watch.wait(20) == 130
    os.close(leader)
    assert said.count(b"\x1b[H") >= 2
    assert process.wait(180) == 0
    assert shown(root, env, "show", "base")["phase"] == "succeeded"


@pytest.mark.slow
def test_logs_are_followed_to_the_end(tmp_path, env):
    root = project(tmp_path / "project", num_epochs=10)
    process = going_on(root, env)
    done = ftops(root, "logs", "base", "-f", env=env)
    assert done.stdout.splitlines() == ["training for 100 steps", "done"]
    assert done.stderr == ""
    assert process.wait(180) == 0


def test_logs_go_on_with_a_new_attempt(failed, env):
    """The second attempt begins while the end of the first is followed, under an apply that holds the store."""
    second = folder(failed).with_name("attempt-2")
    with (failed / ".ftops/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        follower = subprocess.Popen(
            projects.command("logs", "base", "-f"), cwd=failed, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(1.5)
        made = second.with_name("made")
        made.mkdir()
        (made / "output.log").write_text("the second\n")
        (made / "handle.json").write_text("{}")
        (made / "result.json").write_text(json.dumps({"exitCode": 0}))
        made.rename(second)
        out, err = follower.communicate(timeout=30)
    assert out == "training for 10 steps\nloss is nan\nthe second\n"
    assert err == "ftops: attempt 1 has ended: exit code 1; attempt 2 goes on\n"
    first = ftops(failed, "logs", "base", "-f", "--attempt", "1", env=env)
    assert (first.stdout, first.stderr) == ("training for 10 steps\nloss is nan\n", "")


def test_a_spec_that_names_the_best_trains_another_run(trained, env):
    text = Path(trained, "specs/all.yaml").read_text()
    assert "best" in text
    edit(trained, "specs/all.yaml", "metric: eval_loss", "metric: eval_accuracy")
    assert "best.metric: eval_loss → eval_accuracy" in ftops(trained, "plan", env=env).stdout
    edit(trained, "specs/all.yaml", "metric: eval_accuracy", "metric: eval_thing")
    assert "is more of eval_thing better, or less?" in ftops(trained, "validate", env=env, code=3).stdout


# --------------------------------------------------------------------------------------------- with Axolotl

SMALL = {"family": "llama", "hiddenSize": 32, "layers": 1, "heads": 2, "vocabSize": 400}
SHORT = {"micro_batch_size": 8, "sequence_len": 256, "num_epochs": 30, "learning_rate": 5.0e-3}


@pytest.mark.slow
@pytest.mark.axolotl
def test_a_real_training_is_killed_shown_resumed_and_ends_with_its_best(tmp_path):
    assert engine.find() is not None, "make engine"
    env = environment(tmp_path)
    every = {"every": 10, "keep": 2, "best": {"metric": "eval_loss"}}
    root = projects.write(
        tmp_path / "project",
        dataset(**SPLIT),
        run(base_model={"init": SMALL}, hyperparameters=SHORT, checkpoints=every, retry={"max": 0}),
    )
    commit_all(root)
    process = going_on(root, env)
    events = folder(root) / "events.jsonl"
    deadline = time.monotonic() + 240
    while events.read_text().count('"save"') < 4:
        assert time.monotonic() < deadline, (folder(root) / "output.log").read_text()[-3000:]
        time.sleep(0.05)
    going = shown(root, env, "show", "base")
    assert going["phase"] == "running"
    assert going["etaSeconds"] > 0
    os.kill(json.loads((folder(root) / "handle.json").read_text())["trainer"]["pid"], signal.SIGKILL)
    assert process.wait(180) == 6

    torn = [each["step"] for each in shown(root, env, "checkpoints", "base")["checkpoints"] if each["state"] == "torn"]
    found = shown(root, env, "checkpoints", "base", "--verify", code=5 if torn else 0)  # the kill may hit a save
    *_, before, last = (each for each in found["checkpoints"] if each["state"] == "whole")
    assert found["best"] == min((before, last), key=lambda each: each["metrics"]["eval_loss"])["path"]
    assert last["files"].keys() >= {"model.safetensors", "optimizer.pt", "trainer_state.json"}
    assert "failed, step " in ftops(root, "run", "show", "base", env=env).stdout

    # As if the one before had been better than anything that follows: the next attempt must find it in the first one's folder.
    state = folder(root).parent / last["path"] / "trainer_state.json"
    told = {"best_metric": 0.0, "best_model_checkpoint": f"output/checkpoint-{before['step']}"}
    state.write_text(json.dumps(json.loads(state.read_text()) | told))
    ftops(root, "apply", "--yes", "--resume", "base=last", env=env)
    assert begun(root, 2)[1] == last["step"]
    kept = (folder(root).parent / before["path"] / "model.safetensors").read_bytes()
    assert (folder(root).parent / "output/model.safetensors").read_bytes() == kept

    ended = shown(root, env, "show", "base")
    assert (ended["phase"], ended["step"]) == ("succeeded", ended["maxSteps"])
    assert ended["metrics"]["loss"]["points"] == ended["maxSteps"]
    assert ended["metrics"]["loss"]["last"]["value"] < ended["metrics"]["loss"]["first"]["value"]
    assert ended["attempts"]["2"]["resumedFrom"].endswith(last["path"])
    ftops(root, "run", "show", "base", "--html", "it.html", env=env)
    assert "Yes" in Page((root / "it.html").read_text()).text


def test_a_link_in_the_place_of_a_log_is_not_followed(tmp_path, trained, env):
    (tmp_path / "secret").write_text('{"event": "log", "step": 1, "loss": 0.5, "token": "hidden"}\n')
    for name in ("output.log", "events.jsonl"):
        (folder(trained) / name).unlink()
        (folder(trained) / name).symlink_to(tmp_path / "secret")
    for command in (("logs", "base"), ("run", "show", "base")):
        done = ftops(trained, *command, env=env, code=7)
        assert "it is a symbolic link" in done.stderr
        assert "hidden" not in done.stdout + done.stderr
