"""Records become commits: merged by key with what others wrote, pushed where that is wanted, and never by force."""

from __future__ import annotations

import pytest
import yaml

from ftops.errors import ExternalError, RecordConflict, UsageError
from ftops.models.record import ModelRecord
from ftops.plan.run import RunState
from ftops.reconcile import write_back
from ftops.reconcile.observe import open_workspace
from ftops.reconcile.write_back import RESULT_BYTES, WriteBack, read_results
from ftops.registry.record_files import dump, parse
from ftops.resources.record import FileEntry
from ftops.training.record import Attempt, RunEntry, RunRecord, RunStatus
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, git, trailers

PATH = "registry/runs/base.yaml"
ONE, OTHER = "1" * 64, "2" * 64


def entry(digest, phase=RunState.FAILED, attempts=("1",), weights=None):
    files = {} if weights is None else {"model.safetensors": FileEntry(sha256=weights * 64, size=8)}
    return RunEntry(
        id=f"base-{digest[:12]}", phase=phase, inputs={}, engine="axolotl==0.19.0", config_digest="0" * 64, weights=files,
        attempts={number: Attempt(phase=phase) for number in attempts},
    )  # fmt: skip


def record(*entries):
    runs = {each.id.removeprefix("base-")[0] * 64: each for each in entries}
    current = list(runs)[-1]
    status = RunStatus(phase=runs[current].phase, current=current, runs=runs)
    return RunRecord(metadata={"name": "base"}, status=status)


def version(run_digest, aliases=()):
    digests = {"data": run_digest, "config": run_digest, "weights": {}}
    status = {
        "phase": "registered", "run": "base", "runDigest": run_digest, "runId": f"base-{run_digest[:12]}",
        "method": "full", "baseModel": {}, "size": 1, "digests": digests, "output": "o", "mlflow": "m",
        "registeredAt": "now", "aliases": tuple(aliases),
    }  # fmt: skip
    return ModelRecord.model_validate({"metadata": {"name": "chat", "version": "1.0.0"}, "status": status})


@pytest.fixture
def root(tmp_path):
    made = projects.write(tmp_path / "project", dataset())
    commit_all(made)
    return made


@pytest.fixture
def clones(tmp_path, root):
    """Two clones of one bare remote, whose project pushes."""
    edit(root, "ftops.yaml", "  runners:", "  git: {push: true}\n  runners:")
    commit_all(root, "push")
    git(tmp_path, "clone", "-q", "--bare", root, "remote.git")
    for name in ("a", "b"):
        git(tmp_path, "clone", "-q", "remote.git", name)
    return tmp_path / "a", tmp_path / "b"


def opened(root, results=None):
    return WriteBack.open(open_workspace(root), results, {"Ftops-Plan": "0123"})


def at(root, revision="HEAD"):
    return parse(PATH, git(root, "show", f"{revision}:{PATH}").encode() + b"\n")


def test_a_record_is_committed_with_its_trailers_and_nothing_else_moves(root):
    (root / "notes.txt").write_text("mine\n")
    said = opened(root).write([record(entry(ONE))], "ftops: a subject", {"Ftops-Run": "base-1"})
    assert said.startswith("commit ")
    assert said.endswith(" on main")
    assert git(root, "diff", "--name-only", "HEAD~1", "HEAD") == PATH
    assert trailers(root) == {"Ftops-Plan": "0123", "Ftops-Run": "base-1"}
    assert git(root, "status", "--porcelain") == "?? notes.txt"
    assert (root / PATH).read_bytes() == dump(record(entry(ONE)))


def test_the_same_record_again_is_no_commit(root):
    writing = opened(root)
    writing.write([record(entry(ONE))], "ftops: one", {})
    tip = git(root, "rev-parse", "HEAD")
    assert writing.write([record(entry(ONE))], "ftops: again", {}) == "recorded already"
    assert git(root, "rev-parse", "HEAD") == tip


def test_what_one_step_wrote_the_next_one_reads(root):
    writing = opened(root)
    writing.write([record(entry(ONE))], "ftops: one", {})
    writing.write([record(entry(OTHER))], "ftops: two", {})
    assert set(writing.records[PATH].status.runs) == {ONE, OTHER}
    assert at(root) == writing.records[PATH]
    assert at(root).status.current == OTHER


def test_an_edited_record_is_kept_and_named(root):
    writing = opened(root)
    writing.write([record(entry(ONE))], "ftops: one", {})
    (root / PATH).write_text("my edit\n")
    said = writing.write([record(entry(OTHER))], "ftops: two", {})
    assert f"your edits of {PATH} were kept" in said
    assert (root / PATH).read_text() == "my edit\n"
    assert set(at(root).status.runs) == {ONE, OTHER}


def test_the_second_success_of_one_run_is_refused(root):
    """The committed record stands; nothing is pushed, so there is no pull request to make of it."""
    writing = opened(root)
    writing.write([record(entry(ONE, RunState.SUCCEEDED, weights="a"))], "ftops: one", {})
    tip = git(root, "rev-parse", "HEAD")
    with pytest.raises(RecordConflict, match="trained twice with different weights"):
        opened(root).write([record(entry(ONE, RunState.SUCCEEDED, weights="b"))], "ftops: two", {})
    assert git(root, "rev-parse", "HEAD") == tip


