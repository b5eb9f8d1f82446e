"""Log rows of experiments: how an application writes them, and how they become observations.

Writing takes the standard library only: what reads is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ftops.experiments.logs.client import ExperimentLog

if TYPE_CHECKING:
    from ftops.experiments.logs.files import LogFile, names
    from ftops.experiments.logs.read_files import read
    from ftops.experiments.logs.sql import read_sql

__all__ = ["ExperimentLog", "LogFile", "names", "read", "read_sql"]

_ROOMS = {"LogFile": "files", "names": "files", "read": "read_files", "read_sql": "sql"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
