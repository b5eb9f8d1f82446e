"""Looking at a training, as whole processes: its curve of many events, and every byte of a large checkpoint.

python benchmarks/looking.py [--quick] [--steps 100000] [--mib 1024]

`ftops run show` stands beside Python's json on the same lines, `ftops run checkpoints --verify` beside a sha256 of the same
file, and the time that cat takes, with the file in the kernel's cache and without. No engine is needed: the files are made here.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

from measure import FTOPS, Command, alternate, goal, heading, median, ratio, row, run

SECONDS = 1.0
TIMES = 1.5
RUN = "small-0123456789ab"
PROJECT = """\
apiVersion: ftops/v1
kind: Project
metadata: {name: benchmark}
"""
SHA256 = "import hashlib, sys\nwith open(sys.argv[1], 'rb') as file: hashlib.file_digest(file, 'sha256')"
JSON = "import json, sys\nfor line in open(sys.argv[1]): json.loads(line)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 steps and 16 MiB")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    steps, mib = (1_000, 16) if options.quick else (options.steps, options.mib)
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        project = Path(folder)
        attempt = make(project, steps)
        print(heading(), flush=True)
        look(project, attempt / "events.jsonl", steps, options.rounds)
        verify(project, attempt, mib, options.rounds)


def make(project: Path, steps: int) -> Path:
    """A project with one run that has ended, of so many steps; its attempt's folder."""
    project.joinpath("ftops.yaml").write_text(PROJECT)
    project.joinpath("specs").mkdir()
    attempt = project / ".ftops/runs" / RUN / "attempt-1"
    attempt.mkdir(parents=True)
    texts = {
        "../run.json": {"id": RUN, "name": "small", "digest": "0123456789ab" + "0" * 52, "inputs": {}},
        "job.json": {"argv": [], "env": {}, "submittedAt": 0.0},
        "handle.json": {"pid": 1, "startTime": 0, "submittedAt": 0.0},
        "result.json": {
            "exitCode": 0,
            "signal": None,
            "timedOut": False,
            "stopSignal": None,
            "startedAt": 0,
            "endedAt": 9,
        },
    }
    for name, value in texts.items():
        attempt.joinpath(name).write_text(json.dumps(value))
    attempt.joinpath("config.yaml").write_text("base_model: none\n")
    with attempt.joinpath("events.jsonl").open("w") as file:
        for step in range(steps + 1):
            event = {"event": "log" if step else "begin", "step": step, "maxSteps": steps, "time": 1.8e9 + step / 10}
            figures = {
                "loss": 5 / (step + 1),
                "learning_rate": 1e-4,
                "grad_norm": 1.5,
                "epoch": step / steps,
                "tokens_seen": 512.0 * step,
            }
            file.write(json.dumps(event | figures) + "\n")
    return attempt


def look(project: Path, events: Path, steps: int, rounds: int) -> None:
    commands = {
        "ftops": Command((*FTOPS, "run", "show", "small"), project),
        "json": Command((sys.executable, "-c", JSON, str(events)), project),
    }
    ours, peer = alternate(commands, rounds, warm=0).values()
    print(row(f"ftops run show, {steps:,} steps", median(ours)))
    print(row("json.loads of each line", median(peer)))
    print(ratio("ftops run show : json", ours, peer))
    print(goal(f"ftops run show of {steps:,} steps", median(ours).wall, SECONDS, "s of wall time"))


def verify(project: Path, attempt: Path, mib: int, rounds: int) -> None:
    folder = attempt / "output/checkpoint-1"
    weights = checkpoint(folder, mib)
    start = run(Command((*FTOPS, "run", "checkpoints", "small"), project))
    for state, before in (("cached", lambda: None), ("not cached", lambda: forget(weights))):
        run(Command(("cat", str(weights)), project))  # brings it into the cache
        ours, peer, hashed = [], [], []
        for _ in range(rounds):
            before()
            peer.append(run(Command(("cat", str(weights)), project)))
            before()
            hashed.append(run(Command((sys.executable, "-c", SHA256, str(weights)), project)))
            before()
            ours.append(run(Command((*FTOPS, "run", "checkpoints", "small", "--verify"), project)))
        print(row(f"ftops … --verify, {mib:,} MiB {state}", median(ours)))
        print(row("cat", median(peer)))
        print(row("hashlib.sha256", median(hashed)))
        print(ratio(f"ftops … --verify : hashlib.sha256, {state}", ours, hashed))
    more = (median(ours).wall - start.wall) / max(median(peer).wall, 0.001)
    print(goal("reading it, above a look without --verify", more, TIMES, "times cat, not cached"))


def checkpoint(folder: Path, mib: int) -> Path:
    """A whole checkpoint with weights of so many MiB; the file of its weights."""
    folder.mkdir(parents=True)
    weights, size = folder / "model.safetensors", mib << 20
    header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with weights.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    folder.joinpath("config.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(folder / name, "w") as file:
            file.writestr("archive/data.pkl", b"x" * 50)
    folder.joinpath("trainer_state.json").write_text(json.dumps({"global_step": 1, "log_history": []}))
    return weights


def forget(path: Path) -> None:
    """Have the kernel drop what it keeps of a file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
