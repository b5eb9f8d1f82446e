"""How long rows are, in which scripts, and how many turns their chats have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from ftops.datasets.checks.rows import MESSAGES, TOOLS, Rows, among
from ftops.datasets.checks.scripts import SCRIPTS, characters, letters, main_script, turns
from ftops.datasets.record import Distribution, Statistics

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

BINS: Final = 24
"""Bars that a histogram has at most, but for the one of its tail."""
ROW: Final = "row"
"""The name of the lengths of whole rows, beside those of the fields."""
UNWRITTEN: Final = "none"
"""The writing of a row without letters."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Statistics of all rows (without tokens), and the lengths of whole rows in each split, in characters."""

    statistics: Statistics
    characters: Mapping[str, Distribution] = field(default_factory=dict)


def measure(rows: Rows, sides: Mapping[str, NDArray[np.int64]] = MappingProxyType({})) -> Measured:
    """The statistics of `rows`; `sides` has the numbers of the rows of each split."""
    import numpy as np

    found = list(rows.each(partial(_figures, rows.fields)))
    lengths = {
        name: np.concatenate([each.columns[name] for each in found]) for name in (found[0].columns if found else ())
    }
    numbers, whole = lengths.pop("number", np.empty(0, np.int64)), lengths.get(ROW, np.empty(0, np.int64))
    counts = sum((each.scripts for each in found), np.zeros(len(SCRIPTS) + 1, np.int64))
    scripts = dict(zip((*SCRIPTS, UNWRITTEN), counts.tolist(), strict=True))
    messages = lengths.pop("turns", None)
    return Measured(
        Statistics(
            characters={name: distribution(values) for name, values in lengths.items() if values.any()},
            scripts={name: count for name, count in sorted(scripts.items(), key=lambda each: -each[1]) if count},
            turns=None if messages is None else distribution(messages),
        ),
        {name: distribution(whole[among(numbers, np.sort(side))]) for name, side in sides.items()},
    )


class _Figures(NamedTuple):
    """Of a batch: by name a length for each row, and how many rows are in each of SCRIPTS, then in none."""

    columns: dict[str, NDArray[np.int64]]
    scripts: NDArray[np.int64]


def _figures(fields: tuple[str, ...], batch: pa.RecordBatch) -> _Figures:
    import numpy as np

    lengths = {name: characters(batch.column(name)) for name in fields}
    counts = np.zeros((len(SCRIPTS), batch.num_rows), np.int64)
    for name in fields:
        if name != TOOLS:
            counts += _letters(batch.column(name))
    scripts = np.bincount(main_script(counts) % (len(SCRIPTS) + 1), minlength=len(SCRIPTS) + 1)
    lengths[ROW] = sum(lengths.values(), np.zeros(batch.num_rows, np.int64))
    if MESSAGES in fields:
        lengths["turns"] = turns(batch.column(MESSAGES)).astype(np.int64)
    lengths["number"] = batch.column("row").to_numpy()
    return _Figures(lengths, scripts)


def _letters(column: pa.Array) -> NDArray[np.int64]:
    """The letters of each writing (rows) in each value of a column (columns), those of a chat in all its messages."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_large_list(column.type):
        return letters(column).T.astype(np.int64)
    content = column.flatten().field("content").fill_null("")
    rows = np.repeat(np.arange(len(column)), turns(column))
    return np.array([np.bincount(rows, each, len(column)) for each in letters(content).T], np.int64)


def distribution(values: NDArray[np.int64]) -> Distribution:
    """The figures of `values`, whole numbers from 0; quantiles by the nearest rank. All 0 where there are none."""
    import numpy as np

    if not len(values):
        return Distribution(rows=0, total=0, min=0, mean=0.0, p50=0, p95=0, max=0)
    ordered = np.sort(values)

    def at(share: float) -> int:
        return int(ordered[math.ceil(share * len(ordered)) - 1])

    edges = round_edges(int(ordered[0]), at(0.99), int(ordered[-1]))
    counts, _ = np.histogram(ordered, edges)
    total = int(ordered.sum())
    return Distribution(
        rows=len(ordered), total=total, min=int(ordered[0]), mean=round(total / len(ordered), 2), p50=at(0.5), p95=at(0.95),
        max=int(ordered[-1]), edges=edges, counts=tuple(counts.tolist()),
    )  # fmt: skip


def round_edges(low: int, most: int, high: int) -> tuple[int, ...]:
    """The edges of a histogram from `low` to `high`: round numbers, one step apart (1, 2 or 5 times a power of ten).

    Where `high` lies far beyond `most`, below which nearly all lies, the last bin is wider and holds the tail.
    """
    end = most if high > 2 * most - low else high
    step = next(
        step
        for power in range(20)
        for step in (10**power, 2 * 10**power, 5 * 10**power)
        if math.ceil((end + 1) / step) - low // step <= BINS
    )
    edges = list(range(low // step * step, end + step + 1, step))
    while len(edges) > 2 and edges[-2] > end:
        edges.pop()
    return (*edges, high) if high > edges[-1] else tuple(edges)
