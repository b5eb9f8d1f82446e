"""Commits and pushes on real repositories: what lands, what stays as it was, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from ftops.errors import ExternalError
from ftops.git import branch as branch_room
from ftops.git.branch import heal
from ftops.git.commit import CommitRequest, commit_records
from ftops.git.push import PushState, push_records
from ftops.git.repository import Head, open_repository

AUTHOR = "ftops <ftops@localhost>"
RECORD = "registry/runs/a.yaml"


def git(folder: Path, *argv: str, check: bool = True) -> str:
    done = subprocess.run(["git", *argv], cwd=folder, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


def status(folder: Path) -> str:
    return git(folder, "status", "--porcelain", "--untracked-files=all")


def request(files: dict[str, str], **options) -> CommitRequest:
    contents = {path: text.encode() for path, text in files.items()}
    return CommitRequest(
        merge=lambda _: contents, subject="records", author=AUTHOR, trailers={"Ftops-Run": "a-1"}, **options
    )


def appending(path: str, line: str, **options) -> CommitRequest:
    """A request whose merge keeps every line that is there already."""

    def merge(tip):
        lines = {*(tip.read(path) or b"").decode().splitlines(), line}
        return {path: ("\n".join(sorted(lines)) + "\n").encode()}

    return CommitRequest(merge, "append", AUTHOR, {"Ftops-Run": line}, **options)


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "repo"
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    (folder / "readme.md").write_text("hello\n")
    (folder / "registry/runs").mkdir(parents=True)
    (folder / RECORD).write_text("phase: pending\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def remote(tmp_path, repo):
    """A bare remote, with `repo` as a clone of it."""
    bare = tmp_path / "remote.git"
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    git(repo, "remote", "add", "origin", str(bare))
    git(repo, "fetch", "-q", "origin")
    return bare


def clone(remote: Path, folder: Path) -> Path:
    git(folder.parent, "clone", "-q", str(remote), str(folder))
    return folder


def opened(folder: Path):
    repository = open_repository(folder)
    assert repository is not None
    return repository


# ---------------------------------------------------------------------------------------------------- reading


def test_no_repository(tmp_path):
    assert open_repository(tmp_path) is None


def test_git_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExternalError, match="git is not installed"):
        open_repository(tmp_path)


def test_head_attached_unborn_detached(repo, tmp_path):
    commit = git(repo, "rev-parse", "HEAD").strip()
    assert opened(repo).head() == Head("main", commit)
    git(repo, "checkout", "-q", "--detach")
    assert opened(repo).head() == Head(None, commit)
    git(tmp_path, "init", "-q", "-b", "trunk", "fresh")
    assert opened(tmp_path / "fresh").head() == Head("trunk", None)


def test_a_branch_whose_name_is_also_a_tag(repo):
    git(repo, "tag", "main", git(repo, "commit-tree", "-m", "other", "HEAD^{tree}").strip())
    assert opened(repo).tip("main") == git(repo, "rev-parse", "refs/heads/main").strip()
    assert opened(repo).head().branch == "main"


def test_dirty_names_changed_staged_and_untracked(repo):
    (repo / "readme.md").write_text("changed\n")
    (repo / "specs").mkdir()
    (repo / "specs/ü b.yaml").write_text("new\n")
    repository = opened(repo)
    assert repository.dirty() == ("readme.md", "specs/ü b.yaml")
    assert repository.dirty(["specs"]) == ("specs/ü b.yaml",)
    assert repository.dirty(["registry", "*.md"]) == ()


def test_reading_changes_nothing(repo):
    index = (repo / ".git/index").read_bytes()
    os.utime(repo / "readme.md", (1, 1))
    repository = opened(repo)
    assert repository.dirty() == ()
    assert repository.read("HEAD", RECORD) == b"phase: pending\n"
    assert (repo / ".git/index").read_bytes() == index


def test_read_refuses_links_and_folders(repo):
    (repo / "registry/link.yaml").symlink_to("/etc/passwd")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "link")
    repository = opened(repo)
    assert repository.read("HEAD", "registry/link.yaml") is None
    assert repository.read("HEAD", "registry") is None
    assert repository.read("HEAD", "registry/absent.yaml") is None
    assert list(repository.list_tree("HEAD", "registry/")) == [RECORD]


def test_a_project_in_a_subfolder(repo):
    (repo / "ml/specs").mkdir(parents=True)
    (repo / "ml/specs/a.yaml").write_text("a\n")
    repository = opened(repo / "ml")
    assert repository.dirty() == ("specs/a.yaml",)
    commit = commit_records(repository, request({RECORD: "x\n"}))
    assert commit is not None
    assert commit.paths == (RECORD,)
    assert (repo / "ml" / RECORD).read_text() == "x\n"
    assert repository.read("HEAD", RECORD) == b"x\n"
    assert list(repository.list_tree("HEAD", "registry")) == [RECORD]
    assert git(repo, "show", "--name-only", "--format=").split() == [f"ml/{RECORD}"]
    assert (repo / RECORD).read_text() == "phase: pending\n"


def test_ten_thousand_records_are_read_quickly(repo):
    for number in range(10_000):
        (repo / f"registry/runs/{number}.yaml").write_text(f"number: {number}\n" * 20)
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "many")
    repository = opened(repo)
    began = time.monotonic()
    blobs = repository.list_tree("HEAD", "registry")
    contents = repository.read_many(blobs.values())
    assert time.monotonic() - began < 2
    assert len(blobs) == 10_001
    assert contents[blobs["registry/runs/7.yaml"]] == b"number: 7\n" * 20


def test_a_missing_object_is_an_error(repo):
    with pytest.raises(ExternalError, match="no object"):
        opened(repo).read_many(["0" * 39 + "1"])


def test_configured_programs_of_a_repository_do_not_run(repo):
    for name in ("post-index-change", "reference-transaction", "pre-commit", "post-commit", "post-checkout"):
        hook = repo / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {repo}/ran-{name}\nexit 1\n")
        hook.chmod(0o755)
    monitor = repo / ".git/monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {repo}/ran-monitor\n")
    monitor.chmod(0o755)
    git(repo, "config", "core.fsmonitor", str(monitor))
    repository = opened(repo)
    assert repository.dirty() == ()
    assert commit_records(repository, request({RECORD: "phase: done\n"})) is not None
    assert not list(repo.glob("ran-*"))


# ------------------------------------------------------------------------------------------------- committing


def test_commit_and_nothing_to_commit(repo):
    repository = opened(repo)
    commit = commit_records(repository, request({RECORD: "phase: done\n", "registry/models/m/1.0.0.yaml": "m\n"}))
    assert commit is not None
    assert (commit.branch, commit.left_alone) == ("main", ())
    assert commit.paths == ("registry/models/m/1.0.0.yaml", RECORD)
    assert git(repo, "rev-parse", "HEAD").strip() == commit.id
    assert (repo / RECORD).read_text() == "phase: done\n"
    assert status(repo) == ""
    assert git(repo, "log", "-1", "--format=%an <%ae>|%cn <%ce>|%s|%(trailers:key=Ftops-Run,valueonly)").split("|") == [
        AUTHOR, AUTHOR, "records", "a-1\n\n",
    ]  # fmt: skip
    assert commit_records(repository, request({RECORD: "phase: done\n"})) is None
    assert git(repo, "rev-parse", "HEAD").strip() == commit.id
    assert git(repo, "fsck", "--strict") == ""


def test_a_value_cannot_pass_for_another_trailer(repo):
    options = CommitRequest(
        lambda _: {RECORD: b"x\n"}, "a\n\nFtops-Plan: forged", AUTHOR, {"Ftops-Run": "a\nFtops-Plan: forged"}
    )
    commit_records(opened(repo), options)
    assert git(repo, "log", "-1", "--format=%(trailers:key=Ftops-Plan)").strip() == ""


def test_staged_unstaged_and_untracked_edits_stay(repo):
    (repo / "staged.txt").write_text("staged\n")
    git(repo, "add", "staged.txt")
    (repo / "staged.txt").write_text("staged, then edited\n")
    (repo / "readme.md").write_text("edited\n")
    (repo / "untracked.txt").write_text("untracked\n")
    before = status(repo)
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    assert commit is not None
    assert commit.left_alone == ()
    assert status(repo) == before == "M  readme.md\n".replace("M ", " M") + "AM staged.txt\n?? untracked.txt\n"
    assert git(repo, "show", ":staged.txt") == "staged\n"
    assert git(repo, "show", "--name-only", "--format=").split() == [RECORD]


@pytest.mark.parametrize("staged", [False, True])
def test_an_edited_record_is_kept_and_named(repo, staged):
    (repo / RECORD).write_text("mine\n")
    if staged:
        git(repo, "add", RECORD)
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n", "registry/b.yaml": "b\n"}))
    assert commit is not None
    assert commit.left_alone == (RECORD,)
    assert (repo / RECORD).read_text() == "mine\n"
    assert (repo / "registry/b.yaml").read_text() == "b\n"
    assert git(repo, "show", f"HEAD:{RECORD}") == "phase: done\n"
    assert status(repo) == (f"M  {RECORD}\n" if staged else f" M {RECORD}\n")


def test_an_untracked_file_in_the_way_is_kept_and_named(repo):
    (repo / "registry/new.yaml").write_text("mine\n")
    commit = commit_records(opened(repo), request({"registry/new.yaml": "theirs\n"}))
    assert commit is not None
    assert commit.left_alone == ("registry/new.yaml",)
    assert (repo / "registry/new.yaml").read_text() == "mine\n"
    assert status(repo) == " M registry/new.yaml\n"


def test_an_untracked_file_with_the_same_content_is_no_edit(repo):
    (repo / "registry/new.yaml").write_text("same\n")
    commit = commit_records(opened(repo), request({"registry/new.yaml": "same\n"}))
    assert commit is not None
    assert commit.left_alone == ()
    assert status(repo) == ""


def test_a_record_deleted_from_the_work_tree_comes_back(repo):
    """As with git's own fast-forward: a missing file is no edit that could be lost."""
    (repo / RECORD).unlink()
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    assert commit is not None
    assert git(repo, "show", f"HEAD:{RECORD}") == "phase: done\n"
    assert status(repo) == ""


