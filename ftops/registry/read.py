"""Every record of a project, at the tip of its branch or in its work tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ftops.files import read_bytes
from ftops.registry.record_files import is_record, kind_at, parse
from ftops.resources.record import FOLDER, Record
from ftops.resources.workspace import Workspace
from ftops.specs.kinds import KINDS

C = TypeVar("C", bound=Record)


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


def records_of(workspace: Workspace, model: type[C]) -> dict[str, C]:
    """The records of a kind by the name of their resource; of models, whose versions have one each, the last one."""
    folder = f"{FOLDER}{model.folder}/"
    texts = {path: text for path, text in record_texts(workspace).items() if path.startswith(folder)}
    found = (parse(path, text) for path, text in texts.items())
    return {each.metadata.name: each for each in found if isinstance(each, model)}


def states(texts: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """What planning needs of the records, by the folder of their kind and by name; the rest of each is dropped as soon as it is read.

    Raises ExternalError for a text that is no record.
    """
    found: dict[str, dict[str, Any]] = {kind.folder: {} for kind in KINDS}
    for path, text in texts.items():
        record = parse(path, text)
        if (kind := kind_at(path)) is not None:
            kind.records().fold(found[kind.folder], record)
    return found
