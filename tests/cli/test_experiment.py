"""`ftops experiment`: arms of units, simulated rows, verdicts on logs, and the view while it runs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ftops.cli import ftops as commands
from ftops.errors import FtopsError
from ftops.experiments.assignment import Allocation, assign, bucket
from ftops.plan.text import diagnostics_text
from tests.support import projects
from tests.support.projects import command, document, environment

NAME = "chat-v2"


def experiment(name=NAME, **spec):
    """A and b are versions of a model that no project of these tests has."""
    arms = {
        "a": {"model": "gone@1.0.0", "weight": 0.5, "baseline": True},
        "b": {"model": "gone@1.1.0", "weight": 0.5},
    }
    times = {"name": "response_time_ms", "type": "duration", "direction": "decrease"}
    usual = {
        "arms": arms,
        "metric": {"name": "rating", "type": "rating"},
        "guardrails": [{**times, "margin": 0.05}],
        "design": {"targetSamples": 400, "minimumDetectableEffect": 0.2},
        "logs": {"path": f"logs/{name}/*.jsonl"},
    }
    return document("Experiment", name, usual | spec)


@dataclass
class Said:
    stdout: str
    stderr: str


def ftops(folder, *arguments, code=0, stdin=b""):
    """Run a command in this process, in `folder`; it must end with `code`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner().invoke(commands, [str(each) for each in arguments], input=stdin)
    finally:
        os.chdir(before)
    stderr, found = done.stderr, done.exit_code
    if isinstance(done.exception, FtopsError):
        stderr, found = stderr + diagnostics_text(done.exception.diagnostics), done.exception.exit_code
    elif found == 2:  # click's own code for wrong usage, which ftops remaps
        found = 64
    assert found == code, f"exit {found}\n{done.stdout}\n{stderr}\n{done.exception!r}"
    return Said(done.stdout, stderr)


@pytest.fixture
def env(tmp_path):
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home")


@pytest.fixture
def root(tmp_path):
    """A project without git, records or the models of its experiment."""
    return projects.write(tmp_path / "project", experiment())


@pytest.fixture
def alone(tmp_path):
    """A spec file and nothing else."""
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "trial.yaml").write_text(yaml.safe_dump(experiment("trial")))
    return folder


# ---------------------------------------------------------------------------------------------------- assign


def test_arms_and_buckets_are_those_of_the_hash(root):
    units = ["user-17", "user-18", "한국", "🙂", "with space"]
    found = json.loads(ftops(root, "experiment", "assign", NAME, *units, "--format", "json").stdout)
    allocation = Allocation.of(experiment())
    assert found == [{"unit": u, "arm": assign(allocation, u), "bucket": bucket(NAME, u) / 10_000} for u in units]


def test_a_unit_that_takes_no_part_has_no_arm(root):
    (root / "specs/all.yaml").write_text(yaml.safe_dump(experiment(coverage=0.0)))
    found = json.loads(ftops(root, "experiment", "assign", NAME, "u", "--format", "json").stdout)
    assert found == [{"unit": "u", "arm": None, "bucket": bucket(NAME, "u") / 10_000}]
    assert "takes no part" in ftops(root, "experiment", "assign", NAME, "u").stdout


def test_text_is_a_table_that_nothing_can_act_in(root):
    shown = ftops(root, "experiment", "assign", NAME, "user-17", "\x1b[31mred").stdout.splitlines()
    assert shown[0].split() == ["unit", "arm", "bucket"]
    assert shown[1].split() == [
        "user-17",
        assign(Allocation.of(experiment()), "user-17"),
        f"{bucket(NAME, 'user-17') / 10_000:.4f}",
    ]
    assert shown[2].split()[0] == "\\u001b[31mred"


@pytest.mark.parametrize("name", ["trial.yaml", "./trial.yaml", "trial.yaml#trial"])
def test_a_spec_file_needs_no_project(alone, name):
    expected = assign(Allocation.of(experiment("trial")), "user-1")
    found = json.loads(ftops(alone, "experiment", "assign", name, "user-1", "--format", "json").stdout)
    assert found[0]["arm"] == expected


