"""The one reader and writer of files: what each function takes, and what it refuses."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from ftops import files
from ftops.errors import ExternalError, UsageError
from ftops.files import (
    by_descriptor,
    copy,
    is_locked,
    open_append,
    open_below,
    open_given,
    open_lock,
    open_new,
    open_regular,
    read_bytes,
    read_given,
    read_json,
    replace_file,
    sync,
    sync_names,
    write_atomic,
    write_given,
    write_new,
)
from tests.support.projects import ROOT


@contextmanager
def full_disk(size=4):
    """Files may not grow: the kernel refuses writes as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def nobody():
    """Without root's right to read everything, in a folder that anybody may enter."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if before == 0:
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(before)


def content(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def summary(caught):
    return caught.value.diagnostics[0].summary


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def place(tmp_path):
    """A folder with a file, and what may stand in the place of one."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder/file").write_bytes(b"text")
    (root / "link").symlink_to("folder/file")
    (root / "linked").symlink_to("folder")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


# -------------------------------------------------------------------------------------------------- reading

REFUSED = [
    ("link", "it is a symbolic link"),
    ("dangling", "it is a symbolic link"),
    ("loop", "it is a symbolic link"),
    ("pipe", "it is no file"),
    ("folder", "it is no file"),
    ("folder/file/x", "Not a directory"),
]


def test_a_regular_file_is_read_with_and_without_its_root(place):
    assert content(open_regular(place / "folder/file")) == b"text"
    assert content(open_regular(place / "folder/file", place)) == b"text"
    assert content(open_below(place, "./folder//file")) == b"text"
    assert read_bytes(place / "folder/file") == read_bytes(place / "folder/file", 4, place) == b"text"


@pytest.mark.parametrize(("name", "reason"), REFUSED)
def test_what_is_no_regular_file_is_refused_and_nothing_stays_open(place, name, reason):
    before = open_descriptors()
    for read in (open_regular, read_bytes):
        with pytest.raises(ExternalError) as caught:
            read(place / name)
        assert summary(caught) == f"cannot read {place / name}: {reason}"
        assert caught.value.diagnostics[0].hint
    assert read_json(place / name) is None
    assert open_descriptors() == before


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_a_device_is_no_file(device):
    with pytest.raises(ExternalError, match="it is no file"):
        read_bytes(Path(device))
    with pytest.raises(ExternalError, match="it is no file"):
        read_bytes(Path(device), root=Path("/dev"))


def test_a_socket_is_no_file(tmp_path, monkeypatch):
    import socket

    monkeypatch.chdir(tmp_path)  # the path of a socket may have 108 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(ExternalError, match="cannot read socket"):
            read_bytes(Path("socket"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("linked/file", "it lies behind a symbolic link, or something that is no folder"),
        ("folder/file/x", "it lies behind a symbolic link, or something that is no folder"),
        ("pipe/x", "it lies behind a symbolic link, or something that is no folder"),
        ("folder/../folder/file", "it leads out of its folder"),
        *REFUSED[:5],
    ],
)
def test_below_a_root_no_link_is_on_the_way(place, name, reason):
    before = open_descriptors()
    with pytest.raises(ExternalError) as caught:
        read_bytes(place / name, root=place)
    assert summary(caught) == f"cannot read {place / name}: {reason}"
    assert open_descriptors() == before


def test_the_root_itself_may_be_a_link(place, tmp_path):
    (tmp_path / "way").symlink_to("root")
    assert read_bytes(tmp_path / "way/folder/file", root=tmp_path / "way") == b"text"
    assert read_bytes(place / "linked/file") == b"text"  # without a root only the end counts


@pytest.mark.parametrize("root", [False, True])
def test_what_is_not_there_is_no_error_of_ours(place, root):
    below = place if root else None
    for name in ("absent", "absent/file"):
        with pytest.raises(FileNotFoundError):
            read_bytes(place / name, root=below)
    assert read_json(place / "absent") is None


def test_a_file_that_disappears_after_it_was_opened_is_read_whole(place):
    descriptor = open_regular(place / "folder/file", place)
    (place / "folder/file").unlink()
    assert content(descriptor) == b"text"


