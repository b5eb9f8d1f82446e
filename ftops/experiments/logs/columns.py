"""Rows by columns: which of them are sound is decided for all at once, and the rest is left to `row_schema.judge`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ftops.experiments.logs.hashes import Hash, hashes
from ftops.experiments.logs.row_schema import FLAG, Fault, Foreign, Row, Rules, judge

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from ftops.experiments.metric_types.values import Values

SHOWN: Final = 20
"""Faults that are listed; all are counted."""
NAMED: Final = 5
"""Other experiments that are named when there is no row of the one that is asked for."""

_TIME: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
_YEARS: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""The years 1 to 9999, in microseconds."""


@dataclass(slots=True)
class Part:
    """What was read of one stretch of a file: its sound rows as columns, and what the others were."""

    ids: Hash
    units: pa.Array
    unit_hashes: Hash
    arm: NDArray[np.int8]
    time: NDArray[np.int64]
    values: list[NDArray[np.float64]]
    """In the order of `Rules.fields`."""
    read: int = 0
    foreign: int = 0
    faulty: int = 0
    faults: list[tuple[int, Fault]] = field(default_factory=list)
    """The first ones, each with the place of its row in this stretch, from 0."""
    others: set[str] = field(default_factory=set)
    """The first few other experiments by name."""
    simulated: bool = False
    extra: Part | None = None
    """Sound rows that were judged one by one."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows as Arrow columns: text as (large_)string or a dictionary of it, time as timestamp or text, values as numbers
    or booleans. A column that is absent is null in every row.

    `row` gives one row as a tree, or raises ValueError, with a sentence, when it is none. `unsure(field, null)` says in
    which of the rows where a field is null this may not be all there is to say.
    """

    rows: int
    columns: Mapping[str, pa.Array]
    row: Callable[[int], object]
    unsure: Callable[[str, NDArray[np.bool_]], NDArray[np.bool_]] | None = None


def one_by_one(places: Iterable[int], row: Callable[[int], object], rules: Rules) -> Part:
    """What the rows at `places` are, judged one by one; `row` as in `Block`."""
    sound: list[Row] = []
    faults: list[tuple[int, Fault]] = []
    others: set[str] = set()
    read = foreign = faulty = 0
    for place in places:
        read += 1
        match _judged(row, place, rules):
            case Row() as found:
                sound.append(found)
            case Foreign(experiment):
                foreign += 1
                others = _first_names({*others, experiment})
            case Fault() as fault:
                faulty += 1
                if len(faults) < SHOWN:
                    faults.append((place, fault))
    part = _part(sound, rules)
    part.read, part.foreign, part.faulty = read, foreign, faulty
    part.faults, part.others = faults, others
    return part


def _judged(row: Callable[[int], object], place: int, rules: Rules) -> Row | Foreign | Fault:
    try:
        tree = row(place)
    except UnicodeDecodeError:
        return Fault("", "expected text in UTF-8")
    except ValueError as error:
        return Fault("", str(error))
    return judge(tree, rules)


def _part(rows: list[Row], rules: Rules) -> Part:
    import numpy as np
    import pyarrow as pa

    index = {arm: place for place, arm in enumerate(rules.arms or ())}
    units = pa.array([row.unit for row in rows], pa.large_string())
    return Part(
        hashes(pa.array([row.id for row in rows], pa.large_string())),
        units,
        hashes(units),
        np.array([index[row.arm] for row in rows], np.int8),
        np.array([row.time for row in rows], np.int64),
        [np.array([row.values[place] for row in rows], np.float64) for place in range(len(rules.fields))],
        simulated=any(row.simulated for row in rows),
    )


def judge_block(block: Block, rules: Rules) -> Part:
    """What the rows of `block` are."""
    import numpy as np
    import pyarrow as pa

    named = {"experiment", "id", "unit", "arm"} & set(block.columns)
    try:
        for name in named:
            block.columns[name].validate(full=True)
    except pa.ArrowInvalid:
        return one_by_one(range(block.rows), block.row, rules)
    place, known = _index(block, "experiment", [rules.experiment])
    ours = place == 0
    sound = ours.copy()
    for name in ("id", "unit"):
        sound &= _filled(block, name)
    arm, _ = _index(block, "arm", list(rules.arms or ()))
    sound &= arm >= 0
    time, fine = _time(block.columns.get("time"), block.rows)
    sound &= fine
    values: dict[str, NDArray[np.float64]] = {}
    for name, allowed in rules.checks:
        found, fine = _values(block, name, allowed)
        values.setdefault(name, found)
        sound &= fine
    simulated, said = _flags(block)
    if block.unsure is not None:
        for name, null in (*((name, np.isnan(found)) for name, found in values.items()), (FLAG, ~said)):
            if (sound & null).any():
                sound &= ~block.unsure(name, sound & null)
    doubtful = np.flatnonzero((ours & ~sound) | ~known)
    extra = one_by_one(doubtful.tolist(), block.row, rules)
    part = _columns(block, sound, arm, time, [values[name] for name in rules.fields])
    part.simulated = bool((simulated & sound).any())
    foreign = known & ~ours
    part.foreign = int(foreign.sum())
    if part.foreign:
        part.others = _names(block.columns["experiment"], foreign)
    part.read = block.rows - extra.read
    part.extra = extra if extra.read else None
    return part


