"""Commits records on a branch without checking anything out."""

from __future__ import annotations

import random
import re
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.errors import Diagnostic, ExternalError
from ftops.files import write_new
from ftops.git.branch import move, write_tree, writing
from ftops.git.repository import Entry, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRIES: Final = 10
"""How often a branch that others move at the same time is tried."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The newest commit of a branch (None: it has none yet), as a merge sees it."""

    repository: Repository
    commit: str | None

    def read(self, path: str) -> bytes | None:
        """Content of the file `path`, or None when it isn't there."""
        return None if self.commit is None else self.repository.read(self.commit, path)


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """Records to commit.

    `merge` gives the wanted content of each path for a tip, and may be called again for a newer one. `author` is
    "Name <mail>"; `branch` is the checked-out one when None; every path must lie below one of `allowed`. Where `merge`
    raises RecordConflict, `instead` gives what to propose in a pull request; it is for `push_records` only.
    """

    merge: Callable[[Tip], Mapping[str, bytes]]
    subject: str
    author: str
    trailers: Mapping[str, str]
    branch: str | None = None
    allowed: tuple[str, ...] = ("registry/",)
    instead: Callable[[Tip], Mapping[str, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was made. In `left_alone` are those of `paths` with edits of the user, which were kept."""

    id: str
    branch: str
    paths: tuple[str, ...]
    left_alone: tuple[str, ...] = ()


def commit_records(repository: Repository, request: CommitRequest) -> Commit | None:
    """The commit that now is the tip of the branch, or None when the tip already held everything.

    The branch moves by compare-and-swap; index and work tree follow for the committed paths that were unchanged, and
    nothing else moves. No hook runs and nothing is signed: the author is ftops, not the user.
    Raises ExternalError for a detached HEAD without a named branch, a path that is not allowed, or locks that stay.
    """
    with writing(repository, request.branch) as (place, branch):
        return commit_here(place, branch, request)


def commit_here(place: Repository, branch: str, request: CommitRequest) -> Commit | None:
    """`commit_records` for who holds the right to write."""
    for _ in range(TRIES):
        old = place.tip(branch)
        built = build(Tip(place, old), branch, request)
        if built is None:
            return None
        left_alone = move(place, branch, old, built.id)
        if left_alone is not None:
            return replace(built, left_alone=left_alone)
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 (no secret)
    hint = "another program commits on it all the time, or a stale lock lies under .git/refs"
    raise ExternalError(Diagnostic(f"branch {branch} could not be moved in {TRIES} tries", hint=hint))


# ---------------------------------------------------------------------------------------- objects, no branch yet


def build(tip: Tip, branch: str, request: CommitRequest) -> Commit | None:
    """A commit on top of `tip` that no branch points to yet, or None when it would change nothing."""
    place = tip.repository
    files = {place.prefix + path: content for path, content in request.merge(tip).items()}
    for path in files:
        _check_path(path, tuple(place.prefix + folder for folder in request.allowed))
    before = _entries(tip, files)
    for path in files:
        _check_ways(path, before)
    changed = {}
    for path, blob in _write_blobs(place, files).items():
        entry = before.get(path, Entry("100644", ""))
        if entry.id != blob:
            changed[path] = Entry(entry.mode, blob)
    if not changed:
        return None
    tree = write_tree(place, tip.commit, changed)
    parents = ("-p", tip.commit) if tip.commit else ()
    written = place.run(
        "commit-tree", tree, *parents, "-F", "-", stdin=_message(request), environment=_identity(request.author)
    )
    return Commit(written.text, branch, tuple(sorted(path.removeprefix(place.prefix) for path in changed)))


def _check_path(path: str, allowed: tuple[str, ...]) -> None:
    parts = path.split("/")
    plain = all(part not in ("", ".", "..") and part.lower() != ".git" for part in parts) and path.isprintable()
    if not plain or "\\" in path or not any(path.startswith(folder.rstrip("/") + "/") for folder in allowed):
        expected = f"a plain relative path below {' or '.join(allowed)}"
        raise ExternalError(Diagnostic(f"refused to commit {path!r}", f"expected {expected}"))


def _check_ways(path: str, before: Mapping[str, Entry]) -> None:
    folders = [path[:at] for at, letter in enumerate(path) if letter == "/"]
    blocked = next((each for each in folders if each in before and before[each].mode != "040000"), None)
    if blocked is None and path in before and not before[path].is_file:
        blocked = path
    if blocked is not None:
        hint = "a link, a submodule or another kind of entry stands there in the branch: remove it"
        raise ExternalError(Diagnostic(f"refused to commit {path!r} through {blocked!r}", hint=hint))


def _entries(tip: Tip, paths: Mapping[str, bytes]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    if tip.commit is not None:
        for first in {path.split("/", 1)[0] for path in paths}:
            entries |= tip.repository.entries(tip.commit, first)
    return entries


def _write_blobs(place: Repository, files: Mapping[str, bytes]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="ftops-") as folder:
        names = [str(Path(folder, str(number))) for number in range(len(files))]
        for name, content in zip(names, files.values(), strict=True):
            write_new(Path(name), content)
        # Without filters: what is committed is what was given, to the byte.
        argv = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        ids = place.run(*argv, stdin="".join(f"{name}\n" for name in names).encode()).text
    return dict(zip(files, ids.split(), strict=True))


def _message(request: CommitRequest) -> bytes:
    trailers = [_line(f"{key}: {value}") for key, value in request.trailers.items()]
    return "\n".join([_line(request.subject), "", *trailers]).strip().encode() + b"\n"


def _line(text: str) -> str:
    return " ".join(text.split())  # on one line: a value can't pass for another trailer


def _identity(author: str) -> dict[str, str]:
    match = re.fullmatch(r"\s*([^<>\n]*[^<>\s])\s*<([^<>\s]+)>\s*", author)
    if match is None:
        raise ExternalError(Diagnostic(f"not an author: {author!r}", hint="write it as: Name <mail@example.org>"))
    name, mail = match.groups()
    parts = {"NAME": name, "EMAIL": mail}
    return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in parts.items()}
