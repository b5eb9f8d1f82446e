"""Experiments through apply: looks, verdicts, phases and ends, as commits in a real repository.

The models are trained by the stand-in engine: an experiment reads its logs, and the names of versions.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys

import pytest
import yaml

from tests.support import projects
from tests.support.projects import (
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

RECORD = "registry/experiments/v2.yaml"
SPEC = {
    "hypothesis": "The second version is rated higher.",
    "arms": {
        "a": {"model": "chat@1.0.0", "weight": 0.5, "baseline": True},
        "b": {"model": "chat@1.1.0", "weight": 0.5},
    },
    "metric": {"name": "rating", "type": "rating"},
    "guardrails": [{"name": "response_time_ms", "type": "duration", "direction": "decrease", "margin": 0.1}],
    "design": {"targetSamples": 400, "minimumDetectableEffect": 0.3, "rule": "obrien-fleming"},
    "logs": {"path": "logs/*.jsonl"},
    "state": "running",
}
GROWING = """\
import json, select, sys
with open(sys.argv[1]) as log:
    row = json.loads(log.readline())
number = 0
with open(sys.argv[1], "a", buffering=1) as log:
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        number += 1
        print(json.dumps(row | {"id": f"more-{number}"}), file=log)
        if number == 1:
            print("writing", flush=True)
"""
WHOLE = ("--units", "1600", "--effect", "0.5", "--seed", "3")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A project whose two versions are registered, before there is any experiment."""
    home = tmp_path_factory.mktemp("home")
    env = environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path_factory.mktemp("engine")))
    root = projects.write(
        tmp_path_factory.mktemp("experiments") / "project",
        dataset(),
        run("one"),
        run("two", hyperparameters={"num_epochs": 2}),
        model(versions={"1.0.0": {"run": "one"}, "1.1.0": {"run": "two"}}, aliases={"production": "1.0.0"}),
    )
    edit(root, "ftops.yaml", "  runners:", "  index: sqlite:///.ftops/index.db\n  runners:")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    return root, env


@pytest.fixture
def project(trained, tmp_path):
    """A clone of that project with an experiment, not applied yet."""
    root, env = trained
    git(tmp_path, "clone", "-q", root, "project")
    declare(tmp_path / "project")
    return tmp_path / "project", env