def _columns(
    block: Block,
    sound: NDArray[np.bool_],
    arm: NDArray[np.int8],
    time: NDArray[np.int64],
    values: list[NDArray[np.float64]],
) -> Part:
    import pyarrow as pa

    ids, units = block.columns.get("id"), block.columns.get("unit")
    if ids is None or units is None or not sound.any():
        ids = units = pa.array([], pa.large_string())
        keep: Any = slice(0)
    elif sound.all():
        keep = slice(None)
    else:
        keep = sound
        chosen = pa.array(sound)
        ids, units = ids.filter(chosen), units.filter(chosen)
    if isinstance(units, pa.DictionaryArray):
        units_hashed = hashes(units)
        units = units.cast(units.type.value_type)
    else:
        units_hashed = hashes(units)
    return Part(hashes(ids), units, units_hashed, arm[keep], time[keep], [column[keep] for column in values])


def _index(block: Block, name: str, known: list[str]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """The place of each row's text in `known` (-1: not in it), and whether it has a text at all."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = block.columns.get(name)
    if column is None:
        return np.full(block.rows, -1, np.int8), np.zeros(block.rows, np.bool_)
    if isinstance(column, pa.DictionaryArray):
        texts, has = column.dictionary, column.is_valid()
        there = pc.index_in(texts, value_set=pa.array(known, texts.type)).fill_null(-1).cast(pa.int8())
        if column.null_count == 0 and len(texts):
            place = there.to_numpy(zero_copy_only=False)[column.indices.to_numpy(zero_copy_only=False)]
            return place, np.ones(block.rows, np.bool_)
        found = pc.take(there, column.indices).fill_null(-1)
    else:
        has = column.is_valid()
        found = pc.index_in(column, value_set=pa.array(known, column.type)).fill_null(-1).cast(pa.int8())
    return found.to_numpy(zero_copy_only=False), has.to_numpy(zero_copy_only=False)


def _filled(block: Block, name: str) -> NDArray[np.bool_]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = block.columns.get(name)
    if column is None:
        return np.zeros(block.rows, np.bool_)
    if isinstance(column, pa.DictionaryArray):
        full = pc.take(pc.greater(pc.binary_length(column.dictionary), 0), column.indices)
    else:
        full = pc.greater(pc.binary_length(column), 0)
    found: NDArray[np.bool_] = full.fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _time(column: pa.Array | None, rows: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds since 1970, and which of them hold."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    if column is None:
        return nothing
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type):
        moments = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        formed = pc.match_substring_regex(column, _TIME)
        try:
            texts = column if pc.all(formed).as_py() else pc.if_else(formed, column, pa.scalar(None, column.type))
            moments = texts.cast(pa.timestamp("us", tz="UTC"))
        except pa.ArrowInvalid:  # there is no 30 February, and one such fails them all
            return nothing
    else:
        return nothing
    counted = moments.cast(pa.int64())
    found = counted.fill_null(0).to_numpy(zero_copy_only=False)
    within = (found >= _YEARS[0]) & (found <= _YEARS[1])
    return found, counted.is_valid().to_numpy(zero_copy_only=False) & within


def _values(block: Block, name: str, allowed: Values) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The numbers, NaN for null, and which of them hold."""
    import numpy as np
    import pyarrow as pa

    column = block.columns.get(name)
    if column is None or pa.types.is_null(column.type):
        return np.full(block.rows, np.nan), np.ones(block.rows, np.bool_)
    if pa.types.is_boolean(column.type):
        values = column.cast(pa.uint8()).cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values, np.ones(block.rows, np.bool_) if allowed.booleans else np.isnan(values)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.full(block.rows, np.nan), column.is_null().to_numpy(zero_copy_only=False)
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    sound = allowed.fit(values)
    if column.null_count:
        sound |= column.is_null().to_numpy(zero_copy_only=False)
    return values, sound


def _flags(block: Block) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows say that they are simulated, and which say whether they are."""
    import numpy as np

    column = block.columns.get(FLAG)
    if column is None:
        return np.zeros(block.rows, np.bool_), np.zeros(block.rows, np.bool_)
    return column.fill_null(False).to_numpy(zero_copy_only=False), column.is_valid().to_numpy(zero_copy_only=False)


def _names(column: pa.Array, which: NDArray[np.bool_]) -> set[str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return _first_names(set(pc.unique(column.filter(pa.array(which))).to_pylist()))


def _first_names(names: set[str]) -> set[str]:
    return set(sorted(names)[:NAMED])
