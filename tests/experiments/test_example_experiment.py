"""The example's experiment: its logs are what the documented command makes, and they lead to the verdict that is shown."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from tests.support.projects import ROOT, ftops

SPEC = ROOT / "specs/experiment.yaml"
LOGS = ROOT / "logs/fine-tuning-qa-v2/simulated.jsonl"
LIMIT = 400_000


@pytest.fixture(scope="module")
def documented():
    """The command in the comment at the top of the spec, as words."""
    comment = "\n".join(re.findall(r"^# ?(.*)$", SPEC.read_text(), flags=re.MULTILINE))
    (command,) = re.findall(r"^  (ftops (?:.*\\\n)*.*)$", comment, flags=re.MULTILINE)
    return shlex.split(command.replace("\\\n", ""))


@pytest.fixture
def project(tmp_path):
    """The example's specs, without its logs."""
    shutil.copy2(ROOT / "ftops.yaml", tmp_path)
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    return tmp_path


def test_the_logs_are_those_of_the_documented_command(project, documented):
    assert documented[:4] == ["ftops", "experiment", "simulate", "fine-tuning-qa-v2"]
    made = project / documented[documented.index("--out") + 1]
    assert made.relative_to(project) == LOGS.relative_to(ROOT)
    made.parent.mkdir(parents=True)
    ftops(project, *documented[1:])
    assert made.read_bytes() == LOGS.read_bytes()
    assert [path.name for path in LOGS.parent.iterdir()] == [LOGS.name], "nothing else is looked at"


def test_every_row_says_that_it_is_simulated():
    rows = [json.loads(line) for line in LOGS.read_bytes().splitlines()]
    assert LOGS.stat().st_size <= LIMIT
    assert all(row["simulated"] is True and row["experiment"] == "fine-tuning-qa-v2" for row in rows)
    given = sum(row["rating"] is not None for row in rows) / len(rows)
    assert 0.5 < given < 0.7, "as in life, most answers are rated and many are not"


def test_they_lead_to_the_verdict_and_it_says_that_they_are_simulated(project):
    shutil.copytree(ROOT / "logs", project / "logs")
    look = json.loads(ftops(project, "experiment", "analyze", "fine-tuning-qa-v2", "--format", "json").stdout)
    assert (look["verdict"], look["winner"], look["simulated"]) == ("winner", "b", True)
    assert look["decidedAt"] == 1
    assert 0.5 < look["fraction"] < 1, "it is decided before the target, as the rule allows"
    assert look["notes"] == []
    assert look["rows"]["kept"] == look["rows"]["read"]
    primary = look["comparisons"][0]
    assert primary["pValue"] < primary["level"] < 0.05
    assert [each["guardrail"] for each in look["comparisons"] if each["role"] == "guardrail"] == ["kept"]
    effect = float(re.search(r"--effect (\S+)", SPEC.read_text())[1])
    assert abs(primary["standardized"] - effect) < 0.2, "what was found is near what was put in"


def test_it_compares_the_two_versions_and_production_is_the_baseline():
    spec = yaml.safe_load(SPEC.read_text())["spec"]
    model = yaml.safe_load((ROOT / "specs/model.yaml").read_text())["spec"]
    assert {arm["model"] for arm in spec["arms"].values()} == {f"fine-tuning-qa@{each}" for each in model["versions"]}
    (baseline,) = (arm["model"] for arm in spec["arms"].values() if arm.get("baseline"))
    assert baseline == f"fine-tuning-qa@{model['aliases']['production']}"


def test_git_has_them():
    done = subprocess.run(
        ["git", "check-ignore", "-q", "logs/fine-tuning-qa-v2/simulated.jsonl"], cwd=ROOT, check=False
    )
    assert done.returncode == 1, "a clone must have the logs"
