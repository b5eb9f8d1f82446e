"""Samples what a trainer takes of the machine: `python -I resource_usage.py LEADER FILE`, until LEADER ends.

It stands alone (standard library only, no import of ftops, Python 3.8), as the wrapper does that starts it. A sample is a line
`{"time", "cpu_percent", "memory_gib", "gpu_0_percent", "gpu_0_memory_gib", …}`: 100 % of the processor is one core, and the
GPUs are there where `nvidia-smi` tells of them. It reads /proc, and never touches a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

SECONDS: Final = 5.0
SAMPLES: Final = 360
"""After so many samples the time between two doubles, so that the file stays small: 2,000 samples are 23 hours."""
GPU_SECONDS: Final = 10.0
"""nvidia-smi may take seconds, and for ever where a driver hangs."""


class Used(NamedTuple):
    """Of one process: ticks of the processor since it began, and pages of memory that it has now."""

    ticks: int
    pages: int


def processes(leader: int) -> dict[tuple[int, int], Used]:
    """The processes of the session that `leader` leads, and their descendants, by pid and start time: see proc_pid_stat(5).

    Memory that several of them share counts for each.
    """
    found: dict[int, tuple[int, int, int, Used]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
                fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
                parent, session, start = (int(fields[index]) for index in (1, 3, 19))
                used = Used(int(fields[11]) + int(fields[12]), int(fields[21]))
                found[int(folder.name)] = parent, session, start, used
    ours = {pid for pid, (_, session, _, _) in found.items() if session == leader}
    while more := {pid for pid, (parent, *_) in found.items() if parent in ours} - ours:
        ours |= more
    return {(pid, found[pid][2]): found[pid][3] for pid in ours}


def share_of_processor(before: dict[tuple[int, int], Used], now: dict[tuple[int, int], Used], seconds: float) -> float:
    """Percent of one core, of the processes that live now; what one did that has ended since is not known."""
    ticks = sum(max(0, each.ticks - before.get(key, Used(0, 0)).ticks) for key, each in now.items())
    return 100 * ticks / os.sysconf("SC_CLK_TCK") / seconds


def memory_gib(now: dict[tuple[int, int], Used]) -> float:
    return sum(each.pages for each in now.values()) * os.sysconf("SC_PAGE_SIZE") / (1 << 30)


def gpus() -> dict[str, float]:
    """The figures of the GPUs that are visible here; none where nvidia-smi is not there, or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    query = [program, "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    if visible is not None:
        query.append(f"--id={visible}")
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=GPU_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return gpu_figures(done.stdout)


def gpu_figures(table: str) -> dict[str, float]:
    """`gpu_0_percent` and `gpu_0_memory_gib` from lines like `0, 97, 40213` (MiB); what is no number is left out."""
    found: dict[str, float] = {}
    for line in table.splitlines():
        index, *values = (each.strip() for each in line.split(","))
        for name, value, unit in zip(("percent", "memory_gib"), values, (1, 1024)):  # noqa: B905  (Python 3.10)
            with contextlib.suppress(ValueError):  # [N/A]
                found[f"gpu_{int(index)}_{name}"] = round(float(value) / unit, 3)
    return found


def main() -> int:
    """Exit code 0: the leader has ended, or nothing can be sampled here."""
    leader, path = int(sys.argv[1]), Path(sys.argv[2])
    if not hasattr(os, "pidfd_open"):  # Python 3.9: without it the end would be noticed late
        return 0
    try:
        alive = os.pidfd_open(leader)
    except ProcessLookupError:
        return 0
    before, begun, interval, count = processes(leader), time.monotonic(), SECONDS, 0
    while not select.select([alive], [], [], interval)[0]:
        now, moment = processes(leader), time.monotonic()
        sample = {
            "time": time.time(),
            "cpu_percent": round(share_of_processor(before, now, moment - begun), 1),
            "memory_gib": round(memory_gib(now), 3),
            **gpus(),
        }
        before, begun, count = now, moment, count + 1
        interval *= 1 if count % SAMPLES else 2
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as file:  # a full disk gets room again
            file.write(json.dumps(sample) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
