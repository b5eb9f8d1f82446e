"""What every data check is given and gives back.

Rows come as Arrow record batches with the column `row` (int64, the number in the source, from 1, rising) and one column
for each field, none of them null:

    instruction, input, system, output, chosen, rejected, text    large_string, empty where an optional one is absent
    tools                                                         large_string: compact JSON of a list, its keys in the order they came in, or empty
    messages                                                      large_list<MESSAGE>
    stratum                                                       large_string, where the split is stratified by a column: its value, or null

A MESSAGE has `role`, and `content`, `name`, `tool_call_id`, `tool_calls` (the same JSON), each null where absent.
`checks/texts.py` gives all texts of a batch, wherever they are nested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ftops.digests import Json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.datasets.finding import Finding

In = TypeVar("In")
Out = TypeVar("Out")
BATCH: Final = 4096
"""Rows that are Python objects at one time."""
MESSAGES: Final = "messages"
"""The field that holds a chat; every other field holds text."""
TOOLS: Final = "tools"
"""The field that holds the functions which a chat may call, as JSON."""
FIELDS: Final = ("chosen", "input", "instruction", MESSAGES, "output", "rejected", "system", "text", TOOLS)
"""All there are."""
STRATUM: Final = "stratum"
"""The column that a split is stratified by, where one is named. It is no field: nothing is learned from it."""


def message_type() -> Any:
    """The Arrow type of one message of a chat."""
    import pyarrow as pa

    return pa.struct([
        ("role", pa.string()), ("content", pa.large_string()), ("name", pa.string()),
        ("tool_call_id", pa.string()), ("tool_calls", pa.large_string()),
    ])  # fmt: skip


def field_type(name: str) -> Any:
    """The Arrow type of the column of a field."""
    import pyarrow as pa

    return pa.large_list(message_type()) if name == MESSAGES else pa.large_string()


class Batches(Protocol):
    """Rows that are read as often as is wanted, batch by batch, never all at once."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every row, in order; at most BATCH in a batch."""

    def each(self, look: Callable[[pa.RecordBatch], Out]) -> Iterator[Out]:
        """What `look` gives for each batch, in order. Where there are many, several processes look: so `look` can be pickled."""

    def spread(self, work: Callable[[In], Out], shares: Iterable[In]) -> Iterator[Out]:
        """What `work` gives for each of `shares`, in order, by as many processes as `each` uses."""


class Rows(Batches, Protocol):
    """Rows on their way through the checks."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that a model learns from, sorted."""

    @property
    def count(self) -> int:
        """How many rows there are."""

    @property
    def found(self) -> tuple[Finding, ...]:
        """What was found before: format faults, and the findings of the checks that ran earlier."""

    @property
    def read(self) -> int:
        """How many rows were read of the source: these, those with faults, and those that were dropped."""

    @property
    def checked(self) -> tuple[str, ...]:
        """The names of the checks that ran earlier, whether they found something or not."""

    @property
    def others(self) -> Mapping[str, Batches]:
        """The rows of other data sets that the spec names, by name: as prepared, in batches of text columns."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows that are at hand as a table."""

    table: pa.Table
    found: tuple[Finding, ...] = ()
    others: Mapping[str, Batches] = field(default_factory=dict)
    checked: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        return text_fields(self.table.column_names)

    @property
    def count(self) -> int:
        return int(self.table.num_rows)

    @property
    def read(self) -> int:
        return self.count

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self.table.to_batches(max_chunksize=BATCH))

    def each(self, look: Callable[[pa.RecordBatch], Out]) -> Iterator[Out]:
        return map(look, self.batches())

    def spread(self, work: Callable[[In], Out], shares: Iterable[In]) -> Iterator[Out]:
        return map(work, shares)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found, and what is to become of the rows.

    `findings` name rows and fields and never hold the data itself, for they are shown and committed. `summary` counts
    what was found. `dropped` are the numbers of rows that go no further; a finding says why. `changed` is a table of `row`
    and all fields, with the new texts of the rows that have some. `clusters` gives for each row that is like an earlier one,
    also for those that are dropped, the lowest row of its cluster. `failed`: the spec wants this to stop everything.
    """

    findings: tuple[Finding, ...] = ()
    summary: Mapping[str, Json] = field(default_factory=dict)
    dropped: frozenset[int] = frozenset()
    changed: pa.Table | None = None
    clusters: Mapping[int, int] = field(default_factory=dict)
    failed: bool = False

    @property
    def changed_rows(self) -> list[int]:
        """The numbers of the rows that have new texts."""
        return [] if self.changed is None else self.changed["row"].to_pylist()


def among(numbers: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `numbers` are among `wanted`, which are rising: in time that hardly grows with how many are wanted."""
    import numpy as np

    if not len(wanted):
        return np.zeros(len(numbers), bool)
    found: NDArray[np.bool_] = wanted[np.minimum(np.searchsorted(wanted, numbers), len(wanted) - 1)] == numbers
    return found


def text_fields(columns: Iterable[str]) -> tuple[str, ...]:
    """Of the columns of rows those that are fields, sorted."""
    return tuple(sorted(set(columns) - {"row", "line", "byte", STRATUM}))
