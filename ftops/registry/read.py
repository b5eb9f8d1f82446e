"""Every record of a project, at the tip of its branch or in its work tree."""

from __future__ import annotations

from ftops.files import read_bytes
from ftops.registry.record_files import is_record, parse
from ftops.resources.record import FOLDER, Record
from ftops.resources.workspace import Workspace


def record_texts(workspace: Workspace) -> dict[str, bytes]:
    """The text of every record by its path: at the tip of the branch, or in the work tree where git has no commit; and what
    an apply has written instead."""
    return dict(sorted({**_kept_texts(workspace), **workspace.written}.items()))


def _kept_texts(workspace: Workspace) -> dict[str, bytes]:
    if workspace.repository is not None and (tip := workspace.tip) is not None:
        blobs = {path: blob for path, blob in workspace.repository.list_tree(tip, FOLDER).items() if is_record(path)}
        contents = workspace.repository.read_many(blobs.values())
        return {path: contents[blob] for path, blob in blobs.items()}
    paths = [path for path in (workspace.root / FOLDER).rglob("*.yaml") if path.is_file()]
    return {
        name: read_bytes(path, root=workspace.root)
        for path in paths
        if is_record(name := path.relative_to(workspace.root).as_posix())
    }


def read_records(workspace: Workspace) -> dict[str, Record]:
    """Every record by its path."""
    return {path: parse(path, text) for path, text in record_texts(workspace).items()}
