"""A git repository as ftops reads it. Nothing here changes anything."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ftops.errors import Diagnostic, ExternalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SAFETY: Final = (
    # Hooks and the file monitor are programs that a repository's configuration names; ftops runs none of them.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    # No housekeeping that goes on in the background after ftops ended.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("i18n.commitEncoding", "UTF-8"),
)
_LOCATION: Final = (  # set while a git hook runs: they would point git at another repository than the opened one
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)
_HINTS: Final = (  # what git says: what to do
    ("dubious ownership", "if you trust the folder: git config --global --add safe.directory FOLDER"),
    ("No space left on device", "free some space and run the command again; nothing was lost"),
    (
        "Read-only file system",
        "the repository must be writable; results are kept in the store until they are committed",
    ),
    ("Permission denied", "check the rights on the repository and on the remote"),
    ("insufficient permission", "check who owns the files under .git"),
)
_READ_SECONDS: Final = 120.0


class Output(NamedTuple):
    """What a git command gave: exit code, stdout as bytes, stderr as text without credentials."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """The standard output as text, without the newline at its end. Bytes that are no UTF-8 are kept as surrogates."""
        return os.fsdecode(self.stdout).removesuffix("\n")


class Entry(NamedTuple):
    """What stands in a tree: mode as git writes it ("100644", "040000", …) and object id."""

    mode: str
    id: str

    @property
    def is_file(self) -> bool:
        return self.mode in ("100644", "100755")


NOTHING: Final = Entry("000000", "")
"""Where no entry is."""


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out. `branch` is None when detached, `commit` is None on a branch without commits."""

    branch: str | None
    commit: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository seen from a project's folder: every path given or returned is relative to that folder.

    `top` is the top of the work tree (of a bare repository: the repository), `prefix` leads from there to the project
    ("" or "ml/"), `git_dir` is the git folder of this work tree.
    """

    top: Path
    git_dir: Path
    prefix: str = ""
    bare: bool = False

    def run(
        self,
        *argv: str,
        stdin: bytes = b"",
        check: bool = True,
        seconds: float = _READ_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> Output:
        """Output of `git ARGV`, run at the top. Raises ExternalError when it fails, unless `check` is off."""
        output = _git(self.top, argv, stdin, seconds, environment or {})
        if check and output.code:
            raise failure(argv, output)
        return output

    def head(self) -> Head:
        symbolic = self.run("symbolic-ref", "-q", "HEAD", check=False).text
        branch = symbolic.removeprefix("refs/heads/") if symbolic.startswith("refs/heads/") else None
        return Head(branch, self.resolve("HEAD"))

    def tip(self, branch: str) -> str | None:
        """The commit that local branch `branch` points to, or None when it has none yet."""
        return self.resolve(f"refs/heads/{branch}")

    def resolve(self, revision: str) -> str | None:
        """The commit that `revision` names, or None when there is none."""
        if revision.startswith("-"):
            return None
        return self.run("rev-parse", "-q", "--verify", f"{revision}^{{commit}}", check=False).text or None

    def dirty(self, paths: Iterable[str] = ()) -> tuple[str, ...]:
        """Paths below `paths` (all of the project when empty) that differ from HEAD or are untracked, sorted."""
        if self.bare:
            return ()
        wanted = [self.prefix + path for path in paths] or ([self.prefix] if self.prefix else [])
        argv = ("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
        lines = os.fsdecode(self.run(*argv, "--", *wanted).stdout).split("\0")
        return tuple(sorted(self._relative(line[3:]) for line in lines if line))

    def read(self, commit: str, path: str) -> bytes | None:
        """Content of the file `path` in `commit`; None when it isn't there or is no regular file."""
        blob = self.list_tree(commit, path).get(path)
        return None if blob is None else self.read_many([blob])[blob]

    def list_tree(self, commit: str, prefix: str = "") -> dict[str, str]:
        """Regular files at or below `prefix` in `commit`: path → blob id. Links and submodules are left out."""
        entries = self.entries(commit, self.prefix + prefix)
        return {self._relative(path): entry.id for path, entry in entries.items() if entry.is_file}

    def entries(self, commit: str, path: str) -> dict[str, Entry]:
        """Everything at or below `path` in `commit`, and the folders on the way to it. Paths are from the top."""
        where = (path.rstrip("/"),) if path else ()
        listing = self.run("ls-tree", "-r", "-t", "-z", "--full-tree", commit, "--", *where)
        found = {}
        for line in os.fsdecode(listing.stdout).split("\0")[:-1]:
            mode_type_id, _, name = line.partition("\t")
            mode, _, object_id = mode_type_id.split(" ")
            found[name] = Entry(mode, object_id)
        return found

    def changes(self, old: str | None, new: str) -> dict[str, tuple[Entry, Entry]]:
        """What differs between two commits or trees (`old` None: the empty one): path from the top → before, after."""
        before = old or self.empty_tree()
        listing = os.fsdecode(self.run("diff-tree", "-r", "-z", "--no-renames", before, new).stdout).split("\0")
        found = {}
        for header, path in zip(listing[:-1:2], listing[1::2], strict=True):
            modes_ids = header.removeprefix(":").split(" ")
            entries = (Entry(mode, object_id) for mode, object_id in zip(modes_ids[:2], modes_ids[2:4], strict=True))
            before_after = [NOTHING if entry.mode == NOTHING.mode else entry for entry in entries]
            found[path] = (before_after[0], before_after[1])
        return found

    def empty_tree(self) -> str:
        """The id of the tree without entries: it depends on the repository's kind of hash."""
        return self.run("hash-object", "-t", "tree", "--stdin").text

    def read_many(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Contents by blob id, read by one git process. Raises ExternalError when one is missing."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        stream = self.run("cat-file", "--batch", "--buffer", stdin="\n".join(wanted).encode() + b"\n").stdout
        contents, at = {}, 0
        for object_id in wanted:
            end = stream.index(b"\n", at)
            header = stream[at:end].split(b" ")
            if len(header) != 3:
                hint = "the repository is damaged or was cloned in part: git fsck, git fetch"
                raise ExternalError(Diagnostic(f"git has no object {object_id}", hint=hint))
            at = end + 1 + int(header[2])
            contents[object_id] = stream[end + 1 : at]
            at += 1
        return contents

    def is_ancestor(self, older: str, newer: str) -> bool:
        """True when `newer` holds `older` in its history, or is it."""
        return self.run("merge-base", "--is-ancestor", older, newer, check=False).code == 0

    def _relative(self, path: str) -> str:
        return path.removeprefix(self.prefix)


def open_repository(path: Path) -> Repository | None:
    """The repository that folder `path` lies in, or None. Raises ExternalError without git, or if git refuses it."""
    argv = ("rev-parse", "--is-inside-work-tree", "--absolute-git-dir")
    found = _git(path, argv, b"", _READ_SECONDS, {})
    if found.code and "not a git repository" in found.stderr:
        return None
    if found.code:
        raise failure(argv, found)
    inside, _, git_dir = found.text.partition("\n")
    if inside != "true":
        return Repository(top=Path(git_dir), git_dir=Path(git_dir), bare=True)
    top = _git(path, ("rev-parse", "--show-toplevel"), b"", _READ_SECONDS, {}).text
    prefix = _git(path, ("rev-parse", "--show-prefix"), b"", _READ_SECONDS, {}).text
    return Repository(Path(top), Path(git_dir), prefix)


def failure(argv: Iterable[str], output: Output) -> ExternalError:
    """The error for a git command that failed: what it said, and what to do where that is known."""
    said = output.stderr.strip()
    hint = next((hint for words, hint in _HINTS if words in said), "")
    return ExternalError(Diagnostic(f"git {next(iter(argv))} failed", said[-2000:], hint))


def _git(cwd: Path, argv: Iterable[str], stdin: bytes, seconds: float, environment: Mapping[str, str]) -> Output:
    command = ["git", *(part for key, value in _SAFETY for part in ("-c", f"{key}={value}")), *argv]
    settings = {
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    inherited = {key: value for key, value in os.environ.items() if key not in _LOCATION}
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=inherited | settings | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A session of its own: Ctrl-C does not stop git half-way, ssh can't ask, and a time-out ends ssh too.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if not cwd.is_dir():
            raise ExternalError(Diagnostic(f"no such folder: {cwd}")) from error
        raise ExternalError(
            Diagnostic("git is not installed", hint="install it: apt-get install git, or see git-scm.com/downloads")
        ) from error
    with process:
        try:
            stdout, stderr = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            summary = f"git {command[2 * len(_SAFETY) + 1]} gave no answer in {seconds:.0f} s"
            raise ExternalError(Diagnostic(summary, hint="check the remote and the network")) from error
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # git removes its own locks then
            raise
    return Output(process.returncode, stdout, without_credentials(stderr.decode(errors="replace")))


def without_credentials(text: str) -> str:
    """`text` with user names and passwords in URLs blanked: git repeats the URL it was given."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
