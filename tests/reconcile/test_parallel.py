"""Trainings of one apply at the same time: as many as their runner takes, with the same records, journal and interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest

from tests.support import projects
from tests.support.projects import commit_all, dataset, environment, ftops, git, model, records, run
from tests.support.trainings import kill_all, wait

PROJECT = projects.PROJECT.replace("{executor: local}", "{executor: local, concurrency: 2}")
SLOW = {"hyperparameters": {"num_epochs": 1, "learning_rate": 0.1, "seed": 7}}
LONGER = {"hyperparameters": {"num_epochs": 2, "learning_rate": 0.1, "seed": 7}}


@pytest.fixture
def env(tmp_path):
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path / "engines"))


def project(tmp_path, *documents, yaml=PROJECT):
    root = projects.write(tmp_path / "project", dataset(), *documents, files={"ftops.yaml": yaml})
    commit_all(root)
    return root


def times(root, name):
    """When a training began and ended, by its own events."""
    (path,) = root.glob(f".ftops/runs/{name}-*/attempt-1/events.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return events[0]["time"], events[-1]["time"]


def most_at_once(spans):
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


@pytest.mark.slow
def test_as_many_as_the_runner_takes(tmp_path, env):
    """What is made from a training waits for it; every result is a commit of its own, on top of the one before."""
    root = project(
        tmp_path,
        *(run(name, **SLOW) for name in ("one", "two", "three")),
        run("lora", {"run": "one"}, method="lora", **SLOW),
        model("chat", {"1.0.0": {"run": "lora"}}),
    )
    said = ftops(root, "apply", "--yes", env=env).stdout
    assert "Applied: 6 done, 0 failed, 0 skipped, 0 unchanged." in said
    spans = {name: times(root, name) for name in ("one", "two", "three", "lora")}
    assert most_at_once(spans.values()) == 2
    assert spans["lora"][0] > spans["one"][1]
    subjects = git(root, "log", "--format=%s").splitlines()
    assert sorted(subjects[1:-2]) == sorted(f"ftops: TrainingRun/{name} succeeded" for name in spans)
    assert subjects[0] == "ftops: Model/chat registered: 1.0.0"
    assert len(records(root)) == 6
    assert git(root, "status", "--porcelain") == ""
    (journal,) = (root / ".ftops/journal").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    begun = {each["number"] for each in lines if each["state"] == "begin"}
    assert {each["number"] for each in lines if each["state"] == "done"} == begun
    assert "No changes" in ftops(root, "plan", env=env).stdout


@pytest.mark.slow
def test_one_after_another_where_nothing_is_said(tmp_path, env):
    root = project(tmp_path, run("one", **SLOW), run("two", **SLOW), yaml=projects.PROJECT)
    ftops(root, "apply", "--yes", env=env)
    assert most_at_once([times(root, "one"), times(root, "two")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("second", "most"), [("{executor: local, concurrency: 1}", 2), ("{executor: local}", 1)])
def test_two_runners_at_once_where_both_say_how_many(tmp_path, env, second, most):
    yaml = projects.PROJECT.replace("{executor: local}", f"{{executor: local, concurrency: 1}}\n    other: {second}")
    root = project(tmp_path, run("one", **SLOW), run("two", runner="other", **SLOW), yaml=yaml)
    ftops(root, "apply", "--yes", env=env)
    assert most_at_once([times(root, "one"), times(root, "two")]) == most


@pytest.mark.slow
def test_adapters_are_merged_beside_trainings(tmp_path, env):
    """One and the same adapter once, also where two need it."""
    root = project(tmp_path, run("base", **SLOW), run("lora", {"run": "base"}, method="lora", **SLOW))
    ftops(root, "apply", "--yes", env=env)
    both = {"run": "lora", "export": ["adapter", "merged"]}
    projects.write(
        root, dataset(), run("base", **SLOW), run("lora", {"run": "base"}, method="lora", **SLOW),
        model("chat", {"1.0.0": both}), model("talk", {"1.0.0": both}), run("long", **LONGER),
        files={"ftops.yaml": PROJECT},
    )  # fmt: skip
    commit_all(root)
    (root / ".ftops/mood").write_text("slow")  # three seconds, also for merging
    said = ftops(root, "apply", "--yes", env=env).stdout
    assert "Applied: 3 done, 0 failed" in said
    begun = said.index("Model/chat: merge the adapter")
    assert said.index("TrainingRun/long: train") < begun < said.index("TrainingRun/long: step 20/20")
    chat = said.index("Model/chat: done", begun)
    assert chat < said.index("Model/talk: merge the adapter")
    assert said.count("/merged, which was there") == 1


@pytest.mark.slow
def test_one_that_fails_takes_with_it_what_needs_it_and_nothing_else(tmp_path, env):
    bad = {"hyperparameters": {"num_epochs": 1, "learning_rate": 9.0}}
    root = project(
        tmp_path,
        run("bad", **bad),
        run("good", **SLOW),
        run("lora", {"run": "bad"}, method="lora"),
        model("chat", {"1.0.0": {"run": "lora"}}),
    )
    said = ftops(root, "apply", "--yes", env=env, code=6).stdout
    assert "Applied: 2 done, 1 failed, 2 skipped, 0 unchanged." in said
    phases = {
        path.rpartition("/")[2]: each["status"]["phase"] for path, each in records(root).items() if "runs" in path
    }
    assert phases == {"bad.yaml": "failed", "good.yaml": "succeeded"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_apply_that_is_cut_off_leaves_both_and_the_next_one_collects_both(tmp_path, env, number):
    root = project(tmp_path, run("one", **LONGER), run("two", **LONGER))
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        wait(lambda: len(list(root.glob(".ftops/runs/*/attempt-1/events.jsonl"))) == 2, 60)
        process.send_signal(number)
        began = time.monotonic()
        assert process.wait(timeout=30) == (130 if number == signal.SIGINT else -number)
        assert time.monotonic() - began < 3
        said = ftops(root, "apply", "--yes", env=env)
    finally:
        process.kill()
        kill_all(type("Place", (), {"root": root / ".ftops"}))
    assert "cut off (Train of TrainingRun/one, Train of TrainingRun/two)" in said.stderr
    for name in ("one", "two"):
        (path,) = root.glob(f".ftops/runs/{name}-*/attempt-*/events.jsonl")
        assert sum('"begin"' in line for line in path.read_text().splitlines()) == 1
        assert records(root)[f"registry/runs/{name}.yaml"]["status"]["phase"] == "succeeded"