def test_a_folder_that_becomes_a_link_on_the_way_leads_nowhere(place, tmp_path, monkeypatch):
    """The folder is exchanged between its being opened and the file's: the file is still that of the folder before."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_bytes(b"secret")
    real = os.open

    def exchanging(path, flags, *rest, dir_fd=None):
        if path == "file":
            (place / "folder").rename(tmp_path / "before")
            (place / "folder").symlink_to(tmp_path / "outside")
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(files.os, "open", exchanging)
    assert read_bytes(place / "folder/file", root=place) == b"text"


def test_what_may_not_be_read_is_named(nobody):
    (nobody / "file").write_bytes(b"text")
    (nobody / "file").chmod(0)
    for root in (None, nobody):
        with pytest.raises(ExternalError, match=r"cannot read .*file: Permission denied"):
            read_bytes(nobody / "file", root=root)
    with pytest.raises(UsageError, match=r"file cannot be read: Permission denied"):
        read_given(nobody / "file")


def test_a_folder_that_may_be_passed_but_not_listed_is_passed(nobody):
    (nobody / "closed").mkdir()
    (nobody / "closed/file").write_bytes(b"text")
    (nobody / "closed").chmod(0o311)
    assert read_bytes(nobody / "closed/file", root=nobody) == b"text"
    (nobody / "closed").chmod(0o755)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20])
def test_a_limit_is_what_may_be_read(tmp_path, size):
    text = os.urandom(size)
    (tmp_path / "file").write_bytes(text)
    assert read_bytes(tmp_path / "file", size) == read_bytes(tmp_path / "file", None) == text
    assert read_given(tmp_path / "file", size) == text


def test_more_than_the_limit_is_refused_with_file_limit_and_what_to_do(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1_235)
    for read, error in [(read_bytes, ExternalError), (read_given, UsageError)]:
        with pytest.raises(error) as caught:
            read(tmp_path / "file", 1_234)
        assert (
            summary(caught) == f"cannot read {tmp_path / 'file'}: it has more than the 1,234 bytes that are read of it"
        )
        assert "take out what does not belong there" in caught.value.diagnostics[0].hint


def test_a_file_without_end_does_not_fill_the_memory(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(files.LARGEST + 1)  # with a hole: it takes no space
    assert read_json(tmp_path / "file") is None
    with pytest.raises(UsageError, match="268,435,456 bytes"):
        read_given(Path("/dev/zero"))


def test_files_of_the_kernel_have_no_size_and_are_read():
    assert len(read_bytes(Path("/proc/sys/kernel/random/boot_id"), 100)) == 37


def test_a_name_for_libraries_is_of_the_file_that_was_checked(place):
    with by_descriptor(place / "folder/file") as name:
        (place / "folder/file").unlink()
        assert Path(name).read_bytes() == b"text"
    assert not Path(name).exists() or Path(name).readlink() != place / "folder/file"
    with pytest.raises(ExternalError), by_descriptor(place / "link"):
        pass


# -------------------------------------------------------------------------------------------- what a person named


def test_a_link_that_a_person_named_is_followed(place):
    for name in ("folder/file", "link", "linked/file"):
        assert read_given(place / name) == b"text"


def test_a_pipe_that_a_person_named_is_waited_for_and_read(place):
    writer = threading.Thread(target=lambda: (place / "pipe").write_bytes(b"x" * 200_000))
    writer.start()
    assert read_given(place / "pipe") == b"x" * 200_000
    writer.join()


def test_who_reads_no_pipes_does_not_wait_for_one(place):
    descriptor = open_given(place / "pipe", waits=False)
    assert stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("absent", "No such file or directory"), ("folder", "Is a directory"), ("loop", "Too many levels")],
)
def test_what_a_person_named_and_cannot_be_read_is_a_wrong_usage(place, name, reason):
    before = open_descriptors()
    with pytest.raises(UsageError, match=rf"{name} cannot be read: {reason}"):
        read_given(place / name)
    assert open_descriptors() == before


# -------------------------------------------------------------------------------------------------- writing


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path):
    write_atomic(tmp_path / "a/b/file", b"old")
    (tmp_path / "a/b/file").chmod(0o640)
    for write in (write_atomic, write_given):
        write(tmp_path / "a/b/file", b"new")
        assert (tmp_path / "a/b/file").read_bytes() == b"new"
        assert stat.S_IMODE((tmp_path / "a/b/file").stat().st_mode) == 0o640
    assert names(tmp_path / "a/b") == ["file"]


def test_a_file_stays_its_owners_where_root_replaces_it(tmp_path):
    """As where a container runs as root on the work tree of a user."""
    owner = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    write_new(tmp_path / "file", b"old")
    os.chown(tmp_path / "file", *owner)
    for write in (write_atomic, write_given):
        write(tmp_path / "file", b"new")
        found = (tmp_path / "file").stat()
        assert (found.st_uid, found.st_gid) == owner


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_is_replaced_where_no_owner_can_be_given(tmp_path, monkeypatch, code):
    """As file systems without owners say, and a user namespace that doesn't know the old one."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    owner = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    write_new(tmp_path / "file", b"old")
    os.chown(tmp_path / "file", *owner)
    monkeypatch.setattr(os, "fchown", refuse)
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_another_users_file_is_replaced_where_the_folder_allows_it(nobody):
    me = os.geteuid()
    write_new(nobody / "file", b"old")
    if os.getuid() == 0:
        os.seteuid(0)
        os.chown(nobody / "file", 0, 0)
        os.seteuid(me)
    write_atomic(nobody / "file", b"new")
    assert (nobody / "file").read_bytes() == b"new"
    assert (nobody / "file").stat().st_uid == me


