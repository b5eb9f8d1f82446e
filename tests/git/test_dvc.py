"""Pointers are read as DVC itself wrote them, and what they point to is pulled by DVC itself."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ftops.errors import ExternalError, SpecError
from ftops.git.dvc import add, pointers, pull, push
from ftops.plan.observed import Source


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def run(folder: Path, *argv: str) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A repository that real DVC made: a folder and a file, pushed to a remote that is a folder inside."""
    folder = tmp_path_factory.mktemp("dvc") / "repo"
    folder.mkdir()
    run(folder, "git", "init", "-q")
    (folder / "datasets/sub").mkdir(parents=True)
    (folder / "datasets/a.csv").write_text("a\n")
    (folder / "datasets/sub/b ü.csv").write_text("b\n")
    (folder / "more").mkdir()
    (folder / "more/single.jsonl").write_text("single\n")
    dvc = (sys.executable, "-m", "dvc")
    run(folder, *dvc, "init", "-q")
    run(folder, *dvc, "config", "core.analytics", "false")
    run(folder, *dvc, "add", "-q", "datasets", "more/single.jsonl")
    run(folder, *dvc, "remote", "add", "-q", "-d", "here", "./dvc-remote")
    run(folder, *dvc, "push", "-q")
    return folder


@pytest.fixture
def repo(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "repo", symlinks=True))


def folder_pointer(repo: Path) -> str:
    line = next(line for line in (repo / "datasets.dvc").read_text().splitlines() if "md5:" in line)
    return f"md5:{line.split()[-1]}"


def test_a_file_with_a_pointer_of_its_own(repo):
    expected = f"md5:{md5('single' + chr(10))}"
    assert pointers(repo).identify("more/single.jsonl") == Source("more/single.jsonl", expected, expected)
    (repo / "more/single.jsonl").unlink()
    assert pointers(repo).identify("more/single.jsonl") == Source(
        "more/single.jsonl", expected, expected, present=False
    )


@pytest.mark.parametrize("at_hand", ["cache", "remote"])
def test_a_file_in_a_folder_is_identified_by_the_manifest(repo, at_hand):
    shutil.rmtree(repo / {"cache": "dvc-remote", "remote": ".dvc/cache"}[at_hand])
    whole = folder_pointer(repo)
    assert pointers(repo).identify("datasets/a.csv") == Source("datasets/a.csv", f"md5:{md5('a' + chr(10))}", whole)
    found = pointers(repo).identify("datasets/sub/b ü.csv")
    assert found == Source("datasets/sub/b ü.csv", f"md5:{md5('b' + chr(10))}", whole)
    assert pointers(repo).identify("datasets") == Source("datasets", whole, whole)
    sub = pointers(repo).identify("datasets/sub")
    assert sub is not None
    assert sub.digest not in (None, whole)


def test_without_the_manifest_the_pointer_alone_is_known(repo):
    shutil.rmtree(repo / ".dvc/cache")
    shutil.rmtree(repo / "dvc-remote")
    whole = folder_pointer(repo)
    assert pointers(repo).identify("datasets/a.csv") == Source("datasets/a.csv", None, whole)
    assert pointers(repo).identify("datasets") == Source("datasets", whole, whole)
    shutil.rmtree(repo / "datasets")
    assert pointers(repo).identify("datasets/a.csv") == Source("datasets/a.csv", None, whole, present=False)
    assert pointers(repo).identify("datasets") == Source("datasets", whole, whole, present=False)


def test_a_torn_manifest_is_not_believed(repo):
    shutil.rmtree(repo / "dvc-remote")
    manifest = next((repo / ".dvc/cache").rglob("*.dir"))
    manifest.chmod(0o644)
    manifest.write_text("[]")
    found = pointers(repo).identify("datasets/a.csv")
    assert found is not None
    assert found.digest is None


def test_what_no_pointer_covers(repo):
    (repo / "datasets/new.csv").write_text("new\n")
    assert pointers(repo).identify("datasets/new.csv") is None
    assert pointers(repo).identify("elsewhere/a.csv") is None
    assert pointers(repo).identify("datasets2/a.csv") is None
    assert pointers(repo).changed("elsewhere/a.csv", md5_of) is None


def test_a_project_below_the_dvc_repository(repo):
    found = pointers(repo / "more").identify("single.jsonl")
    assert found is not None
    assert found.digest == f"md5:{md5('single' + chr(10))}"


