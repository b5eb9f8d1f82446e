"""The data set pipeline, whole and stage by stage, beside libraries that do one step of it.

python benchmarks/data.py [--quick] [--rows 200000,1000000] [--rounds 3] [--peers PYTHON]

ftops is `ftops dataset check FILE`, and the preparation that `ftops apply` does, from the file to splits in a store. The peers
(presidio, datasketch, datatrove) run under PYTHON, an environment that has them; each gets as many rows as it can do in
some twenty seconds, and ftops does that step on the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from measure import FTOPS, ROOT, Command, Figures, environment, goal, heading, median, row, run

SIZES = "200000,1000000"
RATE = 25_000
MEBIBYTES = 1536
GROWTH = 6.0
"""Times the CPU time for five times the rows."""
SPEC = {
    "source": {"path": "rows.jsonl", "sizeLimit": "8GiB"},
    "checks": [
        {"pii": {"entities": {"email": "mask", "phone": "mask", "kr_rrn": "drop", "credit_card": "mask"}}},
        {"duplicates": {"exact": "drop", "near": {"threshold": 0.95, "action": "drop"}}},
        {"quality": {"minScore": 0.8, "action": "warn"}},
    ],
}
DIGEST = "d" * 64
STORE = "store"
SAYS = "says.json"
PEERS = (
    ("presidio analyzer", "presidio_analyzer", "ftops PII", 40_000),
    ("presidio recognisers", "presidio_analyzer", "ftops PII", 40_000),
    ("datatrove PII", "datatrove", "ftops PII", 40_000),
    ("datasketch LSH", "datasketch", "ftops duplicates", 100_000),
    ("datatrove MinHash", "datatrove", "ftops duplicates", 8_000),
)
"""A peer's step, the package it needs, what ftops has for it, and rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2,000 and 4,000 rows, one round")
    parser.add_argument("--rows", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON", help="the Python that has the peers")
    parser.add_argument("--prepare", nargs=2, type=Path, metavar=("FILE", "STORE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        prepare(*options.prepare)
        return
    counts = sorted(int(count) for count in ("2000,4000" if options.quick else options.rows).split(","))
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        files = make(Path(folder), counts)
        pipeline(files, 1 if options.quick else options.rounds)
        peers(files[counts[-1]], options.peers, 500 if options.quick else counts[-1])


def make(folder: Path, counts: list[int]) -> dict[int, Path]:
    """A file of each size: the smaller ones are how the largest begins."""
    whole = folder / f"{counts[-1]}.jsonl"
    maker = str(ROOT / "benchmarks" / "instructions.py")
    subprocess.run([sys.executable, maker, str(whole), str(counts[-1])], check=True, stdout=subprocess.DEVNULL)
    files = {counts[-1]: whole}
    for count in counts[:-1]:
        files[count] = folder / f"{count}.jsonl"
        with whole.open("rb") as source, files[count].open("wb") as target:
            target.writelines(line for line, _ in zip(source, range(count), strict=False))
    return files


# ---------------------------------------------------------------------------------------- the whole of it


def pipeline(files: dict[int, Path], rounds: int) -> None:
    """Prints what the pipeline takes for each file, what it finds, and how time and memory grow."""
    found: dict[str, list[tuple[Figures, float]]] = {"dataset check": [], "prepare": []}
    for count, file in sorted(files.items()):
        # A file of data is refused above 100 MiB unless one says more.
        limits = ("--size-limit", "8GiB")
        commands = {
            "dataset check": Command((*FTOPS, "dataset", "check", str(file), "--format", "json", *limits)),
            "prepare": Command((sys.executable, str(Path(__file__)), "--prepare", str(file), str(file.parent / STORE))),
        }
        print(
            f"\n{count:,} rows, {file.stat().st_size / 2**20:,.0f} MiB; {heading()}      all MiB    rows/s  rows/CPU s"
        )
        runs: dict[str, list[Figures]] = {name: [] for name in commands}
        trees: dict[str, float] = {}
        for one in range(rounds + 1):  # looking at memory ten times a second costs time: so that is a round of its own
            for name, command in commands.items():
                shutil.rmtree(file.parent / STORE, ignore_errors=True)
                if one == 0:
                    trees[name] = tree_of(lambda command=command: run(command))
                else:
                    runs[name].append(run(command))
        for name, each in runs.items():
            figures, tree = median(each), trees[name]
            found[name].append((figures, tree))
            print(row(name, figures) + f"{tree:13,.0f}{count / figures.wall:10,.0f}{count / cpu(figures):12,.0f}")
        figures, tree = found["prepare"][-1]
        if count >= 200_000:  # what starting costs would count for more in fewer rows
            print(goal(f"prepare at {count:,} rows", 1000 * figures.wall / count, 1000 / RATE, "s a thousand rows"))
        if count <= 200_000:
            print(goal(f"prepare at {count:,} rows, all its processes", tree, MEBIBYTES, "MiB"))
        told = json.loads((file.parent / STORE / SAYS).read_text())
        stages = ", ".join(f"{stage} {wall:.2f} ({cpu:.2f})" for stage, (wall, cpu) in told["stages"].items())
        print(f"seconds (CPU) by stage of the last round: {stages}")
        recall(file, count, found_rows(file.parent / STORE))
    if len(files) > 1:
        growth(sorted(files), found)


def growth(counts: list[int], found: dict[str, list[tuple[Figures, float]]]) -> None:
    times = counts[-1] / counts[0]
    for name, each in found.items():
        (first, small), (last, large) = each[0], each[-1]
        about = f"{name} from {counts[0]:,} to {counts[-1]:,} rows"
        print(goal(f"{about}, CPU", cpu(last) / cpu(first), GROWTH * times / 5, "times"))
        print(goal(f"{about}, memory", large / small, times, "times"))


def cpu(figures: Figures) -> float:
    return figures.user + figures.system


def found_rows(store: Path) -> dict[str, set[int]]:
    """The rows that each check found something in."""
    from ftops.store.store import open_store

    rows: dict[str, set[int]] = {"pii": set(), "duplicates": set()}
    with (open_store(store).data(DIGEST) / "findings.jsonl").open() as findings:
        for line in findings:
            finding = json.loads(line)
            rows.setdefault(finding["check"], set()).add(finding["row"])
    return rows


def recall(file: Path, count: int, told: dict[str, set[int]]) -> None:
    """Prints how much of what was planted is found, and what else is."""
    from instructions import read_truth

    truth = read_truth(files_truth(file), count)
    pii, alike = told["pii"], told["duplicates"]
    planted = {*truth.exact, *truth.near}
    print(
        f"rows with personal data: {share(pii, truth.pii)} found; of the look-alikes {share(pii, truth.traps)} taken for it"
    )
    missed = sorted({truth.pii[row] for row in truth.pii.keys() - pii})
    wrong = sorted({truth.traps[row] for row in truth.traps.keys() & pii})
    others = pii - truth.pii.keys() - truth.traps.keys() - planted
    print(
        f"    missed: {', '.join(missed) or 'none'}; mistaken: {', '.join(wrong) or 'none'}; in rows with neither: {len(others)}"
    )
    print(f"rows like an earlier one: {share(alike, planted)} found; {len(alike - planted)} more that were not planted")


def share(found: Iterable[int], planted: Iterable[int]) -> str:
    of = set(planted)
    return f"{len(of & set(found)) / max(len(of), 1):.4f} of {len(of):,}"


def files_truth(file: Path) -> Path:
    """The file that has the truth: that of the largest size has it for the smaller ones too."""
    return max(file.parent.glob("*.jsonl"), key=lambda path: path.stat().st_size)


def tree_of(call: Callable[[], object]) -> float:
    """The most MiB that all processes below this one had together during `call`, pages that they share counted once.

    Looked at ten times a second.
    """
    done, most = threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], sum(proportional(pid) for pid in descendants(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return most[0]


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def proportional(pid: int) -> float:
    """MiB of a process; of a page that n processes share, an n-th."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


# ------------------------------------------------------------------------------------------ a process of its own


def prepare(file: Path, folder: Path) -> None:
    """Prepare `file` in a new store in `folder`, and write down the seconds of each stage."""
    from ftops.cli import tune

    tune()
    from ftops.datasets.prepare.prepare import Origin, prepare
    from ftops.datasets.spec import DatasetSpec
    from ftops.store.store import open_store

    stages: dict[str, list[float]] = {}
    last = ("start", took())

    def progress(stage: str, _done: int, _all: int) -> None:
        nonlocal last
        now = took()
        spent = stages.setdefault(last[0], [0.0, 0.0])
        stages[last[0]] = [before + new - old for before, new, old in zip(spent, now, last[1], strict=True)]
        last = (stage, now)

    folder.mkdir(exist_ok=True)
    spec = SPEC | {"source": SPEC["source"] | {"path": file.name}}
    prepare(
        DatasetSpec.model_validate_json(json.dumps(spec)), DIGEST, Origin(file.parent), open_store(folder), progress
    )
    progress("end", 0, 0)
    (folder / SAYS).write_text(json.dumps({"stages": stages}))


def took() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process and of its children that have ended."""
    return time.perf_counter(), sum(os.times()[:4])


# ------------------------------------------------------------------------------------------------- peers


def peers(file: Path, python: str, most: int) -> None:
    """Prints each peer beside ftops on the same rows, where the peer is installed."""
    from instructions import read_truth

    print(
        f"\n{'one step, rows in memory':34}{'rows':>10}{'wall s':>10}{'CPU s':>10}{'rows/s':>10}{'found':>10}{'others':>10}"
    )
    ours: dict[tuple[str, int], tuple[float, float]] = {}
    for peer, package, step, limit in PEERS:
        count = min(limit, most)
        truth = read_truth(files_truth(file), count)
        planted = set(truth.pii) if step == "ftops PII" else {*truth.exact, *truth.near}
        if subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True).returncode:
            print(f"{peer}: {package} is not installed for {python}")
            continue
        if (step, count) not in ours:
            ours[step, count] = one_step(sys.executable, step, file, count, planted)
        theirs = one_step(python, peer, file, count, planted)
        wall, spent = (one / max(other, 0.001) for one, other in zip(ours[step, count], theirs, strict=True))
        print(f"ratio {step} : {peer}: wall {wall:.3f}, CPU {spent:.3f}")


def one_step(python: str, step: str, file: Path, count: int, planted: set[int]) -> tuple[float, float]:
    """The seconds of a step and those of the CPU, printed with the share of planted rows that it found and the number of others."""
    command = [python, str(ROOT / "benchmarks" / "data_steps.py"), step, str(file), str(count)]
    done = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    found = set(said["found"])
    figures = f"{count:>10,}{said['wall']:>10.2f}{said['cpu']:>10.2f}{count / said['wall']:>10,.0f}"
    print(
        f"{step:34}{figures}{len(found & planted) / max(len(planted), 1):>10.4f}{len(found - planted):>10,}", flush=True
    )
    return said["wall"], said["cpu"]


if __name__ == "__main__":
    main()
