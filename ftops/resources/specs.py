"""A project's specs, every check passed, and where each value of them is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ftops.digests import Json
from ftops.documents.yaml_positions import ABSENT, Document, Path, child
from ftops.errors import Diagnostic, Where
from ftops.plan.address import Address
from ftops.plan.resolved import Resolved
from ftops.resources.project import Project
from ftops.resources.resource import Resource

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Specs:
    """A project's specs, every check passed. `resources` are in the order of kinds and names.

    `spec_digests` has the sha256 of each document's JSON tree by address, the project's and its defaults included; it does
    not change with comments, or the order of keys, documents and files.
    """

    project: Project
    resources: Mapping[Address, Resource]
    spec_digests: Mapping[str, str]
    files: tuple[str, ...]
    warnings: tuple[Diagnostic, ...] = ()
    _sources: Sources = field(repr=False, compare=False, kw_only=True)

    def get(self, kind: type[R], name: str) -> R:
        """The resource of a kind by its name. Raises TypeError where there is no such one."""
        resource = self.resources.get(Address(kind.kind_name, name))
        if not isinstance(resource, kind):
            raise TypeError(f"no spec has the {kind.__name__} {name!r}")
        return resource

    def find(self, kind: type[R], name: str) -> R | None:
        """The resource of a kind by its name; None where there is no such one."""
        resource = self.resources.get(Address(kind.kind_name, name))
        return resource if isinstance(resource, kind) else None

    def of(self, kind: type[R]) -> Iterator[R]:
        """Every resource of a kind, in the order of names."""
        return (each for each in self.resources.values() if isinstance(each, kind))

    def where(self, address: Address, path: Path = ()) -> Where:
        """The place of the field at `path` of the document of `address`; in ftops.yaml where its defaults say it."""
        return self._sources.where(address, path)

    def resolved(self, address: Address) -> tuple[Resolved, ...]:
        """Every field of the spec of `address`, its own, those of `defaults`, and ftops's defaults, in the schema's order."""
        tree = self.resources[address].resolved(self.project)
        return tuple(
            Resolved(".".join(path[1:]), value, self._sources.said(address, path))
            for path, value in _leaves(tree["spec"], ("spec",))
        )


def _leaves(tree: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Json]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif tree is not None:
        yield path, tree


@dataclass(slots=True)
class Sources:
    """Which document says what."""

    project: Document | None = None
    documents: dict[Address, Document] = field(default_factory=dict)

    def where(self, address: Address, path: Path) -> Where:
        return self.find(self.documents[address], address.kind, path)

    def said(self, address: Address, path: Path) -> Where | None:
        """The place that says the field at `path`, None where it is a default of ftops."""
        kind, document = address.kind, self.documents[address]
        if has_path(document.tree, path) or has_path(self.defaults(kind), path[1:]):
            return self.where(address, path)
        chosen = ("spec", "defaultRunner")
        if path == ("spec", "runner") and self.project is not None and has_path(self.project.tree, chosen):
            return self.project.where(chosen)
        return None

    def find(self, document: Document, kind: str, path: Path, *, key: bool = False) -> Where:
        """The place of `path` of a document of `kind`, or of the default that it has there."""
        default = ("spec", "defaults", kind, *path[1:])
        by_default = len(path) > 1 and path[0] == "spec" and not has_path(document.tree, path)
        if by_default and self.project is not None and has_path(self.project.tree, default):
            return self.project.where(default, key=key)
        return document.where(path, key=key)

    def defaults(self, kind: str) -> Json:
        """What `defaults` of ftops.yaml says for a kind, as far as it is a mapping."""
        tree = None if self.project is None else self.project.tree
        for part in ("spec", "defaults", kind):
            tree = tree.get(part) if isinstance(tree, dict) else None
        return tree if isinstance(tree, dict) else {}


def has_path(tree: Json, path: Path) -> bool:
    for part in path:
        tree = child(tree, part)
    return tree is not ABSENT
