"""git, the only adapter to it: reads a project's repository, commits records without a checkout, pushes them."""

from __future__ import annotations

from ftops.git.branch import heal
from ftops.git.commit import Commit, CommitRequest, Tip, commit_records
from ftops.git.push import Pushed, PushState, push_records
from ftops.git.repository import Head, Repository, open_repository

__all__ = [
    "Commit",
    "CommitRequest",
    "Head",
    "PushState",
    "Pushed",
    "Repository",
    "Tip",
    "commit_records",
    "heal",
    "open_repository",
    "push_records",
]
