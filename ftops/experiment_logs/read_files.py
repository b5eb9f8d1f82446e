"""Files of log rows → observations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ftops.analysis.observations import Observations, Wanted
from ftops.experiment_logs import csv_rows, jsonl, parquet
from ftops.experiment_logs.files import LogFile, opened
from ftops.experiment_logs.gather import Gathered
from ftops.experiment_logs.row import Rules
from ftops.experiment_logs.source import THREADS, Source

_READERS: Final = {"jsonl": jsonl.parts, "csv": csv_rows.parts, "parquet": parquet.parts}


def read(files: Sequence[LogFile], wanted: Wanted, *, progress: Callable[[int], None] = lambda _: None) -> Observations:
    """What `files` say of the experiment. `progress` is told how many more bytes were read.

    Raises ExternalError when a file can't be opened, ChecksFailed when one can't be read as what its name says, or
    when there are rows but no sound one of the experiment.
    """
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
