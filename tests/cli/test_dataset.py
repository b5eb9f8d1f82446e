"""`ftops dataset`: files are checked without a project, tracked by DVC itself, compared, and their space is freed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, records, run

QA = ("--columns", "instruction=Q,output=A")


@pytest.fixture
def env(tmp_path):
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path / "engines"))


@pytest.fixture
def folder(tmp_path):
    """A folder that is no project, with a sound file and a bad one."""
    place = tmp_path / "files"
    place.mkdir()
    (place / "sound.csv").write_text(projects.rows(40))
    rows = [
        {"instruction": "Who is it?", "output": "Write to someone@example.com, they know."},
        {"instruction": "Say it again, please.", "output": "This was said before."},
        {"instruction": "Say it again, please.", "output": "This was said before."},
        {"instruction": "There is no answer.", "output": ""},
    ]
    (place / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.fixture
def prepared(tmp_path, env):
    """A committed project with a data set that was prepared twice: a row added, one removed, one with another answer."""
    root = projects.write(tmp_path / "project", dataset())
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    change(root)
    commit_all(root)
    return root


def change(root):
    place = root / "data/chat.csv"
    lines = place.read_text().splitlines()
    lines[5] = lines[5].replace("count on from", "go on from")
    place.write_text("\n".join([*lines[:10], *lines[11:], '"A new one?","Yes, it is."']) + "\n")


def held(root):
    return {each.name for each in (root / ".ftops/data").iterdir()}


# ----------------------------------------------------------------------------------------------------- check


def test_a_sound_file_needs_no_project(folder, env):
    done = ftops(folder, "dataset", "check", "sound.csv", *QA, env=env)
    assert "40" in done.stdout
    assert done.stderr == "read as rows of shape instruction, by the columns (--shape says another)\n"
    assert ftops(folder, "dataset", "check", "sound.csv", *QA, "--shape", "instruction", env=env).stderr == ""
    assert [each.name for each in folder.iterdir() if each.name not in ("sound.csv", "bad.jsonl")] == []


def test_what_is_not_valid_exits_with_5_and_says_where(folder, env):
    done = ftops(folder, "dataset", "check", "bad.jsonl", env=env, code=5)
    assert "bad.jsonl:4" in done.stdout
    assert "someone@example.com" not in done.stdout + done.stderr
    tree = json.loads(ftops(folder, "dataset", "check", "bad.jsonl", "--format", "json", env=env, code=5).stdout)
    assert (tree["rows"], tree["valid"]) == (4, False)
    assert tree["summary"]["pii"] == {"email": 1}
    assert tree["summary"]["duplicates"]["exactRows"] == 1
    assert {each["check"] for each in tree["findings"]} >= {"format", "pii", "duplicates"}
    assert all(each["row"] in (1, 3, 4) for each in tree["findings"] if each["check"] != "quality")


def test_a_page_and_a_table_are_written_without_the_data(folder, env):
    arguments = ("dataset", "check", "bad.jsonl", "--report", "out.html", "--findings", "out.csv")
    ftops(folder, *arguments, env=env, code=5)
    page, table = (folder / "out.html").read_text(), (folder / "out.csv").read_text(encoding="utf-8-sig")
    assert page.startswith("<!DOCTYPE html>")
    assert "someone@example.com" not in page + table
    assert "<script" not in page
    assert {each["check"] for each in csv.DictReader(io.StringIO(table))} >= {"format", "pii", "duplicates"}


def test_first_findings_or_all(folder, env):
    rows = "".join('{"instruction": "a question?", "output": ""}\n' for _ in range(50))
    (folder / "many.jsonl").write_text(rows + '{"instruction": "a question?", "output": "an answer"}\n')
    few = json.loads(ftops(folder, "dataset", "check", "many.jsonl", "--format", "json", env=env, code=5).stdout)
    everything = ("dataset", "check", "many.jsonl", "--format", "json", "--all")
    assert len(few["findings"]) == 20
    assert len(json.loads(ftops(folder, *everything, env=env, code=5).stdout)["findings"]) >= 50


def test_several_files_are_read_as_one(folder, env):
    done = ftops(folder, "dataset", "check", "sound.csv", "sound.csv", *QA, "--format", "json", env=env)
    assert json.loads(done.stdout)["summary"]["duplicates"]["exactRows"] == 40


def test_rows_that_another_file_has_too(folder, env):
    (folder / "test.csv").write_text("\n".join(projects.rows(40).splitlines()[:4]) + "\n")
    done = ftops(
        folder, "dataset", "check", "sound.csv", *QA, "--against", "test.csv", "--format", "json", env=env
    )  # fmt: skip
    found = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "contamination"]
    assert [each["row"] for each in found] == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("sound.csv",), 64, "cannot tell what a row is"),
        (("sound.csv", "--columns", "instruction"), 64, "is no FIELD=COLUMN"),
        (("sound.csv", "--columns", "question=Q,output=A", "--shape", "instruction"), 64, "question is no field"),
        (("sound.csv", *QA, "--size-limit", "12"), 64, "a number with a unit"),
        (("sound.csv", *QA, "--size-limit", "12B"), 5, "--size-limit"),
        (("sound.csv", *QA, "--threshold", "0.5"), 64, "--threshold"),
        (("sound.csv", "s3://bucket/rows.csv", *QA), 64, "a URL is read by itself"),
        (("missing.csv", *QA), 7, "missing.csv"),
        (("sound.csv", "--columns", "instruction=Q,output=B"), 5, "'B'"),
    ],
)
def test_what_cannot_be_meant(folder, env, arguments, code, told):
    done = ftops(folder, "dataset", "check", *arguments, env=env, code=code)
    assert told in done.stderr
    assert done.stdout == ""


def test_a_data_set_of_the_project_is_checked_as_its_spec_says(tmp_path, env):
    root = projects.write(tmp_path / "project", dataset())
    assert "60" in ftops(root, "dataset", "check", "chat", env=env).stdout
    assert "60" in ftops(root, "dataset", "check", "Dataset/chat", env=env).stdout
    told = ftops(root, "dataset", "check", "chat", "--threshold", "0.8", env=env, code=64).stderr
    assert "as its spec says" in told
    assert "did you mean 'chat'" in ftops(root, "dataset", "check", "chats", env=env, code=64).stderr
    assert not (root / ".ftops").exists()


def test_rows_that_cannot_be_read_say_no_shape(folder, env):
    (folder / "broken.jsonl").write_text('{"instruction":"a","output":NaN}\n')
    assert (
        "none of the first ones can be read"
        in ftops(folder, "dataset", "check", "broken.jsonl", env=env, code=64).stderr
    )
    done = ftops(folder, "dataset", "check", "broken.jsonl", "--shape", "instruction", env=env, code=5)
    assert "broken.jsonl:1: row 1: not readable as JSON" in done.stdout


def test_an_interrupted_check_leaves_nothing_behind(folder, env):
    rows = "".join(
        f'{{"instruction": "question {n} of many?", "output": "answer {n} to it"}}\n' for n in range(150_000)
    )
    (folder / "large.jsonl").write_text(rows)
    scratch = folder / "tmp"
    scratch.mkdir()
    command = projects.command("dataset", "check", "large.jsonl", "--report", "out.html")
    started = subprocess.Popen(
        command, cwd=folder, env=env | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not any(scratch.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert list(scratch.iterdir()) == []
    assert not (folder / "out.html").exists()


def test_an_interrupt_while_a_class_is_being_made_has_the_same_exit_code(tmp_path, env):
    """Python ends by the signal when an interrupt left code run from a string, as dataclasses do, even if caught."""
    (tmp_path / "interrupted.py").write_text(
        "import ftops.cli as cli\n"
        "def interrupted(**_): exec('raise KeyboardInterrupt')\n"
        "cli.ftops.main = interrupted\n"
        "cli.main()\n"
    )
    started = (sys.executable, "-m", "interrupted")  # a script's end is another than a module's
    said = subprocess.run(started, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr.split(":")[0]) == (130, "interrupted")


# --------------------------------------------------------------------------------------------- add, pull, push


@pytest.fixture
def tracked(tmp_path, env):
    """A project of DVC, with a remote that is a folder."""
    root = projects.write(tmp_path / "project", dataset())
    git(root, "init", "-q", "-b", "main")
    dvc = (sys.executable, "-m", "dvc")
    for arguments in (("init", "-q"), ("remote", "add", "-q", "-d", "here", "./dvc-remote")):
        subprocess.run((*dvc, *arguments), cwd=root, env=env, check=True)
    commit_all(root)
    return root


@pytest.mark.slow
def test_add_then_push_then_pull_somewhere_else(tracked, env):
    (tracked / "datasets").mkdir()
    (tracked / "datasets/more.csv").write_text(projects.rows(30))
    done = ftops(
        tracked, "dataset", "add", "datasets/more.csv", *QA, "--write", "specs/more.yaml", env=env
    )  # fmt: skip
    assert done.stdout == ""
    assert "to commit: datasets/more.csv.dvc, specs/more.yaml" in done.stderr
    written = yaml.safe_load((tracked / "specs/more.yaml").read_text())
    assert written == {
        "apiVersion": "ftops/v1",
        "kind": "Dataset",
        "metadata": {"name": "more"},
        "spec": {
            "source": {"path": "datasets/more.csv", "columns": {"instruction": "Q", "output": "A"}},
            "shape": "instruction",
        },
    }
    assert "Valid: 2 resources" in ftops(tracked, "validate", env=env).stdout
    assert "datasets/more.csv.dvc" in ftops(tracked, "dataset", "push", "more", env=env).stdout
    (tracked / "datasets/more.csv").unlink()
    subprocess.run(("rm", "-rf", ".dvc/cache"), cwd=tracked, check=True)
    ftops(tracked, "dataset", "pull", env=env)
    assert (tracked / "datasets/more.csv").read_text() == projects.rows(30)


@pytest.mark.slow
def test_add_refuses_and_changes_nothing(tracked, env):
    (tracked / "bad.jsonl").write_text('{"instruction": "no answer", "output": ""}\n')
    assert "is not valid" in ftops(tracked, "dataset", "add", "bad.jsonl", env=env, code=5).stderr
    assert not (tracked / "bad.jsonl.dvc").exists()
    sound = ("data/chat.csv", *QA)
    taken = ftops(tracked, "dataset", "add", *sound, "--write", "specs/all.yaml", env=env, code=64).stderr
    assert "is there already" in taken
    assert "is no name" in ftops(tracked, "dataset", "add", *sound, "--name", "A name", env=env, code=64).stderr
    (tracked.parent / "outside.csv").write_text(projects.rows(3))
    assert "outside of the project" in ftops(tracked, "dataset", "add", "../outside.csv", *QA, env=env, code=64).stderr
    assert "DVC tracks no file of chat" in ftops(tracked, "dataset", "push", "chat", env=env, code=64).stderr
    assert "did you mean 'chat'" in ftops(tracked, "dataset", "pull", "chats", env=env, code=64).stderr
    assert git(tracked, "status", "--porcelain", "--untracked-files=no") == ""


# ----------------------------------------------------------------------------------------------- diff and plan


def test_files_are_compared_without_a_project(folder, env):
    (folder / "other.csv").write_text(projects.rows(41).replace("It is 1;", "That is 1;"))
    done = ftops(folder, "dataset", "diff", "sound.csv", "other.csv", *QA, env=env)
    assert "1 added, 0 removed, 1 changed, 39 the same." in done.stdout
    assert "That is 1" not in done.stdout
    assert (
        "output + That is 1"
        in ftops(folder, "dataset", "diff", "sound.csv", "other.csv", *QA, "--show", env=env).stdout
    )


@pytest.mark.slow
def test_the_plan_says_how_the_rows_differ(prepared, env):
    assert "rows: +1 \N{MINUS SIGN}1 ~1" in ftops(prepared, "plan", env=env).stdout
    assert "rows&#58; &#43;1 \N{MINUS SIGN}1 ~1" in ftops(
        prepared, "plan", "--format", "markdown", env=env
    ).stdout.replace("&#126;", "~")
    tree = json.loads(ftops(prepared, "plan", "--format", "json", env=env).stdout)
    assert tree["changes"][0]["rows"] == {"added": 1, "removed": 1, "changed": 1}
    git(prepared, "checkout", "-q", "HEAD~1", "--", "data/chat.csv")
    edit(prepared, "specs/all.yaml", "      output: A\n", "      output: A\n  onInvalid: skip\n")
    assert "rows: the same" in ftops(prepared, "plan", env=env).stdout
    (prepared / "data/chat.csv").write_text('Q,A\n"never closed,\n')
    assert "rows: not compared" in ftops(prepared, "plan", env=env).stdout
    subprocess.run(("rm", "-rf", ".ftops/data"), cwd=prepared, check=True)
    assert "rows:" not in ftops(prepared, "plan", env=env).stdout


@pytest.mark.slow
def test_versions_of_a_data_set_are_compared_by_their_records(prepared, env):
    before = git(prepared, "rev-parse", "HEAD~1")
    ftops(prepared, "apply", "--yes", env=env)
    done = ftops(prepared, "dataset", "diff", f"chat@{before}", "chat", "--format", "json", env=env)
    tree = json.loads(done.stdout)
    assert (tree["added"], tree["removed"], tree["changed"]) == (1, 1, 1)
    assert tree["moved"] == 0
    assert tree["rows"]["added"][0]["file"] == f"{tree['rows']['added'][0]['split']}.jsonl"
    assert (
        "0 added, 0 removed, 0 changed"
        in ftops(prepared, "dataset", "diff", "chat", "data/chat.csv", *QA, env=env).stdout
    )
    told = ftops(prepared, "dataset", "diff", "chat@no-such", "chat", env=env, code=64).stderr
    assert "git knows no revision" in told
    assert "did you mean 'chat'" in ftops(prepared, "dataset", "diff", "chat", "chats", env=env, code=64).stderr


# ----------------------------------------------------------------------------------------------------- prune


@pytest.mark.slow
def test_prune_frees_what_is_not_current_and_keeps_records(prepared, env):
    old = held(prepared)
    ftops(prepared, "apply", "--yes", env=env)
    assert len(held(prepared)) == 2
    told = ftops(prepared, "dataset", "prune", env=env, code=64)
    assert "pass --yes" in told.stderr
    assert len(held(prepared)) == 2
    head = git(prepared, "rev-parse", "HEAD")
    assert "Freed" in ftops(prepared, "dataset", "prune", "--yes", env=env).stdout
    assert held(prepared).isdisjoint(old)
    assert len(held(prepared)) == 1
    assert git(prepared, "rev-parse", "HEAD") == head, "nothing that a record says has changed"
    assert "Nothing to free" in ftops(prepared, "dataset", "prune", "--yes", env=env).stdout
    assert "No changes" in ftops(prepared, "plan", env=env).stdout


@pytest.mark.slow
def test_prune_of_a_current_version_is_recorded_and_undone_by_who_needs_it(tmp_path, env):
    root = projects.write(tmp_path / "project", dataset())
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    before = records(root)["registry/datasets/chat.yaml"]["status"]
    assert "did you mean 'chat'" in ftops(root, "dataset", "prune", "chats", env=env, code=64).stderr
    ftops(root, "dataset", "prune", "chat", "--yes", env=env)
    after = records(root)["registry/datasets/chat.yaml"]["status"]
    assert after == {**before, "phase": "pruned"}
    assert held(root) == set()
    assert list((root / ".ftops/cache/data").iterdir()) == []
    assert git(root, "log", "-1", "--format=%s") == "ftops: Dataset/chat pruned"
    assert "Nothing to free" in ftops(root, "dataset", "prune", "chat", env=env).stdout
    projects.write(root, dataset(), run())
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    assert held(root) == {before["digest"]}


@pytest.mark.slow
def test_prune_leaves_alone_what_a_training_uses(tmp_path, env):
    """The training is one that runs: its wrapper holds the lock of its attempt."""
    root = projects.write(tmp_path / "project", dataset(), run(hyperparameters={"num_epochs": 100}))
    commit_all(root)
    started = subprocess.Popen(projects.command("apply", "--yes"), cwd=root, env=env, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list(root.glob(".ftops/runs/*/attempt-1/events.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.1)
        started.send_signal(signal.SIGINT)
        started.wait(timeout=60)
        told = ftops(root, "dataset", "prune", "chat", "--yes", env=env, code=7).stderr
        assert "trains on it" in told
        assert len(held(root)) == 1
    finally:
        for handle in root.glob(".ftops/runs/*/attempt-1/handle.json"):
            os.killpg(json.loads(handle.read_text())["pid"], signal.SIGKILL)