def test_a_file_that_is_open_keeps_what_was_read(tmp_path):
    write_atomic(tmp_path / "file", b"old")
    with (tmp_path / "file").open("rb") as file:
        write_atomic(tmp_path / "file", b"new")
        assert file.read() == b"old"


@pytest.mark.parametrize("name", ["link", "dangling", "loop", "pipe"])
def test_what_stands_in_the_place_of_a_file_is_replaced_never_written_through(place, name):
    write_atomic(place / name, b"ours")
    assert (place / name).is_file()
    assert not (place / name).is_symlink()
    assert (place / name).read_bytes() == b"ours"
    assert (place / "folder/file").read_bytes() == b"text"
    assert not (place / "nowhere").exists()


@pytest.mark.parametrize("write", [write_atomic, write_given])
def test_a_folder_is_no_file_to_write(place, write):
    before = names(place)
    with pytest.raises(ExternalError, match=r"cannot write .*folder: Is a directory"):
        write(place / "folder", b"ours")
    with pytest.raises(ExternalError, match=r"cannot write .*x: (Not a directory|File exists)"):
        write(place / "folder/file/x", b"ours")
    assert names(place) == before


@pytest.mark.parametrize("write", [write_atomic, write_given])
def test_on_a_full_disk_the_old_file_stays_and_nothing_else(tmp_path, write):
    (tmp_path / "file").write_bytes(b"old")
    with full_disk(), pytest.raises(ExternalError, match=r"cannot write .*file: File too large"):
        write(tmp_path / "file", b"longer than that")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_where_nothing_may_be_written_that_is_said_with_what_to_do(nobody):
    (nobody / "closed").mkdir(mode=0o555)
    for write, hint in [(write_atomic, "`store` in ftops.yaml"), (write_given, "name another file")]:
        with pytest.raises(ExternalError, match="Permission denied") as caught:
            write(nobody / "closed/file", b"ours")
        assert caught.value.diagnostics[0].hint.startswith("make it writable")
        assert hint in caught.value.diagnostics[0].hint


def test_a_store_that_is_a_link_to_another_disk_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to("disk")
    write_atomic(tmp_path / "store/file", b"ours")
    assert (tmp_path / "disk/file").read_bytes() == b"ours"
    sync_names(tmp_path / "store")
    with pytest.raises(OSError, match="Too many levels"):
        sync(tmp_path / "store")


def test_a_temporary_name_that_a_kill_left_is_taken_over(tmp_path):
    (tmp_path / "file.new").write_bytes(b"half")
    replace_file(tmp_path / "file", b"whole", tmp_path / "file.new")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert names(tmp_path) == ["file"]


def test_a_link_that_a_person_named_stays_one_and_leads_to_what_was_written(place):
    write_given(place / "link", b"ours")
    write_given(place / "dangling", b"new")
    assert (place / "link").readlink() == Path("folder/file")
    assert (place / "folder/file").read_bytes() == b"ours"
    assert (place / "dangling").is_symlink()
    assert (place / "nowhere").read_bytes() == b"new"
    with pytest.raises(ExternalError, match=r"cannot write .*loop: Too many levels"):
        write_given(place / "loop", b"ours")


