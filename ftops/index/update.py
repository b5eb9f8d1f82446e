"""The SQL index of a project: where it is, and how it is brought to what git holds."""

from __future__ import annotations

import os

from ftops.errors import FtopsError
from ftops.registry.read import read_records
from ftops.resources.project import FromEnvironment
from ftops.resources.workspace import Workspace


def index_url(workspace: Workspace) -> str | None:
    """Where the SQL index is; None when ftops.yaml names none. Raises UsageError or SpecError where it can't be said."""
    configured = workspace.specs.project.spec.index
    if configured is None:
        return None
    from ftops.index import database  # SQLAlchemy: only those who want an index wait for it

    if isinstance(configured, FromEnvironment):
        configured = configured.read(os.environ, "spec.index")
    return database.locate(configured, workspace.root)


def rebuild_index(workspace: Workspace, url: str) -> dict[str, int]:
    """Copies the records into the index at `url`; returns the rows of each table, or raises ExternalError."""
    from ftops.index import database  # see index_url

    return database.rebuild(url, read_records(workspace))


def update_index(workspace: Workspace) -> str:
    """Brings the index, where there is one, to what git holds. The records are safe whatever becomes of it: what goes
    wrong is returned in words, and the next apply tries again."""
    try:
        if (url := index_url(workspace)) is not None:
            rebuild_index(workspace, url)
    except FtopsError as error:
        return "\n".join(
            f"the SQL index lacks the newest records: {each.summary}. {each.detail or each.hint}"
            for each in error.diagnostics
        )
    return ""
