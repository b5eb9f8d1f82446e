"""`ftops validate` and a no-op `ftops plan` by the number of specs, beside `dvc status` and `terraform validate, plan`.

python benchmarks/plan.py [--quick] [--sizes 10,1000,10000] [--peers-up-to 1000] [--rounds 3]

The peers' projects have as many stages or resources as ftops has specs, and nothing is left to do in any of them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import DVC, FTOPS, ROOT, Command, Figures, alternate, environment, goal, heading, median, ratio, row, tell

PEERS = {  # by tool: its commands, and which of ftops's each is set beside
    "dvc": {"dvc status": ((*DVC, "status"), "plan")},
    "terraform": {
        "terraform validate": (("terraform", "validate"), "validate"),
        # The exit code says that there was nothing to do; without colour, as a pipe gets it from the others.
        "terraform plan": (("terraform", "plan", "-input=false", "-no-color", "-detailed-exitcode"), "plan"),
    },
}
SECONDS = {10: 0.3, 1000: 1.0, 10_000: 6.0}
MEBIBYTES = 300
GROWTH = 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten specs, one round")
    parser.add_argument("--sizes", default="10,1000,10000", help="numbers of specs, each a multiple of 5")
    parser.add_argument("--peers-up-to", type=int, default=1000, help="the peers take minutes beyond (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    sizes = [10] if options.quick else [int(size) for size in options.sizes.split(",")]
    ours: dict[tuple[str, int], Figures] = {}
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        for size in sizes:
            found = measure(Path(folder), size, 1 if options.quick else options.rounds, size <= options.peers_up_to)
            ours |= {(name, size): figures for name, figures in found.items()}
    print_growth(ours)


def measure(folder: Path, size: int, rounds: int, with_peers: bool) -> dict[str, Figures]:
    """The figures of `validate` and `plan` at one size; prints them and those of the peers."""
    project = make("ftops", folder, size)
    commands = {
        "ftops validate": Command((*FTOPS, "validate"), project),
        "ftops plan": Command((*FTOPS, "plan", "--detailed-exitcode"), project),
    }
    beside = {}
    for tool in ("dvc", *(["terraform"] if shutil.which("terraform") else [])) if with_peers else ():
        place = make(tool, folder, size)
        for name, (argv, counterpart) in PEERS[tool].items():
            commands[name] = Command(argv, place)
            beside[name] = f"ftops {counterpart}"
    print(f"\n{size:,} specs; {heading()}")
    runs = alternate(commands, rounds)
    found = {name: median(each) for name, each in runs.items()}
    for name, figures in found.items():
        print(row(name, figures))
    for peer, name in beside.items():
        print(ratio(f"{name} : {peer} at {size:,}", runs[name], runs[peer]))
    for name in ("ftops validate", "ftops plan"):
        if size in SECONDS:
            print(goal(f"{name} at {size:,}", found[name].user, SECONDS[size], "s of user CPU"))
        print(goal(f"{name} at {size:,}", found[name].peak, MEBIBYTES, "MiB"))
    sys.stdout.flush()
    return {name.removeprefix("ftops "): found[name] for name in ("ftops validate", "ftops plan")}


def make(tool: str, folder: Path, size: int) -> Path:
    """The folder of a project for `tool`, made by a process of its own (see measure.py)."""
    place = folder / f"{tool}-{size}"
    place.mkdir()
    script = str(ROOT / "benchmarks" / "project.py")
    subprocess.run([sys.executable, script, tool, str(place), str(size)], env=environment(), check=True)
    return place


def print_growth(ours: dict[tuple[str, int], Figures]) -> None:
    if ("plan", 10_000) in ours and ("plan", 1000) in ours:
        print()
        for name in ("validate", "plan"):
            grown = ours[name, 10_000].user / ours[name, 1000].user
            growth = f"ftops {name} from 1,000 to 10,000 specs"
            print(goal(growth, grown, GROWTH, "times the user CPU"))
            tell(growth, {"CPU": ours[name, 10_000].cpu / ours[name, 1000].cpu})


if __name__ == "__main__":
    main()
