"""Pushes records to a remote: merged anew on its newest tip, never by force, never with a commit that is not ours."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ftops.digests import digest
from ftops.errors import Diagnostic, ExternalError, RecordConflict
from ftops.git.branch import move, write_tree, writing
from ftops.git.commit import TRIES, Commit, CommitRequest, Tip, build, commit_here
from ftops.git.repository import NOTHING, Repository, failure

if TYPE_CHECKING:
    from collections.abc import Callable

_NETWORK_SECONDS: Final = 300.0
_LOST_RACE: Final = (
    # How servers word that somebody else pushed first (Kargo's list, from several servers).
    "non-fast-forward",
    "incorrect old value",
    "stale info",
    "(fetch first)",
    "cannot lock ref",
    "failed to update ref",
)


class PushState(StrEnum):
    """Where the records ended up: on the branch of the remote, on one for a pull request, or only here."""

    PUSHED = "pushed"
    PROPOSED = "proposed"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where records ended up. `commit` is None when the branch already held them all.

    `branch` is the remote's (LOCAL: the local one); `detail` says what a person should know or do, else "".
    """

    state: PushState
    branch: str
    commit: Commit | None
    detail: str = ""


def push_records(
    repository: Repository,
    remote: str,
    request: CommitRequest,
    *,
    sleep: Callable[[float], None] = time.sleep,
    rng: Callable[[], float] = random.random,
) -> Pushed:
    """Merges records on the newest tip of `remote`, commits and pushes them; the local branch then follows.

    A push that lost a race is merged and tried again, up to 10 times, after 0.2 s to 30 s (`rng` gives 0 to 1). A remote
    that refuses the branch, or holds another result for the same thing, gets a branch for a pull request,
    `ftops/results-ID`, and the local branch stays. Where the remote can't be reached, or local commits of others are in
    the way, the records are committed locally.
    Raises what `commit_records` raises.
    """
    with writing(repository, request.branch) as (place, branch):
        for attempt in range(TRIES):
            try:
                pushed = _try(place, remote, branch, request)
            except ExternalError as error:
                why = " ".join(part for each in error.diagnostics for part in (each.summary, each.detail, each.hint))
                return _locally(place, branch, request, f"not pushed: {why}")
            if pushed is not None:
                return pushed
            sleep(0.2 + rng() * min(29.8, 0.2 * 2**attempt))
        return _locally(place, branch, request, f"not pushed: {TRIES} times somebody else was faster")


def _locally(place: Repository, branch: str, request: CommitRequest, why: str) -> Pushed:
    return Pushed(PushState.LOCAL, branch, commit_here(place, branch, request), why)


def _try(place: Repository, remote: str, branch: str, request: CommitRequest) -> Pushed | None:
    """One round of fetch, merge and push; None when somebody else was faster."""
    base, local = _fetch(place, remote, branch), place.tip(branch)
    ours, others = _unpushed(place, local, base, request.allowed)
    if others:
        why = f"not pushed: {branch} has commits that {remote} has not ({others[0][:10]} …): push them first"
        return _locally(place, branch, request, why)
    start = _replay(place, ours, base)
    if start is None and ours:
        why = f"not pushed: {remote} changed records that unpushed commits change too: git pull --rebase"
        return _locally(place, branch, request, why)
    try:
        commit = build(Tip(place, start), branch, request)
    except RecordConflict as conflict:
        if base is None or request.instead is None:
            raise
        rival = build(Tip(place, base), branch, replace(request, merge=request.instead))
        refused = Pushed(PushState.PROPOSED, branch, rival, str(conflict))
        return _propose(place, remote, refused, base, rival.id if rival else base)
    target = commit.id if commit else start
    if target is not None and target != base:
        refusal = _push(place, remote, target, branch)
        if refusal is not None and any(words in refusal for words in _LOST_RACE):
            return None
        if refusal is not None:
            return _propose(place, remote, Pushed(PushState.PROPOSED, branch, commit, refusal), base, target)
    left_alone = _follow(place, branch, local, target, whole=start != local)
    detail = (
        "" if left_alone is not None else f"local branch {branch} was not moved, your edits are in the way: git pull"
    )
    return Pushed(PushState.PUSHED, branch, commit and replace(commit, left_alone=left_alone or ()), detail)


