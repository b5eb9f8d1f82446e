"""Times whole processes by the kernel's own accounting, in turn, and prints them side by side. Standard library only.

Whoever measures must stay small: on Linux the peak memory of a child starts at that of the process it came from.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
FTOPS = (sys.executable, "-P", "-m", "ftops")
DVC = (sys.executable, "-P", "-m", "dvc")
RATIOS = "FTOPS_BENCHMARK_RATIOS"
"""The environment variable that names the file which ratios are told to, for `check.py`."""
LEAST = 0.05  # seconds of CPU that can be told from those of another run


@dataclass(frozen=True, slots=True)
class Command:
    """What is measured: its words, where it runs, and the exit code that it must give."""

    argv: tuple[str, ...]
    folder: Path = ROOT
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of user CPU and of system CPU (children included), wall seconds, and the largest process in MiB."""

    user: float
    system: float
    wall: float
    peak: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


def environment() -> dict[str, str]:
    """The caller's, made fit for measuring: ftops from this checkout, no peer that phones home."""
    # As an installation is: compiled once, here in the first round.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "PYTHONPATH": str(ROOT),
        "DVC_NO_ANALYTICS": "1",
        "CI": "true",  # DVC then looks for no newer version in the background
        "CHECKPOINT_DISABLE": "1",  # the same for Terraform
    }


def run(command: Command) -> Figures:
    """The figures of one run. Ends the benchmark when the command fails: what fails fast must not look fast."""
    with tempfile.TemporaryFile() as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env=environment() | dict(command.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")[-2000:]
            sys.exit(f"{' '.join(command.argv)} in {command.folder}: exit code {process.returncode}\n{said}")
    return Figures(usage.ru_utime, usage.ru_stime, wall, usage.ru_maxrss / 1024)


def alternate(commands: Mapping[str, Command], rounds: int, warm: int = 1) -> dict[str, list[Figures]]:
    """The figures of each command, run in turn so that a change of the machine's speed meets all of them."""
    found: dict[str, list[Figures]] = {name: [] for name in commands}
    for number in range(warm + rounds):
        for name, command in commands.items():
            figures = run(command)
            if number >= warm:
                found[name].append(figures)
    return found


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(
        statistics.median(each.user for each in runs),
        statistics.median(each.system for each in runs),
        statistics.median(each.wall for each in runs),
        statistics.median(each.peak for each in runs),
    )


def heading() -> str:
    """The machine as it was, and the columns of `row`."""
    one, five, _ = os.getloadavg()
    columns = ("user s", "sys s", "wall s", "peak MiB")
    machine = f"{os.cpu_count()} CPUs, load {one:.1f} (1 min) {five:.1f} (5 min), Python {sys.version.split()[0]}"
    return f"{machine}\n{'':34}" + "".join(f"{each:>10}" for each in columns)


def row(name: str, figures: Figures) -> str:
    """One command's figures."""
    return f"{name:34}{figures.user:10.2f}{figures.system:10.2f}{figures.wall:10.2f}{figures.peak:10.0f}"


def ratio(name: str, ours: Sequence[Figures], peer: Sequence[Figures]) -> str:
    """Ours as a share of the peer's, the median of the rounds: below 1 is less time, less memory. CPU is that of user and system:
    the kernel knows their sum better than either."""
    pairs = list(zip(ours, peer, strict=True))
    cpu, wall, peak = (
        statistics.median(of(a) / max(of(b), 0.001) for a, b in pairs)
        for of in (lambda each: each.cpu, lambda each: each.wall, lambda each: each.peak)
    )
    # What else the machine does changes wall seconds by more than what is looked for.
    told = {"peak memory": peak}
    if min(each.cpu for pair in pairs for each in pair) >= LEAST:
        told["CPU"] = cpu
    tell(name, told)
    return f"ratio {name}: CPU {cpu:.2f}, wall {wall:.2f}, peak memory {peak:.2f}"


def tell(name: str, figures: Mapping[str, float]) -> None:
    """Have `check.py` know a ratio, where it is that which runs this."""
    if (place := os.environ.get(RATIOS)) is not None:
        with Path(place).open("a") as file:
            file.write(json.dumps({"name": name, "figures": dict(figures)}) + "\n")


def goal(name: str, value: float, limit: float, unit: str) -> str:
    """Whether a goal was met, in a line."""
    return f"goal {name}: {value:.2f} of at most {limit:g} {unit}: {'met' if value <= limit else 'MISSED'}"
