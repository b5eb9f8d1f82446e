"""How many tokens rows are to the model that learns them: of all rows, or of a sample with its error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ftops.datasets.checks.rows import MESSAGES, Rows, among, text_fields
from ftops.datasets.checks.similarity.tokens import mixed
from ftops.datasets.profile.lengths import distribution
from ftops.datasets.record import TokenReport
from ftops.errors import Diagnostic, SpecError, Where
from ftops.files import read_given

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SAMPLE: Final = 2000
"""Rows of a sample: the mean is then known within 2 % where lengths vary as much as they are long, and half a second does."""
SEED: Final = 0x66746F7073
PIECE: Final = 1024
"""Rows whose tokens are in memory at one time."""
Z: Final = 1.959963984540054
"""The normal quantile of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Tokens of all rows, and of each split by those of its rows that were counted; a split of which these are too few has none."""

    report: TokenReport
    sides: Mapping[str, TokenReport] = field(default_factory=dict)


def count_tokens(
    rows: Rows,
    tokenizer: Path,
    name: str,
    *,
    everything: bool = False,
    sides: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
) -> Counted:
    """The tokens of `rows` by the tokenizer.json `tokenizer`, which reports call `name`; of 2,000 rows, the same each time, or of
    all where `everything`. `sides` has the numbers of the rows of each split. Raises SpecError when the file is no tokenizer.
    """
    import numpy as np

    encoder = _load(tokenizer, name)
    numbers = np.concatenate([np.empty(0, np.int64), *(batch.column("row").to_numpy() for batch in rows.batches())])
    chosen = numbers if everything else sample(numbers, SAMPLE)
    counts = np.concatenate([
        np.empty(0, np.int64),
        *(_count(encoder, piece) for batch in rows.batches() for piece in _pieces(batch, chosen)),
    ])  # fmt: skip
    reports = {}
    for side, members in sides.items():
        taken = counts[among(chosen, np.sort(members))]
        if len(taken) == len(members) or len(taken) > 1:
            reports[side] = _report(name, taken, len(members))
    return Counted(_report(name, counts, len(numbers)), reports)


def sample(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """So many of the row `numbers`, rising: those with the lowest hash. Rows that are added take the place of few."""
    import numpy as np

    if len(numbers) <= count:
        return numbers
    chances = mixed(numbers.astype(np.uint64) + np.uint64(SEED))
    return np.sort(numbers[np.argpartition(chances, count)[:count]])


def interval(counts: NDArray[np.int64], population: int) -> tuple[float, float]:
    """The 95 % interval of the mean of a population by a sample without replacement (Cochran 1977, 2.15).

    Student's quantile after Abramowitz and Stegun 26.7.5. Both ends are the mean where all was counted.
    """
    mean, size = float(counts.mean()), len(counts)
    if size == population:
        return mean, mean
    free = size - 1
    quantile = Z + (Z**3 + Z) / (4 * free) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * free**2)
    half = quantile * float(counts.std(ddof=1)) / math.sqrt(size) * math.sqrt((population - size) / (population - 1))
    return mean - half, mean + half


def _report(name: str, counts: NDArray[np.int64], population: int) -> TokenReport:
    found = distribution(counts)
    if not found.rows:
        return TokenReport(
            tokenizer=name,
            sampled=0,
            mean=0.0,
            mean_interval=(0.0, 0.0),
            total=0,
            total_interval=(0, 0),
            distribution=found,
        )
    low, high = interval(counts, population)
    return TokenReport(
        tokenizer=name,
        sampled=found.rows,
        mean=found.mean,
        mean_interval=(round(low, 2), round(high, 2)),
        total=round(found.total / found.rows * population),
        total_interval=(max(round(low * population), found.total), round(high * population)),
        distribution=found,
    )


def _load(path: Path, name: str) -> Any:
    from tokenizers import Tokenizer

    try:
        encoder = Tokenizer.from_str(read_given(path).decode())
    except Exception as error:  # the library raises no narrower class
        raise SpecError(
            Diagnostic(
                f"{name} is no tokenizer that can be read", str(error), "give the tokenizer.json of the base model, or its folder",
                where=Where(name),
            )
        ) from error  # fmt: skip
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


def _pieces(batch: pa.RecordBatch, chosen: NDArray[np.int64]) -> list[pa.RecordBatch]:
    taken = batch.take(among(batch.column("row").to_numpy(), chosen).nonzero()[0])
    return [taken.slice(first, PIECE) for first in range(0, taken.num_rows, PIECE)]


def _count(encoder: Any, batch: pa.RecordBatch) -> NDArray[np.int64]:
    """The tokens of each row of `batch`, its texts one by one, without those that mark beginnings and ends."""
    import numpy as np

    counts = np.zeros(batch.num_rows, np.int64)
    for name in text_fields(batch.schema.names):
        column = batch.column(name)
        for texts, rows in _chat_texts(column) if name == MESSAGES else [(column.to_pylist(), range(batch.num_rows))]:
            tokens = [len(each) for each in encoder.encode_batch_fast(list(texts), add_special_tokens=False)]
            np.add.at(counts, rows, tokens)
    return counts


def _chat_texts(column: pa.LargeListArray) -> list[tuple[list[str], Sequence[int]]]:
    """What is said in chats, and what is called: the texts, and the row of each."""
    texts: tuple[list[str], list[str]] = ([], [])
    rows: tuple[list[int], list[int]] = ([], [])
    for row, chat in enumerate(column.to_pylist()):
        for message in chat:
            for kind, part in enumerate(("content", "tool_calls")):
                if message[part]:
                    texts[kind].append(message[part])
                    rows[kind].append(row)
    return [(each, at) for each, at in zip(texts, rows, strict=True) if each]