def test_a_pipe_that_a_person_named_is_written_into(place):
    found = []
    reader = threading.Thread(target=lambda: found.append((place / "pipe").read_bytes()))
    reader.start()
    write_given(place / "pipe", b"x" * 200_000)
    reader.join()
    assert found == [b"x" * 200_000]
    assert stat.S_ISFIFO((place / "pipe").stat().st_mode)


def test_devices_are_written_into_as_they_are():
    before = Path("/dev/null").stat()
    write_given(Path("/dev/null"), b"ours")
    assert Path("/dev/null").stat() == before
    with pytest.raises(ExternalError, match="cannot write /dev/full: No space left") as caught:
        write_given(Path("/dev/full"), b"ours")
    assert "free some space" in caught.value.diagnostics[0].hint


WRITE = """
import sys
from pathlib import Path
from ftops.files import write_given
print("before", flush=True)
write_given(Path(sys.argv[1]), b"ours\\n")
print("after", flush=True)
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("kind", ["a pipe", "a file"])
def test_standard_output_is_written_in_turn(tmp_path, name, kind):
    """Also where it leads to a file: opened anew, it would be written over from its beginning."""
    command = [sys.executable, "-c", WRITE, name]
    if kind == "a pipe":
        said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    else:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run(command, cwd=ROOT, stdout=out, check=True)
        said = (tmp_path / "out").read_bytes()
    assert said == b"before\nours\nafter\n"


def test_a_descriptor_that_is_not_open_is_named():
    with pytest.raises(ExternalError, match="cannot write /dev/fd/987: Bad file descriptor"):
        write_given(Path("/dev/fd/987"), b"ours")
    with pytest.raises(ExternalError, match="cannot write /dev/fd/9999999999: "):
        write_given(Path("/dev/fd/9999999999"), b"ours")


# -------------------------------------------------------------------------------------- new files, logs and locks


@pytest.mark.parametrize("name", ["folder/file", "link", "dangling", "loop", "pipe", "folder"])
def test_a_new_file_is_never_written_over_or_through_another(place, name):
    for make in (lambda path: write_new(path, b"ours"), open_new, lambda path: copy(place / "folder/file", path)):
        with pytest.raises(FileExistsError):
            make(place / name)
    assert (place / "folder/file").read_bytes() == b"text"
    assert not (place / "nowhere").exists()


def test_a_new_file_has_the_mode_that_was_asked_for(tmp_path):
    os.close(open_new(tmp_path / "private", 0o600))
    write_new(tmp_path / "file", b"ours")
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["link", "dangling", "loop", "pipe", "folder"])
@pytest.mark.parametrize("opened", [open_append, open_lock])
def test_a_log_and_a_lock_are_files(place, name, opened):
    before = open_descriptors()
    with pytest.raises(OSError) as caught:
        opened(place / name)
    assert caught.value.errno in (errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EISDIR)
    assert not (place / "nowhere").exists()
    assert open_descriptors() == before


def test_a_log_goes_on_at_its_end(tmp_path):
    for text in (b"one\n", b"two\n"):
        with os.fdopen(open_append(tmp_path / "log"), "ab") as log:
            assert os.get_blocking(log.fileno())  # other programs get it as their output
            log.write(text)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_taking_a_lock_changes_nothing_in_it(tmp_path):
    (tmp_path / "lock").write_bytes(b"holder")
    descriptor = open_lock(tmp_path / "lock")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert is_locked(tmp_path / "lock")
    os.close(descriptor)
    assert not is_locked(tmp_path / "lock")
    assert (tmp_path / "lock").read_bytes() == b"holder"


@pytest.mark.parametrize("name", ["absent", "link", "pipe"])
def test_what_is_no_lock_is_not_held_nor_waited_for(place, name):
    assert not is_locked(place / name)


def test_a_copy_has_the_content_and_as_an_old_one_mode_and_times_too(place):
    (place / "folder/file").chmod(0o600)
    os.utime(place / "folder/file", ns=(1_000_000_001, 2_000_000_002))
    copy(place / "folder/file", place / "new")
    copy(place / "folder/file", place / "old", as_old=True)
    assert (place / "new").read_bytes() == (place / "old").read_bytes() == b"text"
    found = (place / "old").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o600, 2_000_000_002)
    assert (place / "new").stat().st_mtime_ns != 2_000_000_002
    with pytest.raises(ExternalError, match="symbolic link"):
        copy(place / "link", place / "another")
    with full_disk(2), pytest.raises(OSError, match="File too large"):
        copy(place / "folder/file", place / "half")
