"""What a log row must be: the one place that judges a row, for those who write them and those who read them.

Readers of whole columns may accept a row faster, but only one that is accepted here, and as the same values: what they
do not accept is judged here, and worded here. Standard library only: web applications write rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ftops.experiments.metric_types import METRIC_TYPES

if TYPE_CHECKING:
    from ftops.experiments.metric_types.values import Values

REQUIRED: Final = ("experiment", "id", "unit", "arm", "time")
"""Fields that each row has."""
TEXTS: Final = ("query", "response", "feedback")
"""Fields that hold text or null, and are not looked at any further."""
FLAG: Final = "simulated"
KNOWN: Final[Mapping[str, Values]] = {name: each.values for each in METRIC_TYPES.values() for name in each.well_known}
"""Fields that mean the same in every experiment: checked wherever they are."""

_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:(\.\d{1,6})\d{0,3})?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ARM: Final = re.compile(r"[a-z0-9-]{1,16}")
"""What may be repeated of an arm that is none: anything else could be a person's data in the wrong column."""


class Row(NamedTuple):
    """A sound row of the experiment: its time in microseconds since 1970 (UTC), its values in the order of
    `Rules.fields`, NaN for null."""

    id: str
    unit: str
    arm: str
    time: int
    values: tuple[float, ...]
    simulated: bool


class Fault(NamedTuple):
    """What is wrong, and in which field (empty: the row as a whole). No text of the row is in it."""

    field: str
    detail: str


class Foreign(NamedTuple):
    """A row of another experiment."""

    experiment: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What rows are read for: an experiment, its arms (None: any text), and its fields, which each row must have."""

    experiment: str
    arms: Sequence[str] | None
    fields: Mapping[str, Values]

    @property
    def checks(self) -> Iterator[tuple[str, Values]]:
        """The fields that are checked where they are, with what they must hold."""
        yield from KNOWN.items()
        yield from ((name, values) for name, values in self.fields.items() if KNOWN.get(name) is not values)


def judge(row: object, rules: Rules) -> Row | Foreign | Fault:
    """What `row` is, a tree of JSON; its time may be a datetime too (of UTC where it has no zone)."""
    if not isinstance(row, Mapping):
        return Fault("", f"expected an object, found {_found(row)}")
    experiment = row.get("experiment")
    if not isinstance(experiment, str):
        return Fault("experiment", _missing_or(row, "experiment", "text"))
    if experiment != rules.experiment:
        return Foreign(experiment)
    for name in ("id", "unit", "arm"):
        if (fault := _text_fault(row, name)) is not None:
            return fault
    arm = row["arm"]
    if rules.arms is not None and arm not in rules.arms:
        found = repr(arm) if _ARM.fullmatch(arm) else "another text"
        return Fault("arm", f"expected an arm of the experiment ({', '.join(rules.arms)}), found {found}")
    time = row.get("time")
    moment = microseconds(time)
    if moment is None:
        expected = "RFC 3339 with a zone, such as 2026-01-31T09:00:00Z"
        other = isinstance(time, str) and time
        return Fault(
            "time", f"expected {expected}, found another text" if other else _missing_or(row, "time", expected)
        )
    return _values_fault(row, rules) or Row(
        row["id"],
        row["unit"],
        arm,
        moment,
        tuple(
            number(row[name], values) or 0.0 if row[name] is not None else math.nan
            for name, values in rules.fields.items()
        ),
        row.get(FLAG) is True,
    )


def _values_fault(row: Mapping[Any, Any], rules: Rules) -> Fault | None:
    for name in rules.fields:
        if name not in row:
            return Fault(name, "the field is missing: expected a value, or null where there is none")
    for name, values in rules.checks:
        value = row.get(name)
        if value is not None and number(value, values) is None:
            return Fault(name, f"expected {values.expected}, or null, found {_found(value)}")
    for name in TEXTS:
        if not isinstance(row.get(name), str | None):
            return Fault(name, f"expected text or null, found {_found(row[name])}")
    if not isinstance(row.get(FLAG), bool | None):
        return Fault(FLAG, f"expected true, false or null, found {_found(row[FLAG])}")
    return None


def number(value: object, values: Values) -> float | None:
    """The number that `value` stands for in a field of these values; None when it is no such. 4.0 is the whole number 4."""
    if isinstance(value, bool):
        return float(value) if values.booleans else None
    if not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if values.fits(found) else None


def microseconds(time: object) -> int | None:
    """Microseconds since 1970 of RFC 3339 text with a zone, or of a datetime; None when it is no such."""
    if isinstance(time, str):
        match = _TIME.fullmatch(time)
        if match is None:
            return None
        day, clock, fraction, zone = match.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}{fraction or ''}{zone or '+00:00'}")
        except ValueError:
            return None
    elif isinstance(time, datetime):
        moment = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    else:
        return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _text_fault(row: Mapping[Any, Any], name: str) -> Fault | None:
    value = row.get(name)
    if not isinstance(value, str):
        return Fault(name, _missing_or(row, name, "text"))
    if not value:
        return Fault(name, "expected text, found empty text")
    try:
        value.encode()
    except UnicodeEncodeError:
        return Fault(name, "expected text in Unicode, found half a surrogate pair")
    return None


def _missing_or(row: Mapping[Any, Any], name: str, expected: str) -> str:
    return f"expected {expected}, found {_found(row[name])}" if name in row else "the field is missing"


def _found(value: object) -> str:
    """What a value is, without saying it; a short number is said."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "text" if value else "empty text"
        case int() | float():
            shown = f"{value:g}" if isinstance(value, float) else "" if abs(value) > 10**6 else str(value)
            return shown if 0 < len(shown) <= 6 else "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "an object"
        case _:
            return f"a value of type {type(value).__name__}"
