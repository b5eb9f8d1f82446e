"""Whether ftops beside its peers is as it was: runs the benchmarks, and compares their ratios with those that are committed.

python benchmarks/check.py [--write] [--only start.py,plan.py]

Ends with 1 where a ratio got worse by more than 15 % in two runs. `--write` makes the ratios of one run the committed ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
COMMITTED = FOLDER / "ratios.json"
BENCHMARKS = {  # by script: with which options; what needs a download, an engine or more than five minutes is not here
    "start.py": (),
    "plan.py": ("--rounds", "5"),
    "assignment.py": (),
    "logs.py": ("--rows", "1000000", "--rounds", "5"),
    "looking.py": ("--rounds", "5"),
}
LIMIT = 0.15
MORE_IS_BETTER = frozenset({"steps a second"})
"""What of a ratio's figures is better the larger it is; times and memory are better the smaller they are."""

Ratios = Mapping[str, Mapping[str, float]]
"""By name of the ratio (`ftops : dvc --version`): each figure (`CPU`), ours as a share of the peer's."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a figure of a ratio. `change` is how much worse it got: 0.2 is a fifth worse, -0.5 is half of it."""

    script: str
    name: str
    before: float | None
    now: float | None

    @property
    def change(self) -> float | None:
        if self.before is None or self.now is None:
            return None
        worse = (self.before, self.now) if self.name.rpartition(": ")[2] in MORE_IS_BETTER else (self.now, self.before)
        return worse[0] / worse[1] - 1

    @property
    def verdict(self) -> str:
        if self.change is None:
            return "new" if self.before is None else "gone"
        return "WORSE" if self.change > LIMIT else "better" if self.change < -LIMIT else ""


def compared(script: str, before: Ratios, now: Ratios) -> list[Row]:
    """A row for each figure that either has, in the order of their names."""
    old, new = (
        {f"{name}: {what}": n for name, each in all_.items() for what, n in each.items()} for all_ in (before, now)
    )
    return [Row(script, name, old.get(name), new.get(name)) for name in sorted(old.keys() | new.keys())]


def better(one: Ratios, other: Ratios) -> dict[str, dict[str, float]]:
    """The better one of each figure of two runs: whatever else the machine does makes it worse in one, a slower ftops in both."""
    found = {name: dict(figures) for name, figures in one.items()}
    for name, figures in other.items():
        mine = found.setdefault(name, {})
        for what, value in figures.items():
            mine[what] = (max if what in MORE_IS_BETTER else min)(value, mine.get(what, value))
    return found


def table(rows: Iterable[Row]) -> str:
    """The rows as text, those of a verdict marked."""

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    lines = [f"{'':14}{'ours as a share of the peer':66}{'before':>9}{'now':>9}{'change':>9}"]
    for row in rows:
        percent = shown(row.change, "+.0%")
        lines.append(
            f"{row.script:14}{row.name:66}{shown(row.before, '.3f'):>9}{shown(row.now, '.3f'):>9}{percent:>9}  {row.verdict}".rstrip()
        )
    return "\n".join(lines)


def read(text: str) -> dict[str, Ratios]:
    """The committed ratios by script."""
    ratios: dict[str, Ratios] = json.loads(text)["ratios"]
    return ratios


def written(ratios: Mapping[str, Ratios]) -> str:
    """The text that `read` reads."""
    about = {"cores": os.cpu_count(), "python": sys.version.split()[0]}
    rounded = {
        script: {name: {what: round(n, 4) for what, n in figures.items()} for name, figures in each.items()}
        for script, each in ratios.items()
    }
    return json.dumps({"measuredWith": about, "ratios": rounded}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def measured(script: str) -> dict[str, dict[str, float]]:
    """The ratios that a benchmark finds now; it ends all when it fails."""
    from measure import RATIOS

    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        told = Path(folder) / "ratios.jsonl"
        command = [sys.executable, str(FOLDER / script), *BENCHMARKS[script]]
        print(f"\n$ {' '.join(command[1:])}", flush=True)
        if code := subprocess.run(command, env=os.environ | {RATIOS: str(told)}, check=False).returncode:
            sys.exit(f"{script}: exit code {code}")
        found: dict[str, dict[str, float]] = {}
        for line in told.read_text().splitlines():
            each = json.loads(line)
            found.setdefault(each["name"], {}).update(each["figures"])
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", action="store_true", help=f"write the ratios to {COMMITTED.name}, and compare nothing"
    )
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="these scripts (default: %(default)s)")
    options = parser.parse_args()
    scripts = options.only.split(",")
    if unknown := [each for each in scripts if each not in BENCHMARKS]:
        parser.error(f"{unknown[0]} is not among {', '.join(BENCHMARKS)}")
    committed = read(COMMITTED.read_text()) if COMMITTED.exists() else {}
    found = {script: measured(script) for script in scripts}
    if options.write:
        COMMITTED.write_text(written({**committed, **found}))
        return
    rows: list[Row] = []
    for script in scripts:
        now = compared(script, committed.get(script, {}), found[script])
        if any(row.verdict == "WORSE" for row in now):
            print(f"\n{script} seems to have got worse: once more")
            now = compared(script, committed.get(script, {}), better(found[script], measured(script)))
        rows += now
    print(f"\n{table(rows)}")
    worse = sum(row.verdict == "WORSE" for row in rows)
    print(
        f"\n{worse} of {len(rows)} got worse by more than {LIMIT:.0%}."
        if worse
        else f"\nNone of {len(rows)} got worse by more than {LIMIT:.0%}."
    )
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