def test_units_from_stdin(root, env):
    argv = command("experiment", "assign", NAME, "first", "-", "--format", "json")
    done = subprocess.run(
        argv, cwd=root, env=env, input="one\r\ntwo words\n한국\n".encode(), capture_output=True, check=True
    )
    assert [each["unit"] for each in json.loads(done.stdout)] == ["first", "one", "two words", "한국"]


@pytest.mark.parametrize("text", [b"one\n\ntwo\n", b"\xff\n", b"\n"])
def test_what_is_no_unit_is_refused(root, text):
    done = ftops(root, "experiment", "assign", NAME, "-", code=64, stdin=text)
    assert "is no unit" in done.stderr
    assert not done.stdout


def test_wrong_calls_of_assign(root):
    assert "is no unit" in ftops(root, "experiment", "assign", NAME, "", code=64).stderr
    assert "UNIT" in ftops(root, "experiment", "assign", NAME, code=64).stderr
    said = ftops(root, "experiment", "assign", "chat-v3", "u", code=64).stderr
    assert "no Experiment is called 'chat-v3'" in said
    assert "did you mean 'chat-v2'?" in said
    assert "No such file" in ftops(root, "experiment", "assign", "specs/gone.yaml", "u", code=64).stderr


def test_a_wrong_spec_says_where(root):
    projects.edit(root, "specs/all.yaml", "weight: 0.5\n      baseline", "weight: 0.6\n      baseline")
    said = ftops(root, "experiment", "assign", NAME, "u", code=3).stderr
    assert said.startswith("specs/all.yaml:")
    assert "1.1" in said


# -------------------------------------------------------------------------------------------------- simulate


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_simulated_rows_are_written_and_said_to_be_so(root):
    out = "logs/chat-v2/simulated.jsonl"
    said = ftops(root, "experiment", "simulate", NAME, "--out", out, "--units", 50).stdout
    rows = rows_of((root / out).read_text())
    assert all(row["simulated"] is True and row["experiment"] == NAME for row in rows)
    assert len({row["unit"] for row in rows}) == 50
    assert said == f"{len(rows):,} simulated rows of 50 units in {out}: they say nothing of any model\n"


def test_a_file_is_overwritten_only_when_told_to(root):
    (root / "out.jsonl").write_text("mine")
    said = ftops(root, "experiment", "simulate", NAME, "--out", "out.jsonl", code=64).stderr
    assert "is there already" in said
    assert "--force" in said
    assert (root / "out.jsonl").read_text() == "mine"
    ftops(root, "experiment", "simulate", NAME, "--out", "out.jsonl", "--units", 5, "--force")
    assert len(rows_of((root / "out.jsonl").read_text())) >= 5


def test_rows_go_to_stdout_and_what_they_are_to_stderr(alone):
    done = ftops(alone, "experiment", "simulate", "trial.yaml", "--out", "-", "--units", 20)
    assert rows_of(done.stdout)[0]["unit"] == "user-1-000001"
    assert "simulated rows of 20 units" in done.stderr


def test_every_option_of_simulate_acts(alone):
    def simulated(*options):
        return ftops(alone, "experiment", "simulate", "trial.yaml", "--out", "-", "--units", 60, *options).stdout

    usual = simulated()
    assert usual == simulated("--seed", 1, "--days", 14, "--start", "2026-01-05T00:00:00Z", "--effect", 0.2)
    for option, value in {
        "--days": 3, "--effect": -0.5, "--rated": 0.2, "--unhappy": 3, "--lost": 0.5, "--slower": 1.2, "--seed": 2,
        "--start": "2026-02-01T00:00:00Z",
    }.items():  # fmt: skip
        assert simulated(option, value) != usual, option


def test_simulation_starts_with_the_period_of_the_spec(alone):
    (alone / "trial.yaml").write_text(yaml.safe_dump(experiment("trial", period={"start": "2026-03-02T00:00:00Z"})))
    argv = ("experiment", "simulate", "trial.yaml", "--out", "-", "--units", 20, "--days", 1)
    assert {row["time"][:10] for row in rows_of(ftops(alone, *argv).stdout)} == {"2026-03-02"}
    later = ftops(alone, *argv, "--start", "2026-04-01T00:00:00Z").stdout
    assert {row["time"][:10] for row in rows_of(later)} == {"2026-04-01"}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--effect", 9, "more than can be had"), ("--lost", 1, "lost"), ("--rated", 2, "rated"),
        ("--start", "monday", "monday"), ("--units", 0, "units"), ("--unhappy", 0, "unhappy"),
    ],
)  # fmt: skip
def test_a_situation_that_cannot_be_is_wrong_usage(alone, option, value, said):
    done = ftops(alone, "experiment", "simulate", "trial.yaml", "--out", "x.jsonl", option, value, code=64)
    assert said in done.stderr
    assert not (alone / "x.jsonl").exists()