def _fetch(place: Repository, remote: str, branch: str) -> str | None:
    """The newest commit of the remote's branch, None when it has no such branch. Raises ExternalError."""
    ref = f"refs/ftops/{os.getpid()}"
    argv = ("fetch", "--no-tags", "--no-prune", "--no-write-fetch-head", "--no-recurse-submodules", "--quiet")
    refspec = f"+refs/heads/{branch}:{ref}"
    fetched = place.run(*argv, "--end-of-options", remote, refspec, check=False, seconds=_NETWORK_SECONDS)
    if "couldn't find remote ref" in fetched.stderr:
        return None
    if fetched.code:
        raise failure(argv, fetched)
    tip = place.resolve(ref)
    place.run("update-ref", "-d", ref)
    return tip


def _push(place: Repository, remote: str, commit: str, branch: str) -> str | None:
    """None when the remote took the commit, else in which words it refused. Raises ExternalError on other failures."""
    argv = ("push", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no")
    refspec = f"{commit}:refs/heads/{branch}"
    pushed = place.run(*argv, "--end-of-options", remote, refspec, check=False, seconds=_NETWORK_SECONDS)
    if pushed.code == 0:
        return None
    refused = [line for line in pushed.text.split("\n") if line.startswith("!")]
    if not refused:
        raise failure(argv, pushed)
    said = [line for line in pushed.stderr.split("\n") if line.startswith("remote:")]
    return " ".join(part.strip() for line in (*refused, *said) for part in line.split("\t")[-1:])


def _propose(place: Repository, remote: str, refused: Pushed, base: str | None, target: str) -> Pushed:
    """Pushes what the branch refused to a branch of its own, named by the content: the same results, the same branch."""
    changed = {path: after for path, (_, after) in place.changes(base, target).items()}
    name = f"ftops/results-{digest(changed)[:12]}"
    again = _push(place, remote, target, name)
    if again is not None and not any(words in again for words in _LOST_RACE):  # these say that it is there already
        raise ExternalError(Diagnostic(f"{remote} refused {refused.branch} and {name}", f"{refused.detail}; {again}"))
    return replace(refused, branch=name, detail=f"{refused.branch} was refused ({refused.detail}): open a pull request")


def _unpushed(
    place: Repository, local: str | None, base: str | None, allowed: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Local commits that the remote has not got, oldest first, and those among them that are more than our records."""
    if local is None:
        return [], []
    span = (local, *(("--not", base) if base else ()))
    commits = place.run("rev-list", "--reverse", *span).text.split()
    ours = set(place.run("rev-list", "--no-merges", "--grep=^Ftops-", *span).text.split())
    records = [f":(top,exclude,literal){place.prefix}{folder}" for folder in allowed]
    magic = {"GIT_LITERAL_PATHSPECS": "0"}
    ours -= set(place.run("rev-list", *span, "--", ":(top)", *records, environment=magic).text.split())
    return commits, [commit for commit in commits if commit not in ours]


def _replay(place: Repository, commits: list[str], base: str | None) -> str | None:
    """The last of `commits` (oldest first) on top of `base`, rewritten where `base` is not below it already.

    None when `base` changed a record that one of them changes too, and when there is no commit at all.
    """
    if not commits or base is None or place.is_ancestor(base, commits[-1]):
        return commits[-1] if commits else base
    tip = base
    for commit in commits:
        changes = place.changes(place.resolve(f"{commit}^"), commit)
        for path, (before, after) in changes.items():
            if place.entries(tip, path).get(path, NOTHING) not in (before, after):
                return None
        tree = write_tree(place, tip, {path: after for path, (_, after) in changes.items()})
        header, _, message = place.run("cat-file", "commit", commit).stdout.partition(b"\n\n")
        people = [line for line in header.split(b"\n") if line.startswith((b"author ", b"committer "))]
        lines = [f"tree {tree}".encode(), f"parent {tip}".encode(), *people, b"", message]
        tip = place.run("hash-object", "-t", "commit", "-w", "--stdin", stdin=b"\n".join(lines)).text
    return tip


def _follow(
    place: Repository, branch: str, local: str | None, target: str | None, *, whole: bool
) -> tuple[str, ...] | None:
    """`move` of the local branch to what is pushed. The push is done: what fails here is only told."""
    if target is None or target == local:
        return ()
    try:
        return move(place, branch, local, target, whole=whole)
    except ExternalError:
        return None
