"""The rows of the example, from the objects of its DVC remote: a clone has those, and no data beside them yet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def example_rows() -> list[dict[str, str]]:
    """Each row by the columns of the file; row N of the list is row N + 1 of the file."""
    (out,) = yaml.safe_load((ROOT / "datasets.dvc").read_text(encoding="utf-8"))["outs"]

    def kept(md5: str) -> bytes:
        return (ROOT / "dvc-remote/files/md5" / md5[:2] / md5[2:]).read_bytes()

    (entry,) = json.loads(kept(out["md5"]))
    return list(csv.DictReader(io.StringIO(kept(entry["md5"]).decode("utf-8"), newline=""), strict=True))
