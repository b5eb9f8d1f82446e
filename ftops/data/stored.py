"""Rows that lie in files: read batch by batch, as often as wanted; what checks change lies over them and is never written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftops.values import Finding

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.checks.rows import CheckResult

STRATUM = "stratum"
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
    others: Mapping[str, Iterable[pa.RecordBatch]] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    changed: pa.Table | None = None
    checked: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return sum(part.rows for part in self.parts) - len(self.dropped)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every row, in order: the column `row`, then the fields; at most `checks.rows.BATCH` in a batch."""
        gone, new = self._gone, self._new
        for part, batch in self._stored(("row", *self.fields)):
            yield _overlaid(_counted(batch, part), gone, new)

    def after(self, result: CheckResult, others: Mapping[str, Iterable[pa.RecordBatch]] | None = None) -> StoredRows:
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

        wanted = np.unique(np.fromiter(rows, np.int64))
        found: dict[int, tuple[int | None, int | None]] = {}
        for part, batch in self._stored(("row", "line", "byte")) if len(wanted) else ():
            hits = np.isin(batch.column(0).to_numpy() + part.row, wanted).nonzero()[0]
            for row, line, byte in zip(*(column.to_pylist() for column in batch.take(hits).columns), strict=True):
                found[row + part.row] = (
                    None if line is None else line + part.line,
                    None if byte is None else byte + part.byte,
                )
        return found

    def strata(self) -> pa.ChunkedArray | None:
        """The value of the column that the split is stratified by for each row, null where it has none; None without one."""
        import numpy as np
        import pyarrow as pa

        gone, chunks = self._gone, []
        for part, batch in self._stored(("row", STRATUM)):
            if batch.num_columns < 2:
                return None
            stay = np.isin(batch.column(0).to_numpy() + part.row, gone, invert=True)
            chunks.append(batch.column(1).filter(pa.array(stay)))
        return pa.chunked_array(chunks, pa.large_string())

    @property
    def _gone(self) -> NDArray[np.int64]:
        import numpy as np

        return np.sort(np.fromiter(self.dropped, np.int64, len(self.dropped)))

    @property
    def _new(self) -> pa.RecordBatch | None:
        return None if self.changed is None else _whole(self.changed)

    def _stored(self, columns: Iterable[str]) -> Iterator[tuple[Part, pa.RecordBatch]]:
        """The `columns` that there are, as they were written. Not mapped into memory, so that memory doesn't grow with the file."""
        import pyarrow as pa

        for part in self.parts:
            with pa.OSFile(str(self.folder / part.name)) as file:
                names = pa.ipc.open_file(file).schema.names
                indices = [names.index(name) for name in columns if name in names]
                reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=indices))
                order = [name for name in columns if name in names]
                for index in range(reader.num_record_batches):
                    yield part, reader.get_batch(index).select(order)


def _counted(batch: pa.RecordBatch, part: Part) -> pa.RecordBatch:
    """`batch` with the numbers that its rows have in the source."""
    import pyarrow.compute as pc

    return batch.set_column(0, batch.schema.field(0), pc.add(batch.column(0), part.row)) if part.row else batch


def _overlaid(batch: pa.RecordBatch, gone: NDArray[np.int64], new: pa.RecordBatch | None) -> pa.RecordBatch:
    """`batch` without the rows `gone`, those in `new` (sorted by row) in the place of the old ones."""
    import numpy as np
    import pyarrow as pa

    rows = batch.column(0).to_numpy()
    picked = np.arange(len(rows))
    if new is not None and len(rows):
        numbers = new.column(0).to_numpy()
        first, stop = np.searchsorted(numbers, [rows[0], rows[-1] + 1])
        here = numbers[first:stop]
        if len(here):
            known = np.isin(here, rows)
            picked[np.searchsorted(rows, here[known])] = len(rows) + known.nonzero()[0]
            batch = pa.concat_batches([batch, new.slice(first, stop - first)])
    if len(gone):
        picked = picked[np.isin(rows, gone, invert=True)]
    return batch if len(picked) == batch.num_rows == len(rows) else batch.take(pa.array(picked))


def _merged(old: pa.Table | None, new: pa.Table | None, columns: tuple[str, ...]) -> pa.Table | None:
    """All rows of both by number; of a row that is in both the new one stays."""
    import numpy as np
    import pyarrow as pa

    from ftops.checks.rows import field_type  # not above: see STRATUM

    if new is None or not new.num_rows:
        return old
    kinds = (pa.int64(), *(field_type(name) for name in columns[1:]))
    new = new.select(columns).cast(pa.schema(zip(columns, kinds, strict=True)))
    if old is not None:
        stay = np.isin(old["row"].to_numpy(), new["row"].to_numpy(), invert=True)
        new = pa.concat_tables([old.filter(pa.array(stay)), new])
    return new.take(pa.array(np.argsort(new["row"].to_numpy(), kind="stable")))


def _whole(table: pa.Table) -> Any:
    """`table` as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else None
