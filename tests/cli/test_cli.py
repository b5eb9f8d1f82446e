"""The command line: help, exit codes, asking, saved plans, JSON, and results that another clone commits."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import click
import pytest
import yaml

from ftops.cli import ftops as main
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run


@pytest.fixture
def env(tmp_path):
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path / "engines"))


@pytest.fixture
def root(tmp_path):
    """A committed project with a data set, a run and a model."""
    made = projects.write(tmp_path / "project", dataset(), run(), model())
    commit_all(made)
    return made


@pytest.fixture
def data_only(tmp_path):
    """A committed project that trains nothing."""
    made = projects.write(tmp_path / "data-only", dataset())
    commit_all(made)
    return made


# ------------------------------------------------------------------------------------------------------ help


def commands(command=main, names=("ftops",)):
    context = click.Context(command)
    yield names, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*names, name))


TREE = dict(commands())


def test_the_commands_are_these():
    leaves = {" ".join(names[1:]) for names, command in TREE.items() if not isinstance(command, click.Group)}
    assert leaves == {
        "validate", "plan", "apply", "status", "logs", "stop", "schema", "run render", "run show", "run checkpoints", "commit", "index rebuild",
        "import", "engine install", "engine check", "doctor", "experiment assign", "experiment simulate", "experiment analyze", "experiment status",
        "dataset check", "dataset add", "dataset pull", "dataset push", "dataset diff", "dataset prune", "gc",
    }  # fmt: skip


@pytest.mark.parametrize("names", TREE, ids=" ".join)
def test_every_command_and_option_has_help_and_every_command_an_example(names):
    command = TREE[names]
    assert command.help
    assert command.epilog
    assert "Example" in command.epilog
    assert f"ftops {' '.join(names[1:])}".strip() in command.epilog
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
        else:
            assert parameter.metavar or parameter.name.upper() in command.help or parameter.name == "paths"


@pytest.mark.parametrize("names", [("plan",), ("engine", "install"), ()])
def test_help_exits_with_0(names, data_only, env):
    said = ftops(data_only, *names, "--help", env=env).stdout
    assert said.startswith("Usage: ")
    assert "Example" in said


# ------------------------------------------------------------------------------------------------ exit codes


def test_exit_codes(root, env):
    """6 and 7 of trainings stand in test_apply.py."""
    ftops(root, "--version", env=env, code=0)
    ftops(root, "plan", env=env, code=0)
    ftops(root, "plan", "--detailed-exitcode", env=env, code=2)
    ftops(root, "plan", "--target", "TrainingRun/nobody", env=env, code=4)
    ftops(root, "plan", "--no-such-option", env=env, code=64)
    ftops(root, "no-such-command", env=env, code=64)
    ftops(root, "apply", env=env, code=64)
    ftops(root, "doctor", env=env, code=0)
    (root / "data/chat.csv").write_text("Q,A\nonly a question,\n")
    ftops(root, "apply", "--yes", env=env, code=5)
    (root / "specs/all.yaml").write_text("kind: Dataset\n")
    ftops(root, "plan", env=env, code=3)


def test_a_command_works_from_a_folder_below_and_with_its_project_named(root, env):
    assert ftops(root / "specs", "plan", env=env).stdout == ftops(root, "plan", env=env).stdout
    assert ftops(root.parent, "-C", root, "plan", env=env).stdout == ftops(root, "plan", env=env).stdout
    assert "ftops.yaml is missing" in ftops(root.parent, "plan", env=env, code=3).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--target", "TrainingRun/bsae"], "did you mean 'TrainingRun/base'?"),
        (["plan", "--exclude", "Model/nobody"], "no spec has the address 'Model/nobody'"),
        (["plan", "--target", "nonsense"], "no spec has the address 'nonsense'"),
        (["plan", "--exclude", "Dataset/chat"], "everything is excluded"),
    ],
)
def test_addresses_that_cannot_be_meant(root, env, arguments, told):
    assert told in ftops(root, *arguments, env=env, code=4).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["apply"], "nobody is there to say yes"),
        (["apply", "--yes", "--no-commit"], "--no-commit and --results DIR go together"),
        (["apply", "--yes", "--results", "out"], "--no-commit and --results DIR go together"),
        (["apply", "absent.json"], "does not exist"),
        (["apply", "ftops.yaml", "--target", "Dataset/chat"], "a saved plan says what to do"),
        (["run", "render", "bsae"], "did you mean 'base'?"),
        (["logs", "base"], "no training of 'base' in the store"),
        (["commit", "specs"], ""),
    ],
)
def test_wrong_usage(root, env, arguments, told):
    done = ftops(root, *arguments, env=env, code=7 if arguments[0] == "commit" else 64)
    assert told in done.stderr
    assert not (root / ".ftops").exists()


@pytest.mark.parametrize("event", ["pull_request", "pull_request_target", "pull_request_review"])
def test_apply_refuses_pull_requests(root, env, event):
    done = ftops(root, "apply", "--yes", env={**env, "GITHUB_EVENT_NAME": event}, code=64)
    assert f"does not run for the event {event}" in done.stderr
    assert not (root / ".ftops").exists()
    ftops(root, "plan", env={**env, "GITHUB_EVENT_NAME": event})


# ---------------------------------------------------------------------------------------------- a terminal


def take_terminal():
    """Make stdin the controlling terminal; SIGINT may be ignored where the tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def on_a_terminal(root, env, *arguments, answer=None, seconds=60):
    """What ftops shows on a terminal, and its exit code; `answer` is typed when it asks."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        projects.command(*arguments), cwd=root, env={**env, "TERM": "xterm", "COLUMNS": "120"},
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509  (there are no threads here)
    )  # fmt: skip
    os.close(follower)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
        if answer is not None and b"Only 'yes' is taken" in shown:
            with contextlib.suppress(OSError):  # it may just have ended
                os.write(leader, answer.encode())
            # Just before Python waits for a line, an interrupt wakes nothing: a person would press the key again.
            answer = answer if answer == "\x03" else None
    os.close(leader)
    return shown.decode(), process.wait(10)


@pytest.mark.parametrize("answer", ["no\n", "\n", "y\n", "YES\n", "\x04", "\x03"])
def test_only_yes_is_taken(data_only, env, answer):
    shown, code = on_a_terminal(data_only, env, "apply", answer=answer)
    assert "Only 'yes' is taken" in shown
    assert code != 0
    assert records(data_only) == {}
    assert not (data_only / ".ftops").exists()


@pytest.mark.slow
def test_yes_is_taken(root, env):
    shown, code = on_a_terminal(root, env, "apply", answer="yes\n")
    assert code == 0, shown
    assert len(records(root)) == 3
    assert "Applied: 3 done, 0 failed" in shown
    assert "\x1b[" in shown  # colours and a bar that moves


def test_nothing_is_asked_when_nothing_is_to_do(data_only, env):
    ftops(data_only, "apply", "--yes", env=env)
    shown, code = on_a_terminal(data_only, env, "apply")
    assert code == 0
    assert "Only 'yes'" not in shown


def test_colour_is_for_terminals_and_not_with_no_color(data_only, env):
    assert "\x1b[3" in on_a_terminal(data_only, env, "plan")[0]
    assert "\x1b[3" not in on_a_terminal(data_only, {**env, "NO_COLOR": "1"}, "plan")[0]
    assert "\x1b[" not in ftops(data_only, "plan", env=env).stdout


# -------------------------------------------------------------------------------------------------------- JSON


def test_plan_as_json(root, env):
    tree = json.loads(ftops(root, "plan", "--format", "json", env=env).stdout)
    assert {"formatVersion", "changes", "summary", "seal"} <= tree.keys()
    assert tree["formatVersion"] == "1.0"
    assert tree["summary"] == {"create": 3, "update": 0, "replace": 0, "delete": 0, "noop": 0}
    for change in tree["changes"]:
        assert {"address", "action", "class", "reasons", "steps"} <= change.keys()
        assert all(each.keys() == {"field", "before", "after"} for each in change["reasons"])
        assert all("step" in each for each in change["steps"])
    assert [change["address"] for change in tree["changes"]] == ["Dataset/chat", "TrainingRun/base", "Model/chat"]
    seal = tree["seal"]
    assert seal["commit"] == git(root, "rev-parse", "HEAD")
    assert seal["specs"].keys() == {"Dataset/chat", "TrainingRun/base", "Model/chat"}
    assert seal["data"].keys() == {"data/chat.csv", "base-model"}
    assert seal["configs"].keys() == {"TrainingRun/base"}
    assert seal["engine"] == "axolotl==0.19.0"


def test_plan_as_markdown_is_a_table(root, env):
    said = ftops(root, "plan", "--format", "markdown", env=env).stdout
    assert said.startswith("### Plan: 3 to create")
    assert "| | resource | class | why |" in said


def test_validate_as_json_and_as_annotations(root, env):
    tree = json.loads(ftops(root, "validate", "--format", "json", env=env).stdout)
    assert tree == {"formatVersion": "1.0", "valid": True, "diagnostics": []}
    edit(root, "specs/all.yaml", "method: full", "method: ful")
    tree = json.loads(ftops(root, "validate", "--format", "json", env=env, code=3).stdout)
    (diagnostic,) = tree["diagnostics"]
    assert not tree["valid"]
    assert diagnostic.keys() == {"severity", "summary", "detail", "address", "file", "line", "column", "hint"}
    assert (diagnostic["address"], diagnostic["file"]) == ("TrainingRun/base", "specs/all.yaml")
    line = (root / "specs/all.yaml").read_text().splitlines()[diagnostic["line"] - 1]
    assert line[diagnostic["column"] - 1 :] == "ful"
    assert ftops(root, "validate", "--format", "github", env=env, code=3).stdout.startswith(
        "::error file=specs/all.yaml"
    )


def test_plan_changes_nothing(root, env):
    def everything():
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = everything()
    ftops(root, "plan", env=env)
    ftops(root, "status", env=env)
    ftops(root, "validate", env=env)
    ftops(root, "run", "render", "base", env=env)
    assert everything() == before


def test_a_rendered_config_is_what_the_training_gets(root, env):
    said = ftops(root, "run", "render", "base", env=env).stdout
    config = yaml.safe_load(said)
    assert config["num_epochs"] == 1
    assert config["output_dir"] == "output"
    assert str(root) not in said
    ftops(root, "apply", "--yes", "--target", "TrainingRun/base", env=env)
    (written,) = root.glob(".ftops/runs/*/attempt-1/config.yaml")
    assert yaml.safe_load(written.read_text()) == config


# -------------------------------------------------------------------------------------------- status and logs


@pytest.mark.slow
def test_status_and_logs_follow_a_training(tmp_path, env):
    root = projects.write(tmp_path / "project", dataset(), run(hyperparameters={"num_epochs": 20}), model())
    commit_all(root)

    def status():
        rows = json.loads(ftops(root, "status", "--format", "json", env=env).stdout)
        return {row["address"]: row for row in rows}

    assert {row["phase"] for row in status().values()} == {"pending"}
    process = subprocess.Popen(projects.command("apply", "--yes"), cwd=root, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (row := status()["TrainingRun/base"]).get("step"):  # absent before it begins, 0 before its first step
        assert time.monotonic() < deadline
    assert row["phase"] == "running"
    assert row["run"].startswith("base-")
    assert 0 < row["step"] < row["maxSteps"] == 200
    assert row.get("etaSeconds", 1) >= 0
    begun = time.monotonic()
    followed = ftops(root, "logs", "base", "-f", env=env).stdout
    assert followed == "training for 200 steps\ndone\n"  # its end as well: it waited
    assert time.monotonic() - begun > 0.5
    assert process.wait(60) == 0
    assert {address: row["phase"] for address, row in status().items()} == {
        "Dataset/chat": "prepared", "TrainingRun/base": "succeeded", "Model/chat": "registered",
    }  # fmt: skip
    assert ftops(root, "logs", "TrainingRun/base", "--attempt", 1, env=env).stdout == followed
    assert "has no attempt 2" in ftops(root, "logs", "base", "--attempt", 2, env=env, code=64).stderr


# ------------------------------------------------------------------------------------------------ saved plans


def save(root, env, *choice):
    return ftops(root, "plan", "--out", root.parent / "plan.json", *choice, env=env)


@pytest.mark.slow
def test_a_saved_plan_is_done_without_asking_and_only_once(root, env):
    assert "To do just this: ftops apply" in save(root, env, "--target", "TrainingRun/base").stdout
    ftops(root, "apply", root.parent / "plan.json", env=env)
    assert sorted(records(root)) == ["registry/datasets/chat.yaml", "registry/runs/base.yaml"]
    stale = ftops(root, "apply", root.parent / "plan.json", env=env, code=4).stderr
    assert "is stale" in stale
    assert "commit: " in stale
    assert "record registry/runs/base.yaml: none → " in stale


def touch_spec(root):
    edit(root, "specs/all.yaml", "num_epochs: 1", "num_epochs: 2")


def touch_data(root):
    (root / "data/chat.csv").write_text(projects.rows(61))


def touch_template(root):
    (root / "templates/axolotl").mkdir(parents=True)
    shipped = (projects.ROOT / "templates/axolotl/full.yaml.j2").read_text()
    (root / "templates/axolotl/full.yaml.j2").write_text(shipped.replace("2.0e-5", "3.0e-5"))


def touch_commit(root):
    git(root, "commit", "-q", "--allow-empty", "-m", "another")


def touch_record(root):
    """Somebody else's record arrives; the commit moves with it."""
    env = environment(root.parent / "home")
    ftops(root, "apply", "--yes", "--target", "Dataset/chat", env=env)


