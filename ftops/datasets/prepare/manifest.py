"""A folder of prepared data: what lies in it, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from pydantic import ValidationError

from ftops.datasets.prepare.check_rows import quiet, read
from ftops.datasets.prepare.split import SPLITS
from ftops.datasets.prepare.stages import Stages
from ftops.datasets.read import DataFile, Form
from ftops.datasets.record import DatasetReport, SplitReport
from ftops.datasets.spec import OPTIONAL, REQUIRED, OutputFormat, Shape
from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError
from ftops.files import open_regular, read_json, write_new

if TYPE_CHECKING:
    from ftops.datasets.read import StoredRows

MANIFEST: Final = "manifest.json"
MANIFEST_VERSION: Final = "2.0"
INDEX: Final = "rows.idx"
"""Which rows were read: see `ftops.datasets.read.row_index`."""
SIDES: Final = "sides.idx"
"""A byte for each row of INDEX, in the same order: its split as an index in SPLITS, or NOWHERE."""
NOWHERE: Final = 255
_SHAPES: Final[Mapping[OutputFormat, Shape]] = {
    "alpaca": "instruction", "messages": "chat", "sharegpt": "chat", "preference": "preference", "completion": "completion",
}  # fmt: skip
"""As what the files of each format can be read again."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a prepared folder holds, as its manifest.json says; nothing in it is a row, or a part of one.

    `split` are the options of the split, `stages` the names of those in the store's cache that it was made of.
    `prepared_at` is UTC, RFC 3339.
    """

    digest: str
    prepared_at: str
    format: OutputFormat
    split: Json
    stages: tuple[str, ...]
    report: DatasetReport

    @property
    def splits(self) -> Mapping[str, SplitReport]:
        """What is known of the file of each split, in the order of SPLITS."""
        return {name: self.report.splits[name] for name in SPLITS}

    def write(self, folder: Path) -> None:
        """Writes the manifest of `folder`."""
        tree = {
            "formatVersion": MANIFEST_VERSION,
            "digest": self.digest,
            "preparedAt": self.prepared_at,
            "format": self.format,
            "split": self.split,
            "stages": self.stages,
            "report": self.report.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        text = json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False)
        write_new(folder / MANIFEST, f"{text}\n".encode())


def read_manifest(folder: Path) -> Prepared | None:
    """What the prepared folder `folder` holds, None where there is none."""
    manifest = read_json(folder / MANIFEST)
    if manifest is None or manifest.get("formatVersion") != MANIFEST_VERSION:
        return None
    try:
        return Prepared(
            digest=manifest["digest"],
            prepared_at=manifest["preparedAt"],
            format=cast("OutputFormat", manifest["format"]),
            split=manifest["split"],
            stages=tuple(manifest["stages"]),
            report=DatasetReport.model_validate_json(json.dumps(manifest["report"])),
        )
    except (KeyError, ValidationError):
        return None


def verify(folder: Path) -> tuple[Diagnostic, ...]:
    """What in the prepared folder `folder` is not as its manifest says; nothing when it is whole."""
    prepared = read_manifest(folder)
    if prepared is None:
        return (Diagnostic(f"{folder}: no prepared data"),)
    broken = []
    for name in SPLITS:
        path, expected = folder / f"{name}.jsonl", prepared.splits[name].sha256
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            broken.append(Diagnostic(f"{path}: cannot be read: {error.strerror}"))
            continue
        except ExternalError as error:
            broken += error.diagnostics
            continue
        if found != expected:
            broken.append(Diagnostic(f"{path}: not what was prepared", f"expected sha256 {expected}, found {found}"))
    return tuple(broken)


def prepared_rows(folder: Path, stages: Stages) -> StoredRows:
    """The rows of all splits of the prepared folder `folder`, as they were written.

    Raises ExternalError where there are none, or others than its manifest says.
    """
    prepared = read_manifest(folder)
    if prepared is None:
        raise ExternalError(Diagnostic(f"{folder}: no prepared data", hint="run `ftops apply`: it is prepared anew"))
    shape = _SHAPES[prepared.format]
    most = max(split.bytes for split in prepared.splits.values())
    form = Form(
        shape=shape, fields=(*REQUIRED[shape], *OPTIONAL[shape]), required=REQUIRED[shape], columns={}, format="jsonl",
        encoding=None, delimiter=None, stratum=None, size_limit=most, decoded_limit=most, memory_limit=4 * 2**30,
    )  # fmt: skip
    files = [
        DataFile(folder, f"{name}.jsonl", f"sha256:{split.sha256}")
        for name, split in prepared.splits.items()
        if split.rows
    ]
    return read(files, form, stages, quiet)[0].rows
