"""The workflows' own `run:` steps, run as a runner runs them: in fresh clones, against a bare remote.

Installing ftops, the one thing left out, is stood in for by a PATH (and a `.venv/bin`) with the ftops of this tree; the
checkouts are clones. The training is a stand-in, as trainings are not what is tested here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support import projects
from tests.support.projects import (
    ROOT,
    commit_all,
    dataset,
    document,
    edit,
    environment,
    ftops,
    git,
    model,
    records,
    run,
    trailers,
)

INSTALL = "Install ftops"
pytestmark = pytest.mark.slow


class Runner:
    """A machine that runs jobs: its programs, its temporary folder, and the remote that it clones from."""

    def __init__(self, folder):
        self.folder = folder
        self.remote = folder / "remote.git"
        (folder / "home").mkdir()
        (folder / "temp").mkdir()
        engines = projects.stand_in_engine(folder / "engines")
        self.program(folder / "bin/ftops")
        self.environment = environment(
            folder / "home", FTOPS_ENGINE_HOME=engines, GITHUB_ACTIONS="true", CI="true", RUNNER_TEMP=folder / "temp",
            PATH=f"{folder / 'bin'}:{os.environ['PATH']}",
        )  # fmt: skip

    @staticmethod
    def program(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ftops "$@"\n')
        place.chmod(0o755)

    def checkout(self, path, ref="main"):
        git(self.folder, "clone", "-q", "--branch", ref, self.remote, self.folder / path)
        return self.folder / path

    def steps(self, name, job, folder, event):
        """Run the job's own steps in `folder`: (step's name, exit code, output) of each, up to the first that fails."""
        tree = yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
        found = []
        for step in tree["jobs"][job]["steps"]:
            if "run" not in step or step["name"] == INSTALL:
                continue
            place = folder / step.get("working-directory", ".")
            env = {
                **self.environment,
                "GITHUB_EVENT_NAME": event,
                "GITHUB_WORKSPACE": str(folder),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
                "GITHUB_SERVER_URL": "https://github.com",
                **{key: self.value(str(text)) for key, text in step.get("env", {}).items()},
            }
            # As the runner calls it: https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
            (self.folder / "script.sh").write_text(step["run"])
            done = subprocess.run(
                ["bash", "-e", self.folder / "script.sh"],
                cwd=place,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Traceback" not in done.stderr
            found.append((step["name"], done.returncode, done.stdout + done.stderr))
            if done.returncode:
                break
        return found

    @staticmethod
    def value(text):
        return text.replace("${{ github.token }}", "token").replace("${{ github.server_url }}", "https://github.com")

    @property
    def summary(self):
        return (self.folder / "summary.md").read_text()


@pytest.fixture
def runner(tmp_path):
    """A runner, and a remote whose main branch holds a project."""
    made = Runner(tmp_path)
    author = projects.write(tmp_path / "author", dataset(), run(), model())
    commit_all(author)
    git(tmp_path, "clone", "-q", "--bare", author, made.remote)
    git(author, "remote", "add", "origin", made.remote)
    return made


def pull_request(runner, before, after):
    author = runner.folder / "author"
    git(author, "switch", "-qc", "change")
    edit(author, "specs/all.yaml", before, after)
    commit_all(author, "a change")
    git(author, "push", "-q", "origin", "change")
    # Two checkouts, as the workflow makes them: what runs is the base's, the pull request is data.
    (runner.folder / "job").mkdir()
    runner.checkout("job/base")
    return runner.checkout("job/change", "change")


def test_a_pull_request_gets_its_plan_and_nothing_is_written(runner):
    change = pull_request(runner, "num_epochs: 1", "num_epochs: 2")
    found = runner.steps("plan", "plan", runner.folder / "job", "pull_request")
    assert [code for _, code, _ in found] == [0, 0], found
    assert runner.summary.startswith("### Plan: 3 to create")
    assert "TrainingRun" in runner.summary
    assert git(change, "status", "--porcelain", "--ignored") == ""
    assert git(runner.remote, "branch", "--format=%(refname:short)").split() == ["change", "main"]


def test_a_pull_request_with_a_bad_spec_is_annotated_on_its_line(runner):
    pull_request(runner, "num_epochs: 1", "num_epoch: 1")
    ((name, code, said),) = runner.steps("plan", "plan", runner.folder / "job", "pull_request")
    assert (name, code) == ("Validate, with annotations on the lines", 3)
    (line,) = [line for line in said.splitlines() if line.startswith("::error ")]
    assert "file=specs/all.yaml,line=" in line
    assert "num_epochs" in line


def apply(runner, checkout):
    """The apply job in `checkout`; the runner keeps that folder between jobs."""
    runner.program(checkout / ".venv/bin/ftops")
    (checkout / ".git/info/exclude").write_text(".venv/\n")
    return runner.steps("apply", "apply", checkout, "push")


def test_main_is_applied_and_written_back(runner):
    """Both halves: a runner that can't push leaves results, a job that trains nothing commits and pushes them."""
    on_gpu = runner.checkout("on-gpu")
    tip = git(on_gpu, "rev-parse", "HEAD")
    ((_, code, said),) = apply(runner, on_gpu)
    assert code == 0, said
    assert git(on_gpu, "status", "--porcelain") == ""
    assert git(on_gpu, "rev-parse", "HEAD") == tip
    results = sorted(path.relative_to(runner.folder / "temp/results").as_posix()
                     for path in (runner.folder / "temp/results").rglob("*.yaml"))  # fmt: skip
    assert len(results) == 3

    hosted = runner.checkout("hosted")
    ((name, code, said),) = runner.steps("write-back", "commit", hosted, "push")
    assert (name, code) == ("Commit and push", 0), said
    assert "pushed to origin/main" in said
    assert git(runner.remote, "rev-parse", "main^") == tip
    pages = ["registry/datasets/chat.html", "registry/datasets/chat.md"]
    assert git(runner.remote, "diff", "--name-only", tip, "main").splitlines() == [*pages, *results]
    assert trailers(runner.remote, "main")["Ftops-Input-Commit"] == tip
    assert "token" not in said

    # Every clone from now on has nothing to do; the runner's too, once it has pulled.
    git(on_gpu, "pull", "-q")
    ((_, code, said),) = apply(runner, on_gpu)
    assert code == 0
    assert "3 unchanged" in said
    assert sorted(records(runner.checkout("later"))) == results


