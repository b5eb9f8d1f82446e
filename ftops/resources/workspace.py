"""A project on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ftops.git.repository import Repository
from ftops.resources.specs import Specs
from ftops.store.store import Store


@dataclass(frozen=True, slots=True)
class Workspace:
    """A project on this machine: its folder, its specs, its repository (if any), its store (which may not exist).

    `written` has the texts of the records that an apply wrote to a folder instead of git: they count before those in git.
    """

    root: Path
    specs: Specs
    repository: Repository | None
    store: Store
    written: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def branch(self) -> str | None:
        """The branch that holds the records; None when HEAD is detached and ftops.yaml names none."""
        named = self.specs.project.spec.git.branch
        return named or (self.repository.head().branch if self.repository else None)

    @property
    def tip(self) -> str | None:
        """The commit that records are read from."""
        if self.repository is None:
            return None
        named = self.specs.project.spec.git.branch
        return self.repository.tip(named) if named else self.repository.head().commit
