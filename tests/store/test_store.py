"""The store: whole or not at all, one at a time, and never made by looking."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftops.errors import ExternalError
from ftops.executors.attempts import observe_attempt, runs_of
from ftops.executors.job_state import JobState
from ftops.files import cannot_write, publish_folder, write_atomic
from ftops.plan.run import RunState
from ftops.store import digest_cache
from ftops.store import store as stores
from ftops.store.digest_cache import file_identity
from ftops.store.store import Store, open_store

RUN = "tiny-base-0123456789ab"


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / ".ftops")


@contextmanager
def full_disk():
    """Files may not grow: the kernel refuses writes as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ---------------------------------------------------------------------------------------------------- opening


def test_reading_a_store_that_is_not_there_makes_nothing(tmp_path):
    store = Store(tmp_path / "absent" / ".ftops")
    (tmp_path / "file").write_text("text")
    os.utime(tmp_path / "file", (1, 1))
    assert list(runs_of(store)) == []
    assert store.attempts(RUN) == []
    assert store.read_run(RUN) is None
    assert store.file_digest(tmp_path / "file").startswith("sha256:")
    assert observe_attempt(store.attempt(RUN, 1)) is None
    assert everything(tmp_path) == ["file"]


def test_git_never_shows_the_store(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    store = open_store(tmp_path / ".ftops")
    store.write_run(RUN, {"id": RUN})
    assert (store.root / ".gitignore").read_bytes() == b"*\n"
    status = subprocess.run(["git", "-C", str(tmp_path), "status", "--porcelain"], capture_output=True, check=True)
    assert status.stdout == b""


def test_opening_again_changes_nothing(store):
    (store.root / ".gitignore").write_text("mine")
    before = everything(store.root)
    assert open_store(store.root).root == store.root
    assert everything(store.root) == before
    assert (store.root / ".gitignore").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExternalError, match=r"cannot write .*file") as caught:
        open_store(tmp_path / "file" / ".ftops")
    assert "`store` in ftops.yaml" in caught.value.diagnostics[0].hint


