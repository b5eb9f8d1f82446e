"""Files of log rows → observations."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ftops.experiments.analysis.observations import Observations, Wanted
from ftops.experiments.logs import csv_rows, jsonl, parquet
from ftops.experiments.logs.collect import Gathered
from ftops.experiments.logs.files import LogFile, opened
from ftops.experiments.logs.log_source import THREADS, Source
from ftops.experiments.logs.row_schema import Rules
from ftops.store.arrow import leave_pandas_out

_READERS: Final = {"jsonl": jsonl.parts, "csv": csv_rows.parts, "parquet": parquet.parts}
_ARENAS, _TRIM, _MAP = -8, -1, -3


def _keep_memory() -> None:
    """Has the C library keep what is freed, and take it again: each batch needs the same large arrays as the one before. By
    itself it would give them back, and the kernel clear them anew; of ten million rows that is a tenth of the time, and more
    memory where each thread keeps its own. (mallopt of glibc; any other library is left as it is.)"""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for what, value in ((_ARENAS, 1), (_TRIM, 256 << 20), (_MAP, 32 << 20)):
            mallopt(what, value)


def read(files: Sequence[LogFile], wanted: Wanted, *, progress: Callable[[int], None] = lambda _: None) -> Observations:
    """What `files` say of the experiment. `progress` is told how many more bytes were read.

    Raises ExternalError when a file can't be opened, ChecksFailed when one can't be read as what its name says, or
    when there are rows but no sound one of the experiment.
    """
    _keep_memory()
    leave_pandas_out()
    rules = Rules(wanted.experiment, wanted.allocation.arms, wanted.fields)
    gathered = Gathered(wanted, rules, several=len(files) > 1)
    sources: dict[str, str] = {}
    notes: list[str] = []
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for file in sorted(files, key=lambda each: each.path):
            with opened(file) as content:
                source = Source(file, content, rules, pool, progress)
                for first, part in _READERS[file.format[0]](source):
                    gathered.add(file.path, first, part)
            notes += source.notes
            sources[file.path] = source.sha256.hexdigest()
    digest = hashlib.sha256("\n".join(sorted(sources.values())).encode()).hexdigest()
    return gathered.observations(sources, digest, notes)
