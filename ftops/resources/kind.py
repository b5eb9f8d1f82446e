"""What ftops does with one kind of resource, as a value: whatever loops over kinds asks its descriptor.

A kind is a folder with its descriptor in `kind.py`, and a line in `ftops.specs.kinds.KINDS`. What takes long to import is
imported by the functions of the descriptor, when they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ftops.resources.resource import Resource

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ftops.digests import Json
    from ftops.documents.yaml_positions import Path
    from ftops.errors import Diagnostic, Where
    from ftops.plan.address import Address
    from ftops.plan.changes import Change
    from ftops.plan.observed import Observed
    from ftops.plan.run import Run
    from ftops.plan.standing import Standing
    from ftops.resources.project import Project
    from ftops.resources.record import Record
    from ftops.resources.work import Work
    from ftops.store.store import Store

R = TypeVar("R", bound=Resource)
C = TypeVar("C", bound="Record")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a resource is checked against: all `resources`, the project, the templates that there are (None where nobody knows);
    `where` gives the place of a field."""

    resources: Mapping[Address, Resource]
    project: Project | None
    known_templates: Collection[str] | None
    where: Callable[[Address, Path], Where]


@dataclass(frozen=True, slots=True)
class Kept:
    """What of the store a record needs: `runs` with what they are made from (empty where only the store knows), the folders
    `outputs` of attempts, and prepared `rows` by digest."""

    runs: Mapping[str, Json] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    rows: frozenset[str] = frozenset()


def _nothing_kept(_: Any) -> Kept:
    return Kept()


def _no_documents(_: Any) -> Mapping[str, bytes]:
    return {}


def _mine(_: Any, mine: Any) -> Any:
    return mine


@dataclass(frozen=True, slots=True)
class Records(Generic[C]):
    """The records of a kind. `fold` adds what planning needs of one to what is known by name; `merge` puts the second on top of the
    first, which stands at the newest tip, and raises RecordConflict where both can't be true; `instead` is what would stand if
    the second won then. `documents` are the pages beside a record, by path; `kept` what of the store it needs.
    """

    model: type[C]
    fold: Callable[[dict[str, Any], C], None]
    merge: Callable[[C, C], C]
    instead: Callable[[C, C], C] = _mine
    documents: Callable[[C], Mapping[str, bytes]] = _no_documents
    kept: Callable[[C], Kept] = _nothing_kept


@dataclass(frozen=True, slots=True)
class IndexTables(Generic[C]):
    """The tables of the SQL index that hold the records of a kind, parents before their children; `rows` has those of a record by
    the name of the table."""

    tables: tuple[sa.Table, ...]
    rows: Callable[[C], Mapping[str, Sequence[Row]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is committed for a change: its records, what the subject of the commit says of the resource, and trailers."""

    records: Sequence[Record]
    subject: str
    trailers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What is asked where a resource stands: what was observed, the run of each name that goes on or was last, and the store."""

    observed: Observed
    live: Mapping[str, Run]
    store: Store


def _nothing_wrong(_: Any, __: Surroundings) -> Iterator[Diagnostic]:
    return iter(())


def _nothing_follows(_: Work, __: Sequence[Record]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of resource.

    `folder` holds its records below registry/, as NAME.yaml, or where it is `versioned` as NAME/VERSION.yaml. One that is not
    `declared` is no `kind:` of a document: another kind's document makes it. `outcome` is what is committed of a change, `committed`
    is called afterwards; `standing` says where a resource stands; `check` tells what is wrong between the resources of the kind
    and others.
    """

    resource: type[R]
    folder: str
    records: Callable[[], Records[Any]]
    index: Callable[[], IndexTables[Any]]
    outcome: Callable[[Work, Change], Outcome]
    standing: Callable[[Address, Surveyed], Standing]
    check: Callable[[Mapping[Address, R], Surroundings], Iterator[Diagnostic]] = _nothing_wrong
    committed: Callable[[Work, Sequence[Record]], None] = _nothing_follows
    declared: bool = True
    versioned: bool = False

    @property
    def name(self) -> str:
        """How documents and addresses call it."""
        return self.resource.kind_name
