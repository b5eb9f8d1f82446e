"""What can go wrong, as values: a diagnostic says where, what was expected and what to do.

Errors are collected, not thrown one by one: an `FtopsError` carries every diagnostic that was found, and its class
decides the exit code of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, order=True)
class Where:
    """A place in a file; lines and columns count from 1, as editors do."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to tell a person: what is wrong (summary), why (detail), where, and what to do (hint)."""

    summary: str
    detail: str = ""
    hint: str = ""
    address: str | None = None
    where: Where | None = None
    severity: Severity = Severity.ERROR


class FtopsError(Exception):
    """Ends a command: every diagnostic that was found, and the exit code of its kind of failure."""

    exit_code = 1

    def __init__(self, *diagnostics: Diagnostic | str) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(
            each if isinstance(each, Diagnostic) else Diagnostic(each) for each in diagnostics
        )
        super().__init__("; ".join(each.summary for each in self.diagnostics))


class SpecError(FtopsError):
    """A spec, a template or `ftops.yaml` is wrong."""

    exit_code = 3


class PlanError(FtopsError):
    """No plan can be made, or a saved one is stale."""

    exit_code = 4


class ChecksFailed(FtopsError):
    """The data did not pass its checks."""

    exit_code = 5


class RunFailed(FtopsError):
    """A training ended without success."""

    exit_code = 6


class ExternalError(FtopsError):
    """Something outside of ftops failed: git, the engine, a disk, a server."""

    exit_code = 7


class UsageError(FtopsError):
    """The command was called in a way that cannot be meant."""

    exit_code = 64


def nearest(name: str, valid: Sequence[str]) -> str | None:
    """The valid name that `name` was probably meant to be, or None when nothing is close."""
    folded = {each.replace("_", "").replace("-", "").lower(): each for each in valid}
    matches = get_close_matches(name.replace("_", "").replace("-", "").lower(), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """A hint for an unknown name: the nearest valid one, else the list of all (when it is short enough to read)."""
    if (match := nearest(name, valid)) is not None:
        return f"did you mean {match!r}?"
    return f"valid: {', '.join(valid)}" if 0 < len(valid) <= 20 else ""


class RecordConflict(ExternalError):
    """Two records that can't both be true; caught where results are pushed, to make a branch of them."""


class StalePlan(PlanError):
    """What a saved plan was made from has moved; caught by who knows where it was saved, to say that."""
