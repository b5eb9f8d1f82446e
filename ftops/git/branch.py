"""Moves a branch, and index and work tree after it, so that a kill at any moment can be healed."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.errors import Diagnostic, ExternalError
from ftops.files import copy, open_lock, read_bytes, replace_file, write_new
from ftops.git.repository import NOTHING, Entry, Head, Repository, failure
from ftops.store.fault_points import fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE_SECONDS: Final = 15.0
"""How long a lock that another process holds is waited for."""
_MOVED_ON: Final = ("but expected", "reference already exists", "unable to resolve reference", "File exists")
"""How git words that somebody else moved the branch, or is about to."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A branch on its way from `old` to `new`, written down so that the next ftops can finish it.

    `token` marks our own lock of the index.
    """

    branch: str
    old: str | None
    new: str
    token: str


def heal(repository: Repository) -> tuple[str, ...]:
    """Finishes what a killed ftops left half done; returns the paths that kept edits of the user.

    `commit_records` and `push_records` begin with this.
    """
    with _only_writer(repository):
        return _heal(repository)


@contextmanager
def writing(repository: Repository, branch: str | None) -> Iterator[tuple[Repository, str]]:
    """Holds the right to write: gives the work tree that has the branch checked out (else `repository`), and the branch."""
    branch = branch or repository.head().branch
    if branch is None:
        hint = "git switch BRANCH, or name the branch in ftops.yaml: spec.git.branch"
        raise ExternalError(Diagnostic("HEAD is detached: there is no branch to commit on", hint=hint))
    if repository.run("check-ref-format", f"refs/heads/{branch}", check=False).code:
        raise ExternalError(Diagnostic(f"not a name for a branch: {branch!r}"))
    place = _checked_out(repository, branch)
    with _only_writer(place):
        _heal(place)
        yield place, branch


def move(place: Repository, branch: str, old: str | None, new: str, *, whole: bool = False) -> tuple[str, ...] | None:
    """Moves the branch from `old` to `new`, index and work tree after it where they show the branch.

    Returns the changed paths that kept edits of the user, or None when the branch did not move: it was no longer at
    `old`, or (with `whole`) such edits are in the way.
    """
    if place.bare or place.head().branch != branch:
        return () if _update_ref(place, branch, old, new) else None
    pending = _Pending(branch, old, new, uuid.uuid4().hex)
    left_alone = None
    with _disk(place):
        path = _pending_file(place)
        # A name of its own: nobody clears away in git's folder what a kill leaves.
        replace_file(path, json.dumps(asdict(pending)).encode(), path.with_name(f"{path.name}.new"))
        # While we hold the lock of the index no `git commit` can start: it would take the records back.
        with _index_lock(place, pending.token):
            fault("git.locked")
            if (not whole or _fits(place, pending)) and _update_ref(place, branch, old, new):
                fault("git.moved")
                left_alone = _follow(place, pending)
        fault("git.followed")
        _pending_file(place).unlink()
    return left_alone


def _update_ref(place: Repository, branch: str, old: str | None, new: str) -> bool:
    argv = ("update-ref", "--create-reflog", "-m", "ftops: records", f"refs/heads/{branch}", new, old or "0" * len(new))
    moved = place.run(*argv, check=False)
    if moved.code and not any(words in moved.stderr for words in _MOVED_ON):
        raise failure(argv, moved)
    return moved.code == 0


def _heal(place: Repository) -> tuple[str, ...]:
    try:
        values = json.loads(read_bytes(_pending_file(place)))
    except FileNotFoundError:
        return ()
    pending = _Pending(**values)
    left_alone: tuple[str, ...] = ()
    with _disk(place):
        lock = place.git_dir / "index.lock"
        with suppress(FileNotFoundError):
            if read_bytes(lock, None) == pending.token.encode():
                lock.unlink()
        # If the branch did not move there is nothing to finish; if it moved on, index and work tree are the user's.
        if place.head() == Head(pending.branch, pending.new):
            with _index_lock(place, pending.token):
                left_alone = _follow(place, pending)
        _pending_file(place).unlink()
    return left_alone


def _fits(place: Repository, pending: _Pending) -> bool:
    """True when index and work tree can go from the old to the new commit without touching an edit of the user."""
    return _read_tree(place, pending.old or place.empty_tree(), pending.new, _copy_of_index(place), "--dry-run")


def _follow(place: Repository, pending: _Pending) -> tuple[str, ...]:
    """Brings index and work tree from the old to the new commit; returns the paths that kept edits of the user.

    `read-tree -m -u` is what git's own fast-forward does: it knows line endings, filters and sparse checkouts, and
    refuses to touch an edit. Then it is asked path by path. All of it works on a copy of the index, which replaces the
    index in one step.
    """
    index = place.git_dir / "index"
    if place.head().branch != pending.branch or (pending.old is not None and not index.exists()):
        return ()  # another branch was checked out meanwhile, or none ever was
    copy = _copy_of_index(place)
    kept: tuple[str, ...] = ()
    if not _read_tree(place, pending.old or place.empty_tree(), pending.new, copy):
        kept = _follow_each(place, pending, copy)
    fault("git.files-written")
    Path(copy["GIT_INDEX_FILE"]).replace(index)
    return tuple(path.removeprefix(place.prefix) for path in kept)


def _follow_each(place: Repository, pending: _Pending, copy: dict[str, str]) -> tuple[str, ...]:
    """`_follow` path by path. A file with edits stays; so does its index entry, unless that was the old commit's."""
    base = pending.old or place.empty_tree()
    edited, entries = [], {}
    for path, (before, after) in place.changes(pending.old, pending.new).items():
        if _read_tree(place, base, write_tree(place, base, {path: after}), copy):
            continue
        if _staged(place, path, copy) in (before, after):
            entries[path] = after
        else:
            edited.append(path)
    if entries:
        _set_entries(place, entries, copy)
        place.run("update-index", "-q", "--refresh", check=False, environment=copy)
        differing = place.run("diff-files", "--name-only", "-z", "--", *entries, environment=copy)
        edited += os.fsdecode(differing.stdout).split("\0")[:-1]
    return tuple(sorted(edited))


