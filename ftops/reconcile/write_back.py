"""Results become commits, or files that a machine with the right to push will commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftops.errors import Diagnostic, ExternalError, UsageError
from ftops.files import cannot_write, open_regular, write_atomic
from ftops.git.commit import CommitRequest, Tip, commit_records
from ftops.git.push import PushState, push_records
from ftops.git.repository import Repository
from ftops.registry.documents import documents
from ftops.registry.merge import instead, merge
from ftops.registry.read import read_records
from ftops.registry.record_files import dump, is_record, parse
from ftops.resources.record import Record
from ftops.resources.workspace import Workspace

RESULT_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Written:
    """In a few words where records are now; `complete` is False where a push was wanted and did not happen."""

    text: str
    complete: bool = True


@dataclass(slots=True)
class WriteBack:
    """Where records go: a commit on the branch (and a push where ftops.yaml says so), or below the folder `results`.

    `records` are all that there are, so that what one step wrote the next one reads; `written` has the texts of those below the
    folder. `complete` turns False when a push was wanted and did not happen: the records are committed here, and the next push
    takes them along.
    """

    workspace: Workspace
    results: Path | None
    trailers: Mapping[str, str]
    records: dict[str, Record]
    complete: bool = True
    written: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, workspace: Workspace, results: Path | None, trailers: Mapping[str, str]) -> WriteBack:
        """Raises ExternalError or UsageError where it is clear beforehand that results could not be written."""
        if results is None and workspace.repository is None:
            raise UsageError(
                Diagnostic(
                    f"{workspace.root} is not in a git repository, so results can't be committed",
                    hint="`git init`, or keep the results as files: --no-commit --results DIR",
                )
            )
        if results is None and workspace.branch is None:
            raise ExternalError(
                Diagnostic(
                    "HEAD is detached: there is no branch to commit results on",
                    hint="`git switch BRANCH`, name one in ftops.yaml (spec.git.branch), or --no-commit --results DIR",
                )
            )
        return cls(workspace, results, trailers, read_records(workspace))

    def write(self, records: Iterable[Record], subject: str, trailers: Mapping[str, str]) -> str:
        """Merges `records` into what there is and writes them; returns in a few words where they went."""
        mine = {record.path: record for record in records}
        if self.results is not None:
            for path, record in mine.items():
                self.records[path] = merge(self.records.get(path), record)
                target = self.results / path
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise cannot_write(target, error) from error
                self.written[path] = dump(self.records[path])
                write_atomic(target, self.written[path])
            return f"written to {self.results}"
        repository = self.workspace.repository
        if repository is None:
            raise TypeError("write-back was opened without a repository")
        said = commit(repository, self.workspace, mine, subject, {**self.trailers, **trailers})
        for path, record in mine.items():
            self.records[path] = merge(self.records.get(path), record)
        self.complete = self.complete and said.complete
        return said.text


def commit(
    repository: Repository,
    workspace: Workspace,
    mine: Mapping[str, Record],
    subject: str,
    trailers: Mapping[str, str],
    *,
    push: bool | None = None,
) -> Written:
    """Commits records, merged by key with what stands at the newest tip; pushes them where ftops.yaml or `push` says so.

    A push that fails leaves the records committed here; records that contradict those of the remote are pushed to a
    branch for a pull request. Raises RecordConflict where they contradict those here and nothing is pushed.
    """

    def on(tip: Tip, join: Callable[[Record | None, Record], Record]) -> dict[str, bytes]:
        there = {path: tip.read(path) for path in mine}
        parsed = {path: None if text is None else parse(path, text) for path, text in there.items()}
        joined = {path: join(parsed[path], record) for path, record in mine.items()}
        reports = [documents(each) for each in joined.values()]
        texts = {path: dump(each) for path, each in joined.items()}
        return texts | {path: text for report in reports for path, text in report.items()}

    git = workspace.specs.project.spec.git
    request = CommitRequest(
        merge=lambda tip: on(tip, merge),
        instead=lambda tip: on(tip, instead),
        subject=subject,
        author=git.author,
        trailers=trailers,
        branch=workspace.branch,
    )
    if git.push if push is None else push:
        pushed = push_records(repository, git.remote, request)
        where = {
            PushState.PUSHED: f"pushed to {git.remote}/{pushed.branch}",
            PushState.PROPOSED: f"pushed to {git.remote}/{pushed.branch} for a pull request",
            PushState.LOCAL: f"committed on {pushed.branch}, not pushed",
        }[pushed.state]
        return Written(f"{where}. {pushed.detail}".removesuffix(". "), pushed.state is not PushState.LOCAL)
    made = commit_records(repository, request)
    if made is None:
        return Written("recorded already")
    kept = f"; your edits of {', '.join(made.left_alone)} were kept" if made.left_alone else ""
    return Written(f"commit {made.id[:10]} on {made.branch}{kept}")


def read_results(folder: Path) -> dict[str, Record]:
    """The records that an apply left below `folder`, every one checked against its schema.

    The files come from another machine: anything that is no record, a link, or too large is refused.
    Raises ExternalError naming what is wrong.
    """
    records: dict[str, Record] = {}
    for place in sorted(folder.rglob("*")):
        path = place.relative_to(folder).as_posix()
        if place.is_dir() and not place.is_symlink():
            continue
        if not is_record(path):
            raise ExternalError(Diagnostic(f"{path}: no record of ftops; nothing was committed"))
        with os.fdopen(open_regular(place, folder), "rb") as file:
            text = file.read(RESULT_BYTES + 1)
        if len(text) > RESULT_BYTES:
            raise ExternalError(Diagnostic(f"{path}: larger than a record may be ({RESULT_BYTES} bytes)"))
        records[path] = parse(path, text)
    return records


# ---------------------------------------------------------------------------------------------------- index
