"""What every kind shares: the document around a spec, and what planning one may look at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ftops.digests import Json
from ftops.errors import Diagnostic, Where
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind, Reason
from ftops.plan.observed import Observed
from ftops.resources.declaration import Declaration
from ftops.resources.project import Project


@dataclass(frozen=True, slots=True)
class Reference:
    """That a field of a spec names another resource. `path` leads to the field, from the document's root."""

    path: tuple[str | int, ...]
    target: Address


class Resource(Declaration):
    """A document that says what should exist. A kind adds `spec`, `references()` and `plan()`.

    `is_expanded` where another document made it, `needs_digests` where its own digest is known only with those of all that it
    refers to.
    """

    is_expanded: ClassVar[bool] = False
    needs_digests: ClassVar[bool] = False

    def resolved(self, project: Project) -> Json:  # noqa: ARG002  (a kind may take something from it)
        """The whole document as it counts, with what the project and ftops say where it says nothing."""
        return self.model_dump(mode="json", by_alias=True)

    def references(self) -> Iterator[Reference]:
        """Every other resource that this one names."""
        return iter(())

    def source_paths(self) -> Iterator[str]:
        """The files and folders whose identity planning needs."""
        return iter(())

    def software(self, project: Project) -> str | None:  # noqa: ARG002  (see resolved)
        """What its job runs with, name and version; None where it has no job."""
        return None

    def refuse_rerun(self) -> Diagnostic | None:
        """Why it can't be done again as a person may ask for a training; None where it can."""
        return Diagnostic("only a TrainingRun can be run again", address=str(self.address))

    def growing_paths(self) -> Iterator[str]:
        """Those of `source_paths` that stand for files, by a path or a glob, to which an application may be writing."""
        return iter(())

    def plan(self, context: Context) -> Change:  # noqa: ARG002  (each kind has its own)
        """What would happen to this resource; what it needs has been planned before."""
        raise TypeError(f"{self.kind_name} is not planned")


@dataclass(frozen=True, slots=True)
class Context:
    """What planning a resource may look at: the specs, what exists, and the changes of what it needs.

    `where` gives the place of a field, for errors. `resumed` are the trainings that a person said go on although they were
    stopped, `reruns` those that it wants trained again.
    """

    project: Project
    resources: Mapping[Address, Resource]
    observed: Observed
    planned: Mapping[Address, Change]
    where: Callable[[Address, tuple[str | int, ...]], Where]
    resumed: Collection[Address] = ()
    reruns: Collection[Address] = ()

    def digest_of(self, address: Address) -> str:
        """The digest that the resource at `address` will have once the plan is applied."""
        digest = self.planned[address].digest
        if digest is None:
            raise TypeError(f"{address} has no digest")
        return digest


_ABSENT: Final = object()


def differences(before: Json, after: Json, path: str = "") -> tuple[Reason, ...]:
    """Field by field, how two JSON trees differ. A missing value is None.

    A list is compared as a whole, but for one whose elements have one name each (`[{pii: …}, {quality: …}]`), in this order.
    """
    if isinstance(before, list) and isinstance(after, list) and _names(before) and _names(before) == _names(after):
        pairs = zip(before, after, strict=True)
        return tuple(reason for one, other in pairs for reason in differences(one, other, path))
    if isinstance(before, dict) and isinstance(after, dict):
        reasons: list[Reason] = []
        for key in sorted(before.keys() | after.keys()):
            one, other = before.get(key, _ABSENT), after.get(key, _ABSENT)
            if one != other or type(one) is not type(other):
                reasons += differences(one, other, f"{path}.{key}" if path else key)
        return tuple(reasons)
    return (Reason(path, None if before is _ABSENT else before, None if after is _ABSENT else after),)


def _names(elements: list[Json]) -> list[str]:
    """The name of each of `elements`; none where there is one without, or with more than one."""
    names = [next(iter(each)) for each in elements if isinstance(each, dict) and len(each) == 1]
    return names if len(names) == len(elements) else []


def noop(address: Address, why: str | Note, **fields: Any) -> Change:
    """Nothing to do, and why: a sentence, or a note of another kind than where it stands. Notes in `fields` follow it."""
    first = Note(NoteKind.STATE, why) if isinstance(why, str) else why
    return Change(address, Action.NOOP, ChangeClass.NOOP, notes=(first, *fields.pop("notes", ())), **fields)


def advice(texts: Iterable[str]) -> tuple[Note, ...]:
    """What a person should decide, as notes."""
    return tuple(Note(NoteKind.ADVICE, text) for text in texts)