def test_a_touched_record_is_no_edit(repo):
    os.utime(repo / RECORD, (1, 1))
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    assert commit is not None
    assert commit.left_alone == ()
    assert status(repo) == ""


def test_in_the_middle_of_a_merge_conflict(repo):
    git(repo, "checkout", "-q", "-b", "side")
    (repo / "readme.md").write_text("side\n")
    git(repo, "commit", "-qam", "side")
    git(repo, "checkout", "-q", "main")
    (repo / "readme.md").write_text("main\n")
    git(repo, "commit", "-qam", "main")
    git(repo, "merge", "side", check=False)
    conflicted, unmerged = (repo / "readme.md").read_text(), git(repo, "ls-files", "-u")
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    assert commit is not None
    assert (repo / "readme.md").read_text() == conflicted
    assert git(repo, "ls-files", "-u") == unmerged
    assert git(repo, "diff", "--cached", "HEAD", "--", "registry") == ""


def test_the_first_commit_of_a_repository(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "fresh")
    fresh = tmp_path / "fresh"
    (fresh / "mine.txt").write_text("mine\n")
    git(fresh, "add", "mine.txt")
    commit = commit_records(opened(fresh), request({RECORD: "a\n"}))
    assert commit is not None
    assert git(fresh, "ls-tree", "-r", "--name-only", "HEAD").split() == [RECORD]
    assert status(fresh) == "A  mine.txt\n"


