"""What a person or a program asks to be planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ftops.errors import Diagnostic, UsageError


@dataclass(frozen=True, slots=True)
class Request:
    """What to plan: everything where nothing is said.

    Only the addresses `targets` and what they need; all but the addresses `excludes` and what needs them. The trainings
    `reruns`, by address or name, are done again from the start. The TrainingRuns that `resumes` names go on, also where they
    were stopped; each begins at the checkpoint that is said: `best`, `last`, a step, `none` for the start, or where it would
    by itself when that is empty. Raises UsageError where the same one is to go on and to begin again.
    """

    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    reruns: tuple[str, ...] = ()
    resumes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if both := self.resumes.keys() & {each.removeprefix("TrainingRun/") for each in self.reruns}:
            raise UsageError(Diagnostic(f"{min(both)}: --rerun begins at the start, so --resume does not go with it"))
