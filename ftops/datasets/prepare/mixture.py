"""Several prepared data sets → one, each with its weight."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np

from ftops.files import open_new, open_regular, publish_folder

SPLITS: Final = ("train", "validation")
_SLACK: Final = 1e-9
"""A weight of 0.3 is a little more or less than that: so much is no row."""


def mix(portions: Sequence[tuple[Path, float]], target: Path) -> None:
    """Write the rows of the prepared data in each folder of `portions` into the folder `target`, as train.jsonl and, where any
    has one, validation.jsonl.

    A weight of 2.25 takes all rows of the train split twice, and a quarter of them once more: those whose hash is lowest, so
    that it is always the same ones. Validation splits are taken whole: they measure, and teach nothing.
    """

    def build(folder: Path) -> None:
        for split in SPLITS:
            files = [(source / f"{split}.jsonl", weight) for source, weight in portions]
            there = [(file, weight if split == "train" else 1.0) for file, weight in files if file.exists()]
            if there:
                with os.fdopen(open_new(folder / f"{split}.jsonl"), "wb") as out:
                    for file, weight in there:
                        _take(file, weight, out)

    publish_folder(build, target)


def _take(file: Path, weight: float, out: IO[bytes]) -> None:
    whole, part = divmod(weight, 1)
    with os.fdopen(open_regular(file), "rb") as rows:
        for _ in range(int(whole)):
            rows.seek(0)
            shutil.copyfileobj(rows, out, 1 << 20)
        if part:
            rows.seek(0)
            chosen = _chosen(rows, part)
            rows.seek(0)
            out.writelines(row for row, taken in zip(rows, chosen, strict=True) if taken)


def _chosen(rows: Iterator[bytes], part: float) -> list[bool]:
    """For each row whether it is among the `part` of them with the lowest hashes."""
    hashes = [int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big") for row in rows]
    order = np.argsort(np.array(hashes, np.uint64), kind="stable")
    taken = np.zeros(len(hashes), bool)
    taken[order[: math.ceil(part * len(hashes) - _SLACK)]] = True
    return list(map(bool, taken))