def test_the_first_commit_without_an_index(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "fresh")
    commit_records(opened(tmp_path / "fresh"), request({RECORD: "a\n"}))
    assert status(tmp_path / "fresh") == ""


def test_a_bare_repository(remote):
    repository = opened(remote)
    assert repository.bare
    commit = commit_records(repository, request({RECORD: "done\n"}))
    assert commit is not None
    assert git(remote, "show", f"main:{RECORD}") == "done\n"


def test_a_repository_with_sha256(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "fresh")
    repository = opened(tmp_path / "fresh")
    assert commit_records(repository, request({RECORD: "a\n"})) is not None
    assert commit_records(repository, request({RECORD: "b\n"})) is not None
    assert status(tmp_path / "fresh") == ""


def test_a_branch_that_is_not_checked_out(repo):
    git(repo, "branch", "results")
    (repo / RECORD).write_text("mine\n")
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n"}, branch="results"))
    assert commit is not None
    assert commit.left_alone == ()
    assert git(repo, "show", f"results:{RECORD}") == "phase: done\n"
    assert status(repo) == f" M {RECORD}\n"
    new = commit_records(opened(repo), request({RECORD: "root\n"}, branch="fresh"))
    assert new is not None
    assert git(repo, "ls-tree", "-r", "--name-only", "fresh").split() == [RECORD]