def test_new_logs_of_an_experiment_are_a_commit_like_any_other(runner):
    """The look is taken where the logs are; the report is made where it is committed, from the record alone."""
    author = runner.folder / "author"
    arms = {"a": {"model": "chat@1.0.0", "weight": 0.5}, "b": {"model": "chat@1.1.0", "weight": 0.5}}
    spec = {
        "arms": arms, "metric": {"name": "rating", "type": "rating"}, "design": {"targetSamples": 100},
        "logs": {"path": "logs/*.jsonl"},
    }  # fmt: skip
    two = model(versions={"1.0.0": {"run": "base"}, "1.1.0": {"run": "chat"}})
    more = [dataset(), run(), run("chat", hyperparameters={"num_epochs": 2}), two, document("Experiment", "v2", spec)]
    (author / "specs/all.yaml").write_text(yaml.safe_dump_all(more))
    (author / "logs").mkdir()
    ftops(author, "experiment", "simulate", "v2", "--units", "400", "--effect", "0.8", "--out", "logs/day.jsonl")
    commit_all(author, "an experiment and its first logs")
    git(author, "push", "-q", "origin", "main")
    on_gpu = runner.checkout("on-gpu")
    ((_, code, said),) = apply(runner, on_gpu)
    assert code == 0, said
    assert "look 1: winner" in said
    assert "+  state: concluded" in said, "what is proposed stands in the log of the job"
    left = {path.name for path in (runner.folder / "temp/results/registry/experiments").iterdir()}
    assert left == {"v2.yaml"}

    ((_, code, said),) = runner.steps("write-back", "commit", runner.checkout("hosted"), "push")
    assert code == 0, said
    later = runner.checkout("later")
    assert {path.name for path in (later / "registry/experiments").iterdir()} == {"v2.yaml", "v2.md", "v2.html"}
    assert "+  state: concluded" in (later / "registry/experiments/v2.md").read_text()
    git(on_gpu, "pull", "-q")
    ((_, code, said),) = apply(runner, on_gpu)
    assert code == 0
    assert "5 unchanged" in said, "the same logs are no further look"


def test_a_failed_training_is_written_back_too(runner):
    author = runner.folder / "author"
    edit(author, "specs/all.yaml", "num_epochs: 1", "num_epochs: 1\n    learning_rate: 1000.0")
    commit_all(author, "diverges")
    git(author, "push", "-q", "origin", "main")
    ((_, code, _),) = apply(runner, runner.checkout("on-gpu"))
    assert code == 6
    ((_, code, said),) = runner.steps("write-back", "commit", runner.checkout("hosted"), "push")
    assert code == 0, said
    later = runner.checkout("later")
    assert records(later)["registry/runs/base.yaml"]["status"]["phase"] == "failed"


def test_somebody_pushed_meanwhile(runner):
    """The records are merged on the newest tip, whatever that is by now."""
    ((_, code, _),) = apply(runner, runner.checkout("on-gpu"))
    hosted = runner.checkout("hosted")
    author = runner.folder / "author"
    Path(author, "README.md").write_text("words\n")
    commit_all(author, "words")
    git(author, "push", "-q", "origin", "main")
    ((_, code, said),) = runner.steps("write-back", "commit", hosted, "push")
    assert code == 0, said
    assert git(runner.remote, "log", "--format=%s", "main").splitlines()[:2] == [
        "ftops: results of base, chat",
        "words",
    ]


def test_apply_on_a_pull_request_is_refused_whatever_the_workflow_says(runner):
    checkout = runner.checkout("on-gpu")
    runner.program(checkout / ".venv/bin/ftops")
    ((_, code, said),) = runner.steps("apply", "apply", checkout, "pull_request")
    assert code == 64
    assert "does not run for the event pull_request" in said
    assert not (checkout / ".ftops").exists()
