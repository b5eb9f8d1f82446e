"""Bad input, through the command line: each is a clear error or a safe behaviour, and nothing is lost by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap

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


@pytest.fixture
def env(tmp_path):
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path / "engines"))


@pytest.fixture
def root(tmp_path):
    made = projects.write(tmp_path / "project", dataset(), run(), model())
    commit_all(made)
    return made


def untouched(root):
    """That nothing was begun: no record, no store, no commit."""
    return records(root) == {} and not (root / ".ftops").exists() and git(root, "rev-list", "--count", "HEAD") == "1"


# ------------------------------------------------------------------------------------------------------- specs

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)
HEAD = "apiVersion: ftops/v1\nkind: Dataset\nmetadata: {name: more}\n"

SPECS = {
    "unknown key": (HEAD + "spec: {source: {path: a.csv}, splitt: {seed: 1}}\n", "specs/bad.yaml:4:31", "did you mean 'split'?"),
    "wrong type": (HEAD + "spec: {source: {path: a.csv}, split: {seed: often}}\n", "specs/bad.yaml:4:45", "expected an integer, found 'often'"),
    "missing reference": (
        yaml.safe_dump(run("other", dataset="chatt"), sort_keys=False), "specs/bad.yaml:6:12", "did you mean 'chat'?",
    ),
    "cycle": (
        yaml.safe_dump_all([run("one", {"run": "two"}), run("two", {"run": "one"})], sort_keys=False),
        "specs/bad.yaml", "resources need each other",
    ),
    "duplicate name": (yaml.safe_dump(dataset(), sort_keys=False), "specs/bad.yaml", "specs/all.yaml"),
    "duplicate key": (HEAD + "spec:\n  source: {path: a.csv}\n  source: {path: b.csv}\n", "specs/bad.yaml:6:3", "source"),
    "alias bomb": (BOMB, "specs/bad.yaml", "alias"),
    "tab": (HEAD + "spec:\n\tsource: {path: a.csv}\n", "specs/bad.yaml:5:1", "tab"),
    "empty file": ("", "specs/bad.yaml", "the file holds no document"),
    "binary file": (bytes(range(256)) * 8, "specs/bad.yaml", ""),
    "name with ..": (HEAD.replace("more", "../../etc") + "spec: {source: {path: a.csv}}\n", "specs/bad.yaml:3:18", "../../etc"),
    "path with ..": (HEAD + "spec: {source: {path: ../secrets.csv}}\n", "specs/bad.yaml:4:23", ".."),
    "hyperparameter of ftops's own": (
        yaml.safe_dump(run("other", hyperparameters={"output_dir": "/tmp"}), sort_keys=False),
        "specs/bad.yaml:11:5", "ftops owns it",
    ),
    "hyperparameter with a slip": (
        yaml.safe_dump(run("other", hyperparameters={"learning_rat": 0.1}), sort_keys=False),
        "specs/bad.yaml:11:5", "did you mean 'learning_rate'?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_bad_specs(root, env, name):
    text, place, told = SPECS[name]
    (root / "specs/bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for command in (("validate",), ("apply", "--yes")):
        done = ftops(root, *command, env=env, code=3)
        said = done.stdout + done.stderr
        assert place in said, said
        assert told in said, said
    assert untouched(root)


def test_a_spec_of_fifty_megabytes(root, env):
    with (root / "specs/big.yaml").open("wb") as file:
        file.truncate(50 * 2**20)
    done = ftops(root, "plan", env=env, code=3)
    assert "specs/big.yaml" in done.stderr
    assert "52,428,800 bytes" in done.stderr
    assert untouched(root)


# --------------------------------------------------------------------------------------------------- templates

TEMPLATES = {
    "undefined name": ("micro_batch_size: {{ batch }}\n", "'batch' is undefined"),
    "calls out": ("{{ ''.__class__.__mro__[1].__subclasses__() }}\n", "unsafe"),
    "reads a file": ("{% include '/etc/passwd' %}\n", "/etc/passwd"),
    "eats memory": ("{% set x = 'a' * (10 ** 11) %}{{ x }}\n", "more memory"),
    "writes without end": ("{% for n in range(99999) %}{{ 'x' * 99999 }}{% endfor %}\n", "more memory"),
    "bad syntax": ("{% if %}\n", "templates/axolotl/full.yaml.j2:1"),
    "no YAML": ("a: [\n", ""),
    "unknown key": (
        "{% extends 'axolotl/sft.yaml.j2' %}{% set learning_rate = 1 %}{% block method %}\nnum_epoch: 3\n{% endblock %}\n",
        "num_epochs",
    ),
    "takes what ftops decides": (
        "{% extends 'axolotl/sft.yaml.j2' %}{% set learning_rate = 1 %}{% block method %}\noutput_dir: /etc\n{% endblock %}\n",
        "output_dir",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_bad_templates(root, env, name):
    text, told = TEMPLATES[name]
    place = root / "templates/axolotl/full.yaml.j2"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    done = ftops(root, "plan", env=env, code=3, timeout=120)
    assert "TrainingRun/base" in done.stderr
    assert told in done.stderr, done.stderr
    assert "root:" not in done.stdout + done.stderr
    assert ftops(root, "apply", "--yes", env=env, code=3, timeout=120).stderr == done.stderr
    assert untouched(root)


# --------------------------------------------------------------------------------------------------------- git


def data_only(tmp_path):
    return projects.write(tmp_path / "data-only", dataset())


def test_a_dirty_work_tree_is_applied_and_its_edits_stay(tmp_path, env):
    root = data_only(tmp_path)
    (root / "notes.txt").write_text("one\n")
    start = commit_all(root)
    edit(root, "specs/all.yaml", "path: data/chat.csv", "path: data/chat.csv\n    sizeLimit: 1MiB")
    (root / "notes.txt").write_text("two\n")
    git(root, "add", "notes.txt")
    (root / "notes.txt").write_text("three\n")
    before = git(root, "diff"), git(root, "diff", "--cached")
    ftops(root, "apply", "--yes", env=env)
    assert (git(root, "diff"), git(root, "diff", "--cached")) == before
    assert trailers(root)["Ftops-Input-Dirty"] == "true"
    assert trailers(root)["Ftops-Input-Commit"] == start
    assert git(root, "diff", "--name-only", start, "HEAD").split() == [
        f"registry/datasets/chat.{form}" for form in ("html", "md", "yaml")
    ]


def test_no_repository(tmp_path, env):
    root = data_only(tmp_path)
    ftops(root, "plan", env=env)
    done = ftops(root, "apply", "--yes", env=env, code=64)
    assert "is not in a git repository" in done.stderr
    assert "--no-commit --results DIR" in done.stderr
    assert not (root / "registry").exists()
    ftops(root, "apply", "--yes", "--no-commit", "--results", tmp_path / "results", env=env)
    assert (tmp_path / "results/registry/datasets/chat.yaml").exists()
    assert "is not in a git repository" in ftops(root, "commit", tmp_path / "results", env=env, code=64).stderr


def test_detached_head(tmp_path, env):
    root = data_only(tmp_path)
    tip = commit_all(root)
    git(root, "checkout", "-q", "--detach")
    ftops(root, "plan", env=env)
    done = ftops(root, "apply", "--yes", env=env, code=7)
    assert "HEAD is detached" in done.stderr
    assert "git switch BRANCH" in done.stderr
    assert git(root, "rev-parse", "HEAD") == tip
    edit(root, "ftops.yaml", "  runners:", "  git: {branch: main}\n  runners:")
    ftops(root, "apply", "--yes", env=env)
    assert git(root, "rev-parse", "HEAD") == tip
    assert git(root, "log", "-1", "--format=%s", "main") == "ftops: Dataset/chat prepared"
    ftops(root, "plan", "--detailed-exitcode", env=env)


def test_no_commits(tmp_path, env):
    root = data_only(tmp_path)
    git(root, "init", "-q", "-b", "main")
    ftops(root, "plan", env=env)
    ftops(root, "apply", "--yes", env=env)
    assert git(root, "ls-tree", "-r", "--name-only", "HEAD").split() == [
        f"registry/datasets/chat.{form}" for form in ("html", "md", "yaml")
    ]
    assert "Ftops-Input-Commit" not in trailers(root)
    ftops(root, "plan", "--detailed-exitcode", env=env)


def test_a_record_with_conflict_markers(tmp_path, env):
    root = data_only(tmp_path)
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    place = root / "registry/datasets/chat.yaml"
    place.write_text(f"<<<<<<< HEAD\n{place.read_text()}=======\n>>>>>>> other\n")
    commit_all(root, "badly merged")
    done = ftops(root, "plan", env=env, code=7)
    assert "registry/datasets/chat.yaml: not a record that ftops wrote" in done.stderr


# ------------------------------------------------------------------------------------------------------- disks


def in_a_mount_of_its_own(root, options, arguments, env):
    """Run ftops where `.ftops` is a file system of its own that only this process sees."""
    script = textwrap.dedent(f"""
        set -e
        mount -t tmpfs -o size=4m tmpfs .ftops
        {options}
        exec "$@"
    """)
    command = ["unshare", "--mount", "bash", "-c", script, "bash", *projects.command(*arguments)]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False, timeout=120)


needs_mounts = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to mount",
)


@needs_mounts
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("mount -o remount,ro .ftops", "Read-only file system"),
        ("head -c 4096k /dev/zero > .ftops/full || true", "No space left on device"),
        ("head -c 4000k /dev/zero > .ftops/full", "No space left on device"),
    ],
    ids=["read-only", "full", "nearly full"],
)
def test_a_store_that_cannot_be_written(tmp_path, env, options, told):
    """The rows take 200 KiB, and the store has less, or nothing, or may not be written."""
    root = projects.write(tmp_path / "project", dataset(), run(), files={"data/chat.csv": projects.rows(4000)})
    commit_all(root)
    (root / ".ftops").mkdir()
    assert in_a_mount_of_its_own(root, options, ["plan"], env).returncode == 0
    done = in_a_mount_of_its_own(root, options, ["apply", "--yes"], env)
    said = done.stdout + done.stderr
    assert done.returncode == 7, said
    assert told in said
    assert "Traceback" not in said
    assert "set `store` in ftops.yaml to another disk" in said
    assert records(root) == {}
    assert git(root, "status", "--porcelain") == ""
    shutil.rmtree(root / ".ftops")
    ftops(root, "apply", "--yes", "--target", "Dataset/chat", env=env)  # with room, it goes on


def test_a_file_where_the_store_should_be(root, env):
    (root / ".ftops").write_text("mine\n")
    ftops(root, "plan", env=env)
    done = ftops(root, "apply", "--yes", env=env, code=7)
    assert "cannot write" in done.stderr
    assert ".ftops" in done.stderr
    assert (root / ".ftops").read_text() == "mine\n"
    assert records(root) == {}


# -------------------------------------------------------------------------------------------------------- data


def test_data_missing(root, env):
    (root / "data/chat.csv").unlink()
    for command in (("plan",), ("apply", "--yes")):
        done = ftops(root, *command, env=env, code=4)
        assert "data/chat.csv: no such file, and no .dvc pointer covers it" in done.stderr
        assert "Dataset/chat" in done.stderr
    assert untouched(root)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("question,answer\na,b\n", "'Q'"),
        ("Q,A\na\n", "expected 2 fields as in the header, found 1"),
        ("Q,A\n,b\n", "row 1"),
        (b"Q,A\n\xff\xfe,b\n", "UTF-8"),
        ("", ""),
        ("Q,A\n", "no rows"),
    ],
    ids=["no mapped column", "short row", "empty field", "not UTF-8", "empty", "no rows"],
)
def test_data_that_does_not_pass(root, env, text, told):
    (root / "data/chat.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    ftops(root, "plan", env=env)
    done = ftops(root, "apply", "--yes", env=env, code=5)
    assert "data/chat.csv" in done.stdout
    assert told in done.stdout, done.stdout
    assert "TrainingRun/base: skipped, because Dataset/chat failed" in done.stdout
    assert records(root) == {}
    assert list((root / ".ftops/data").iterdir()) == []


def test_a_data_file_that_is_a_link(root, env, tmp_path):
    (tmp_path / "secret.csv").write_text(projects.rows())
    (root / "data/chat.csv").unlink()
    (root / "data/chat.csv").symlink_to(tmp_path / "secret.csv")
    done = ftops(root, "plan", env=env, code=7)
    assert "it is a symbolic link" in done.stderr


@pytest.fixture
def tracked(tmp_path, env):
    """A project whose data is behind a DVC pointer for its folder, with a remote inside the repository."""
    root = data_only(tmp_path)
    git(root, "init", "-q", "-b", "main")

    def dvc(*arguments):
        command = [projects.sys.executable, "-m", "dvc", "-q", *arguments]
        done = subprocess.run(command, cwd=root, env={**env, "DVC_NO_ANALYTICS": "1"}, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    dvc("init")
    dvc("config", "core.analytics", "false")
    dvc("remote", "add", "-d", "here", str(root / "remote"))
    dvc("add", "data")
    dvc("push")
    commit_all(root)
    return root


@pytest.mark.slow
def test_data_behind_a_pointer(tracked, env):
    """Absent, it is fetched; changed since the pointer, the plan warns and apply refuses, whatever else is recorded."""
    shutil.rmtree(tracked / "data")
    planned = ftops(tracked, "plan", env=env).stdout
    assert "fetch data/chat.csv from the DVC remote" in planned
    (tracked / "data").mkdir()
    (tracked / "data/chat.csv").write_text(projects.rows(61))
    planned = ftops(tracked, "plan", env=env).stdout
    warning = "Dataset/chat: data/chat.csv changed since its pointer, and the pointer counts"
    assert warning in planned
    assert "dvc add data" in planned
    done = ftops(tracked, "apply", "--yes", env=env, code=7)
    assert "data/chat.csv changed since its pointer" in done.stdout
    assert "undo it: dvc checkout data.dvc" in done.stdout
    assert records(tracked) == {}

    shutil.rmtree(tracked / "data")
    ftops(tracked, "apply", "--yes", env=env)
    assert (tracked / "data/chat.csv").read_text() == projects.rows()
    assert "changed since" not in ftops(tracked, "plan", "--detailed-exitcode", env=env).stdout
    # What is prepared stays as recorded, and the plan goes on warning.
    (tracked / "data/chat.csv").write_text(projects.rows(62))
    assert warning in ftops(tracked, "plan", "--detailed-exitcode", env=env).stdout


@pytest.mark.slow
def test_data_that_the_remote_has_lost(tracked, env):
    for lost in ("data", "remote", ".dvc/cache"):
        shutil.rmtree(tracked / lost)
    done = ftops(tracked, "apply", "--yes", env=env, code=7)
    assert "dvc could not pull data/chat.csv" in done.stdout
    assert records(tracked) == {}


# ----------------------------------------------------------------------------------------------------- project


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("executor: local", "executor: magic", "magic"),
        ("  runners:", "  store: ../elsewhere\n  runners:", ".."),
        ("  runners:", "  requires: '>=99'\n  runners:", ">=99"),
        ("  runners:", "  defaultRunner: gpu\n  runners:", "not among the runners"),
        ("specs: [specs]", "specs: [specz]", "specz"),
        ("kind: Project", "kind: Projekt", "Projekt"),
    ],
)
def test_a_bad_project_file(root, env, before, after, told):
    edit(root, "ftops.yaml", before, after)
    done = ftops(root, "plan", env=env, code=3)
    assert "ftops.yaml" in done.stderr
    assert told in done.stderr
    assert untouched(root)


def test_a_variable_of_the_environment_that_is_not_set(root, env):
    edit(root, "ftops.yaml", "  runners:", "  tracking: {mlflow: {env: TRACKING_URI}}\n  runners:")
    ftops(root, "plan", env=env)
    done = ftops(root, "apply", "--yes", env=env, code=64)
    assert "the environment variable TRACKING_URI is not set" in done.stderr
    assert records(root) == {}


def test_a_password_in_a_uri_is_never_shown(root, env):
    uri = "ftp://user:s3cret@example.com/mlflow"
    done = ftops(root, "apply", "--yes", env={**env, "MLFLOW_TRACKING_URI": uri}, code=3)
    assert "example.com" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_base_model_that_is_not_there(tmp_path, env):
    root = projects.write(tmp_path / "project", dataset(), run(base_model={"path": "models/none"}))
    commit_all(root)
    done = ftops(root, "plan", env=env, code=4)
    assert "models/none: no such model folder" in done.stderr
    assert "TrainingRun/base" in done.stderr


def test_an_unknown_kind_is_told_with_the_kinds(root, env):
    spec = yaml.safe_dump(document("Pipeline", "p", {}), sort_keys=False)
    (root / "specs/bad.yaml").write_text(spec)
    assert "Pipeline" in ftops(root, "plan", env=env, code=3).stderr


def test_a_folder_that_may_not_be_read(root, env):
    """A named pipe among the specs: reading it would wait for ever."""
    os.mkfifo(root / "specs/pipe.yaml")
    done = ftops(root, "plan", env=env, code=3, timeout=30)
    assert "this is no regular file" in done.stderr