def test_unchanged_and_changed(repo):
    found = pointers(repo)
    for path in ("datasets", "datasets/a.csv", "datasets/sub", "more/single.jsonl"):
        assert found.changed(path, md5_of) is None
    (repo / "datasets/a.csv").unlink()  # dvc may have linked it to its cache
    (repo / "datasets/a.csv").write_text("A\n")
    diagnostic = found.changed("datasets/a.csv", md5_of)
    assert diagnostic is not None
    assert "changed since its pointer" in diagnostic.summary
    assert "dvc add datasets" in diagnostic.hint
    assert diagnostic.where.file == "datasets.dvc"
    assert found.changed("datasets", md5_of) is not None
    assert found.changed("datasets/sub", md5_of) is None
    (repo / "more/single.jsonl").unlink()
    assert found.changed("more/single.jsonl", md5_of) is None
    (repo / "more/single.jsonl").write_text("other!\n")
    assert found.changed("more/single.jsonl", md5_of) is not None


def test_a_file_more_changes_a_folder_and_a_missing_one_can_be_pulled(repo):
    (repo / "datasets/new.csv").write_text("new\n")
    assert pointers(repo).changed("datasets", md5_of) is not None
    (repo / "datasets/new.csv").unlink()
    (repo / "datasets/a.csv").unlink()
    assert pointers(repo).changed("datasets", md5_of) is None
    found = pointers(repo).identify("datasets")
    assert found is not None
    assert not found.present


def test_without_the_manifest_a_changed_size_is_seen(repo):
    shutil.rmtree(repo / ".dvc/cache")
    shutil.rmtree(repo / "dvc-remote")
    assert pointers(repo).changed("datasets/a.csv", md5_of) is None
    (repo / "datasets/a.csv").write_text("longer than it was\n")
    assert pointers(repo).changed("datasets/a.csv", md5_of) is not None


@pytest.mark.parametrize("path", ["../a.csv", "/etc/passwd", "datasets/../../a", "", "a\0b"])
def test_a_path_out_of_the_project_is_refused(repo, path):
    with pytest.raises(SpecError, match="leaves the project"):
        pointers(repo).identify(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no document"),
        ("outs: [", "datasets.dvc:1"),
        ("outs: {a: b}", "a list under outs"),
        ("- a", "a list under outs"),
        ("outs:\n- path: datasets\n", "md5: 32 hex digits"),
        ("outs:\n- path: datasets\n  md5: abc\n  hash: md5\n", "md5: 32 hex digits"),
        (f"outs:\n- path: datasets\n  md5: {'a' * 32}\n  hash: sha1\n", "md5: 32 hex digits"),
        (f"outs:\n- path: ../datasets\n  md5: {'a' * 32}\n  hash: md5\n", "a path below the project"),
        (f"outs:\n- path: /datasets\n  md5: {'a' * 32}\n  hash: md5\n", "a path below the project"),
        (f"outs:\n- path: [a]\n  md5: {'a' * 32}\n  hash: md5\n", "a path below the project"),
        (f"outs:\n- path: datasets\n  md5: {'a' * 32}\n  hash: md5\n  size: many\n", "whole numbers"),
        (f"outs:\n- path: datasets\n  md5: {'a' * 32}\n  hash: md5\n  path: x\n", "path"),
        ("outs: !!python/object/apply:os.system [id]", "datasets.dvc"),
    ],
)
def test_a_pointer_that_cannot_be_understood(tmp_path, text, expected):
    (tmp_path / "datasets.dvc").write_text(text)
    with pytest.raises(SpecError) as caught:
        pointers(tmp_path).identify("datasets/a.csv")
    said = " ".join(f"{each.where} {each.summary} {each.detail}" for each in caught.value.diagnostics)
    assert expected in said
    assert "datasets.dvc" in said