# --------------------------------------------------------------------------------------------------- analyze


def simulated(folder, spec, *options, out="logs.jsonl"):
    ftops(folder, "experiment", "simulate", spec, "--out", out, "--units", 1100, *options)
    return out


def analyzed(folder, *arguments, code=0):
    done = ftops(folder, "experiment", "analyze", *arguments, "--format", "json", code=code)
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_a_verdict_needs_a_spec_file_and_logs_only(alone):
    simulated(alone, "trial.yaml", "--effect", 0.4)
    found = analyzed(alone, "trial.yaml", "--logs", "logs.jsonl")
    assert (found["verdict"], found["winner"], found["simulated"]) == ("winner", "b", True)
    assert set(found) >= {"formatVersion", "arms", "comparisons", "srm", "verdict", "winner", "reasons"}
    assert set(found["arms"]["a"]) >= {"units", "mean", "variance", "ci"}
    (primary, guardrail) = found["comparisons"]
    assert (primary["arm"], primary["baseline"], primary["metric"]) == ("b", "a", "rating")
    assert primary["ci"][0] < primary["effect"] < primary["ci"][1]
    assert guardrail["metric"] == "response_time_ms"
    text = ftops(alone, "experiment", "analyze", "trial.yaml", "--logs", "logs.jsonl").stdout
    assert text.startswith("trial: winner b (simulated data)")


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        (("--effect", 0), "no-difference"), (("--lost", 0.3), "invalid"),
        (("--effect", 0, "--unhappy", 3, "--rated", 0.3), "invalid"), (("--slower", 1.5), "inconclusive"),
    ],
)  # fmt: skip
def test_every_verdict_ends_with_0(alone, options, verdict):
    simulated(alone, "trial.yaml", *options)
    assert analyzed(alone, "trial.yaml", "--logs", "logs.jsonl")["verdict"] == verdict


def test_logs_may_be_given_again_and_come_from_the_spec_otherwise(root):
    simulated(root, NAME, out="logs/chat-v2/all.jsonl")
    whole = analyzed(root, NAME)
    lines = (root / "logs/chat-v2/all.jsonl").read_text().splitlines(keepends=True)
    (root / "one.jsonl").write_text("".join(lines[:1000]))
    (root / "two.jsonl").write_text("".join(lines[1000:]))
    parts = analyzed(root, NAME, "--logs", "one.jsonl", "--logs", "two.jsonl")
    assert parts["arms"] == whole["arms"]
    assert analyzed(root, NAME, "--logs", "one.jsonl")["rows"]["read"] == 1000
    (root / "deeper").mkdir()
    assert analyzed(root / "deeper", f"Experiment/{NAME}") == whole
    assert analyzed(root / "deeper", "../specs/all.yaml") == whole


def test_each_look_before_makes_the_rule_stricter(alone):
    simulated(alone, "trial.yaml", "--units", 900)

    def level(*looks):
        found = analyzed(alone, "trial.yaml", "--logs", "logs.jsonl", *looks)
        return found["number"], found["comparisons"][0]["level"]

    assert level() == level("--looks", "none")
    assert level()[0] == 1
    assert level("--looks", "0.25,0.5")[0] == 3
    assert level("--looks", "0.25,0.5")[1] < level()[1]


@pytest.mark.parametrize("looks", ["0.5,0.25", "a", "0,0.5", "", "0.5,0.5", "-1", "inf", "nan", "0.5,"])
def test_looks_that_cannot_be_are_wrong_usage(alone, looks):
    (alone / "x.jsonl").write_text("{}\n")
    said = analyzed(alone, "trial.yaml", "--logs", "x.jsonl", "--looks", looks, code=64)
    assert "--looks" in said


