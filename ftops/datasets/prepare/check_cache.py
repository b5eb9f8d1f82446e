"""What a check found, as files and back."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Final

from ftops.datasets.checks.rows import CheckResult
from ftops.datasets.finding import Finding
from ftops.files import by_descriptor, open_new, read_bytes, write_new

FOUND: Final = "found.json"
CHANGED: Final = "changed.arrow"
_FIELDS: Final = tuple(each.name for each in fields(Finding))


def save_result(result: CheckResult, folder: Path) -> None:
    """Writes `result` to files in `folder`."""
    import orjson
    import pyarrow as pa

    tree = {
        "findings": [[getattr(finding, name) for name in _FIELDS] for finding in result.findings],
        "summary": dict(result.summary),
        "dropped": sorted(result.dropped),
        "clusters": sorted(result.clusters.items()),
        "failed": result.failed,
    }
    write_new(folder / FOUND, orjson.dumps(tree))
    if result.changed is not None:
        with (
            os.fdopen(open_new(folder / CHANGED), "wb") as file,
            pa.ipc.new_file(file, result.changed.schema) as writer,
        ):
            writer.write_table(result.changed)


def load_result(folder: Path) -> CheckResult:
    """The result that `save_result` wrote to `folder`."""
    import orjson
    import pyarrow as pa

    tree = orjson.loads(read_bytes(folder / FOUND, None))
    changed = None
    if (folder / CHANGED).exists():
        with by_descriptor(folder / CHANGED) as name, pa.OSFile(name) as file:
            changed = pa.ipc.open_file(file).read_all()
    return CheckResult(
        findings=tuple(Finding(*values) for values in tree["findings"]),
        summary=tree["summary"],
        dropped=frozenset(tree["dropped"]),
        changed=changed,
        clusters=dict(tree["clusters"]),
        failed=tree["failed"],
    )
