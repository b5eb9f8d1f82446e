"""For applications: writes log rows, safely from many threads and processes. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time as clock
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ftops.experiments.logs.row_schema import KNOWN, TEXTS, Fault, Rules, judge, microseconds

FILES: Final = (".jsonl", ".ndjson")
"""Endings of a place that is a file; any other is a folder."""
MODE: Final = 0o640
"""Of a new file: rows may hold what people wrote."""


class ExperimentLog:
    """The log of one experiment: a file (`….jsonl`), or a folder with a file for each day (UTC).

    `sync` waits until each row is on the disk: needed only where the machine itself may fail.
    """

    def __init__(self, place: str | os.PathLike[str], experiment: str, *, sync: bool = False) -> None:
        if not experiment:
            raise ValueError("experiment: expected a name, found empty text")
        self._place, self._experiment, self._sync = Path(place), experiment, sync

    def append(
        self,
        *,
        unit: str,
        arm: str,
        time: datetime | str | None = None,
        id: str | None = None,  # noqa: A002  (the name of the field)
        **fields: Any,
    ) -> str:
        """Writes one row and returns its id. `time` is now, and `id` a new one, where they are not given.

        `fields` are what the row says: `rating`, `response_time_ms`, `query`, `response`, `feedback`, and whatever else
        the experiment measures, None where there is no value. Raises ValueError, naming the field, for a row that would
        not be read back, and OSError when the disk does. Nothing is written then.
        """
        row = {
            "id": new_id() if id is None else id,
            "experiment": self._experiment,
            "unit": unit,
            "arm": arm,
            "time": _text(datetime.now(UTC) if time is None else time),
            **dict.fromkeys((*KNOWN, *TEXTS)),
            **fields,
        }
        if row["experiment"] != self._experiment:
            raise ValueError("experiment: expected the one that the log is of")
        found = judge(row, Rules(self._experiment, None, {}))
        if isinstance(found, Fault):
            raise ValueError(f"{found.field}: {found.detail}")  # noqa: TRY004  (a row is a value, not a type)
        self._write(_line(row), microseconds(row["time"]) or 0)
        return str(row["id"])

    def _write(self, line: bytes, moment: int) -> None:
        """Adds `line` to its file as a whole, or not at all."""
        place = self._place
        if place.suffix not in FILES:
            place /= f"{datetime.fromtimestamp(moment // 1_000_000, UTC):%Y-%m-%d}.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # Whoever wrote last may have been killed in the middle of a line.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                _write_all(descriptor, b"\n" + line if torn else line)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            if self._sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def new_id() -> str:
    """32 hex digits that begin with the time: a UUID of version 7 (RFC 9562), without its dashes."""
    milliseconds, rest = divmod(clock.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    number = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
    return f"{number:032x}"


def _text(time: datetime | str) -> str:
    if not isinstance(time, datetime):
        return time
    if time.tzinfo is None:
        raise ValueError("time: expected a time with a zone, found one without")
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _line(row: Mapping[str, Any]) -> bytes:
    pairs = []
    for name, value in row.items():
        try:
            pairs.append(b"%s:%s" % (_json(name), _json(value)))
        except (TypeError, ValueError, RecursionError):
            # The words of the error would repeat the value.
            raise ValueError(f"{name}: expected what JSON can say: text in Unicode, finite numbers, lists") from None
    return b"{%s}\n" % b",".join(pairs)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