def test_a_branch_that_is_checked_out_in_another_work_tree(repo, tmp_path):
    git(repo, "worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    commit_records(opened(repo), request({RECORD: "phase: done\n"}, branch="other"))
    assert status(tmp_path / "other") == ""
    assert (tmp_path / "other" / RECORD).read_text() == "phase: done\n"
    assert status(repo) == ""
    inside = commit_records(opened(tmp_path / "other"), request({RECORD: "phase: more\n"}))
    assert inside is not None
    assert (inside.branch, status(tmp_path / "other"), status(repo)) == ("other", "", "")


def test_a_detached_head_needs_a_named_branch(repo):
    git(repo, "checkout", "-q", "--detach")
    with pytest.raises(ExternalError, match="detached") as caught:
        commit_records(opened(repo), request({RECORD: "x\n"}))
    assert "ftops.yaml" in caught.value.diagnostics[0].hint
    assert commit_records(opened(repo), request({RECORD: "x\n"}, branch="main")) is not None


@pytest.mark.parametrize(
    "path",
    ["specs/a.yaml", "/etc/passwd", "registry/../a", "../registry/a", "registry", "registry/", "registryx/a", "",
     "registry//a", "registry/./a", "registry/.git/config", "registry/.GIT/hooks/x", "registry/a\\b", "registry/a\nb"],
)  # fmt: skip
def test_a_path_that_is_not_allowed_is_refused(repo, path):
    before = git(repo, "rev-parse", "HEAD")
    with pytest.raises(ExternalError, match="refused to commit"):
        commit_records(opened(repo), request({path: "x\n"}))
    assert git(repo, "rev-parse", "HEAD") == before


@pytest.mark.parametrize("entry", ["link", "submodule", "file"])
def test_a_path_through_something_else_is_refused(repo, tmp_path, entry):
    if entry == "link":
        (repo / "registry/x").symlink_to(tmp_path)
        git(repo, "add", "-A")
    elif entry == "file":
        (repo / "registry/x").write_text("file\n")
        git(repo, "add", "-A")
    else:
        head = git(repo, "rev-parse", "HEAD").strip()
        git(repo, "update-index", "--add", "--cacheinfo", f"160000,{head},registry/x")
    git(repo, "commit", "-q", "-m", entry)
    with pytest.raises(ExternalError, match="through 'registry/x'"):
        commit_records(opened(repo), request({"registry/x/a.yaml": "x\n"}))
    if entry != "file":
        with pytest.raises(ExternalError, match="through 'registry/x'"):
            commit_records(opened(repo), request({"registry/x": "x\n"}))


def test_a_link_in_the_work_tree_is_not_followed(repo, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    git(repo, "rm", "-q", "--cached", "-r", "registry")
    git(repo, "commit", "-q", "-m", "no records")
    (repo / RECORD).unlink()
    (repo / "registry/runs").rmdir()
    (repo / "registry").rmdir()
    (repo / "registry").symlink_to(outside)
    commit = commit_records(opened(repo), request({RECORD: "x\n"}))
    assert commit is not None
    assert commit.left_alone == (RECORD,)
    assert list(outside.iterdir()) == []
    assert (repo / "registry").is_symlink()


@pytest.mark.parametrize("author", ["nobody", "<a@b>", "Name <a b>", "Name <a@b>\nx"])
def test_an_author_that_is_none(repo, author):
    with pytest.raises(ExternalError, match="not an author"):
        commit_records(opened(repo), CommitRequest(lambda _: {RECORD: b"x"}, "s", author, {}))


def test_line_endings_and_filters_keep_the_status_clean(repo):
    git(repo, "config", "core.autocrlf", "true")
    (repo / ".gitattributes").write_text("*.md text eol=crlf\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "attributes")
    commit = commit_records(opened(repo), request({RECORD: "a\nb\n", "registry/card.md": "a\nb\n"}))
    assert commit is not None
    assert git(repo, "cat-file", "blob", f"HEAD:{RECORD}") == "a\nb\n"
    assert (repo / RECORD).read_bytes() == b"a\r\nb\r\n"
    assert (repo / "registry/card.md").read_bytes() == b"a\r\nb\r\n"
    assert status(repo) == ""


def test_a_sparse_checkout_stays_sparse(repo):
    (repo / "specs").mkdir()
    (repo / "specs/a.yaml").write_text("a\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "specs")
    git(repo, "sparse-checkout", "set", "specs")
    assert not (repo / "registry").exists()
    commit = commit_records(opened(repo), request({RECORD: "done\n", "registry/new.yaml": "n\n"}))
    assert commit is not None
    assert commit.left_alone == ()
    assert not (repo / "registry").exists()
    assert status(repo) == ""


def test_a_clone_without_a_checkout(remote, tmp_path):
    git(tmp_path, "clone", "-q", "-n", str(remote), "bare-ish")
    folder = tmp_path / "bare-ish"
    assert commit_records(opened(folder), request({RECORD: "done\n"})) is not None
    assert sorted(each.name for each in folder.iterdir()) == [".git"]
    git(folder, "reset", "-q", "--hard")
    assert (folder / RECORD).read_text() == "done\n"


def test_settings_of_the_user_that_would_get_in_the_way(repo):
    for key, value in (
        ("commit.gpgSign", "true"), ("gpg.program", "/bin/false"), ("commit.template", "/nonexistent"),
        ("core.splitIndex", "true"), ("core.untrackedCache", "true"), ("status.showUntrackedFiles", "no"),
        ("core.quotePath", "true"), ("submodule.recurse", "true"), ("user.useConfigOnly", "true"),
    ):  # fmt: skip
        git(repo, "config", key, value)
    assert commit_records(opened(repo), request({RECORD: "one\n", "registry/ü.yaml": "ü\n"})) is not None
    assert commit_records(opened(repo), request({RECORD: "two\n"})) is not None
    assert status(repo) == ""
    assert git(repo, "show", f":{RECORD}") == "two\n"


def test_a_git_hook_around_ftops_does_not_mislead_it(repo, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert commit_records(opened(repo), request({RECORD: "x\n"})) is not None
    monkeypatch.undo()
    assert status(repo) == ""


def test_a_lock_that_stays_commits_nothing_and_says_so(repo, monkeypatch):
    monkeypatch.setattr(branch_room, "_PATIENCE_SECONDS", 0.2)
    (repo / ".git/index.lock").write_bytes(b"")
    before = git(repo, "rev-parse", "HEAD")
    with pytest.raises(ExternalError, match="locked by another program") as caught:
        commit_records(opened(repo), request({RECORD: "x\n"}))
    assert "index.lock" in caught.value.diagnostics[0].hint
    assert git(repo, "rev-parse", "HEAD") == before
    (repo / ".git/index.lock").unlink()
    assert commit_records(opened(repo), request({RECORD: "x\n"})) is not None
    assert status(repo) == ""


def test_a_lock_is_waited_for(repo):
    lock = repo / ".git/index.lock"
    lock.write_bytes(b"")
    timer = threading.Timer(0.5, lock.unlink)
    timer.start()
    assert commit_records(opened(repo), request({RECORD: "x\n"})) is not None
    timer.join()


def test_a_repository_that_cannot_be_written(repo):
    (repo / ".git/ftops-lock").mkdir()
    with pytest.raises(ExternalError, match="cannot write") as caught:
        commit_records(opened(repo), request({RECORD: "x\n"}))
    assert "store" in caught.value.diagnostics[0].hint


def test_the_branch_moves_while_the_records_are_merged(repo):
    calls = []

    def merge(tip):
        calls.append(tip.commit)
        if len(calls) == 1:
            git(repo, "commit", "-q", "--allow-empty", "-m", "meanwhile")
        return {RECORD: b"done\n"}

    commit = commit_records(opened(repo), CommitRequest(merge, "s", AUTHOR, {}))
    assert commit is not None
    assert len(calls) == 2
    assert calls[0] != calls[1]
    assert git(repo, "log", "--format=%s").split() == ["s", "meanwhile", "first"]
    assert status(repo) == ""


def test_many_writers_on_one_repository_lose_nothing(repo):
    failures = []

    def write(number):
        try:
            commit_records(opened(repo), appending("registry/log.yaml", f"line{number}"))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (repo / "registry/log.yaml").read_text().split() == [f"line{number}" for number in range(6)]
    assert status(repo) == ""


# ------------------------------------------------------------------------------------------------ kills and faults

CHILD = f"""
import sys
from pathlib import Path
from ftops.git.commit import CommitRequest, commit_records
from ftops.git.repository import open_repository
files = {{"{RECORD}": b"phase: done\\n", "registry/new.yaml": b"new\\n"}}
commit_records(open_repository(Path(sys.argv[1])), CommitRequest(lambda _: files, "records", "{AUTHOR}", {{}}))
"""
POINTS = ("git.locked", "git.moved", "git.files-written", "git.followed")


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(point, repo):
    (repo / "readme.md").write_text("edited\n")
    fault = os.environ | {"FTOPS_FAULT": f"{point}:kill", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", CHILD, str(repo)], env=fault, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (repo / ".git/ftops-pending").exists()
    assert heal(opened(repo)) == ()
    assert status(repo) == " M readme.md\n"
    assert not (repo / ".git/index.lock").exists()
    commit = commit_records(opened(repo), request({RECORD: "phase: done\n", "registry/new.yaml": "new\n"}))
    assert (commit is None) == (point != "git.locked")
    assert git(repo, "log", "--format=%s").split() == ["records", "first"]
    assert (repo / RECORD).read_text() == "phase: done\n"
    assert status(repo) == " M readme.md\n"
    assert not (repo / ".git/ftops-pending").exists()


@pytest.mark.parametrize("point", POINTS)
def test_disk_full_at(point, repo, monkeypatch):
    monkeypatch.setattr("ftops.store.fault_points._passed", Counter())
    monkeypatch.setenv("FTOPS_FAULT", f"{point}:enospc")
    with pytest.raises(ExternalError, match="No space left"):
        commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    monkeypatch.delenv("FTOPS_FAULT")
    commit_records(opened(repo), request({RECORD: "phase: done\n"}))
    assert git(repo, "log", "--format=%s").split() == ["records", "first"]
    assert status(repo) == ""


def test_the_user_cannot_commit_the_records_away_meanwhile(repo):
    """Between the move of the branch and that of the index a `git commit` would take the records back."""
    fault = os.environ | {"FTOPS_FAULT": "git.moved:hang", "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(repo)], env=fault)
    try:
        deadline = time.monotonic() + 20
        while git(repo, "log", "-1", "--format=%s").strip() != "records":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        done = subprocess.run(
            ["git", "commit", "-q", "--allow-empty", "-m", "mine"],
            cwd=repo,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        child.kill()
        child.wait()
    assert "index.lock" in done.stderr
    assert heal(opened(repo)) == ()
    assert (git(repo, "log", "--format=%s").split(), status(repo)) == (["records", "first"], "")


def test_a_lock_of_somebody_else_is_not_taken_for_ours(repo, monkeypatch):
    fault = os.environ | {"FTOPS_FAULT": "git.moved:kill", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", CHILD, str(repo)], env=fault, check=False)
    (repo / ".git/index.lock").write_bytes(b"DIRC")
    monkeypatch.setattr(branch_room, "_PATIENCE_SECONDS", 0.2)
    with pytest.raises(ExternalError, match="locked"):
        heal(opened(repo))
    assert (repo / ".git/index.lock").read_bytes() == b"DIRC"


def test_what_the_user_did_after_a_kill_is_kept(repo):
    fault = os.environ | {"FTOPS_FAULT": "git.moved:kill", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", CHILD, str(repo)], env=fault, check=False)
    (repo / ".git/index.lock").unlink()
    git(repo, "reset", "-q", "--hard")
    (repo / RECORD).write_text("mine\n")
    git(repo, "commit", "-qam", "mine")
    assert heal(opened(repo)) == ()
    assert (status(repo), (repo / RECORD).read_text()) == ("", "mine\n")


# ---------------------------------------------------------------------------------------------------- pushing


def test_push_and_the_local_branch_follows(repo, remote):
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert pushed.commit is not None
    assert (pushed.state, pushed.branch, pushed.detail) == (PushState.PUSHED, "main", "")
    assert git(remote, "rev-parse", "main").strip() == pushed.commit.id == git(repo, "rev-parse", "main").strip()
    assert status(repo) == ""
    assert git(repo, "for-each-ref", "refs/ftops") == ""
    again = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert (again.state, again.commit) == (PushState.PUSHED, None)


def test_push_on_top_of_what_others_pushed(repo, remote, tmp_path):
    other = clone(remote, tmp_path / "other")
    (other / "readme.md").write_text("theirs\n")
    git(other, "commit", "-qam", "theirs")
    git(other, "push", "-q")
    pushed = push_records(opened(repo), "origin", appending("registry/log.yaml", "ours"))
    assert pushed.state is PushState.PUSHED
    assert git(remote, "log", "--format=%s", "main").split() == ["append", "theirs", "first"]
    assert git(repo, "rev-parse", "main") == git(remote, "rev-parse", "main")
    assert ((repo / "readme.md").read_text(), status(repo)) == ("theirs\n", "")


def test_the_local_branch_stays_where_edits_are_in_the_way(repo, remote, tmp_path):
    other = clone(remote, tmp_path / "other")
    (other / "readme.md").write_text("theirs\n")
    git(other, "commit", "-qam", "theirs")
    git(other, "push", "-q")
    (repo / "readme.md").write_text("mine\n")
    head = git(repo, "rev-parse", "HEAD")
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert pushed.state is PushState.PUSHED
    assert "git pull" in pushed.detail
    assert git(repo, "rev-parse", "HEAD") == head
    assert ((repo / "readme.md").read_text(), status(repo)) == ("mine\n", " M readme.md\n")
    assert git(remote, "show", f"main:{RECORD}") == "done\n"


def test_commits_of_the_user_are_not_pushed(repo, remote):
    (repo / "readme.md").write_text("mine\n")
    git(repo, "commit", "-qam", "mine")
    before = git(remote, "rev-parse", "main")
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert pushed.state is PushState.LOCAL
    assert "push them first" in pushed.detail
    assert git(remote, "rev-parse", "main") == before
    assert git(repo, "log", "--format=%s").split() == ["records", "mine", "first"]


@pytest.mark.parametrize("how", ["amended with another file", "in a record, but without trailers"])
def test_a_commit_is_ours_only_with_trailers_and_records_alone(repo, remote, how):
    if how.startswith("amended"):
        commit_records(opened(repo), request({RECORD: "offline\n"}))
        (repo / "readme.md").write_text("mine\n")
        git(repo, "commit", "-qa", "--amend", "--no-edit")
    else:
        (repo / RECORD).write_text("mine\n")
        git(repo, "commit", "-qam", "mine")
    before = git(remote, "rev-parse", "main")
    pushed = push_records(opened(repo), "origin", request({"registry/b.yaml": "b\n"}))
    assert pushed.state is PushState.LOCAL
    assert git(remote, "rev-parse", "main") == before


def test_earlier_records_that_were_not_pushed_go_along(repo, remote):
    git(repo, "remote", "set-url", "origin", str(remote) + "-gone")
    offline = push_records(opened(repo), "origin", request({RECORD: "offline\n"}))
    assert offline.state is PushState.LOCAL
    assert offline.commit is not None
    assert "remote-gone" in offline.detail or "-gone" in offline.detail
    git(repo, "remote", "set-url", "origin", str(remote))
    pushed = push_records(opened(repo), "origin", request({"registry/b.yaml": "b\n"}))
    assert pushed.state is PushState.PUSHED
    assert git(remote, "log", "--format=%s", "main").split() == ["records", "records", "first"]
    assert status(repo) == ""


def test_earlier_records_are_replayed_where_the_remote_moved(repo, remote, tmp_path):
    commit_records(opened(repo), request({RECORD: "offline\n"}))
    other = clone(remote, tmp_path / "other")
    (other / "readme.md").write_text("theirs\n")
    git(other, "commit", "-qam", "theirs")
    git(other, "push", "-q")
    pushed = push_records(opened(repo), "origin", request({"registry/b.yaml": "b\n"}))
    assert pushed.state is PushState.PUSHED
    assert git(remote, "log", "--format=%s", "main").split() == ["records", "records", "theirs", "first"]
    assert git(remote, "log", "-2", "--format=%(trailers:key=Ftops-Run,valueonly)", "main").split() == ["a-1", "a-1"]
    assert git(remote, "show", f"main:{RECORD}") == "offline\n"
    assert git(repo, "rev-parse", "main") == git(remote, "rev-parse", "main")
    assert status(repo) == ""
    assert git(remote, "fsck", "--strict") == ""


def test_a_record_that_both_changed_is_left_to_a_person(repo, remote, tmp_path):
    commit_records(opened(repo), request({RECORD: "offline\n"}))
    other = clone(remote, tmp_path / "other")
    commit_records(opened(other), request({RECORD: "theirs\n"}))
    git(other, "push", "-q")
    pushed = push_records(opened(repo), "origin", request({"registry/b.yaml": "b\n"}))
    assert pushed.state is PushState.LOCAL
    assert "git pull --rebase" in pushed.detail
    assert git(remote, "show", f"main:{RECORD}") == "theirs\n"
    assert git(repo, "show", f"main:{RECORD}") == "offline\n"


def test_a_lost_race_is_merged_and_pushed_again(repo, remote, tmp_path):
    """The other writer pushes between our fetch and our push, three times."""
    other, naps, lost = clone(remote, tmp_path / "other"), [], []
    ours = appending("registry/log.yaml", "ours")

    def merge(tip):
        if len(lost) < 3:
            lost.append(tip.commit)
            push_records(opened(other), "origin", appending("registry/log.yaml", f"theirs{len(lost)}"))
        return ours.merge(tip)

    racing = CommitRequest(merge, "ours", AUTHOR, {"Ftops-Run": "ours"})
    pushed = push_records(opened(repo), "origin", racing, sleep=naps.append, rng=lambda: 1.0)
    assert pushed.state is PushState.PUSHED
    assert naps == [pytest.approx(each) for each in (0.4, 0.6, 1.0)]
    log = git(remote, "show", "main:registry/log.yaml").split()
    assert log == ["ours", "theirs1", "theirs2", "theirs3"]
    assert status(repo) == ""


def test_a_race_that_is_always_lost_ends_as_a_local_commit(repo, remote, tmp_path):
    other, naps, lost = clone(remote, tmp_path / "other"), [], []

    def merge(tip):
        lost.append(tip.commit)
        if len(lost) <= 10:
            push_records(opened(other), "origin", appending("registry/log.yaml", f"theirs{len(lost)}"))
        return {RECORD: b"done\n"}

    racing = CommitRequest(merge, "ours", AUTHOR, {"Ftops-Run": "ours"})
    pushed = push_records(opened(repo), "origin", racing, sleep=naps.append, rng=lambda: 1.0)
    assert pushed.state is PushState.LOCAL
    assert len(naps) == 10
    assert max(naps) == 30.0
    assert git(repo, "show", f"main:{RECORD}") == "done\n"


def test_writers_in_clones_race_and_all_land(repo, remote, tmp_path):
    clones = [clone(remote, tmp_path / f"clone{number}") for number in range(3)]
    results = []

    def write(folder, number):
        for turn in range(2):
            line = f"{number}-{turn}"
            results.append(push_records(opened(folder), "origin", appending("registry/log.yaml", line)).state)

    threads = [threading.Thread(target=write, args=(folder, number)) for number, folder in enumerate(clones)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [PushState.PUSHED] * 6
    assert len(git(remote, "show", "main:registry/log.yaml").split()) == 6
    assert git(remote, "rev-list", "--count", "main").strip() == "7"
    assert all(status(folder) == "" for folder in clones)


def reject(remote: Path, script: str) -> None:
    hook = remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_a_protected_branch_gets_a_pull_request(repo, remote):
    reject(
        remote, "while read old new ref; do case $ref in refs/heads/main) echo main is protected; exit 1;; esac; done"
    )
    before, head = git(remote, "rev-parse", "main"), git(repo, "rev-parse", "main")
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert pushed.state is PushState.PROPOSED
    assert pushed.branch.startswith("ftops/results-")
    assert "main is protected" in pushed.detail
    assert git(remote, "show", f"{pushed.branch}:{RECORD}") == "done\n"
    assert (git(remote, "rev-parse", "main"), git(repo, "rev-parse", "main")) == (before, head)
    assert status(repo) == ""
    time.sleep(1)  # the next commit has another time, and so another id
    again = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert (again.state, again.branch) == (PushState.PROPOSED, pushed.branch)
    assert len(git(remote, "branch", "--list", "ftops/*").split()) == 1


def test_a_remote_that_takes_nothing_leaves_a_local_commit(repo, remote):
    reject(remote, "echo closed for maintenance; exit 1")
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert pushed.state is PushState.LOCAL
    assert "closed for maintenance" in pushed.detail
    assert git(repo, "show", f"main:{RECORD}") == "done\n"
    assert status(repo) == ""


def test_an_empty_remote_and_a_branch_without_commits(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "empty.git")
    git(tmp_path, "init", "-q", "-b", "main", "fresh")
    git(tmp_path / "fresh", "remote", "add", "origin", str(tmp_path / "empty.git"))
    pushed = push_records(opened(tmp_path / "fresh"), "origin", request({RECORD: "a\n"}))
    assert pushed.state is PushState.PUSHED
    assert git(tmp_path / "empty.git", "show", f"main:{RECORD}") == "a\n"
    assert status(tmp_path / "fresh") == ""


def test_a_shallow_clone_pushes(remote, repo, tmp_path):
    git(repo, "commit", "-q", "--allow-empty", "-m", "second")
    git(repo, "push", "-q", "origin", "main")
    git(tmp_path, "clone", "-q", "--depth=1", remote.as_uri(), "shallow")
    git(repo, "commit", "-q", "--allow-empty", "-m", "third")
    git(repo, "push", "-q", "origin", "main")
    pushed = push_records(opened(tmp_path / "shallow"), "origin", request({RECORD: "done\n"}))
    assert (pushed.state, pushed.detail) == (PushState.PUSHED, "")
    assert git(remote, "log", "--format=%s", "main").split() == ["records", "third", "second", "first"]
    assert status(tmp_path / "shallow") == ""


def test_passwords_in_what_a_remote_says_are_not_repeated(repo, remote):
    reject(remote, "echo see https://user:hunter2@example.com/rules; exit 1")
    pushed = push_records(opened(repo), "origin", request({RECORD: "done\n"}))
    assert "https://***@example.com/rules" in pushed.detail
    assert "hunter2" not in pushed.detail


def test_killed_after_the_push(repo, remote):
    """The push arrived, the local branch did not follow: the next call brings it there and commits nothing twice."""
    child = CHILD.replace(
        "commit_records(open_repository(Path(sys.argv[1]))", "push_records(open_repository(Path(sys.argv[1])), 'origin'"
    )
    child = child.replace("CommitRequest, commit_records", "CommitRequest\nfrom ftops.git.push import push_records", 1)
    fault = os.environ | {"FTOPS_FAULT": "git.locked:kill", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", child, str(repo)], env=fault, check=False)
    assert git(remote, "show", f"main:{RECORD}") == "phase: done\n"
    assert git(repo, "show", f"main:{RECORD}") == "phase: pending\n"
    pushed = push_records(opened(repo), "origin", request({RECORD: "phase: done\n"}))
    assert (pushed.state, pushed.commit) == (PushState.PUSHED, None)
    assert git(repo, "rev-parse", "main") == git(remote, "rev-parse", "main")
    assert status(repo) == ""
