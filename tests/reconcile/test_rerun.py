"""A training that has succeeded is done again because a person wants that: what it keeps, replaces, and survives."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import pytest

from ftops.errors import RecordConflict
from ftops.registry.merge import merge
from ftops.registry.record_files import parse
from ftops.training.record import RunRecord
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run

SHORT = {"num_epochs": 1, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


@pytest.fixture(scope="module")
def applied(tmp_path_factory, env):
    root = projects.write(
        tmp_path_factory.mktemp("applied") / "project",
        dataset(),
        run("base", hyperparameters=SHORT, checkpoints={"every": 2}),
        run("lora", {"run": "base"}, method="lora", hyperparameters=SHORT),
        model("chat", {"1.0.0": {"run": "base"}}),
    )
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    return root


@pytest.fixture
def root(tmp_path, applied):
    return projects.copy(applied, tmp_path / "project")


def mood(root, text):
    """How the stand-in trains from now on; in any mood its weights are others."""
    (root / ".ftops/mood").write_text(text)


def status(root, name="base"):
    return records(root)[f"registry/runs/{name}.yaml"]["status"]


def entry(root, name="base"):
    return status(root, name)["runs"][status(root, name)["current"]]


def folder(root, attempt):
    return root / ".ftops/runs" / entry(root)["id"] / f"attempt-{attempt}"


def began_at(root, attempt):
    return json.loads((folder(root, attempt) / "events.jsonl").read_text().splitlines()[0])["step"]


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def start(root, env, attempt, pace="slow"):
    """An apply in the background that trains again, slowly; when the attempt has begun."""
    mood(root, pace)
    command = projects.command("apply", "--yes", "--rerun", "base")
    process = subprocess.Popen(command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait((folder(root, attempt) / "events.jsonl").exists)
    return process


# ------------------------------------------------------------------------------------------------------- again


def test_a_new_attempt_replaces_the_result_and_nothing_else(root, env):
    mood(root, "well")
    before, version = entry(root), records(root)["registry/models/chat/1.0.0.yaml"]
    told = ftops(root, "apply", "--yes", "--rerun", "TrainingRun/base", env=env).stdout
    assert "+ rerun: asked for" in told
    assert "1 done, 0 failed, 0 skipped, 3 unchanged" in told
    after = entry(root)
    assert after["attempts"].keys() == {"1", "2"}
    assert after["attempts"]["1"] == before["attempts"]["1"]
    assert (after["phase"], after["rerunAfter"]) == ("succeeded", 1)
    assert after["output"] == f"runs/{after['id']}/attempt-2/output"
    assert after["weights"] != before["weights"]
    assert began_at(root, 2) == 0
    assert (root / ".ftops/runs" / after["id"] / "output").readlink().as_posix() == "attempt-2/output"
    # The version is what it was, and so are its weights.
    assert records(root)["registry/models/chat/1.0.0.yaml"] == version
    assert (root / ".ftops" / version["status"]["output"] / "model.safetensors").exists()
    assert json.loads(ftops(root, "gc", "--format", "json", env=env).stdout)["unneeded"] == []
    assert "No changes" in ftops(root, "plan", env=env).stdout
    # A version that is registered now has the new weights.
    edit(root, "specs/all.yaml", "  versions:\n", "  versions:\n    1.1.0: {run: base}\n")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    made = records(root)["registry/models/chat/1.1.0.yaml"]["status"]
    assert (made["output"], made["digests"]["weights"]) == (after["output"], after["weights"])


def test_again_and_again(root, env):
    for attempt in (2, 3):
        ftops(root, "apply", "--yes", "--rerun", "base", "--target", "TrainingRun/base", env=env)
        assert (max(entry(root)["attempts"]), entry(root)["rerunAfter"]) == (str(attempt), attempt - 1)


def test_one_without_its_store_is_trained_again_on_another_machine(root, env):
    shutil.rmtree(root / ".ftops")
    (root / ".ftops").mkdir()
    mood(root, "elsewhere")
    ftops(root, "apply", "--yes", "--rerun", "base", env=env)
    assert entry(root)["attempts"].keys() == {"1", "2"}
    assert entry(root)["output"].endswith("/attempt-2/output")
    assert status(root)["phase"] == "succeeded"


def test_one_that_fails_leaves_what_there_was(root, env):
    before = entry(root)
    mood(root, "fail")
    told = ftops(root, "apply", "--yes", "--rerun", "base", env=env, code=6).stdout
    assert "what was trained before stands" in told
    after = entry(root)
    assert after["attempts"]["2"]["phase"] == "failed"
    assert {**after, "attempts": 0} == {**before, "attempts": 0}
    assert (root / ".ftops/runs" / after["id"] / "output").readlink().as_posix() == "attempt-1/output"
    assert "No changes" in ftops(root, "plan", env=env).stdout
    # Asked once more it begins at the start, not at what the failed one left.
    mood(root, "well")
    ftops(root, "apply", "--yes", "--rerun", "base", env=env)
    assert began_at(root, 3) == 0
    assert entry(root)["rerunAfter"] == 2
    assert entry(root)["weights"] != before["weights"]


def test_a_saved_plan_trains_again_and_only_once(root, env):
    plan = root.parent / "plan.json"
    ftops(root, "plan", "--rerun", "TrainingRun/base", "--out", plan, env=env)
    (step,) = (each for each in json.loads(plan.read_text())["changes"] if each["address"] == "TrainingRun/base")
    assert step["reasons"] == [{"field": "rerun", "before": None, "after": "asked for"}]
    assert "go with it" in ftops(root, "apply", plan, "--rerun", "base", env=env, code=64).stderr
    ftops(root, "apply", plan, env=env)
    assert entry(root)["attempts"].keys() == {"1", "2"}
    assert "stale" in ftops(root, "apply", plan, env=env, code=4).stderr


# --------------------------------------------------------------------------------------------------- cut off


def test_a_killed_apply_is_finished_by_the_next_one(root, env):
    process = start(root, env, 2)
    try:
        process.kill()
        process.wait()
        assert "attempt 2 goes on" in ftops(root, "plan", "--rerun", "base", env=env, code=4).stderr
        ftops(root, "apply", "--yes", env=env)
    finally:
        process.kill()
    assert entry(root)["output"].endswith("/attempt-2/output")
    assert sum('"begin"' in line for line in (folder(root, 2) / "events.jsonl").read_text().splitlines()) == 1
    assert "No changes" in ftops(root, "plan", env=env).stdout


def test_a_killed_attempt_goes_on_from_its_own_checkpoint(root, env):
    process = start(root, env, 2)
    wait((folder(root, 2) / "output/checkpoint-2/trainer_state.json").exists)
    trainer = json.loads((folder(root, 2) / "handle.json").read_text())["trainer"]["pid"]
    subprocess.run(["kill", "-9", str(trainer)], check=True)
    assert process.wait(timeout=60) == 0
    assert began_at(root, 3) in (2, 4)
    assert entry(root)["output"].endswith("/attempt-3/output")
    assert entry(root)["rerunAfter"] == 1
    # What was kept is recorded of each attempt, with the metric of its step.
    saved = entry(root)["attempts"]["1"]["checkpoints"]
    assert saved.keys() == {"2", "4", "6", "8", "10"}
    assert saved["4"]["metrics"] == {"loss": 1.25, "eval_loss": 1.0}
    path = folder(root, 1) / "output/checkpoint-4"
    assert saved["4"]["size"] == sum(each.stat().st_size for each in path.iterdir())


def test_one_that_was_stopped_leaves_what_there_was(root, env):
    before = entry(root)
    process = start(root, env, 2, "very slow")  # so that it goes on while `stop` begins, however busy the machine is
    ftops(root, "stop", "base", env=env)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    after = entry(root)
    assert after["attempts"]["2"]["phase"] == "cancelled"
    assert (after["phase"], after["output"], after["weights"]) == ("succeeded", before["output"], before["weights"])
    assert "No changes" in ftops(root, "plan", env=env).stdout


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--rerun", "bsae"), 4, "did you mean 'TrainingRun/base'"),
        (("--rerun", "Dataset/chat"), 4, "ftops dataset prune NAME"),
        (("--rerun", "lora", "--target", "TrainingRun/base"), 4, "not among what is planned"),
        (("--rerun", "base", "--resume", "base=last"), 64, "--rerun begins at the start"),
    ],
)
def test_what_cannot_be_is_refused(root, env, arguments, code, said):
    assert said in ftops(root, "apply", "--yes", *arguments, env=env, code=code).stderr
    assert entry(root)["attempts"].keys() == {"1"}


# ------------------------------------------------------------------------------------------------------ merged


def test_the_result_of_two_machines_is_a_conflict_unless_one_knew_of_the_other(root):
    first = parse("registry/runs/base.yaml", (root / "registry/runs/base.yaml").read_bytes())
    assert isinstance(first, RunRecord)

    def again(number, weights, **more):
        (key, found), = first.status.runs.items()  # fmt: skip
        output = found.output.replace("attempt-1", f"attempt-{number}")
        digests = {name: each.model_copy(update={"sha256": weights}) for name, each in found.weights.items()}
        fields = {"output": output, "weights": digests, "attempts": {str(number): found.attempts["1"]}, **more}
        runs = {key: found.model_copy(update=fields)}
        return first.model_copy(update={"status": first.status.model_copy(update={"runs": runs})})

    def only(record):
        return next(iter(record.status.runs.values()))

    knowing = again(2, "b" * 64, rerun_after=1)
    for merged in (merge(first, knowing), merge(knowing, first)):
        assert only(merged).weights == only(knowing).weights
        assert only(merged).attempts.keys() == {"1", "2"}
    with pytest.raises(RecordConflict):
        merge(first, again(2, "b" * 64))
    with pytest.raises(RecordConflict):
        merge(knowing, again(2, "c" * 64, rerun_after=1))
    assert git(root, "status", "--porcelain") == ""