def test_rows_that_cannot_be_used_end_with_5(alone):
    (alone / "wrong.jsonl").write_text('{"id": "1"}\nnot json\n')
    assert "none of the 2 rows" in analyzed(alone, "trial.yaml", "--logs", "wrong.jsonl", code=5)
    (alone / "other.yaml").write_text(yaml.safe_dump(experiment("other")))
    simulated(alone, "other.yaml", "--units", 10)
    assert "no row is of the experiment 'trial'" in analyzed(alone, "trial.yaml", "--logs", "logs.jsonl", code=5)


@pytest.mark.parametrize("logs", [(), ("--logs", "empty.jsonl")])
def test_no_rows_at_all_end_with_5(alone, logs):
    (alone / "empty.jsonl").write_text("")
    assert "there are no log rows" in analyzed(alone, "trial.yaml", *logs, code=5)


def test_faulty_rows_are_listed_beside_the_result(alone):
    simulated(alone, "trial.yaml", "--units", 100)
    with (alone / "logs.jsonl").open("a") as file:
        file.writelines(f'{{"id": "x{n}", "rating": 6}}\n' for n in range(30))
    done = ftops(alone, "experiment", "analyze", "trial.yaml", "--logs", "logs.jsonl", "--format", "json")
    assert json.loads(done.stdout)["rows"]["faulty"] == 30
    *listed, rest = done.stderr.splitlines()
    assert len(listed) == 10
    assert all(line.startswith("row ") for line in listed)
    assert rest == "and 20 further rows that can't be used"


def test_wrong_calls_of_analyze(alone):
    assert "gone.jsonl" in analyzed(alone, "trial.yaml", "--logs", "gone.jsonl", code=64)
    projects.edit(alone, "trial.yaml", "type: rating", "type: ratings")
    said = analyzed(alone, "trial.yaml", code=3)
    assert said.startswith("trial.yaml:")
    assert "did you mean 'rating'?" in said


# ---------------------------------------------------------------------------------------- a record of looks


