"""Whatever the user has staged, edited or not yet added: a commit of records leaves it as it was."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftops.git.commit import CommitRequest, commit_records
from ftops.git.repository import open_repository

TRACKED = ("readme.md", "specs/a.yaml", "specs/b c.yaml", "registry/kept.yaml")
NEW = ("new.txt", "specs/new.yaml", "registry/new.yaml", "dir/ü.txt")
COMMITTED = {"registry/runs/a.yaml": b"phase: done\n", "registry/models/m/1.0.0.yaml": b"version: 1.0.0\n"}
CONTENTS = st.sampled_from(["", "one\n", "two\r\n", "\0binary", "no newline"])
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(TRACKED + NEW), CONTENTS),
        st.tuples(st.just("stage"), st.sampled_from(TRACKED + NEW), st.just("")),
        st.tuples(st.just("delete"), st.sampled_from(TRACKED), st.just("")),
        st.tuples(st.just("unstage"), st.sampled_from(TRACKED), st.just("")),
        st.tuples(st.just("intend"), st.sampled_from(NEW), st.just("")),
        st.tuples(st.just("chmod"), st.sampled_from(TRACKED), st.just("")),
    ),
    max_size=8,
)


def git(folder: Path, *argv: str) -> bytes:
    return subprocess.run(["git", *argv], cwd=folder, capture_output=True, check=False).stdout


def make(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    for name in (*TRACKED, "registry/runs/a.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")


def edit(folder: Path, how: str, name: str, content: str) -> None:
    path = folder / name
    match how:
        case "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode())
        case "stage":
            git(folder, "add", "-A", "--", name)
        case "delete":
            path.unlink(missing_ok=True)
        case "unstage":
            git(folder, "rm", "-q", "--cached", "--", name)
        case "intend":
            git(folder, "add", "-N", "--", name)
        case "chmod":
            if path.exists():
                path.chmod(0o755)


def seen(folder: Path) -> tuple[list[bytes], list[bytes], dict[str, tuple[bytes, int]]]:
    """Status, index and files, without what is committed."""
    status = list(git(folder, "status", "--porcelain", "-z", "-uall").split(b"\0"))
    index = list(git(folder, "ls-files", "-s", "-z").split(b"\0"))
    files = {
        name: (path.read_bytes(), path.stat().st_mode)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (name := path.relative_to(folder).as_posix()).startswith(".git/")
    }
    mine = [name.encode() for name in COMMITTED]
    return (
        [line for line in status if line[3:] not in mine],
        [line for line in index if line.partition(b"\t")[2] not in mine],
        {name: content for name, content in files.items() if name not in COMMITTED},
    )


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EDITS)
def test_what_the_user_has_stays_as_it_was(edits):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        for each in edits:
            edit(folder, *each)
        before = seen(folder)
        repository = open_repository(folder)
        commit = commit_records(
            repository, CommitRequest(lambda _: COMMITTED, "records", "ftops <ftops@localhost>", {"Ftops-Run": "a-1"})
        )
        assert seen(folder) == before
        assert commit.left_alone == ()
        assert {path: (folder / path).read_bytes() for path in COMMITTED} == COMMITTED
        assert git(folder, "diff", "--name-only", "HEAD", "--", *COMMITTED) == b""
        assert git(folder, "diff", "--name-only", "HEAD~1", "HEAD").decode().split() == sorted(COMMITTED)


RECORD_EDITS = st.lists(
    st.tuples(st.sampled_from(["write", "stage", "unstage"]), st.sampled_from(sorted(COMMITTED)), CONTENTS), max_size=5
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORD_EDITS)
def test_an_edit_of_a_record_is_never_overwritten(edits):
    """The committed files themselves: what the user wrote there stays in the work tree, and the commit is whole."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        original = {path: (folder / path).read_bytes() for path in COMMITTED if (folder / path).exists()}
        for each in edits:
            edit(folder, *each)
        files = {path: (folder / path).read_bytes() for path in COMMITTED if (folder / path).exists()}
        commit = commit_records(
            open_repository(folder), CommitRequest(lambda _: COMMITTED, "records", "ftops <ftops@localhost>", {})
        )
        for path, content in COMMITTED.items():
            assert git(folder, "show", f"HEAD:{path}") == content
            now = (folder / path).read_bytes()
            if path in files and files[path] != original.get(path):
                assert now == files[path]
            if now != content:
                assert path in commit.left_alone
