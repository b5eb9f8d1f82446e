"""Which rows differ between two versions of data: files, URLs, prepared data, a source and its record."""

from __future__ import annotations

import tempfile
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ftops.datasets.checks.rows import MESSAGES, among
from ftops.datasets.read import DataFile, Form, Reading, read_rows
from ftops.datasets.read.row_index import NAME, RowIndex, batch_index, matched, read_index
from ftops.datasets.report.diff import DiffedSide, PlacedRow, RowDiff
from ftops.datasets.spec import OUTPUTS, Dataset, DatasetSpec, OutputFormat, Shape, SourceSpec
from ftops.digests import Json
from ftops.display.numbers import gib
from ftops.errors import Diagnostic, ExternalError, FtopsError, UsageError
from ftops.files import read_bytes
from ftops.plan.changes import Change, Plan
from ftops.plan.details import DatasetDetails, RowChanges
from ftops.plan.observed import Observed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.datasets.record import DatasetRecord
    from ftops.resources.specs import Specs
    from ftops.store.store import Store

READ_AS: Final[Mapping[OutputFormat, Shape]] = {
    "alpaca": "instruction",
    "messages": "chat",
    "sharegpt": "chat",
    "preference": "preference",
    "completion": "completion",
}
"""The shape in which prepared rows are read back."""
SPLITS: Final = ("train", "validation", "test")
PLANNED_BYTES: Final = 32 * 2**20
"""A plan compares the rows of sources up to this size: more would keep people waiting."""
AFTER_READING: Final = frozenset({"pipeline", "onInvalid", "checks", "against", "split", "output", "statistics"})
"""What of a data set's meaning has no part in which rows its source has."""
UNLIMITED: Final = 2**40
"""Bytes: what this project has written itself is as large as it is."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that were read together: those of all files of a source, or those of a split. `numbers` are those of the rows."""

    split: str | None
    reading: Reading
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Version:
    """The rows of one side of a diff, under the name that a person gave it."""

    name: str
    shape: Shape
    parts: tuple[Part, ...]
    index: RowIndex

    @property
    def side(self) -> DiffedSide:
        """Its name and its counts."""
        return DiffedSide(self.name, len(self.index), sum(each.reading.read for each in self.parts) - len(self.index))


@dataclass(frozen=True, slots=True)
class Compared:
    """Positions of rows in two indices: pairs of equal rows, pairs with an equal prompt, and what has no partner."""

    same: tuple[NDArray[np.int64], NDArray[np.int64]]
    changed: tuple[NDArray[np.int64], NDArray[np.int64]]
    removed: NDArray[np.int64]
    added: NDArray[np.int64]


def compare(before: RowIndex, after: RowIndex) -> Compared:
    """Rows as multisets: equal ones are the same, of the others those with equal prompts pair up, in their order."""
    import numpy as np

    same = matched(before.rows, after.rows)
    left = tuple(np.setdiff1d(np.arange(len(index)), known) for index, known in zip((before, after), same, strict=True))
    pairs = matched(before.prompts[left[0]], after.prompts[left[1]])
    removed, added = (np.delete(positions, known) for positions, known in zip(left, pairs, strict=True))
    return Compared(same, (left[0][pairs[0]], left[1][pairs[1]]), removed, added)


# ------------------------------------------------------------------------------------------------- two versions


def read_version(name: str, files: Sequence[DataFile], form: Form, folder: Path) -> Version:
    """The rows of `files` as they stand there; `folder` must exist and be empty. Raises what `read_rows` raises."""
    return _version(name, form.shape, {None: read_rows(files, form, folder, _quietly)})


def prepared_version(name: str, record: DatasetRecord, store: Store, folder: Path) -> Version:
    """The prepared rows that `record` is about; raises ExternalError where the store has them not."""
    prepared, inputs = store.data(record.status.digest), record.status.inputs
    if not (prepared / "manifest.json").is_file():
        hint = "`ftops apply` prepares what the specs say now; compare the sources themselves for what was before"
        why = f"it was prepared as {record.status.digest[:12]}"
        raise ExternalError(Diagnostic(f"the rows of {name} are not in the store {store.root}", why, hint))
    shape = READ_AS[inputs["output"].get("format") or OUTPUTS[inputs["shape"]][0]]
    form = Form.of(DatasetSpec(source=SourceSpec(path=f"{SPLITS[0]}.jsonl"), shape=shape))
    form = replace(form, size_limit=UNLIMITED, decoded_limit=UNLIMITED)
    readings: dict[str | None, Reading] = {}
    for split in SPLITS:
        (folder / split).mkdir()
        readings[split] = read_rows([DataFile(prepared, f"{split}.jsonl")], form, folder / split, _quietly)
    return _version(name, shape, readings)


def row_diff(before: Version, after: Version, shown: int = 0) -> RowDiff:
    """What differs; the texts of the first `shown` rows of each kind are with them.

    Raises UsageError for rows of different shapes, which have nothing to compare.
    """
    import numpy as np

    if before.shape != after.shape:
        raise UsageError(
            Diagnostic(
                f"{before.name} has rows of shape {before.shape}, {after.name} of shape {after.shape}",
                hint="compare rows of one shape: --shape and --columns say how files are read",
            )
        )
    found = compare(before.index, after.index)
    sides = tuple(np.concatenate([np.full(len(p.numbers), n) for n, p in enumerate(v.parts)]) for v in (before, after))
    prepared = all(part.split is not None for part in (*before.parts, *after.parts))
    moves = sides[0][found.same[0]] != sides[1][found.same[1]]
    moved = tuple(each[moves] if prepared else each[:0] for each in found.same)
    old = _placed(before, (found.removed, found.changed[0], moved[0]), shown)
    new = _placed(after, (found.added, found.changed[1], moved[1]), shown)
    return RowDiff(
        before.side,
        after.side,
        unchanged=len(found.same[0]) - len(moved[0]),
        added=new[0],
        removed=old[0],
        changed=tuple(zip(old[1], new[1], strict=True)),
        moved=tuple(zip(old[2], new[2], strict=True)),
    )


