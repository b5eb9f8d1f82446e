"""Faults on purpose, for tests of what a crash leaves: FTOPS_FAULT names the point, and what happens there."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from typing import Final

from ftops.errors import ExternalError, UsageError

_passed: Final[Counter[str]] = Counter()
"""How often each fault point was passed: one process has one `FTOPS_FAULT`."""


def boundary(name: str, moment: str) -> None:
    fault("journal")
    fault(f"{name}.{moment}")


def fault(point: str) -> None:
    """Do here what the environment's `FTOPS_FAULT=point[:nth]:kill|raise|enospc|hang` says, at the nth passing.

    For tests of what a crash leaves. Raises ExternalError for `raise`, OSError for `enospc`, UsageError when the
    variable can't be understood.
    """
    if not (wanted := os.environ.get("FTOPS_FAULT")):
        return
    where, *nth, action = wanted.split(":") if ":" in wanted else (wanted, "")
    if action not in ("kill", "raise", "enospc", "hang") or len(nth) > 1 or not all(each.isdecimal() for each in nth):
        raise UsageError(f"FTOPS_FAULT={wanted}: expected point[:nth]:kill|raise|enospc|hang")
    if where != point:
        return
    _passed[point] += 1
    if _passed[point] != int(nth[0] if nth else 1):
        return
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise ExternalError(f"fault on purpose at {point}")
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point)
        case _:
            while True:
                signal.pause()