def _staged(place: Repository, path: str, index: dict[str, str]) -> Entry:
    """What stands in the index; in the middle of a conflict something that equals no entry."""
    lines = place.run("ls-files", "--stage", "-z", "--", path, environment=index).text.split("\0")[:-1]
    if len(lines) > 1:
        return Entry("conflict", "")
    return Entry(*lines[0].split(" ", 2)[:2]) if lines else NOTHING


def _set_entries(place: Repository, entries: Mapping[str, Entry], index: dict[str, str]) -> None:
    # Mode 0 takes an entry out; git wants an id there too, of the length of its ids.
    no_id = "0" * len(place.empty_tree()) if NOTHING in entries.values() else ""
    lines = "".join(f"{entry.mode} {entry.id or no_id}\t{path}\0" for path, entry in entries.items())
    place.run("update-index", "-z", "--index-info", stdin=os.fsencode(lines), environment=index)


def _read_tree(place: Repository, old: str, new: str, index: dict[str, str], *options: str) -> bool:
    argv = ("read-tree", "-m", "-u", "--no-recurse-submodules", *options, old, new)
    return place.run(*argv, check=False, environment=index).code == 0


def write_tree(place: Repository, base: str | None, changed: Mapping[str, Entry]) -> str:
    """The id of a tree: that of commit or tree `base` (None: empty) with the `changed` entries, by paths from the top."""
    index = _own_index(place, "tree")
    place.run("read-tree", base or "--empty", environment=index)
    _set_entries(place, changed, index)
    return place.run("write-tree", environment=index).text


def _checked_out(repository: Repository, branch: str) -> Repository:
    """The work tree that shows `branch`: this one, another one of `git worktree`, or this one when none does."""
    if repository.bare or repository.head().branch == branch:
        return repository
    top = None
    for line in repository.run("worktree", "list", "--porcelain").text.split("\n"):
        if line.startswith("worktree "):
            top = Path(line.removeprefix("worktree "))
        elif line == f"branch refs/heads/{branch}" and top is not None and top.is_dir():
            git_dir = replace(repository, top=top).run("rev-parse", "--absolute-git-dir").text
            return replace(repository, top=top, git_dir=Path(git_dir))
    return repository


# ------------------------------------------------------------------------------------------------ files and locks


def _pending_file(place: Repository) -> Path:
    return place.git_dir / "ftops-pending"


def _own_index(place: Repository, name: str) -> dict[str, str]:
    """The environment that has git use an index of our own, not there yet."""
    path = place.git_dir / f"ftops-index-{name}"
    path.unlink(missing_ok=True)
    return {"GIT_INDEX_FILE": str(path)}


def _copy_of_index(place: Repository) -> dict[str, str]:
    """The environment that has git use a copy of the index, refreshed: a touched file is no edit."""
    own = _own_index(place, "copy")
    with suppress(FileNotFoundError):
        copy(place.git_dir / "index", Path(own["GIT_INDEX_FILE"]), as_old=True)
    place.run("update-index", "-q", "--refresh", check=False, environment=own)
    return own


@contextmanager
def _index_lock(place: Repository, token: str) -> Iterator[None]:
    """The lock that git itself takes on the index, marked with our token."""
    lock = place.git_dir / "index.lock"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            write_new(lock, token.encode())
            break
        except FileExistsError as error:
            if time.monotonic() > deadline:
                hint = f"wait for the other git command; if there is none: rm {lock}. Then run this command again"
                summary = (
                    f"git's index is locked by another program since {_PATIENCE_SECONDS:.0f} s; nothing was committed"
                )
                raise ExternalError(Diagnostic(summary, hint=hint)) from error
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


@contextmanager
def _only_writer(place: Repository) -> Iterator[None]:
    """One ftops at a time writes to the repository of a work tree; the kernel lets go when it dies."""
    deadline = time.monotonic() + 4 * _PATIENCE_SECONDS
    with _disk(place):
        file = os.fdopen(open_lock(place.git_dir / "ftops-lock"), "wb")
    with file:
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise ExternalError(Diagnostic("another ftops is committing", hint="run this command again later"))
            time.sleep(0.05)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _disk(place: Repository) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "the repository must be writable and its disk must have space; results are kept in the store"
        raise ExternalError(Diagnostic(f"cannot write to {place.git_dir}: {error.strerror}", hint=hint)) from error
