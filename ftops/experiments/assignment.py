"""Which arm of an experiment a unit gets: by a published hash, so the same everywhere, without storage.

The hash is version 2 of GrowthBook's (https://docs.growthbook.io/lib/build-your-own#hashing), in basis points:
`fnv1a32(str(fnv1a32(seed + unit))) % 10000`. SDKs that know it agree on every unit that is ASCII, or made so as
`canonical_unit` does: the others hash code points, UTF-16 or UTF-8 as their language has it.

Web applications call this: importing it takes the standard library only, and numpy only where `assign_many` is called.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

WHOLE: Final = 10_000
"""Basis points: all units."""
MAX_ARMS: Final = 127
"""What an int8 tells apart."""

_BASIS: Final = 0x811C9DC5
_PRIME: Final = 0x01000193
_MASK: Final = 0xFFFFFFFF
_WRITTEN: Final = tuple(chr(byte) if byte < 128 else f"%{byte:02X}" for byte in range(256))
_BLOCK: Final = 1 << 15
"""Units that are hashed together: what is done with them stays in the processor's cache."""
_LONG: Final = 1024
"""Bytes from which a unit is hashed by itself."""

Ranges = tuple[tuple[str, int, int], ...]
"""(arm, start, end): the arm owns the buckets from `start` until before `end`."""


