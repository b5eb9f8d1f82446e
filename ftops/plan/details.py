"""What a change knows beside what every change has: a class for each kind that adds something.

Plans as text, Markdown and JSON show what a class says of itself here, and name none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from ftops.display.numbers import clock, gib, percent
from ftops.display.text import clean
from ftops.plan.estimates import Cost, Estimate

if TYPE_CHECKING:
    from ftops.digests import Json

DETAILS: Final[dict[str, type[Details]]] = {}
"""Every class of details by its name."""


@dataclass(frozen=True, slots=True)
class Details:
    """`inputs` is the meaning that the digest of the change was taken of; it is shown nowhere."""

    inputs: Json = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Slots make the class anew, and a bare super() knows the first one.
        super(Details, cls).__init_subclass__(**kwargs)
        DETAILS[cls.__name__] = cls

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it changes, in words: beside the fields that differ."""
        return ()

    @property
    def outlook(self) -> tuple[str, ...]:
        """What it would take, in words."""
        return ()

    def as_json(self) -> dict[str, Json]:
        """The keys that it adds to its change in a plan as JSON."""
        return {}

    @classmethod
    def from_json(cls, tree: Mapping[str, Json]) -> Self | None:  # noqa: ARG003  (what a class adds is read by it)
        """What `as_json` wrote; None where its keys are absent or null. Raises ValueError for what it can't have written."""
        return None


@dataclass(frozen=True, slots=True)
class RowChanges:
    """How many rows of a source differ from those that were recorded; `changed` ones have the same prompt and another answer."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    @property
    def words(self) -> str:
        """Rows that are added (+), removed, changed (~)."""
        if not (self.added or self.removed or self.changed):
            return "rows: the same"
        return f"rows: +{self.added:,} \N{MINUS SIGN}{self.removed:,} ~{self.changed:,}"


@dataclass(frozen=True, slots=True)
class DatasetDetails(Details):
    """`rows` says how the rows differ from the recorded ones, or why they were not compared; None where there is nothing to
    compare. `equivalent_digests` are those that the data set had before, with the same rows and another report."""

    rows: RowChanges | str | None = None
    equivalent_digests: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        match self.rows:
            case None:
                return ()
            case RowChanges() as rows:
                return (rows.words,)
            case why:
                return (clean(f"rows: not compared ({why})"),)

    def as_json(self) -> dict[str, Json]:
        match self.rows:
            case None:
                return {}
            case RowChanges() as rows:
                return {"rows": asdict(rows)}
            case why:
                return {"rows": {"notCompared": why}}

    @classmethod
    def from_json(cls, tree: Mapping[str, Json]) -> Self | None:
        match tree.get("rows"):
            case None:
                return None
            case {"notCompared": str(why)}:
                return cls(rows=why)
            case rows:
                return cls(rows=_strictly(RowChanges, rows))


@dataclass(frozen=True, slots=True)
class TrainingDetails(Details):
    """What the training would take; None where nobody can say."""

    estimate: Estimate | None = None
    cost: Cost | None = None

    @property
    def outlook(self) -> tuple[str, ...]:
        duration = () if self.estimate is None else (duration_text(self.estimate),)
        return duration if self.cost is None else (*duration, *_cost_lines(self.cost))

    def as_json(self) -> dict[str, Json]:
        figures = {"estimate": self.estimate, "cost": self.cost}
        return {name: asdict(value) for name, value in figures.items() if value is not None}

    @classmethod
    def from_json(cls, tree: Mapping[str, Json]) -> Self | None:
        estimate, cost = tree.get("estimate"), tree.get("cost")
        if estimate is None and cost is None:
            return None
        return cls(
            estimate=None if estimate is None else _strictly(Estimate, estimate),
            cost=None if cost is None else _strictly(Cost, cost),
        )


@dataclass(frozen=True, slots=True)
class SweepDetails(Details):
    """`selected_member` is the member that the sweep stands for; empty where none is selected yet."""

    selected_member: str = ""


def duration_text(estimate: Estimate) -> str:
    """`about 2:05 of training, by what tiny-base-0123456789ab took`."""
    return clean(f"about {clock(estimate.seconds)} of training, by what {estimate.like} took")


def _cost_lines(cost: Cost) -> Iterator[str]:
    """A line for each thing: what is trained, steps and disk; memory."""
    share = cost.trainable / cost.parameters
    part = "all" if cost.trainable == cost.parameters else f"{cost.trainable:,} ({percent(share, 2)}) of"
    steps = "" if cost.steps is None else f", {cost.steps:,} steps"
    yield f"trains {part} {cost.parameters:,} parameters{steps}, leaves {gib(cost.disk)} on the disk"
    where = "of each GPU" if cost.gpus else "of the machine"
    memory = cost.memory
    measured = "" if cost.measured is None else f"; {cost.like} took {gib(cost.measured)}"
    yield clean(f"memory {where}: about {gib(memory.expected)} ({gib(memory.low)} to {gib(memory.high)}){measured}")


def _strictly(kind: Any, tree: Json) -> Any:
    """`tree` as a `kind`, of which every field is there and has the type that it says. Raises ValueError."""
    from pydantic import TypeAdapter, ValidationError

    try:
        found = TypeAdapter(kind).validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or kind.__name__}: {first['msg']}") from error
    except RecursionError as error:
        raise ValueError(f"{kind.__name__}: it is nested too deeply") from error
    if missing := [each.name for each in fields(kind) if each.name not in tree]:
        raise ValueError(f"{missing[0]} is missing")
    return found