def test_two_machines_push_and_both_stay(clones):
    a, b = clones
    first, second = opened(a), opened(b)
    assert "pushed to origin/main" in first.write([record(entry(ONE))], "ftops: one", {})
    assert "pushed to origin/main" in second.write([record(entry(OTHER))], "ftops: two", {})
    merged = at(b, "origin/main") if git(b, "fetch", "-q") == "" else None
    assert set(merged.status.runs) == {ONE, OTHER}
    assert at(b) == merged
    assert git(b, "status", "--porcelain") == ""


def test_two_machines_try_the_same_run_and_every_attempt_stays(clones):
    a, b = clones
    first, second = opened(a), opened(b)
    first.write([record(entry(ONE, attempts=("1",)))], "ftops: failed", {})
    second.write([record(entry(ONE, RunState.SUCCEEDED, attempts=("2",), weights="a"))], "ftops: succeeded", {})
    kept = at(b).status.runs[ONE]
    assert {number: str(each.phase) for number, each in kept.attempts.items()} == {"1": "failed", "2": "succeeded"}
    assert kept.phase is RunState.SUCCEEDED


def test_a_conflict_of_meaning_becomes_a_branch_for_a_pull_request(clones):
    """Two machines trained the same run to different weights: main keeps the first, a person decides."""
    a, b = clones
    first, second = opened(a), opened(b)
    first.write([record(entry(OTHER), entry(ONE, RunState.SUCCEEDED, weights="a"))], "ftops: one", {})
    tip = git(b, "rev-parse", "HEAD")
    said = second.write([record(entry(ONE, RunState.SUCCEEDED, weights="b"))], "ftops: two", {})
    assert "for a pull request" in said
    assert "trained twice with different weights" in said
    git(b, "fetch", "-q")
    (branch,) = git(b, "branch", "-r", "--list", "origin/ftops/*", "--format=%(refname:short)").splitlines()
    weights = {
        name: at(b, name).status.runs[ONE].weights["model.safetensors"].sha256[0] for name in (branch, "origin/main")
    }
    assert weights == {branch: "b", "origin/main": "a"}
    assert OTHER in at(b, branch).status.runs  # only what is in conflict differs
    assert git(b, "rev-parse", "HEAD") == tip
    assert git(b, "status", "--porcelain") == ""
    # The same again makes no second branch, also from a clone that holds what it contradicts.
    git(b.parent, "clone", "-q", "remote.git", "c")
    for clone in (b, b.parent / "c"):
        workspace = open_workspace(clone)
        mine = {PATH: record(entry(ONE, RunState.SUCCEEDED, weights="b"))}
        written = write_back.commit(workspace.repository, workspace, mine, "ftops: two", {})
        assert branch.removeprefix("origin/") in written.text
    git(b, "fetch", "-q")
    assert len(git(b, "branch", "-r", "--list", "origin/ftops/*").splitlines()) == 1


def test_a_version_that_another_machine_registered_otherwise(clones):
    a, b = clones
    first, second = opened(a), opened(b)
    first.write([version(ONE)], "ftops: one", {})
    said = second.write([version(OTHER)], "ftops: two", {})
    assert "for a pull request" in said
    assert "version 1.0.0 is registered already" in said


def test_labels_of_a_version_are_those_written_last(root):
    writing = opened(root)
    writing.write([version(ONE, ["staging"])], "ftops: one", {})
    writing.write([version(ONE, ["production"])], "ftops: two", {})
    tree = yaml.safe_load(git(root, "show", "HEAD:registry/models/chat/1.0.0.yaml"))
    assert tree["status"]["aliases"] == ["production"]


def test_a_remote_that_is_gone_leaves_the_records_committed_here(clones, tmp_path):
    a, _ = clones
    (tmp_path / "remote.git").rename(tmp_path / "gone.git")
    said = opened(a).write([record(entry(ONE))], "ftops: one", {})
    assert "committed on main, not pushed" in said
    assert set(at(a).status.runs) == {ONE}


def test_results_as_files_are_merged_with_what_is_committed(root, tmp_path):
    opened(root).write([record(entry(ONE))], "ftops: one", {})
    writing = opened(root, tmp_path / "results")
    tip = git(root, "rev-parse", "HEAD")
    assert "written to" in writing.write([record(entry(OTHER))], "ftops: two", {})
    (found,) = read_results(tmp_path / "results").values()
    assert set(found.status.runs) == {ONE, OTHER}
    assert git(root, "rev-parse", "HEAD") == tip


def test_a_results_folder_that_cannot_be_made(root, tmp_path):
    (tmp_path / "results").write_text("a file\n")
    with pytest.raises(ExternalError, match="cannot write"):
        opened(root, tmp_path / "results").write([record(entry(ONE))], "ftops: one", {})


def test_without_git_or_a_branch_it_does_not_begin(tmp_path, root):
    bare = projects.write(tmp_path / "no-git", dataset())
    with pytest.raises(UsageError, match="is not in a git repository"):
        opened(bare)
    git(root, "checkout", "-q", "--detach")
    with pytest.raises(ExternalError, match="HEAD is detached"):
        opened(root)
    opened(root, tmp_path / "results")


def test_a_result_that_is_too_large(tmp_path):
    place = tmp_path / PATH
    place.parent.mkdir(parents=True)
    with place.open("wb") as file:
        file.truncate(RESULT_BYTES + 1)
    with pytest.raises(ExternalError, match="larger than a record may be"):
        read_results(tmp_path)


def test_no_results_are_no_records(tmp_path):
    assert read_results(tmp_path) == {}
    assert write_back.Written("said").complete