class Gate(NamedTuple):
    """Lets through the units whose bucket by `seed` is from `start` until before `end`."""

    seed: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """Who gets which arm: units that pass every gate, by their bucket; of ranges that overlap the first counts."""

    seed: str
    ranges: Ranges
    gates: tuple[Gate, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Allocation:
        """That of an Experiment as committed: the plain tree that a YAML library reads. `state` is not looked at: what
        to serve after the end is for the application to say. Raises ValueError, with a sentence, when it is not one.
        """
        _expect(_mapping(document, "document").get("kind") == "Experiment", "kind", "Experiment", document.get("kind"))
        spec = _mapping(document.get("spec"), "spec")
        name = _mapping(document.get("metadata"), "metadata").get("name")
        seed = _text(name if spec.get("seed") is None else spec["seed"], "metadata.name or spec.seed")
        coverage = WHOLE if spec.get("coverage") is None else _share(spec["coverage"], "spec.coverage")
        gates = [Gate(f"{seed}:coverage", 0, coverage)] if coverage < WHOLE else []
        if spec.get("exclusion") is not None:
            exclusion = _mapping(spec["exclusion"], "spec.exclusion")
            group = _text(exclusion.get("group"), "spec.exclusion.group")
            # By one seed for both, an arm whose buckets are not in the group's part would get nobody.
            _expect(group != seed, "spec.exclusion.group", "another name than the seed", group)
            gates.append(Gate(group, *_range(exclusion.get("range"), "spec.exclusion.range")))
        return cls(seed, _arm_ranges(_mapping(spec.get("arms"), "spec.arms")), tuple(gates))

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm in alphabetical order, those that no unit gets too."""
        return tuple(sorted({arm for arm, _, _ in self.ranges}))


# --------------------------------------------------------------------------------------------------- one unit


def canonical_unit(unit: str) -> str:
    """What is hashed: ASCII as it is, every other character as its UTF-8 in percent-encoding (`é` → `%C3%A9`).
    Characters that only look alike stay different. Raises ValueError for empty text and for half a surrogate pair."""
    if not isinstance(unit, str):
        raise TypeError(f"expected a unit as text, found {type(unit).__name__}")
    if not unit:
        raise ValueError("expected a unit, found empty text")
    return unit if unit.isascii() else _percent_encoded(_utf8(unit))


def bucket(seed: str, unit: str) -> int:
    """Where the unit stands among 0..9999. Raises ValueError as `canonical_unit` does, and for a seed beyond ASCII."""
    return _bucket(seed, canonical_unit(unit).encode())


def assign(allocation: Allocation, unit: str) -> str | None:
    """The unit's arm; None when it takes no part. Raises ValueError as `canonical_unit` does."""
    data = canonical_unit(unit).encode()
    for seed, start, end in allocation.gates:
        if not start <= _bucket(seed, data) < end:
            return None
    place = _bucket(allocation.seed, data)
    for arm, start, end in allocation.ranges:
        if start <= place < end:
            return arm
    return None


def _bucket(seed: str, data: bytes) -> int:
    return _fnv1a(b"%d" % _fnv1a(data, _seeded(seed))) % WHOLE


def _fnv1a(data: bytes, state: int = _BASIS) -> int:
    """http://www.isthe.com/chongo/tech/comp/fnv/, 32 bits; `state` is the hash of what comes before `data`."""
    if len(data) <= 48:  # so far the number may grow at less cost than being cut at every byte has
        for byte in data:
            state = (state ^ byte) * _PRIME
        return state & _MASK
    for byte in data:
        state = (state ^ byte) * _PRIME & _MASK
    return state


@lru_cache(maxsize=1024)
def _seeded(seed: str) -> int:
    return _fnv1a(seed.encode("ascii"))


def _percent_encoded(data: bytes) -> str:
    return "".join([_WRITTEN[byte] for byte in data])


def _utf8(unit: str) -> bytes:
    try:
        return unit.encode()
    except UnicodeEncodeError as error:
        raise ValueError("expected a unit in Unicode, found half of a surrogate pair") from error


# -------------------------------------------------------------------------------------------------- many units


def assign_many(allocation: Allocation, units: Sequence[str] | pa.Array) -> NDArray[np.int8]:
    """The arm of each unit as index into `allocation.arms`; -1 when it takes no part. An Arrow array of strings is read
    where it lies. Raises ValueError as `assign` does, and for a null."""
    import numpy as np

    index = {arm: place for place, arm in enumerate(allocation.arms)}
    arm_of = np.array([-1 if arm is None else index[arm] for arm in _owners(allocation.ranges)], np.int8)
    seeds = [allocation.seed, *(gate.seed for gate in allocation.gates)]
    found = np.empty(len(units), np.int8)
    for first in range(0, len(units), _BLOCK):
        places, *gated = _buckets(seeds, *_utf8_of(units[first : first + _BLOCK]))
        block = arm_of[places]
        for gate, there in zip(allocation.gates, gated, strict=True):
            block[(there < gate.start) | (there >= gate.end)] = -1
        found[first : first + _BLOCK] = block
    return found


def _utf8_of(units: Sequence[str] | pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 of all units in a row, and where each begins, with the end of the last."""
    import numpy as np

    arrow = sys.modules.get("pyarrow")  # whoever has an array of it has imported it
    if arrow is not None and isinstance(units, arrow.Array):
        data, bounds = _utf8_of_arrow(units)
    else:
        data = np.frombuffer(_utf8("".join(units)), np.uint8)
        bounds = np.zeros(len(units) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, units), np.int64, len(units)), out=bounds[1:])
        if bounds[-1] < len(data):  # these count characters, and some have several bytes, the further ones 10xxxxxx
            bounds = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))[bounds]
    if (bounds[1:] == bounds[:-1]).any():
        raise ValueError("expected a unit, found empty text")
    return data[bounds[0] : bounds[-1]], bounds - bounds[0]


def _utf8_of_arrow(units: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import numpy as np

    width = {"string": np.int32, "large_string": np.int64}.get(str(units.type))
    if width is None:
        raise TypeError(f"expected an Arrow array of string or large_string, found {units.type}")
    if units.null_count:
        raise ValueError("expected a unit, found null")
    _, offsets, data = units.buffers()
    bounds = np.frombuffer(offsets, width)[units.offset : units.offset + len(units) + 1]
    return np.frombuffer(data, np.uint8), bounds.astype(np.int64)


def _buckets(seeds: Sequence[str], data: NDArray[np.uint8], bounds: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The bucket of each unit (columns) by each seed (rows)."""
    import numpy as np

    lengths = np.diff(bounds)
    order = np.argsort(-np.minimum(lengths, _LONG + 1).astype(np.int16), kind="stable")  # of 16 bits: a radix sort
    at, lengths = bounds[:-1][order], lengths[order]
    long = int((lengths > _LONG).sum())
    width = int(lengths[long]) if long < len(lengths) else 0
    going_on = np.searchsorted(-lengths, -np.arange(width), side="left")  # units longer than 0, 1, 2… bytes
    states = np.empty((len(seeds), len(lengths)), np.uint32)
    states[:] = np.array([[_seeded(seed)] for seed in seeds], np.uint32)
    prime = np.uint32(_PRIME)
    first, *further = np.array([[ord(each[part % len(each)]) for each in _WRITTEN] for part in range(3)], np.uint8)
    beyond = bool((data >= 128).any())
    for place in range(width):
        now = slice(long, going_on[place])
        column = data[at[now] + place]
        states[:, now] ^= first[column] if beyond else column
        states[:, now] *= prime
        coded = np.flatnonzero(column >= 128) if beyond else np.empty(0, np.intp)
        where = now if len(coded) == len(column) else long + coded  # a slice is much quicker
        for part in further if len(coded) else ():
            states[:, where] = (states[:, where] ^ part[column[coded]]) * prime
    for unit in range(long):
        whole = _percent_encoded(data[at[unit] : at[unit] + lengths[unit]].tobytes()).encode()
        states[:, unit] = [_fnv1a(whole, _seeded(seed)) for seed in seeds]
    found = np.empty_like(states)
    found[:, order] = _hash_of_decimals(states) % np.uint32(WHOLE)
    return found


def _hash_of_decimals(numbers: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The hash of each number as it is written."""
    import numpy as np

    high = numbers // np.uint32(100_000)  # divmod takes four times as long
    rest = numbers - high * np.uint32(100_000)
    states = _hashes_of_high_decimals()[high]
    for power in (10_000, 1_000, 100, 10, 1):
        digit = rest // np.uint32(power)
        rest -= digit * np.uint32(power)
        states = (states ^ (digit + np.uint32(ord("0")))) * np.uint32(_PRIME)
    for place in np.flatnonzero(high == 0):  # one in 43,000: no zeros are written before the first digit
        states.flat[place] = _fnv1a(b"%d" % numbers.flat[place])
    return np.asarray(states)


@lru_cache(maxsize=1)
def _hashes_of_high_decimals() -> NDArray[np.uint32]:
    """The hash of what comes before the last five digits of any number of 32 bits."""
    import numpy as np

    return np.array([_fnv1a(b"%d" % number) for number in range((_MASK // 100_000) + 1)], np.uint32)


# ------------------------------------------------------------------------------------------------------ ranges


def ranges_by_weight(weights: Mapping[str, int]) -> Ranges:
    """One range an arm, in alphabetical order. Weights in basis points; raises ValueError when they are not all units."""
    _check_weights(weights)
    ranges, start = [], 0
    for arm in sorted(weights):
        ranges.append((arm, start, start + weights[arm]))
        start += weights[arm]
    return tuple(ranges)


def ranges_moved_least(before: Ranges, weights: Mapping[str, int]) -> Ranges:
    """Ranges of these weights for which the fewest units change their arm: an arm that loses keeps all it may, and only
    what it gives up goes to those that gain. At most one range more than before for each arm whose weight changes.
    Raises ValueError as `ranges_by_weight` does."""
    _check_weights(weights)
    owners = _owners(before)
    wanted = Counter(weights)
    wanted.subtract(Counter(arm for arm in owners if arm is not None))  # below 0: has too many
    for arm in sorted(arm for arm, missing in wanted.items() if missing < 0):
        _give_up(owners, arm, wanted)
    _take_beside(owners, wanted)
    free = [place for place, arm in enumerate(owners) if arm is None]
    for arm, missing in sorted(wanted.items()):
        for place in free[: max(missing, 0)]:
            owners[place] = arm
        del free[: max(missing, 0)]
    ranges = [(arm, start, end) for arm, start, end in _pieces(owners) if arm is not None]
    empty = [(arm, 0, 0) for arm, weight in weights.items() if weight == 0]
    return tuple(sorted([*ranges, *empty]))


def moved(before: Ranges, after: Ranges) -> int:
    """Basis points of the units whose arm is another one after."""
    return sum(old != new for old, new in zip(_owners(before), _owners(after), strict=True))


def _owners(ranges: Ranges) -> list[str | None]:
    """The arm of each bucket."""
    owners: list[str | None] = [None] * WHOLE
    for arm, start, end in reversed(ranges):
        owners[start:end] = [arm] * (end - start)
    return owners


def _pieces(owners: Sequence[str | None]) -> Iterator[tuple[str | None, int, int]]:
    start = 0
    for end in range(1, WHOLE + 1):
        if end == WHOLE or owners[end] != owners[start]:
            yield owners[start], start, end
            start = end


def _give_up(owners: list[str | None], arm: str, wanted: Mapping[str, int]) -> None:
    """Frees what the arm has too much: small pieces whole, and of the next the side where an arm that gains is."""
    surplus = -wanted[arm]
    for _, start, end in sorted(
        (each for each in _pieces(owners) if each[0] == arm), key=lambda each: each[2] - each[1]
    ):
        width = min(surplus, end - start)
        left = owners[start - 1] if start else None
        first = start if left is not None and wanted[left] > 0 else end - width
        owners[first : first + width] = [None] * width
        surplus -= width


def _take_beside(owners: list[str | None], wanted: Counter[str]) -> None:
    """Lengthens the ranges of arms that gain into what is free beside them."""
    for step in (1, -1):
        places = range(1, WHOLE) if step == 1 else range(WHOLE - 2, -1, -1)
        for place in places:
            beside = owners[place - step]
            if owners[place] is None and beside is not None and wanted[beside] > 0:
                owners[place] = beside
                wanted[beside] -= 1


def _check_weights(weights: Mapping[str, int]) -> None:
    if not 0 < len(weights) <= MAX_ARMS:
        raise ValueError(f"expected 1 to {MAX_ARMS} arms, found {len(weights)}")
    for arm, weight in weights.items():
        if weight < 0:
            raise ValueError(f"the weight of arm {arm} is below 0")
    if (total := sum(weights.values())) != WHOLE:
        raise ValueError(f"the weights of all arms must add up to 1, found {total / WHOLE:g}")


# ---------------------------------------------------------------------------------------- the document as committed


def _arm_ranges(arms: Mapping[str, Any]) -> Ranges:
    weights: dict[str, int] = {}
    written: dict[str, list[tuple[int, int]]] = {}
    for name, arm in arms.items():
        place = f"spec.arms.{_text(name, 'the name of an arm')}"
        weights[name] = _share(_mapping(arm, place).get("weight"), f"{place}.weight")
        if arm.get("ranges") is not None:
            _expect(isinstance(arm["ranges"], list | tuple), f"{place}.ranges", "a list", arm["ranges"])
            written[name] = [_range(each, f"{place}.ranges") for each in arm["ranges"]]
    by_weight = ranges_by_weight(weights)
    if not written:
        return by_weight
    for name, weight in weights.items():
        width = sum(end - start for start, end in written.get(name, []))
        if width != weight:
            raise ValueError(f"the ranges of arm {name} have {width / WHOLE:g} of the units, not {weight / WHOLE:g}")
    ranges = sorted((start, end, name) for name in weights for start, end in written.get(name, [(0, 0)]))
    for (_, last, one), (start, _, other) in pairwise(ranges):
        if start < last:
            raise ValueError(f"ranges of {one} and {other} overlap at {start / WHOLE:g}")
    return tuple(sorted((name, start, end) for start, end, name in ranges))


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    _expect(isinstance(value, Mapping), place, "a mapping", value)
    return dict(value)


def _text(value: Any, place: str) -> str:
    _expect(isinstance(value, str), place, "text (in quotes)", value)
    _expect(value.isascii() and value.isprintable() and value != "", place, "printable ASCII", value)
    return str(value)


def _share(value: Any, place: str) -> int:
    """Basis points of a fraction."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    _expect(number and 0 <= value <= 1, place, "a number from 0 to 1", value)
    points: int = round(value * WHOLE)
    _expect(abs(value * WHOLE - points) <= 1e-6, place, "whole basis points, such as 0.3333", value)
    return points


def _range(value: Any, place: str) -> tuple[int, int]:
    _expect(isinstance(value, list | tuple) and len(value) == 2, place, "[start, end]", value)
    start, end = (_share(each, place) for each in value)
    _expect(start < end, place, "a start below the end", value)
    return start, end


def _expect(right: bool, place: str, expected: str, found: Any) -> None:
    if not right:
        raise ValueError(f"{place}: expected {expected}, found {'nothing' if found is None else repr(found)}")
