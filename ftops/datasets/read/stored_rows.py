"""Rows in files, read in batches as often as wanted. What checks change lies over them, and is never written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ftops.datasets.finding import Finding
from ftops.files import by_descriptor
from ftops.store.process_pool import spread

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.datasets.checks.rows import Batches, CheckResult

In = TypeVar("In")
Out = TypeVar("Out")
FEW: Final = 50_000
"""Rows that one process is through with before others have started."""
STRATUM: Final = "stratum"
"""The name that `checks.rows` gives the column, which is not imported here: the process that parses needs no models."""


class Part(NamedTuple):
    """A file of rows: its name, how many there are in it, and how many rows, lines and bytes come before it.

    In the file rows, lines and bytes count from its own beginning, for it was written before the others were done.
    """

    name: str
    rows: int
    row: int
    line: int
    byte: int


@dataclass(frozen=True)
class StoredRows:
    """The rows of the Arrow files `parts` in `folder`, without those that were dropped, with those that were changed.

    Made by `read_rows`; `after` gives the rows that a check leaves. Memory is one batch, and the changed rows.
    """

    folder: Path
    parts: tuple[Part, ...]
    fields: tuple[str, ...]
    read: int
    found: tuple[Finding, ...] = ()
    others: Mapping[str, Batches] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    changed: pa.Table | None = None
    checked: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return sum(part.rows for part in self.parts) - len(self.dropped)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every row, in order: the column `row`, then the fields, then STRATUM if there is one."""
        return (piece.batch() for piece in self._pieces())

    def each(self, look: Callable[[pa.RecordBatch], Out]) -> Iterator[Out]:
        """What `look` gives for each of `batches`, in order; where there are many, several processes look."""
        return self.spread(partial(_looked_at, look), self._pieces())

    def spread(self, work: Callable[[In], Out], shares: Iterable[In]) -> Iterator[Out]:
        """What `work` gives for each of `shares`, in order, by several processes where there are many rows."""
        return spread(work, shares) if self.count > FEW else map(work, shares)

    def after(self, result: CheckResult, others: Mapping[str, Batches] | None = None) -> StoredRows:
        """The rows that the check of `result` leaves, with what it found; `others` take the place of the old ones."""
        return replace(
            self,
            found=self.found + result.findings,
            dropped=self.dropped | result.dropped,
            changed=_merged(self.changed, result.changed, ("row", *self.fields)),
            others=self.others if others is None else others,
        )

    def places(self, rows: Iterable[int]) -> dict[int, tuple[int | None, int | None]]:
        """Where each of `rows` starts in its file: line from 1 and byte from 0, None where its format knows none."""
        import numpy as np

        from ftops.datasets.checks.rows import among  # not above: see STRATUM

        wanted = np.unique(np.fromiter(rows, np.int64))
        found: dict[int, tuple[int | None, int | None]] = {}
        for part, _, batch in self._stored(("row", "line", "byte")) if len(wanted) else ():
            hits = among(batch.column(0).to_numpy() + part.row, wanted).nonzero()[0]
            for row, line, byte in zip(*(column.to_pylist() for column in batch.take(hits).columns), strict=True):
                found[row + part.row] = (
                    None if line is None else line + part.line,
                    None if byte is None else byte + part.byte,
                )
        return found

    @property
    def _gone(self) -> NDArray[np.int64]:
        import numpy as np

        return np.sort(np.fromiter(self.dropped, np.int64, len(self.dropped)))

    def _pieces(self) -> Iterator[_Piece]:
        """One for each stored batch, with what lies over its rows."""
        import numpy as np

        columns = ("row", *self.fields, STRATUM)
        stored = [(part, index, part.row + batch.column(0)[0].as_py()) for part, index, batch in self._stored(("row",))]
        bounds = np.array([*(first for *_, first in stored), np.iinfo(np.int64).max])
        gone, new = self._gone, None if self.changed is None else _whole(self.changed)
        cuts = np.searchsorted(gone, bounds)
        changes = np.searchsorted([] if new is None else new.column(0).to_numpy(), bounds)
        for place, (part, index, _) in enumerate(stored):
            here = np.arange(changes[place], changes[place + 1])
            over = new.take(here) if new is not None and len(here) else None
            yield _Piece(self.folder, part, index, columns, gone[cuts[place] : cuts[place + 1]], over)

    def _stored(self, columns: tuple[str, ...]) -> Iterator[tuple[Part, int, pa.RecordBatch]]:
        """The `columns` that there are, as they were written: with the part, and the index in it, of each batch."""
        import pyarrow as pa

        for part in self.parts:
            with by_descriptor(self.folder / part.name) as name, pa.OSFile(name) as file:
                reader = _reader(file, columns)
                for index in range(reader.num_record_batches):
                    yield part, index, _in_order(reader.get_batch(index), columns)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stored batch, and what lies over it: small enough to be sent to another process, which reads the batch itself."""

    folder: Path
    part: Part
    index: int
    columns: tuple[str, ...]
    gone: NDArray[np.int64]
    new: pa.RecordBatch | None

    def batch(self) -> pa.RecordBatch:
        """The rows."""
        import pyarrow as pa

        with by_descriptor(self.folder / self.part.name) as name, pa.OSFile(name) as file:
            stored = _reader(file, self.columns).get_batch(self.index)
        return _overlaid(_counted(_in_order(stored, self.columns), self.part), self.gone, self.new)


def _looked_at(look: Callable[[pa.RecordBatch], Out], piece: _Piece) -> Out:
    return look(piece.batch())


def _reader(file: pa.NativeFile, columns: tuple[str, ...]) -> Any:
    """Reads those of `columns` that there are. The file isn't mapped into memory, so that memory doesn't grow with it."""
    import pyarrow as pa

    names = pa.ipc.open_file(file).schema.names
    indices = [names.index(name) for name in columns if name in names]
    return pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=indices))


def _in_order(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.RecordBatch:
    return batch.select([name for name in columns if name in batch.schema.names])


def _counted(batch: pa.RecordBatch, part: Part) -> pa.RecordBatch:
    """`batch` with the numbers that its rows have in the source."""
    import pyarrow.compute as pc

    return batch.set_column(0, batch.schema.field(0), pc.add(batch.column(0), part.row)) if part.row else batch


def _overlaid(batch: pa.RecordBatch, gone: NDArray[np.int64], new: pa.RecordBatch | None) -> pa.RecordBatch:
    """`batch` without the rows `gone`, those in `new`, which are rows of it, rising, in the place of the old ones."""
    import numpy as np
    import pyarrow as pa

    from ftops.datasets.checks.rows import among  # not above: see STRATUM

    rows = batch.column(0).to_numpy()
    picked = np.arange(len(rows))
    if new is not None:
        at = np.searchsorted(rows, new.column(0).to_numpy())
        picked[at] = len(rows) + np.arange(len(at))
        if STRATUM in batch.schema.names:
            new = new.append_column(STRATUM, batch.column(STRATUM).take(pa.array(at)))
        batch = pa.concat_batches([batch, new])
    if len(gone):
        picked = picked[~among(rows, gone)]
    return batch if len(picked) == batch.num_rows == len(rows) else batch.take(pa.array(picked))


def _merged(old: pa.Table | None, new: pa.Table | None, columns: tuple[str, ...]) -> pa.Table | None:
    """All rows of both by number; of a row that is in both the new one stays."""
    import numpy as np
    import pyarrow as pa

    from ftops.datasets.checks.rows import among, field_type  # not above: see STRATUM

    if new is None or not new.num_rows:
        return old
    kinds = (pa.int64(), *(field_type(name) for name in columns[1:]))
    new = new.select(columns).cast(pa.schema(zip(columns, kinds, strict=True)))
    if old is not None:
        stay = ~among(old["row"].to_numpy(), np.sort(new["row"].to_numpy()))
        new = pa.concat_tables([old.filter(pa.array(stay)), new])
    return new.take(pa.array(np.argsort(new["row"].to_numpy(), kind="stable")))


def _whole(table: pa.Table) -> Any:
    """`table` as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else None
