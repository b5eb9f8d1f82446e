"""What the store is freed of, and what never: on trainings of a stand-in engine, real git, and real locks."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from ftops.reconcile.observe import open_workspace
from ftops.retention import gc
from ftops.store.disk_usage import allocated, remove
from ftops.store.store import Store
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run

ONE_LEFT = {"num_epochs": 1, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


@pytest.fixture(scope="module")
def applied(tmp_path_factory, env):
    """A full training, an adapter on it, and a version of that."""
    root = projects.write(
        tmp_path_factory.mktemp("applied") / "project",
        dataset(),
        run("base", hyperparameters=ONE_LEFT),
        run("lora", {"run": "base"}, method="lora", hyperparameters=ONE_LEFT),
        model("chat", {"1.0.0": {"run": "lora"}}),
    )
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    return root


@pytest.fixture
def root(tmp_path, applied):
    return projects.copy(applied, tmp_path / "project")


def unneeded(root, env, *arguments):
    """What would be freed: why, by path."""
    found = json.loads(ftops(root, "gc", "--format", "json", *arguments, env=env).stdout)
    return {each["path"]: each["what"] for each in found["unneeded"]}


def runs(root):
    return {path.name for path in (root / ".ftops/runs").iterdir()}


def current(root, name):
    status = records(root)[f"registry/runs/{name}.yaml"]["status"]
    return status["runs"][status["current"]]["id"]


def forget(root, name):
    """A TrainingRun that nobody wants any more: neither spec nor record nor version."""
    document = root / "specs/all.yaml"
    kept = [
        text for text in document.read_text().split("---\n") if f"name: {name}\n" not in text and "Model" not in text
    ]
    document.write_text("---\n".join(kept))
    shutil.rmtree(root / "registry/models", ignore_errors=True)
    (root / f"registry/runs/{name}.yaml").unlink()
    commit_all(root, f"{name} is not wanted")


# ------------------------------------------------------------------------------------------------- what is free


def test_nothing_that_a_record_is_about_is_free(root, env):
    assert unneeded(root, env) == {}
    assert ftops(root, "gc", env=env).stdout == "Nothing to free.\n"


def test_a_training_without_spec_and_record_is_shown_and_freed_when_told(root, env):
    id_, base = current(root, "lora"), current(root, "base")
    forget(root, "lora")
    git(root, "gc", "-q")
    expected = {f"runs/{id_}": "a training that no record and no spec is about"}
    assert unneeded(root, env) == expected
    told = ftops(root, "gc", env=env, code=64)
    assert "pass --yes" in told.stderr
    assert f"runs/{id_}" in told.stdout
    assert runs(root) == {id_, base}
    size = int(subprocess.check_output(["du", "-s", "-B1", root / ".ftops/runs" / id_]).split()[0])
    done = json.loads(ftops(root, "gc", "--yes", "--format", "json", env=env).stdout)
    assert done["bytes"] == done["freed"] == size > 0
    assert runs(root) == {base}
    assert not (root / f".ftops/tracking/sent/{id_}.json").exists()
    assert "No changes" in ftops(root, "plan", env=env).stdout


def test_records_of_other_branches_count_local_and_fetched(root, env, tmp_path):
    id_ = current(root, "lora")
    git(root, "branch", "kept")
    forget(root, "lora")
    assert unneeded(root, env) == {}
    git(root, "clone", "-q", "--bare", root, tmp_path / "remote")
    git(root, "branch", "-D", "kept")
    assert list(unneeded(root, env)) == [f"runs/{id_}"]
    git(root, "remote", "add", "origin", tmp_path / "remote")
    git(root, "fetch", "-q", "origin")
    assert unneeded(root, env) == {}


def test_a_record_of_another_branch_that_cannot_be_read_stops_it(root, env):
    git(root, "switch", "-qc", "odd")
    (root / "registry/runs/lora.yaml").write_text("kind: RunRecord\n")
    commit_all(root)
    git(root, "switch", "-q", "main")
    told = ftops(root, "gc", "--yes", env=env, code=7).stderr
    assert "registry/runs/lora.yaml" in told
    assert "branch odd" in told


def test_the_base_of_what_stays_stays(root, env):
    """Also where neither its spec nor its record is there: an adapter is nothing without it."""
    base = current(root, "base")
    edit(root, "specs/all.yaml", "run: base\n", "path: base-model\n")
    forget(root, "base")
    assert unneeded(root, env) == {}
    (root / "registry/runs/lora.yaml").unlink()
    commit_all(root)
    lora = next(name for name in runs(root) if name.startswith("lora"))
    assert set(unneeded(root, env)) == {f"runs/{base}", f"runs/{lora}"}


def test_what_an_earlier_attempt_left_is_freed_its_log_stays(tmp_path, env):
    """Attempt 1 is killed after step 5; attempt 2 goes on from checkpoint 4 and has one of its own."""
    root = projects.write(
        tmp_path / "project", dataset(), run(hyperparameters={**ONE_LEFT, "seed": 9}, checkpoints={"every": 2})
    )
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    id_ = current(root, "base")
    assert unneeded(root, env) == {f"runs/{id_}/attempt-1/output": "what attempt 1 left: attempt 2 succeeded"}
    record = records(root)
    assert "Freed" in ftops(root, "gc", "--yes", env=env).stdout
    left = {path.name for path in (root / f".ftops/runs/{id_}/attempt-1").iterdir()}
    assert "output" not in left
    assert {"config.yaml", "events.jsonl", "output.log", "result.json"} <= left | {"result.json"}
    assert (root / f".ftops/runs/{id_}/output/model.safetensors").exists()
    assert "attempt 1" in ftops(root, "run", "show", "base", env=env).stdout.lower()
    assert unneeded(root, env) == {}
    assert "No changes" in ftops(root, "plan", env=env).stdout
    assert records(root) == record


def test_the_checkpoint_that_a_longer_training_would_go_on_from_stays(tmp_path, env):
    """Attempt 2 saved none of its own: the last whole one is in attempt 1."""
    root = projects.write(
        tmp_path / "project",
        dataset(),
        run(
            hyperparameters={"num_epochs": 0.7, "learning_rate": 0.1, "seed": 9},
            checkpoints={"every": 4},
            onChange="resume",
        ),
    )
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    assert unneeded(root, env) == {}
    edit(root, "specs/all.yaml", "num_epochs: 0.7", "num_epochs: 1.0")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    events = (root / f".ftops/runs/{current(root, 'base')}/attempt-1/events.jsonl").read_text().splitlines()
    assert json.loads(events[0])["step"] == 4


def test_rows_tokens_and_made_models_go_with_what_they_were_for(root, env):
    store = Store(root / ".ftops")
    (digest,) = (path.name for path in (store.root / "data").iterdir())
    for name in (digest, "0" * 64):
        for folder in (store.tokens(name), store.model(name)):
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"x" * 5000)
    edit(root, "data/chat.csv", '"What is 0 plus 1?"', '"What is zero plus 1?"')
    found = unneeded(root, env)
    # The record is about the old rows and the spec wants the new ones: none of both is free.
    assert found == {
        f"cache/tokens/{'0' * 64}": "tokens of rows that do not stay",
        f"models/{'0' * 64}": "a base model that was made for no run that stays",
        f"models/{digest}": "a base model that was made for no run that stays",
    }
    ftops(root, "apply", "--yes", "--target", "Dataset/chat", env=env)
    found = unneeded(root, env)
    assert found[f"data/{digest}"] == "rows that no record and no spec is about"
    assert found[f"cache/tokens/{digest}"] == "tokens of rows that do not stay"


def test_leftovers_of_what_was_killed_are_freed_when_they_are_old(root, env):
    folder = root / ".ftops/journal"
    left, young = folder / ".a.json.0123abcd.tmp", folder / ".b.json.0123abcd.tmp"
    for path in (left, young):
        path.write_text("{")
    os.utime(left, (1, 1))
    assert unneeded(root, env) == {"journal/.a.json.0123abcd.tmp": "left by something that was killed"}
    ftops(root, "gc", "--yes", env=env)
    assert young.exists()
    assert not left.exists()


def test_older_than_leaves_what_was_written_lately(root, env):
    forget(root, "lora")
    assert unneeded(root, env, "--older-than", "1d") == {}
    assert len(unneeded(root, env, "--older-than", "0s")) == 1
    assert "such as 24h" in ftops(root, "gc", "--older-than", "soon", env=env, code=64).stderr


# ---------------------------------------------------------------------------------------------- what is going on


def test_what_goes_on_and_its_base_are_left_alone_and_nothing_is_freed_beside_an_apply(tmp_path, env):
    root = projects.write(
        tmp_path / "project",
        dataset(),
        run("base", hyperparameters=ONE_LEFT),
        run("lora", {"run": "base"}, method="lora", hyperparameters={"num_epochs": 100, "learning_rate": 0.1}),
    )
    commit_all(root)
    started = subprocess.Popen(projects.command("apply", "--yes"), cwd=root, env=env, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(root.glob(".ftops/runs/lora-*/attempt-1/events.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.1)
        stray = root / ".ftops/runs/old-0123456789ab"
        stray.mkdir()
        assert list(unneeded(root, env)) == ["runs/old-0123456789ab"]
        assert "works in the store" in ftops(root, "gc", "--yes", env=env, code=7).stderr
        assert stray.exists()
        started.send_signal(signal.SIGINT)
        started.wait(timeout=60)
        projects.write(root, dataset())  # nobody wants either of them any more
        for path in root.glob("registry/runs/*.yaml"):
            path.unlink()
        commit_all(root)
        assert ftops(root, "gc", "--yes", env=env).stdout.count("runs/") == 1
        assert {name.partition("-")[0] for name in runs(root)} == {"base", "lora"}
    finally:
        for handle in root.glob(".ftops/runs/lora-*/attempt-1/handle.json"):
            os.killpg(json.loads(handle.read_text())["pid"], signal.SIGKILL)
        started.wait()


def test_an_attempt_that_is_perhaps_being_started_stays(root, env):
    """A container has taken its folder and not begun: nothing holds its lock yet."""
    attempt = root / ".ftops/runs/other-0123456789ab/attempt-1"
    attempt.mkdir(parents=True)
    (attempt / "lock").touch()
    (attempt / "job.json").write_text("{}")
    assert unneeded(root, env) == {}
    for path in (attempt, *attempt.iterdir()):
        os.utime(path, (1, 1))
    assert list(unneeded(root, env)) == ["runs/other-0123456789ab"]


def test_what_is_needed_since_it_was_shown_stays(root):
    id_ = current(root, "lora")
    git(root, "branch", "kept")
    forget(root, "lora")
    git(root, "branch", "-m", "kept", "hidden")
    git(root, "update-ref", "refs/keep", "hidden")
    git(root, "branch", "-D", "hidden")
    workspace = open_workspace(root)
    shown = gc.find(workspace)
    assert [each.path.name for each in shown] == [id_]
    git(root, "branch", "kept", "refs/keep")
    assert gc.collect(workspace, shown) == (0, shown)
    assert id_ in runs(root)


def test_a_kill_leaves_nothing_half_there_and_the_next_one_clears_it(root, env, monkeypatch):
    id_ = current(root, "lora")
    forget(root, "lora")
    workspace = open_workspace(root)
    monkeypatch.setattr("ftops.store.disk_usage.shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        gc.collect(workspace, gc.find(workspace))
    monkeypatch.undo()
    assert id_ not in runs(root)
    (left,) = (path for path in runs(root) if path.startswith(f".{id_}."))
    with workspace.store.exclusive():
        pass
    assert left not in runs(root)


# ------------------------------------------------------------------------------------------------------- links


def test_links_are_not_followed(root, env, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (outside / ".precious.0123abcd.tmp").write_text("x")
    store = Store(root / ".ftops")
    (store.root / "runs/stray-0123456789ab").symlink_to(outside)
    forgotten = store.root / "runs/other-0123456789ab"
    forgotten.mkdir()
    (forgotten / "link").symlink_to(outside)
    attempt = store.run(current(root, "base")) / "attempt-9"
    attempt.mkdir()
    (attempt / "output").symlink_to(outside)
    assert list(unneeded(root, env)) == ["runs/other-0123456789ab"]
    ftops(root, "gc", "--yes", env=env)
    assert not forgotten.exists()
    assert sorted(path.name for path in outside.iterdir()) == [".precious.0123abcd.tmp", "precious"]


def test_bytes_are_those_that_the_disk_gets_back(tmp_path):
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    empty = allocated([folder])
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert allocated([folder]) == empty
    (folder / "full").write_bytes(b"x" * 1_000_000)
    one = allocated([folder]) - empty
    assert 1_000_000 <= one < 1_100_000
    os.link(folder / "full", other / "same")
    assert allocated([folder]) == empty
    os.link(folder / "full", folder / "again")
    assert allocated([folder, other]) == allocated([folder]) + allocated([other]) + one
    (folder / "link").symlink_to("../other")
    assert allocated([folder]) == empty
    assert allocated([tmp_path / "absent"]) == 0


def test_removal_takes_a_link_not_what_it_leads_to(tmp_path):
    (tmp_path / "there").write_text("x")
    (tmp_path / "link").symlink_to("there")
    remove(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_held_lock_is_told(root, env):
    (root / ".ftops/runs/stray-0123456789ab").mkdir()
    with (root / ".ftops/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "works in the store" in ftops(root, "gc", "--yes", env=env, code=7).stderr