def test_a_pointer_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_text("outs: []")
    (tmp_path / "datasets.dvc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExternalError, match="symbolic link"):
        pointers(tmp_path).identify("datasets/a.csv")


def test_a_pointer_of_dvc_2(tmp_path):
    (tmp_path / "a.csv.dvc").write_text(f"outs:\n- path: a.csv\n  md5: {'a' * 32}\n  size: 2\n")
    (tmp_path / "a.csv").write_text("a\n")
    found = pointers(tmp_path)
    assert found.identify("a.csv") == Source("a.csv", f"md5-dos2unix:{'a' * 32}", f"md5-dos2unix:{'a' * 32}")
    assert found.changed("a.csv", md5_of) is None
    (tmp_path / "a.csv").write_text("longer\n")
    assert found.changed("a.csv", md5_of) is not None


def test_pull_brings_a_file_of_a_folder_and_a_single_one(repo):
    shutil.rmtree(repo / ".dvc/cache")
    shutil.rmtree(repo / "datasets")
    (repo / "more/single.jsonl").unlink()
    said = []
    pull(repo, ["datasets/a.csv", "more/single.jsonl"], said.append)
    assert (repo / "datasets/a.csv").read_text() == "a\n"
    assert (repo / "more/single.jsonl").read_text() == "single\n"
    assert "datasets/a.csv" in said[0]
    found = pointers(repo).identify("datasets/a.csv")
    assert found is not None
    assert found.present
    assert pointers(repo).changed("datasets/a.csv", md5_of) is None


def test_a_pull_that_fails_says_what_dvc_said(repo):
    shutil.rmtree(repo / ".dvc/cache")
    shutil.rmtree(repo / "dvc-remote")
    shutil.rmtree(repo / "datasets")
    with pytest.raises(ExternalError, match="could not pull datasets") as caught:
        pull(repo, ["datasets"], lambda _: None)
    diagnostic = caught.value.diagnostics[0]
    assert "failed to pull" in diagnostic.detail
    assert "dvc remote list" in diagnostic.hint


def test_a_pull_does_not_overwrite_an_edit(repo):
    shutil.rmtree(repo / ".dvc/cache")
    (repo / "more/single.jsonl").unlink()
    (repo / "more/single.jsonl").write_text("mine\n")
    with pytest.raises(ExternalError):
        pull(repo, ["more/single.jsonl"], lambda _: None)
    assert (repo / "more/single.jsonl").read_text() == "mine\n"


# ------------------------------------------------------------------------------------------------- add and push


def replace(place: Path, text: str) -> None:
    """Give a file another content; dvc may have linked the old one to its cache."""
    place.unlink(missing_ok=True)
    place.write_text(text)


def test_add_tracks_a_new_file_by_a_pointer_of_its_own(repo):
    replace(repo / "more/new.csv", "new\n")
    said = []
    assert add(repo, "more/new.csv", said.append) == "more/new.csv.dvc"
    assert said == ["dvc add more/new.csv"]
    found = pointers(repo).identify("more/new.csv")
    assert found == Source("more/new.csv", f"md5:{md5('new' + chr(10))}", f"md5:{md5('new' + chr(10))}")


def test_add_of_what_lies_in_a_tracked_folder_tracks_the_folder_anew(repo):
    before = folder_pointer(repo)
    replace(repo / "datasets/sub/new.csv", "new\n")
    assert add(repo, "datasets/sub/new.csv", lambda _: None) == "datasets.dvc"
    assert folder_pointer(repo) != before
    assert pointers(repo).identify("datasets/sub/new.csv").digest == f"md5:{md5('new' + chr(10))}"
    assert not (repo / "datasets/sub/new.csv.dvc").exists()


def test_add_names_what_is_missing(repo, tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a.csv").write_text("a\n")
    with pytest.raises(ExternalError, match="no project of DVC") as caught:
        add(tmp_path / "plain", "a.csv", lambda _: None)
    assert "dvc init" in caught.value.diagnostics[0].hint
    with pytest.raises(ExternalError, match="could not add") as caught:
        add(repo, "more/absent.csv", lambda _: None)
    assert "absent.csv" in caught.value.diagnostics[0].detail


def test_push_brings_to_the_remote_what_a_pointer_points_to(repo):
    replace(repo / "datasets/a.csv", "other\n")
    pointer = add(repo, "datasets/a.csv", lambda _: None)
    held = {each.name for each in (repo / "dvc-remote").rglob("*") if each.is_file()}
    push(repo, [pointer], lambda _: None)
    new = {each.name for each in (repo / "dvc-remote").rglob("*") if each.is_file()} - held
    assert md5("other\n")[2:] in new
    assert any(each.endswith(".dir") for each in new)


def test_a_push_without_a_remote_says_how_to_get_one(repo):
    run(repo, sys.executable, "-m", "dvc", "remote", "remove", "here")
    with pytest.raises(ExternalError, match="could not push") as caught:
        push(repo, ["datasets.dvc"], lambda _: None)
    assert "dvc remote add -d" in caught.value.diagnostics[0].hint


def test_the_pointer_of_a_folder_covers_what_it_does_not_know_yet(repo):
    found = pointers(repo).covering("datasets/new.csv")
    assert found is not None
    assert (found.path, found.file) == ("datasets", "datasets.dvc")
    assert pointers(repo).covering("elsewhere/new.csv") is None
