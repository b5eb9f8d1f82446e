"""The workflows: right by schema and by zizmor, and with no more rights than each job needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
FILES = sorted(FOLDER.glob("*.yml"))
BIN = Path(sys.executable).parent


def load(path: Path) -> dict:
    tree = yaml.safe_load(path.read_text())
    tree["on"] = tree.pop(True)  # YAML 1.1 reads the key `on` as a boolean
    return tree


def jobs() -> list[tuple[str, dict]]:
    return [(f"{path.stem}/{name}", job) for path in FILES for name, job in load(path)["jobs"].items()]


def run_steps() -> list[tuple[str, dict]]:
    return [(name, step) for name, job in jobs() for step in job.get("steps", []) if "run" in step]


def test_the_workflows_are_there():
    assert [path.stem for path in FILES] == ["apply", "ci", "plan", "write-back"]


def test_schema():
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *FILES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing():
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--quiet", "--persona", "pedantic", FOLDER],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_would_find_something(tmp_path):
    """The check above can fail: the same file with a tag for a pin is refused."""
    text = (FOLDER / "ci.yml").read_text()
    (tmp_path / "ci.yml").write_text(text.replace("3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "v7"))
    done = subprocess.run(
        [BIN / "zizmor", "--offline", "--quiet", tmp_path / "ci.yml"], capture_output=True, check=False
    )
    assert done.returncode != 0


def test_only_the_write_back_may_write():
    assert all(load(path)["permissions"] == {} for path in FILES)
    writing = {name for name, job in jobs() if "write" in job["permissions"].values()}
    assert writing == {"apply/write-back", "write-back/commit"}
    assert all(set(job["permissions"]) == {"contents"} for _, job in jobs())


def test_the_runner_with_gpus_gets_no_token():
    apply = load(FOLDER / "apply.yml")["jobs"]["apply"]
    assert apply["runs-on"] == ["self-hosted", "gpu"]
    text = yaml.safe_dump(apply)
    assert "secrets." not in text
    assert "github.token" not in text


def test_pull_requests_run_on_hosted_runners_and_nothing_else_starts_with_them():
    for path in FILES:
        tree = load(path)
        assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(tree["on"])
        if "pull_request" in tree["on"]:
            assert all(job["runs-on"].startswith("ubuntu-") for job in tree["jobs"].values())


def test_an_apply_is_never_cancelled_and_starts_no_loop():
    tree = load(FOLDER / "apply.yml")
    assert tree["concurrency"] == {"group": "ftops-apply", "cancel-in-progress": False}
    assert tree["on"]["push"] == {"branches": ["main"], "paths-ignore": ["registry/**"]}
    checkout = tree["jobs"]["apply"]["steps"][0]
    assert checkout["with"]["clean"] is False


@pytest.mark.parametrize(
    ("event", "started"),
    [("push", {"check"}), ("pull_request", {"check"}), ("schedule", {"newest"}), ("workflow_dispatch", {"newest"})],
)
def test_what_an_event_starts_in_ci(event, started):
    """A change is tested with what is locked; the newest versions are for the schedule, and for whoever asks."""
    tree = load(FOLDER / "ci.yml")
    assert event in tree["on"]
    conditions = {name: job["if"].replace("github.event_name", repr(event)) for name, job in tree["jobs"].items()}
    assert {name for name, condition in conditions.items() if eval(condition.replace("||", "or"))} == started
    assert "${{ github.event_name }}" in tree["concurrency"]["group"]


def test_ci_calls_make_and_nothing_else_of_ours():
    called = [step["run"] for name, step in run_steps() if name.startswith("ci/") and "apt-get" not in step["run"]]
    names = [re.fullmatch(r"(?:sudo --preserve-env=CI,PATH )?make ([\w-]+)", each)[1] for each in called]
    assert names == ["lint", "test", "test-newest"]


def test_no_expression_stands_in_a_script():
    assert run_steps()
    assert [name for name, step in run_steps() if "${{" in step["run"]] == []


def test_every_checkout_keeps_no_credentials():
    steps = [step for _, job in jobs() for step in job.get("steps", []) if "actions/checkout@" in step.get("uses", "")]
    assert len(steps) == 6
    assert all(step["with"]["persist-credentials"] is False for step in steps)


def test_git_gets_the_token_from_the_environment():
    """The credential helper of the write-back job, asked by git itself."""
    (step,) = [step for name, step in run_steps() if name == "write-back/commit" and "ftops commit" in step["run"]]
    environment = {
        key: value.replace("${{ github.server_url }}", "https://github.com") for key, value in step["env"].items()
    }
    environment["GITHUB_TOKEN"] = "token-of-the-job"
    asked = "protocol=https\nhost=github.com\npath=team/models.git\n\n"

    def fill(question: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "credential", "fill"],
            input=question,
            env=os.environ | environment | {"GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "username=x-access-token\npassword=token-of-the-job\n" in fill(asked).stdout
    assert "token-of-the-job" not in fill(asked.replace("github.com", "example.com")).stdout


@pytest.mark.parametrize(
    ("name", "step"), run_steps(), ids=lambda each: each if isinstance(each, str) else each["run"][:30]
)
def test_every_script_is_sound_bash(name, step):
    done = subprocess.run(["bash", "-n"], input=step["run"], text=True, capture_output=True, check=False)
    assert done.returncode == 0, (name, done.stderr)
