"""The statistics of the rows that are kept: of all, and of each split."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.datasets import profile
from ftops.datasets.prepare.check_rows import CheckedRows, Progress
from ftops.datasets.prepare.split import SPLITS
from ftops.datasets.prepare.stages import Stages
from ftops.datasets.prepare.write import Written
from ftops.datasets.record import SplitReport, Statistics
from ftops.datasets.spec import DatasetSpec
from ftops.digests import Json, digest
from ftops.errors import Diagnostic, ExternalError
from ftops.files import open_given, read_bytes, write_new
from ftops.resources.fields import Strict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURED: Final = "measured.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """Of all rows that are kept, and of each split where they were split."""

    statistics: Statistics
    splits: Mapping[str, SplitReport]


def measured(
    spec: DatasetSpec, checked: CheckedRows, written: Written | None, root: Path, stages: Stages, progress: Progress
) -> Measured:
    """What is known of the rows' lengths; of their tokens too where the spec names a tokenizer, which is read below `root`.

    Raises ExternalError when the tokenizer isn't there, SpecError when it is none.
    """
    key = checked.key if written is None else written.key
    sides = {} if written is None else _numbers(written)

    def lengths() -> Json:
        found = profile.measure(checked.rows, sides)
        return [_plain(found.statistics), {side: _plain(each) for side, each in found.characters.items()}]

    def tokens() -> Json:
        every = spec.statistics.tokens == "all"
        found = profile.count_tokens(checked.rows, tokenizer, asked or "", everything=every, sides=sides)
        return [_plain(found.report), {side: _plain(each) for side, each in found.sides.items()}]

    statistics, characters = _stage(stages, [key, "measure", profile.VERSION], lengths, progress)
    counted: Mapping[str, Json] = {}
    if (asked := spec.statistics.tokenizer) is not None:
        tokenizer, content = _tokenizer(root, asked)
        options = [key, "tokens", profile.VERSION, content, spec.statistics.tokens]
        statistics["tokens"], counted = _stage(stages, options, tokens, progress)
    splits = {
        side: {**each, "characters": characters.get(side), "tokens": counted.get(side)}
        for side, each in ({} if written is None else written.splits).items()
    }
    return Measured(
        Statistics.model_validate_json(json.dumps(statistics)),
        {side: SplitReport.model_validate_json(json.dumps(each)) for side, each in splits.items()},
    )


def _stage(stages: Stages, key: list[Json], make: Callable[[], Json], progress: Progress) -> Json:
    def build(folder: Path) -> None:
        progress(key[1], 0, 1)
        write_new(folder / MEASURED, json.dumps(make()).encode())
        progress(key[1], 1, 1)

    return json.loads(read_bytes(stages.get(digest(key), build) / MEASURED))


def _plain(report: Strict) -> Json:
    return report.model_dump(mode="json")


def _numbers(written: Written) -> dict[str, NDArray[np.int64]]:
    """The numbers of the rows of each split."""
    return {name: written.sides.rows[written.sides.sides == side] for side, name in enumerate(SPLITS)}


def _tokenizer(root: Path, path: str) -> tuple[Path, str]:
    """The tokenizer.json that `path` names, or the folder `path` has, and its sha256."""
    file = root / path
    if file.is_dir():
        file = file / "tokenizer.json"
    try:
        with os.fdopen(open_given(file), "rb") as opened:
            return file, hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ExternalError(
            Diagnostic(
                f"{path}: no tokenizer.json can be read there: {error.strerror}",
                hint="check statistics.tokenizer of the data set: it names the file, or the folder that has it",
            )
        ) from error