@pytest.fixture
def nobody():
    """Without root's right to write everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_read_only_place_is_named(nobody):
    # Not below pytest's folders, which nobody but their owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with pytest.raises(ExternalError, match=r"cannot write .*Permission denied") as caught:
            open_store(Path(folder) / ".ftops")
    assert "make it writable" in caught.value.diagnostics[0].hint


@pytest.mark.parametrize(("number", "hint"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "make it writable")])
def test_an_error_of_the_disk_says_what_to_do(number, hint):
    error = cannot_write(Path("x/y"), OSError(number, os.strerror(number)))
    assert error.diagnostics[0].summary == f"cannot write x/y: {os.strerror(number)}"
    assert hint in error.diagnostics[0].hint
    assert error.exit_code == 7


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", ".hidden", "a\n", "a\0b", "-x"])
def test_no_name_leads_out_of_the_store(tmp_path, name):
    store = Store(tmp_path)
    for path in (store.run, store.data, store.model):
        with pytest.raises(ValueError, match="not a name"):
            path(name)


# ---------------------------------------------------------------------------------------------------- writing


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert everything(tmp_path) == ["a", "a/b.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with full_disk(), pytest.raises(ExternalError, match=r"cannot write .*file"):
        write_atomic(path, b"a longer text")
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["file"]


def test_a_folder_is_published_whole(tmp_path):
    target = tmp_path / "data" / "abc"

    def build(folder):
        assert not target.exists()
        assert folder.parent == target.parent
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_text("text")

    publish_folder(build, target)
    assert everything(tmp_path) == ["data", "data/abc", "data/abc/sub", "data/abc/sub/file"]


def test_a_folder_that_appeared_meanwhile_is_kept(tmp_path):
    target = tmp_path / "abc"

    def build(folder):
        (folder / "file").write_text("second")
        target.mkdir()
        (target / "file").write_text("first")

    publish_folder(build, target)
    assert (target / "file").read_text() == "first"
    assert everything(tmp_path) == ["abc", "abc/file"]


def test_a_build_that_fails_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "file").write_text("half")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        publish_folder(build, tmp_path / "data" / "abc")
    assert everything(tmp_path) == ["data"]


def test_a_full_disk_while_building_is_named(tmp_path):
    def build(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "train.jsonl"))

    with pytest.raises(ExternalError, match=r"cannot write .*abc: No space left"):
        publish_folder(build, tmp_path / "abc")
    assert everything(tmp_path) == []


PUBLISH = """
import os, signal, sys
from pathlib import Path
from ftops.files import publish_folder
def build(folder):
    (folder / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
publish_folder(build, Path(sys.argv[1]))
"""


def child(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(stores.__file__).parents[2])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_build_left_is_removed_by_the_next_apply(store):
    process = child(PUBLISH, store.data("abc"))
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert not store.data("abc").exists()
    assert len(list((store.root / "data").iterdir())) == 1
    (store.root / "runs" / RUN).mkdir()
    (store.root / "runs" / RUN / ".run.json.0123.tmp").touch()
    store.data("whole").mkdir()
    with store.exclusive():
        assert everything(store.root / "data") == ["whole"]
        assert everything(store.root / "runs") == [RUN]


# --------------------------------------------------------------------------------------------------- one at a time


HOLD = """
import sys, time
from pathlib import Path
from ftops.store.store import Store
with Store(Path(sys.argv[1])).exclusive():
    print("mine", flush=True)
    time.sleep(99)
"""


def test_two_applies_do_not_work_at_once(store):
    process = child(HOLD, store.root)
    assert process.stdout.readline() == "mine\n"
    with pytest.raises(ExternalError, match="works in the store") as caught, store.exclusive():
        pass
    summary = caught.value.diagnostics[0].summary
    assert f"process {process.pid} on {os.uname().nodename}, since 20" in summary
    process.kill()
    process.communicate()
    with store.exclusive(), pytest.raises(ExternalError, match=f"process {os.getpid()} "), store.exclusive():
        pass
    with store.exclusive():
        pass


def test_a_store_that_cannot_be_locked_is_named(tmp_path):
    with pytest.raises(ExternalError, match=r"cannot write .*lock"), Store(tmp_path / "absent").exclusive():
        pass


def test_on_a_full_disk_the_lock_still_holds(store):
    with full_disk(), store.exclusive(), pytest.raises(ExternalError, match="another ftops"), store.exclusive():
        pass


# ----------------------------------------------------------------------------------------------------- runs


def attempt(store, number=1, **files):
    folder = store.attempt(RUN, number)
    folder.mkdir(parents=True)
    store.write_run(RUN, {"id": RUN, "name": "tiny-base", "digest": "0" * 64})
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


OK = {
    "exitCode": 0,
    "signal": None,
    "timedOut": False,
    "stopSignal": None,
    "startedAt": 1.0,
    "endedAt": 2.0,
    "host": "h",
}


@pytest.mark.parametrize(
    ("files", "state", "signal_number", "killed"),
    [
        ({}, None, None, False),
        ({"job": {}}, None, None, False),
        ({"handle": {}}, JobState.FAILED, None, True),
        ({"handle": {}, "stop": {}}, JobState.CANCELLED, None, False),
        ({"handle": {}, "result": OK}, JobState.SUCCEEDED, None, False),
        ({"handle": {}, "result": OK, "stop": {}}, JobState.SUCCEEDED, None, False),
        ({"result": {**OK, "stopSignal": 15}, "stop": {}}, JobState.CANCELLED, None, False),
        ({"result": {**OK, "stopSignal": 15}}, JobState.FAILED, 15, True),
        ({"result": {**OK, "exitCode": None, "signal": 9}}, JobState.FAILED, 9, True),
        ({"result": {**OK, "exitCode": None, "signal": 9, "timedOut": True}}, JobState.TIMED_OUT, 9, False),
        ({"result": {**OK, "exitCode": 1}}, JobState.FAILED, None, False),
        ({"result": [], "handle": {}}, JobState.FAILED, None, True),
    ],
)
def test_where_an_attempt_stands(store, files, state, signal_number, killed):
    found = observe_attempt(attempt(store, **files))
    assert (found and found.state) == state
    if found:
        assert found.signal == signal_number
        assert found.killed is killed
        assert bool(found.reason) is (state is not JobState.SUCCEEDED)
    if files.get("result"):
        assert (found.started, found.ended, found.node) == (1.0, 2.0, "h")


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ('{"event": "end", "step": 9, "maxSteps": 9}\n', RunState.SUCCEEDED),
        ('{"event": "end", "step": 8, "maxSteps": 9}\n', RunState.FAILED),
        ('{"event": "log", "step": 9, "maxSteps": 9}\n', RunState.FAILED),
        ('{"event": "end", "step": 9, "maxSteps": 9}', RunState.FAILED),
        ("", RunState.FAILED),
    ],
)
def test_an_exit_code_of_0_is_not_yet_a_success(store, last, state):
    folder = attempt(store, handle={}, result=OK)
    (folder / "events.jsonl").write_text('{"event": "log", "step": 3, "maxSteps": 9}\n' * 5000 + last)
    (run,) = runs_of(store)
    assert run.state is state
    assert (run.id, run.name, run.digest, run.attempt) == (RUN, "tiny-base", "0" * 64, 1)
    assert run.max_steps == 9


def test_the_last_attempt_counts(store):
    attempt(store, 2, handle={}, result=OK)
    attempt(store, 10, handle={}, result={**OK, "exitCode": 4})
    (store.root / "runs" / RUN / "attempt-011").mkdir()
    assert store.attempts(RUN) == [2, 10]
    (run,) = runs_of(store)
    assert (run.attempt, run.state, run.detail) == (10, RunState.FAILED, "exit code 4")


def test_what_is_no_run_is_not_listed(store):
    (store.root / "runs" / "empty").mkdir()
    (store.root / "runs" / "file").touch()
    store.write_run("nameless", {"id": "nameless"})
    (store.root / "runs" / "torn").mkdir()
    (store.root / "runs" / "torn" / "run.json").write_text('{"id": ')
    attempt(store)
    assert [(run.id, run.state) for run in runs_of(store)] == [(RUN, RunState.PENDING)]


# ----------------------------------------------------------------------------------------------- content hashes


def old(path, text):
    """A file that last changed long enough ago to be trusted by its times."""
    path.write_text(text)
    os.utime(path, (1, 1))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@pytest.fixture
def patient(monkeypatch):
    """The inode's change time can't be set, so that waiting two seconds is made shorter."""
    monkeypatch.setattr(digest_cache, "RACY_SECONDS", 0.05)


def test_a_hash_is_kept_for_the_next_process(store, tmp_path, patient, monkeypatch):
    expected = old(tmp_path / "file", "text")
    time.sleep(0.1)
    assert store.file_digest(tmp_path / "file") == expected
    md5 = store.file_digest(tmp_path / "file", "md5")
    assert md5 == f"md5:{hashlib.md5((tmp_path / 'file').read_bytes()).hexdigest()}"
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert Store(store.root).file_digest(tmp_path / "file") == expected
    assert Store(store.root).file_digest(tmp_path / "file", "md5") == md5


def test_a_file_that_has_just_changed_is_hashed_again(store, tmp_path):
    for text in ("one", "two", "six"):
        assert old(tmp_path / "file", text) == store.file_digest(tmp_path / "file")
    assert not (store.cache / "digests.tsv").exists()


def test_a_change_of_content_is_seen_behind_a_restored_time(store, tmp_path, patient):
    for text in ("one", "two", "six"):
        expected = old(tmp_path / "file", text)
        time.sleep(0.1)
        assert store.file_digest(tmp_path / "file") == expected
    assert len((store.cache / "digests.tsv").read_text().splitlines()) == 3


def test_a_damaged_cache_is_no_harm(store, tmp_path, patient):
    expected = old(tmp_path / "file", "text")
    time.sleep(0.1)
    identity = file_identity((tmp_path / "file").stat())
    (store.cache / "digests.tsv").write_bytes(b"\xff\n1:2\tsha256:short\n" + identity.encode() + b"\tsha256:12")
    assert store.file_digest(tmp_path / "file") == expected
    assert Store(store.root).file_digest(tmp_path / "file") == expected


def test_only_regular_files_are_read(store, tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in [("link", "symbolic link"), ("pipe", "no file"), (".", "no file")]:
        with pytest.raises(ExternalError, match=rf"cannot read .*{reason}"):
            store.file_digest(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        store.file_digest(tmp_path / "absent")


def test_a_file_that_changes_while_it_is_read(store, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    real = hashlib.file_digest

    def slow(file, name):
        (tmp_path / "file").write_text("longer text")
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", slow)
    with pytest.raises(ExternalError, match="changed while it was read"):
        store.file_digest(tmp_path / "file")


def test_ten_thousand_hashes_are_cheap(store, tmp_path):
    identity = file_identity((store.root / ".gitignore").stat())
    with (store.cache / "digests.tsv").open("w") as file:
        file.writelines(f"{number}{identity}\tsha256:{'0' * 64}\n" for number in range(1, 10_000))
        file.write(f"{identity}\tsha256:{'1' * 64}\n")
    start = time.process_time()
    for _ in range(10_000):
        store.file_digest(store.root / ".gitignore")
    assert store.file_digest(store.root / ".gitignore") == f"sha256:{'1' * 64}"
    assert time.process_time() - start < 2