def declare(root, **spec):
    tree = document("Experiment", "v2", {**SPEC, **spec})
    (root / "specs/experiment.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    commit_all(root, "an experiment")


def simulate(root, env, *options, out="logs/one.jsonl"):
    (root / out).parent.mkdir(exist_ok=True)
    return ftops(root, "experiment", "simulate", "v2", "--out", out, "--force", *options, env=env)


def apply(root, env, **options):
    return ftops(root, "apply", "--yes", env=env, **options)


def status_of(root):
    return records(root)[RECORD]["status"]


def looks(root):
    status = status_of(root)
    return status["phases"][status["current"]]["looks"]


def test_from_nothing_to_a_verdict_and_its_end(project):
    root, env = project
    apply(root, env)
    status = status_of(root)
    assert (status["phase"], status["phases"]["1"]["looks"]) == ("running", {})
    assert git(root, "log", "-1", "--format=%s") == "ftops: Experiment/v2 started"
    assert git(root, "status", "--porcelain") == ""

    simulate(root, env, *WHOLE)
    commit_all(root, "logs")
    planned = ftops(root, "plan", "--detailed-exitcode", env=env, code=2).stdout
    assert "~ Experiment/v2: update (analyze)" in planned
    assert "look at the data of v2" in planned
    done = apply(root, env)
    assert "winner" in done.stdout
    assert "proposed: b won at look 1: end the experiment" in done.stderr
    (look,) = looks(root).values()
    assert (look["verdict"], look["winner"], look["simulated"]) == ("winner", "b", True)
    assert look["dataDigest"]
    assert set(look["software"]) == {"ftops", "numpy", "scipy"}
    assert trailers(root)["Ftops-Input-Commit"] == git(root, "rev-parse", "HEAD~1")
    assert git(root, "show", "--name-only", "--format=", "HEAD").split() == [
        f"registry/experiments/v2.{ending}" for ending in ("html", "md", "yaml")
    ]
    page = (root / "registry/experiments/v2.html").read_text()
    assert "<svg" in page
    assert "imulated" in page

    again = ftops(root, "plan", "--detailed-exitcode", env=env)
    assert "No changes" in again.stdout
    assert "end the experiment with state: concluded" in again.stdout, (
        "what a person should decide is said until it is done"
    )

    end, promote = status_of(root)["proposals"]
    for proposal in (end, promote):
        (root / "edit.patch").write_text(proposal["diff"])
        git(root, "apply", "edit.patch")
        (root / "edit.patch").unlink()
    commit_all(root, "what was proposed")
    apply(root, env)
    status = status_of(root)
    assert status["phase"] == "concluded"
    conclusion = status["conclusion"]
    assert (conclusion["verdict"], conclusion["winner"], conclusion["model"]) == ("winner", "b", "chat@1.1.0")
    assert (conclusion["baseline"], conclusion["guardrails"]) == ("chat@1.0.0", {"response_time_ms": "kept"})
    assert conclusion["dataDigest"] == look["dataDigest"]
    assert len(looks(root)) == 1, "the same data is no further look"
    assert "proposals" not in status or status["proposals"] == []
    versions = {path: each["status"]["aliases"] for path, each in records(root).items() if "/models/" in path}
    assert versions == {
        "registry/models/chat/1.0.0.yaml": ["archived"],
        "registry/models/chat/1.1.0.yaml": ["production"],
    }
    simulate(root, env, "--units", "100", "--seed", "9", out="logs/late.jsonl")
    assert "it is concluded" in ftops(root, "plan", "--explain", "--detailed-exitcode", env=env).stdout

    with sqlite3.connect(root / ".ftops/index.db") as database:
        (row,) = database.execute("select name, phase, verdict, winner, model from ab_experiments")
        assert row == ("v2", "concluded", "winner", "b", "chat@1.1.0")
        (row,) = database.execute("select experiment, phase, number, verdict, simulated from ab_test_results")
        assert row == ("v2", 1, 1, "winner", 1)


def test_looks_add_up_and_are_spent(project):
    root, env = project
    for part, seed in enumerate((21, 22, 23)):
        simulate(root, env, "--units", "400", "--effect", "0", "--seed", str(seed), out=f"logs/{part}.jsonl")
        lines = (root / f"logs/{part}.jsonl").read_text().splitlines()
        fresh = [{**row, "id": f"{part}-{row['id']}"} for row in map(json.loads, lines)]
        (root / f"logs/{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fresh))
        apply(root, env)
    found = looks(root)
    assert list(found) == ["1", "2", "3"]
    levels = [look["comparisons"][0]["level"] for look in found.values()]
    assert levels == sorted(levels)
    assert [look["fraction"] for look in found.values()] == sorted(look["fraction"] for look in found.values())
    assert "days" not in found["1"] or not found["1"]["days"], "pictures are of the last look"
    assert found["3"]["days"]
    assert [look["verdict"] for look in found.values()] == ["inconclusive", "inconclusive", "no-difference"]
    assert git(root, "log", "-1", "--format=%s") == "ftops: Experiment/v2 look 3: no-difference"


def test_other_weights_open_a_phase_and_rows_from_before_are_told_apart(project):
    root, env = project
    simulate(root, env, "--units", "200")
    apply(root, env)
    edit(
        root,
        "specs/experiment.yaml",
        "      weight: 0.5\n      baseline: true",
        "      weight: 0.8\n      baseline: true",
    )
    edit(root, "specs/experiment.yaml", "      weight: 0.5\n", "      weight: 0.2\n")
    done = ftops(root, "plan", env=env)
    assert "phase 2, which begins" in done.stdout
    apply(root, env)
    status = status_of(root)
    assert status["current"] == "2"
    assert status["phases"]["1"]["endedAt"] == status["phases"]["2"]["startedAt"]
    assert len(status["phases"]["1"]["looks"]) == 1
    assert status["phases"]["2"]["looks"] == {}, "every row is from before"


def test_a_phase_begins_when_the_period_was_moved_to(project):
    root, env = project
    declare(root, period={"start": "2026-01-01T00:00:00Z"})
    simulate(root, env, "--units", "200")
    apply(root, env)
    assert "startedAt" not in status_of(root)["phases"]["1"]
    arms = {
        name: {**arm, "weight": weight} for (name, arm), weight in zip(SPEC["arms"].items(), (0.8, 0.2), strict=True)
    }
    declare(root, arms=arms, period={"start": "2026-01-10T00:00:00Z"})
    apply(root, env)
    phase = status_of(root)["phases"]["2"]
    assert phase["startedAt"] == "2026-01-10T00:00:00Z"
    assert phase["looks"]["1"]["rows"]["early"] > 0
    declare(root, period={"start": "2026-01-10T00:00:00Z"})
    apply(root, env)
    assert status_of(root)["phases"]["3"]["startedAt"] > "2026-02", "the period says nothing new, so it begins now"


def test_logs_may_grow_while_they_are_planned_with(project):
    """An application writes on: that stops neither a plan nor a look."""
    root, env = project
    simulate(root, env, *WHOLE)
    writer = subprocess.Popen(
        [sys.executable, "-c", GROWING, str(root / "logs/one.jsonl")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert writer.stdout.readline() == b"writing\n"
        assert "look at the data of v2" in ftops(root, "plan", env=env).stdout
        apply(root, env)
    finally:
        writer.communicate()
    assert looks(root)["1"]["verdict"] == "winner"


def test_what_was_declared_is_frozen(project):
    root, env = project
    simulate(root, env, "--units", "200")
    apply(root, env)
    edit(root, "specs/experiment.yaml", "rule: obrien-fleming", "rule: fixed")
    failed = ftops(root, "plan", env=env, code=4)
    assert "specs/experiment.yaml:" in failed.stderr
    assert "design.rule is frozen" in failed.stderr
    assert "declare another experiment" in failed.stderr


def test_stopping_is_a_commit_with_a_reason(project):
    root, env = project
    simulate(root, env, "--units", "200")
    apply(root, env)
    edit(root, "specs/experiment.yaml", "state: running", "state: stopped\n  reason: b answers in the wrong language")
    apply(root, env)
    conclusion = status_of(root)["conclusion"]
    assert conclusion["reason"] == "b answers in the wrong language"
    assert git(root, "log", "-1", "--format=%s") == "ftops: Experiment/v2 stopped: inconclusive"


def test_unusable_logs_fail_and_leave_the_record(project):
    root, env = project
    simulate(root, env, "--units", "200")
    apply(root, env)
    before = (root / RECORD).read_bytes()
    (root / "logs/one.jsonl").write_text('{"experiment": "another", "id": "1", "unit": "u", "arm": "a"}\n')
    failed = apply(root, env, code=5)
    assert "another" in failed.stdout
    assert (root / RECORD).read_bytes() == before


def test_the_doctor_knows_logs(project):
    root, env = project
    assert "data: no logs in logs/*.jsonl yet" in ftops(root, "doctor", env=env).stdout
    simulate(root, env, "--units", "200")
    assert "data: 3 sources here" in ftops(root, "doctor", env=env).stdout
    (root / "data/chat.csv").unlink()
    assert "data: data/chat.csv is not there" in ftops(root, "doctor", env=env, code=7).stdout


def test_an_experiment_whose_logs_are_broken_can_be_stopped(project):
    root, env = project
    simulate(root, env, "--units", "200")
    apply(root, env)
    (root / "logs/one.jsonl").write_text('{"experiment": "another", "id": "1", "unit": "u", "arm": "a"}\n')
    edit(root, "specs/experiment.yaml", "state: running", "state: stopped\n  reason: the logs are broken")
    assert "ends by its last look" in apply(root, env).stderr
    status = status_of(root)
    assert (status["phase"], status["conclusion"]["reason"]) == ("stopped", "the logs are broken")
    assert list(looks(root)) == ["1"]
    assert ftops(root, "plan", "--detailed-exitcode", env=env).returncode == 0


def test_rows_in_a_table(project):
    root, env = project
    simulate(root, env, *WHOLE, out="rows.jsonl")
    rows = [json.loads(line) for line in (root / "rows.jsonl").read_text().splitlines()]
    names = ("id", "experiment", "unit", "arm", "time", "rating", "response_time_ms")
    with sqlite3.connect(root / "logs.db") as database:
        database.execute(f"create table rows ({', '.join(names)})")
        holes = ", ".join("?" * len(names))
        database.executemany(f"insert into rows values ({holes})", [[row.get(name) for name in names] for row in rows])
    declare(root, logs={"sql": {"url": "sqlite:///logs.db", "table": "rows"}})
    ftops(root / "specs", "apply", "--yes", env=env)  # the path of the table counts from the project
    assert status_of(root)["phases"]["1"]["looks"]["1"]["verdict"] == "winner"
    commits = git(root, "rev-list", "--count", "HEAD")
    assert "known only when it is read" in ftops(root, "plan", env=env).stdout
    apply(root, env)
    assert git(root, "rev-list", "--count", "HEAD") == commits, "no new rows, no commit"


def test_results_for_a_machine_that_may_push(project, tmp_path):
    root, env = project
    simulate(root, env, *WHOLE)
    ftops(root, "apply", "--yes", "--no-commit", "--results", tmp_path / "results", env=env)
    left = [
        path.relative_to(tmp_path / "results").as_posix()
        for path in (tmp_path / "results").rglob("*")
        if path.is_file()
    ]
    assert left == [RECORD], "the report is made of the record, where it is committed"
    ftops(root, "commit", tmp_path / "results", env=env)
    assert (root / "registry/experiments/v2.html").exists()
