"""What was read of all files, and what is said where none of it can be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ftops.datasets.finding import Finding
from ftops.errors import ChecksFailed, Diagnostic
from ftops.experiments.analysis.observations import Observations, Wanted
from ftops.experiments.logs.aggregate import count
from ftops.experiments.logs.columns import NAMED, SHOWN, Part
from ftops.experiments.logs.row_schema import Rules

MAX_ROWS: Final = 200_000_000
"""A row takes about a hundred bytes of memory."""


@dataclass(slots=True)
class Gathered:
    """What was read so far. `several`: there are several files, and a fault says in which it is."""

    wanted: Wanted
    rules: Rules
    several: bool = False
    parts: list[Part] = field(default_factory=list)
    faults: list[Finding] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    read: int = 0
    faulty: int = 0
    foreign: int = 0
    simulated: bool = False

    def add(self, path: str, first: int, part: Part) -> None:
        """Takes in what a stretch of the file `path` is; `first` is the number of its first row."""
        listed: list[Finding] = []
        for each in (part, part.extra):
            if each is None:
                continue
            self.read += each.read
            self.faulty += each.faulty
            self.foreign += each.foreign
            self.others |= each.others
            self.simulated |= each.simulated
            for place, fault in each.faults:
                detail = f"{path}: {fault.detail}" if self.several else fault.detail
                listed.append(Finding("log", first + place, fault.field, detail))
            if len(each.arm):
                self.parts.append(each)
        self.faults += sorted(listed, key=lambda each: each.row)
        del self.faults[SHOWN:]
        if self.read > MAX_ROWS:
            raise ChecksFailed(Diagnostic(f"more than {MAX_ROWS:,} log rows", hint="read fewer files at once"))

    def observations(self, sources: dict[str, str], digest: str, notes: list[str]) -> Observations:
        """The rows that count. Raises ChecksFailed where there are rows, but no sound one of the experiment."""
        if self.read and not self.parts:
            raise self._nothing()
        counted = count(self.parts, self.wanted, self.rules)
        return Observations(
            arms=self.wanted.allocation.arms,
            unit=counted.unit,
            arm=counted.arm,
            day=counted.day,
            values=counted.values,
            rows=counted.rows.model_copy(update={"read": self.read, "faulty": self.faulty, "foreign": self.foreign}),
            digest=digest,
            faults=tuple(self.faults),
            notes=(*notes, *counted.notes),
            simulated=self.simulated,
            first=counted.first,
            last=counted.last,
            misassigned_units=counted.misassigned_units,
            sources=sources,
        )  # fmt: skip

    def _nothing(self) -> ChecksFailed:
        named = ", ".join(repr(each[:40]) for each in sorted(self.others)[:NAMED])
        if not self.faulty:
            return ChecksFailed(
                Diagnostic(
                    f"no row is of the experiment {self.rules.experiment!r}",
                    f"the {self.foreign:,} rows are of {named}",
                    "check where the logs are, and what the application writes as `experiment`",
                )
            )
        told = [f"row {each.row}: {each.field + ': ' if each.field else ''}{each.detail}" for each in self.faults[:5]]
        others = [f"{self.foreign:,} rows are of {named}"] if self.foreign else []
        return ChecksFailed(
            Diagnostic(
                f"none of the {self.read:,} rows is a sound row of the experiment {self.rules.experiment!r}",
                "\n".join([*told, *others]),
                "see docs/reference/log-rows.md for what a row must be",
            )
        )