def _version(name: str, shape: Shape, readings: Mapping[str | None, Reading]) -> Version:
    import numpy as np

    index, parts = [], []
    for split, reading in readings.items():
        looks = list(reading.rows.each(_indexed))
        index += [each for _, each in looks]
        parts.append(Part(split, reading, np.concatenate([np.empty(0, np.int64), *(each for each, _ in looks)])))
    return Version(name, shape, tuple(parts), read_index(b"".join(index)))


def _indexed(batch: pa.RecordBatch) -> tuple[NDArray[np.int64], bytes]:
    return batch.column("row").to_numpy(), batch_index(batch)


def _placed(version: Version, kinds: Sequence[NDArray[np.int64]], shown: int) -> tuple[tuple[PlacedRow, ...], ...]:
    """The rows at the positions of each kind, and where they stand."""
    import numpy as np

    placed: dict[int, PlacedRow] = {}
    wanted = np.concatenate(kinds)
    with_texts = np.concatenate([each[:shown] for each in kinds])
    begin = 0
    for part in version.parts:
        end = begin + len(part.numbers)
        here = part.numbers[wanted[(wanted >= begin) & (wanted < end)] - begin]
        texts = _texts(part.reading, part.numbers[with_texts[(with_texts >= begin) & (with_texts < end)] - begin])
        rows = dict(_rows(part, here.tolist(), texts))
        placed |= {begin + int(np.searchsorted(part.numbers, number)): row for number, row in rows.items()}
        begin = end
    return tuple(tuple(placed[position] for position in each.tolist()) for each in kinds)


def _rows(part: Part, numbers: list[int], texts: Mapping[int, Mapping[str, str]]) -> Iterable[tuple[int, PlacedRow]]:
    reading = part.reading
    places = reading.rows.places(numbers)
    for number in numbers:
        file = bisect_right(reading.first_rows, number) - 1
        yield number, PlacedRow(number, reading.files[file].path, places[number][0], part.split, texts.get(number))


def _texts(reading: Reading, numbers: NDArray[np.int64]) -> dict[int, dict[str, str]]:
    """The fields of the rows with these numbers, a field a message of a chat."""
    import numpy as np

    found = {}
    wanted = np.sort(numbers)
    for batch in reading.rows.batches() if len(numbers) else ():
        hits = batch.take(among(batch.column("row").to_numpy(), wanted).nonzero()[0])
        for row in hits.select(["row", *reading.rows.fields]).to_pylist():
            number = row.pop("row")
            found[number] = _fields(row)
    return found


def _fields(row: dict[str, Any]) -> dict[str, str]:
    chat = row.pop(MESSAGES, ())
    said = {
        f"{MESSAGES}[{number}] {each['role']}": " ".join(filter(None, (each["content"], each["tool_calls"])))
        for number, each in enumerate(chat)
    }
    return said | row


def _quietly(_done: int, _total: int) -> None:
    """Nobody waits long enough for a bar."""


# ------------------------------------------------------------------------------------------------- in a plan


def with_rows(plan: Plan, specs: Specs, observed: Observed, root: Path, store: Store) -> Plan:
    """`plan`, each change of a recorded data set with what differs in the rows of its source, where that can be known.

    That needs the index of the recorded rows, which `store` keeps beside the prepared ones, and the source below `root`.
    """

    def compared(change: Change) -> Change:
        resource, recorded = specs.resources[change.address], observed.datasets.get(change.address.name)
        if change.is_noop or not isinstance(resource, Dataset) or recorded is None:
            return change
        if _as_read(change.inputs) == _as_read(recorded.inputs):
            return _with(change, RowChanges())
        before = store.data(recorded.digest) / NAME
        return _with(change, _row_changes(before, resource.spec, root, observed))

    return replace(plan, changes=tuple(map(compared, plan.changes)))


def _with(change: Change, rows: RowChanges | str | None) -> Change:
    return replace(change, details=replace(change.details_of(DatasetDetails), rows=rows))


def _row_changes(before: Path, spec: DatasetSpec, root: Path, observed: Observed) -> RowChanges | str | None:
    """What differs between the index `before` and the source as it is now, or why that isn't known; None without either."""
    paths = spec.source.files
    if spec.source.url is not None:
        return None
    try:
        known = read_index(read_bytes(before, None))
        size = sum((root / path).stat().st_size for path in paths)
    except (OSError, ExternalError):
        return None
    if size > PLANNED_BYTES:
        return f"larger than {gib(PLANNED_BYTES)}"
    identities = {path: source.digest for path, source in observed.sources.items()}
    files = [DataFile(root, path, identities.get(path)) for path in paths]
    with tempfile.TemporaryDirectory(prefix="ftops-rows-") as folder:
        try:
            now = read_version(", ".join(paths), files, Form.of(spec), Path(folder))
        except FtopsError as error:
            return error.diagnostics[0].summary
    found = compare(known, now.index)
    return RowChanges(len(found.added), len(found.removed), len(found.changed[0]))


def _as_read(inputs: Json) -> Json:
    """What of a data set's meaning decides which rows its source has."""
    return {key: value for key, value in inputs.items() if key not in AFTER_READING}