@pytest.fixture
def looked(root):
    """A project with a record of one look at the first half of the rows."""
    from ftops.experiments.analysis import InterimResult
    from ftops.experiments.record import ExperimentRecord, ExperimentStatus, Phase, PhaseArm
    from ftops.registry.record_files import dump
    from ftops.resources.record import RecordMetadata

    out = root / simulated(root, NAME, out="logs/chat-v2/all.jsonl")
    rows = out.read_text().splitlines(keepends=True)
    (root / "half.jsonl").write_text("".join(rows[: len(rows) // 2]))
    look = analyzed(root, NAME, "--logs", "half.jsonl")
    del look["formatVersion"], look["experiment"]
    arms = {
        name: PhaseArm(model=f"gone@1.{minor}.0", weight=0.5, baseline=name == "a", ranges=((start, start + 5000),))
        for name, minor, start in (("a", 0, 0), ("b", 1, 5000))
    }
    phase = Phase(arms=arms, looks={"1": InterimResult.model_validate_json(json.dumps(look))})
    status = ExperimentStatus(phase="running", inputs={"seed": NAME}, digest="0" * 64, current="1", phases={"1": phase})
    record = ExperimentRecord(metadata=RecordMetadata(name=NAME), status=status)
    path = root / record.path
    path.parent.mkdir(parents=True)
    path.write_bytes(dump(record))
    return root


def test_the_record_says_which_looks_there_were(looked):
    found = analyzed(looked, NAME)
    fraction = analyzed(looked, NAME, "--logs", "half.jsonl", "--looks", "none")["fraction"]
    assert found["number"] == 2
    assert found["comparisons"][0]["level"] == pytest.approx(
        analyzed(looked, NAME, "--looks", fraction)["comparisons"][0]["level"]
    )
    assert analyzed(looked, NAME, "--looks", "none")["number"] == 1


def test_a_record_of_other_arms_is_not_mixed_with_these(looked):
    text = (looked / "specs/all.yaml").read_text()
    (looked / "specs/all.yaml").write_text(text.replace("gone@1.1.0", "gone@1.2.0"))
    said = analyzed(looked, NAME, code=3)
    assert "the arms are not those of phase 1" in said
    assert "--looks none" in said
    assert analyzed(looked, NAME, "--looks", "none")["number"] == 1
    (looked / "specs/all.yaml").write_text(text.replace("gone@1.1.0", "gone@production"))
    assert analyzed(looked, NAME)["number"] == 2
    (looked / "specs/all.yaml").write_text(text.replace("  metric:", "  seed: another\n  metric:"))
    assert "the arms are not those of phase 1" in analyzed(looked, NAME, code=3)


def test_rows_of_an_earlier_phase_do_not_count(looked):
    """The phase that is recorded began in the middle of the rows."""
    whole = analyzed(looked, NAME, "--looks", "none")
    edit_record = looked / f"registry/experiments/{NAME}.yaml"
    edit_record.write_text(
        edit_record.read_text().replace(
            "  phases:\n    '1':\n", "  phases:\n    '1':\n      startedAt: '2026-01-12T00:00:00Z'\n"
        )
    )
    for looks in ((), ("--looks", "none"), ("--looks", "0.1")):
        later = analyzed(looked, NAME, *looks)
        assert later["rows"]["early"] > 0
        assert later["first"] >= "2026-01-12"
        assert later["rows"]["read"] == whole["rows"]["read"]


# ---------------------------------------------------------------------------------------------------- status


def test_status_shows_how_it_goes_and_not_who_leads(alone):
    simulated(alone, "trial.yaml", "--units", 400)
    done = ftops(alone, "experiment", "status", "trial.yaml", "--logs", "logs.jsonl")
    assert "400 units" in done.stdout
    assert "the target is reached on 2026-02" in done.stdout
    assert "Which arm leads is not shown" in done.stdout
    found = json.loads(
        ftops(alone, "experiment", "status", "trial.yaml", "--logs", "logs.jsonl", "--format", "json").stdout
    )
    assert sum(arm["units"] for arm in found["arms"].values()) == 400
    figures = json.dumps(found)
    for name in ("mean", "effect", "winner", "verdict", "ci"):
        assert f'"{name}"' not in figures


def test_status_before_the_first_row(alone):
    assert "no rows yet" in ftops(alone, "experiment", "status", "trial.yaml").stdout


def test_watching_shows_new_rows_until_it_is_interrupted(alone, env):
    simulated(alone, "trial.yaml", "--units", 100, out="all.jsonl")
    lines = (alone / "all.jsonl").read_text().splitlines(keepends=True)
    log = alone / "logs/trial/rows.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("not a row\n")
    argv = command("experiment", "status", "trial.yaml", "--watch", "--every", "0.1")
    with subprocess.Popen(
        argv, cwd=alone, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        try:
            wait_for(watching.stdout, "none of the 1 rows")
            log.write_text("".join(lines[:50]))
            wait_for(watching.stdout, "50 rows read")
            log.write_text("".join(lines))
            wait_for(watching.stdout, f"{len(lines)} rows read")
        finally:
            watching.send_signal(signal.SIGINT)
        rest, errors = watching.communicate(timeout=30)
    assert watching.returncode == 0, errors
    assert not errors
    assert "\x1b" not in rest


def test_watching_on_a_terminal_redraws(alone, env):
    simulated(alone, "trial.yaml", "--units", 200)
    terminal, end = pty.openpty()
    argv = command("experiment", "status", "trial.yaml", "--logs", "logs.jsonl", "--watch", "--every", "0.1")
    with subprocess.Popen(argv, cwd=alone, env=env, stdout=end, stderr=subprocess.PIPE) as watching:
        os.close(end)
        shown = b""
        while shown.count(b"\x1b[H\x1b[2J") < 3:
            shown += os.read(terminal, 65536)
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=30)
    os.close(terminal)
    assert watching.returncode == 0
    assert not errors
    assert b"200 units" in shown


def wait_for(stream, text):
    """Reads lines until one has `text`; the test's time limit is the process's end."""
    for line in stream:
        if text in line:
            return
    pytest.fail(f"it ended before it said {text!r}")


def test_status_of_an_unknown_experiment(root):
    assert "did you mean" in ftops(root, "experiment", "status", "chat-v3", code=64).stderr
