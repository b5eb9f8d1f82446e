"""What the steps of one apply share."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ftops.errors import ExternalError
from ftops.plan.address import Address
from ftops.plan.apply_events import ApplyEvent
from ftops.plan.changes import Change
from ftops.plan.observed import Observed
from ftops.plan.steps import Resume
from ftops.resources.record import Record
from ftops.resources.specs import Specs
from ftops.resources.workspace import Workspace
from ftops.store.journal import Journal
from ftops.store.store import Store


def blocking(change: Change, failed: Collection[Address]) -> Address | None:
    """Which of what `change` needs failed, so that it can't be done. A sweep also chooses where members failed, or says why not."""
    return next((need for need in change.needs if need in failed), None) if change.selected_member is None else None


@dataclass(slots=True)
class Work:
    """One apply: where it works, what the plan was made from, and `pending`: the records that are written next.

    `records` are all that there are by path, so that what one step wrote the next one reads; `commit` commits what came out for a
    change, and says in a few words where it went. `resume` says where trainings begin of which a person chose it; `pause` waits
    so many seconds, while others may work.
    """

    workspace: Workspace
    store: Store
    observed: Observed
    changes: Mapping[Address, Change]
    records: Mapping[str, Record]
    journal: Journal
    emit: Callable[[ApplyEvent], None]
    commit: Callable[[Work, Change], str]
    resume: Mapping[Address, Resume] = field(default_factory=dict)
    pending: dict[str, Record] = field(default_factory=dict)
    pause: Callable[[float], None] = time.sleep

    @property
    def specs(self) -> Specs:
        return self.workspace.specs


def refuse_changed(work: Work, address: Address) -> None:
    """Raises ExternalError where a source was changed under its pointer: what it says would be recorded of other content."""
    paths = work.specs.resources[address].source_paths()
    if found := [work.observed.changed[path] for path in paths if path in work.observed.changed]:
        raise ExternalError(*found)
