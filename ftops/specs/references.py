"""What holds between resources: references lead somewhere, without a circle, to runners and templates too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ftops.documents.yaml_positions import Path
from ftops.errors import Diagnostic, Where, did_you_mean
from ftops.plan.address import Address
from ftops.resources.kind import Surroundings
from ftops.resources.project import Project
from ftops.resources.resource import Reference, Resource
from ftops.specs.kinds import KINDS, declared, kind_of

MOST_HINTS: Final = 100
"""The nearest name is looked for so many times: it costs a comparison with every name."""


@dataclass(slots=True)
class Links:
    """Checks `resources`. `declared` has also the addresses of documents that are not valid: naming one is no further error."""

    resources: Mapping[Address, Resource]
    declared: Collection[Address]
    project: Project | None
    known_templates: Collection[str] | None
    where: Callable[[Address, Path], Where]
    _hints: dict[Address, str] = field(default_factory=dict)

    def check(self) -> Iterator[Diagnostic]:
        """Everything that is wrong between the resources; what a sweep says, and so each of its members, once."""
        found = list(self._check())
        members = {str(address) for address, each in self.resources.items() if each.is_expanded}
        told = {(each.where, each.summary) for each in found if each.address not in members}
        for each in found:
            if each.address not in members or (each.where, each.summary) not in told:
                yield each
            told.add((each.where, each.summary))

    def _check(self) -> Iterator[Diagnostic]:
        graph = {address: tuple(resource.references()) for address, resource in self.resources.items()}
        for address, references in graph.items():
            yield from (self._missing(address, each) for each in references if each.target not in self.declared)
        around = Surroundings(self.resources, self.project, self.known_templates, self.where)
        for kind in KINDS:
            of_kind = {address: each for address, each in self.resources.items() if kind_of(each) is kind}
            yield from kind.check(of_kind, around)
        for cycle, path in cycles(graph):
            yield Diagnostic(
                f"resources need each other: {' → '.join(str(each) for each in cycle)}",
                hint="let one of them begin without another's result",
                address=str(cycle[0]),
                where=self.where(cycle[0], path),
            )

    def _missing(self, address: Address, reference: Reference) -> Diagnostic:
        target = reference.target
        if target not in self._hints:
            self._hints[target] = self._hint(target) if len(self._hints) < MOST_HINTS else ""
        return Diagnostic(
            f"{target} does not exist",
            hint=self._hints[target],
            address=str(address),
            where=self.where(address, reference.path),
        )

    def _hint(self, target: Address) -> str:
        others = [kind for kind in declared() if Address(kind, target.name) in self.declared]
        if others:
            return f"there is {others[0]}/{target.name}, but a {target.kind} is needed here"
        names = sorted(each.name for each in self.declared if each.kind == target.kind)
        if not names:
            return f"there is no {target.kind} at all: write one"
        return did_you_mean(target.name, names) or f"write a {target.kind} of this name, or name one that exists"


def cycles(graph: Mapping[Address, tuple[Reference, ...]]) -> Iterator[tuple[tuple[Address, ...], Path]]:
    """Each circle of references once: its addresses, the first one again at the end, and the path of the first reference.

    Walks without recursion: a chain of runs may be longer than Python's stack.
    """
    done: set[Address] = set()
    for root in sorted(graph):
        if root in done:
            continue
        way: dict[Address, Iterator[Reference]] = {root: iter(graph[root])}
        while way:
            here = next(reversed(way))
            target = next((each.target for each in way[here]), None)
            if target is None:
                done.add(here)
                del way[here]
            elif target in way:
                circle = list(way)[list(way).index(target) :]
                first = circle.index(min(circle))
                circle = [*circle[first:], *circle[:first], circle[first]]
                yield tuple(circle), next(each.path for each in graph[circle[0]] if each.target == circle[1])
            elif target not in done and target in graph:
                way[target] = iter(graph[target])