@pytest.mark.parametrize(
    ("touch", "told"),
    [
        (touch_spec, ["spec of TrainingRun/base", "rendered config of TrainingRun/base"]),
        (touch_data, ["data data/chat.csv"]),
        (touch_template, ["rendered config of TrainingRun/base"]),
        (touch_commit, ["commit: "]),
        (touch_record, ["commit: ", "record registry/datasets/chat.yaml: none"]),
    ],
)
def test_a_stale_plan_is_refused_naming_what_moved(root, env, touch, told):
    save(root, env)
    touch(root)
    before = records(root)
    stale = ftops(root, "apply", root.parent / "plan.json", env=env, code=4).stderr
    assert "is stale: what it was made from has moved" in stale
    assert [text for text in told if text not in stale] == []
    assert "look at the new plan" in stale
    assert records(root) == before
    moved = {
        re.match(r"(commit|spec|data|rendered config|record|engine)\b", line.strip()) for line in stale.splitlines()
    }
    assert len([each for each in moved if each]) >= len(told)


def test_labels_do_not_make_a_plan_stale_in_what_it_does_but_the_spec_has_moved(root, env):
    save(root, env)
    edit(root, "specs/all.yaml", "  name: base\n", "  name: base\n  labels: {team: docs}\n")
    stale = ftops(root, "apply", root.parent / "plan.json", env=env, code=4).stderr
    assert "spec of TrainingRun/base" in stale
    assert "rendered config" not in stale


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ("{}", "formatVersion"),
        ('{"formatVersion": "9.0", "changes": []}', "'9.0'"),
        ('{"formatVersion": "1.0", "changes": [], "seal": null}', "no seal"),
        ('{"formatVersion": "1.0", "changes": [{"address": "x"}], "seal": null}', "changes[0]"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_what_is_no_saved_plan(data_only, env, text, told):
    place = data_only.parent / "plan.json"
    place.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = ftops(data_only, "apply", place, env=env, code=4)
    assert told in done.stderr


# ----------------------------------------------------------------------------------- results for another clone


@pytest.mark.slow
def test_results_are_committed_in_another_clone(root, env, tmp_path):
    tip = git(root, "rev-parse", "HEAD")
    done = ftops(root, "apply", "--yes", "--no-commit", "--results", tmp_path / "results", env=env)
    assert "written to" in done.stdout
    assert git(root, "rev-parse", "HEAD") == tip
    assert git(root, "status", "--porcelain") == ""
    written = sorted(
        path.relative_to(tmp_path / "results").as_posix() for path in (tmp_path / "results").rglob("*.yaml")
    )
    assert written == [
        "registry/datasets/chat.yaml", "registry/models/chat/1.0.0.yaml", "registry/runs/base.yaml",
    ]  # fmt: skip

    git(tmp_path, "clone", "-q", root, "clone")
    clone = tmp_path / "clone"
    assert "commit " in ftops(clone, "commit", tmp_path / "results", env=env).stdout
    assert sorted(records(clone)) == written
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "-1", "--format=%s") == "ftops: results of base, chat"
    ftops(clone, "plan", "--detailed-exitcode", env=env)
    # The same again is no commit.
    tip = git(clone, "rev-parse", "HEAD")
    assert "recorded already" in ftops(clone, "commit", tmp_path / "results", env=env).stdout
    assert git(clone, "rev-parse", "HEAD") == tip


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("registry/runs/base.yaml", "kind: RunRecord\n", "not a record that ftops wrote"),
        (".github/workflows/evil.yml", "on: push\n", "no record of ftops; nothing was committed"),
        ("registry/../specs/all.yaml", "kind: Dataset\n", "no record of ftops; nothing was committed"),
    ],
)
def test_what_is_no_result_is_refused(data_only, env, tmp_path, name, text, told):
    place = tmp_path / "results" / name
    place.parent.mkdir(parents=True)
    (tmp_path / "results/registry").mkdir(exist_ok=True)
    place.write_text(text)
    tip = git(data_only, "rev-parse", "HEAD")
    assert told in ftops(data_only, "commit", tmp_path / "results", env=env, code=7).stderr
    assert git(data_only, "rev-parse", "HEAD") == tip
    assert git(data_only, "status", "--porcelain") == ""


def test_a_link_among_the_results_is_refused(data_only, env, tmp_path):
    (tmp_path / "results/registry/runs").mkdir(parents=True)
    (tmp_path / "secret").write_text("token")
    (tmp_path / "results/registry/runs/base.yaml").symlink_to(tmp_path / "secret")
    done = ftops(data_only, "commit", tmp_path / "results", env=env, code=7)
    assert "it is a symbolic link" in done.stderr
    assert "token" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(root, env):
    script = f"set -o pipefail; {' '.join(projects.command('plan', '--format', 'json'))} | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", script], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_push_that_fails_is_told_and_loses_nothing(data_only, env):
    edit(data_only, "ftops.yaml", "  runners:", "  git: {push: true}\n  runners:")
    commit_all(data_only, "push")
    git(data_only, "remote", "add", "origin", "/nowhere/remote.git")
    done = ftops(data_only, "apply", "--yes", env=env, code=7)
    assert "committed on main, not pushed" in done.stdout
    assert "could not be pushed" in done.stderr
    assert records(data_only)
    assert "No changes" in ftops(data_only, "apply", "--yes", env=env).stdout
