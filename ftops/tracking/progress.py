"""What MLflow has got so far of each run: files in the store that apply writes and the mirror follows.

runs/RUN-ID/attempt-N/tracking.json     what the attempt is called in MLflow, written before it starts
tracking/runs/RUN-ID                    a marker: the run may have something that MLflow has not got
tracking/models/NAME@VERSION.json       a model version, or its labels, that MLflow has not got
tracking/sent/RUN-ID.json               what MLflow has got of the run's attempts; if lost, it is found out again
tracking/status.json                    the error of the mirror's last pass, if it had one

Only the mirror writes under `sent`, and only it takes marks and requests away.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from ftops.digests import Json, canonical
from ftops.errors import ExternalError
from ftops.executors.attempts import last_event, observe_attempt, run_state
from ftops.executors.job_state import Observation
from ftops.files import open_append, open_regular, read_json, write_atomic
from ftops.plan.run import RunState
from ftops.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

_REQUEST = "tracking.json"
_CLAIMED = ".sending"


def write_json(path: Path, value: Json) -> None:
    """Put `value` at `path`, whole or not at all. Raises ExternalError, or OSError for its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, canonical(value) + b"\n")


# --------------------------------------------------------------------------------------------------- progress


@dataclass(slots=True)
class Sent:
    """What MLflow has got of one attempt: so many bytes of events.jsonl and of system.jsonl; `done` when nothing more can come."""

    offset: int = 0
    done: bool = False
    system: int = 0


@dataclass(slots=True)
class Progress:
    """What one MLflow server has got of one run: `run` is the id that it gave, `steps` the last step of each metric."""

    server: str = ""
    run: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    attempts: dict[int, Sent] = field(default_factory=dict)

    @classmethod
    def load(cls, store_root: Path, run_id: str) -> Progress:
        """The progress of a run; an empty one when nothing was sent, or the file is lost: the server is asked then."""
        found = read_json(_sent(store_root, run_id))
        if found is None:
            return cls()
        attempts = {int(number): Sent(**sent) for number, sent in found["attempts"].items()}
        return cls(found["server"], found["run"], found["steps"], attempts)

    def save(self, store_root: Path, run_id: str) -> None:
        attempts = {str(number): asdict(sent) for number, sent in self.attempts.items()}
        write_json(_sent(store_root, run_id), {**asdict(self), "attempts": attempts})


def _sent(store_root: Path, run_id: str) -> Path:
    return store_root / "tracking" / "sent" / f"{run_id}.json"


# ------------------------------------------------------------------------------------------------------- runs


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that wants to be seen in MLflow, and where it stands."""

    number: int
    folder: Path
    job: Observation | None
    later: bool

    @property
    def state(self) -> RunState:
        return run_state(self.job, last_event(self.folder))

    @property
    def over(self) -> bool:
        """Whether no event can follow any more: its job ended, or a later attempt has begun."""
        return self.later or (self.job is not None and not self.job.state.going_on)

    @property
    def request(self) -> Json:
        return read_json(self.folder / _REQUEST)

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def system(self) -> Path:
        return self.folder / "system.jsonl"


def attempts(store_root: Path, run_id: str) -> list[Attempt]:
    """The attempts of a run that want to be seen in MLflow, first to last."""
    store = Store(store_root)
    folders = {number: store.attempt(run_id, number) for number in store.attempts(run_id)}
    return [
        Attempt(number, folder, observe_attempt(folder), later=number < max(folders))
        for number, folder in folders.items()
        if (folder / _REQUEST).exists()
    ]


def ask_for_run(attempt_folder: Path, request: Json) -> None:
    """Put down how an attempt is called in MLflow, then mark its run; `settle` relies on this order."""
    write_json(attempt_folder / _REQUEST, request)
    _mark(attempt_folder.parents[2], attempt_folder.parent.name)


def _marker(store_root: Path, run_id: str) -> Path:
    return store_root / "tracking" / "runs" / run_id


def _mark(store_root: Path, run_id: str) -> None:
    marker = _marker(store_root, run_id)
    marker.parent.mkdir(parents=True, exist_ok=True)
    os.close(open_append(marker))


def marked(store_root: Path) -> list[str]:
    """The ids of the runs that may have something that MLflow has not got."""
    folder = store_root / "tracking" / "runs"
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def settle(store_root: Path, run_id: str) -> None:
    """Take the mark off a run that MLflow has got whole.

    The second look finds an attempt that began between the first look and the removal.
    """
    if _whole(store_root, run_id):
        _marker(store_root, run_id).unlink(missing_ok=True)
        if not _whole(store_root, run_id):
            _mark(store_root, run_id)


def _whole(store_root: Path, run_id: str) -> bool:
    sent = Progress.load(store_root, run_id).attempts
    return all(each.number in sent and sent[each.number].done for each in attempts(store_root, run_id))


def forget(store_root: Path, run_id: str) -> None:
    """Forget what MLflow has got of a run that is gone from the store: one of the same id would begin anew."""
    _marker(store_root, run_id).unlink(missing_ok=True)
    _sent(store_root, run_id).unlink(missing_ok=True)


def unsent(store_root: Path, run_id: str) -> bool:
    """Whether there is something of the run, now, that MLflow has not got."""
    progress = Progress.load(store_root, run_id)
    for attempt in attempts(store_root, run_id):
        sent = progress.attempts.get(attempt.number)
        if sent is None or (not sent.done and (attempt.over or _has_more(attempt, sent))):
            return True
    return False


def _has_more(attempt: Attempt, sent: Sent) -> bool:
    return _has_line(attempt.events, sent.offset) or _has_line(attempt.system, sent.system)


def _has_line(path: Path, offset: int) -> bool:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            file.seek(offset)
            return b"\n" in file.read(1 << 16)
    except (FileNotFoundError, ExternalError):
        return False


# ----------------------------------------------------------------------------------------------------- models


def ask_for_version(store_root: Path, name: str, version: str, content: Json) -> None:
    """Put down what a model version shall be in MLflow; an earlier wish for it that still waits is replaced."""
    write_json(store_root / "tracking" / "models" / f"{name}@{version}.json", content)


def version_requests(store_root: Path) -> list[Path]:
    """The model versions that are asked for; by name, one path each."""
    folder = store_root / "tracking" / "models"
    return sorted({each.with_suffix(".json") for suffix in (".json", _CLAIMED) for each in folder.glob(f"*{suffix}")})


def claim(request: Path) -> Path:
    """Move a request aside while it is worked on, so that a newer one for the same version is not lost with it.

    What a killed mirror had claimed is claimed again; a newer request replaces it, for each one is the whole wish.
    """
    claimed = request.with_suffix(_CLAIMED)
    if request.exists():
        request.replace(claimed)
    return claimed
