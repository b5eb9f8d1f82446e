"""Reading and checking, stage by stage: what was found, and the rows that are left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.datasets import read as data
from ftops.datasets.checks import Check
from ftops.datasets.checks.rows import Batches, CheckResult, In, Out
from ftops.datasets.prepare.check_cache import load_result, save_result
from ftops.datasets.prepare.stages import Stages, scratch
from ftops.datasets.read import DataFile, Form, Reading, StoredRows
from ftops.digests import Json, digest
from ftops.files import read_bytes, write_new

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[str, int, int], None]
"""Is told a stage (read, the name of a check, split, write, measure), how much of it is done, and of how much. What lies in
the store already is not told of."""
READING: Final = "reading.json"


def quiet(_stage: str, _done: int, _total: int) -> None:
    """Takes progress, and tells nobody."""


@dataclass(frozen=True, slots=True)
class CheckedRows:
    """What was read, what each check found, and the rows that are left. `key` names all that these depend on."""

    reading: Reading
    results: tuple[tuple[Check, CheckResult], ...]
    rows: StoredRows
    key: str


class LaterRows:
    """The rows that `read` gives, read when somebody looks at them: a check that lies in the store needs none."""

    def __init__(self, read: Callable[[], StoredRows]) -> None:
        self._read = read

    @cached_property
    def _rows(self) -> StoredRows:
        return self._read()

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self._rows.batches()

    def each(self, look: Callable[[pa.RecordBatch], Out]) -> Iterator[Out]:
        return self._rows.each(look)

    def spread(self, work: Callable[[In], Out], shares: Iterable[In]) -> Iterator[Out]:
        return self._rows.spread(work, shares)


@dataclass(frozen=True, slots=True)
class Others:
    """Other data sets that rows are compared with: their rows by name, and what these rows are."""

    rows: Mapping[str, Batches]
    digests: Mapping[str, str]


def read(files: Sequence[DataFile], form: Form, stages: Stages, progress: Progress) -> tuple[Reading, str]:
    """The rows of `files`, and the digest of all that these depend on. Raises what `data.read_rows` raises."""
    options = ["read", data.VERSION, form.to_json()]

    def build(folder: Path) -> None:
        reading = data.read_rows(files, form, folder, lambda done, total: progress("read", done, total))
        write_new(folder / READING, json.dumps(reading.to_json()).encode())

    if all(file.expected for file in files):
        key = [*options, [[file.path, file.expected] for file in files]]
        folder = stages.get(key, build)
    else:
        new = scratch(stages.folder)
        try:
            build(new)
            found = _reading(new).files
            key = [*options, [[file.path, f"sha256:{file.sha256}"] for file in found]]
            folder = stages.get(key, lambda folder: _move(new, folder))
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return _reading(folder), digest(key)


def _reading(folder: Path) -> Reading:
    return Reading.from_json(json.loads(read_bytes(folder / READING, None)), folder)


def _move(source: Path, target: Path) -> None:
    for path in source.iterdir():
        path.rename(target / path.name)


def run_checks(
    checks: Iterable[Check], reading: Reading, key: str, stages: Stages, others: Others, progress: Progress
) -> CheckedRows:
    """Every check, on the rows that the ones before it left; `key` is what `read` gave. A check that failed stops nothing here."""
    rows = replace(reading.rows, others=others.rows)
    results = []
    for check in checks:
        key = digest([key, check.name, check.version, _options(check, others)])
        result = _run(check, rows, key, stages, progress)
        results.append((check, result))
        rows = replace(rows.after(result), checked=(*rows.checked, check.name))
    return CheckedRows(reading, tuple(results), rows, key)


def _options(check: Check, others: Others) -> Json:
    parameters = check.parameters.model_dump(mode="json")
    return [parameters, [others.digests.get(name) for _, name in check.parameters.compared_with()]]


def _run(check: Check, rows: StoredRows, key: str, stages: Stages, progress: Progress) -> CheckResult:
    made: CheckResult | None = None

    def build(folder: Path) -> None:
        nonlocal made
        progress(check.name, 0, 1)
        made = check.run(rows)
        save_result(made, folder)
        progress(check.name, 1, 1)

    folder = stages.get(key, build)
    return load_result(folder) if made is None else made
