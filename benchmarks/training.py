"""`ftops apply` of one training beside bare `axolotl train` of the same config: seconds more, and steps a second; and how long
it takes to be back at a training after ftops was killed.

python benchmarks/training.py [--quick] [--rounds 2] [--steps 60] [--image IMAGE [--host unix:///run/docker.sock]]

Data, base model and token cache are made before, so that both do nothing but train; each round has a seed of its own,
because ftops trains nothing twice. Neither answers prompts before and after; what that takes more is shown once. Needs the engine (`ftops engine install`). With IMAGE ftops trains in containers of it,
the engine of this machine mounted, beside `axolotl train` without a container.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from measure import FTOPS, ROOT, Command, Figures, environment, goal, heading, row, run

SECONDS = 3.0
BACK_SECONDS = 2.0
LONG = 5_000
"""Steps that are surely not over before ftops is back."""
ROWS = 200
PROJECT = """\
apiVersion: ftops/v1
kind: Project
metadata: {name: benchmark}
"""
SPECS = """\
apiVersion: ftops/v1
kind: Dataset
metadata: {name: sums}
spec:
  source: {path: sums.csv}
  split: {train: 1, validation: 0, test: 0}
---
apiVersion: ftops/v1
kind: TrainingRun
metadata: {name: small}
spec:
  dataset: sums
  baseModel: {init: {family: llama, hiddenSize: 64, layers: 2, heads: 4, vocabSize: 512}}
  method: full
  hyperparameters: {max_steps: STEPS, micro_batch_size: 4, sequence_len: 512, learning_rate: 1.0e-3, seed: SEED}
  checkpoints: {every: 1000, keep: 1}
  samples: {prompts: PROMPTS}
"""


@dataclass(frozen=True, slots=True)
class Training:
    """Wall seconds of the command, steps a second, CPU seconds of the trainer where it is no container's; and of ftops the wall
    seconds in which no trainer ran, and the CPU seconds of the process that mirrors it to MLflow."""

    wall: float
    rate: float
    cpu: float | None = None
    outside: float | None = None
    mirror: float | None = None

    def __str__(self) -> str:
        cpu = "" if self.cpu is None else f"{self.cpu:.2f} s CPU, "
        text = f"   trainer: {cpu}{self.rate:.1f} steps/s"
        return (
            text if self.outside is None else f"{text}; {self.outside:.2f} s without; mirror: {self.mirror:.2f} s CPU"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of four steps")
    parser.add_argument(
        "--rounds", type=int, default=2, help="an even number, so that each of the two goes first as often"
    )
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--image", help="train in containers of this image, which has Python and the C++ library")
    parser.add_argument("--host", default="unix:///var/run/docker.sock", help="the socket of its Docker daemon")
    options = parser.parse_args()
    rounds, steps = (1, 4) if options.quick else (options.rounds, options.steps)
    with tempfile.TemporaryDirectory(prefix="ftops-benchmark-") as folder:
        project = Path(folder)
        make(project, steps, {} if options.image is None else contained(options.image, options.host))
        print(heading(), flush=True)
        found = compare(project, rounds, steps)
        with_answers(project, steps, rounds + 1)
        report(found)
        come_back(project)


def contained(image: str, host: str) -> dict[str, object]:
    """The runners of a project that trains in containers."""
    docker = {"image": image, "allow": [image], "host": host, "engine": "host"}
    return {"spec": {"runners": {"contained": {"executor": "docker", "docker": docker}}, "defaultRunner": "contained"}}


def make(project: Path, steps: int, runners: dict[str, object]) -> None:
    """A project whose data, base model and token cache a first training has left in the store."""
    project.joinpath("ftops.yaml").write_text(PROJECT + (yaml.safe_dump(runners) if runners else ""))
    rows = (f"What is {number} and {number + 7}?,It is {2 * number + 7}." for number in range(ROWS))
    project.joinpath("sums.csv").write_text("\n".join(["instruction,output", *rows, ""]))
    project.joinpath("specs").mkdir()
    project.joinpath(".gitignore").write_text("/.ftops/\n")
    seed(project, steps, 0)
    identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost")
    for argv in (
        ("init", "--quiet", "--initial-branch=main"),
        ("add", "--all"),
        ("commit", "--quiet", "--message=all"),
    ):
        subprocess.run(["git", *identity, *argv], cwd=project, check=True)
    run(Command((*FTOPS, "apply", "--yes"), project))


def seed(project: Path, steps: int, number: int, prompts: int = 0) -> None:
    """Write the spec of a run that differs from the others in its seed only, and in whether it answers prompts."""
    text = SPECS.replace("STEPS", str(steps)).replace("SEED", str(number)).replace("PROMPTS", str(prompts))
    project.joinpath("specs", "specs.yaml").write_text(text)


def compare(project: Path, rounds: int, steps: int) -> dict[str, list[Training]]:
    """What both took, one after the other; who goes first changes each round."""
    adopt_orphans()
    found: dict[str, list[Training]] = {"ftops apply": [], "axolotl train": []}
    for number in range(1, rounds + 1):
        seed(project, steps, number)
        bare = bare_attempt(project, number)
        for name in sorted(found, reverse=number % 2 == 0):
            before = logs(project)
            figures = run(Command((*FTOPS, "apply", "--yes"), project) if name == "ftops apply" else bare)
            (log,) = logs(project) - before
            found[name].append(measured(log, figures))
            print(row(f"{name}, round {number}", figures) + str(found[name][-1]), flush=True)
    return found


def with_answers(project: Path, steps: int, number: int) -> None:
    """What it takes when the model answers prompts before and after, which bare axolotl does not do."""
    seed(project, steps, number, prompts=3)
    before = logs(project)
    figures = run(Command((*FTOPS, "apply", "--yes"), project))
    (log,) = logs(project) - before
    print(row("ftops apply, with answers", figures) + str(measured(log, figures)), flush=True)


def adopt_orphans() -> None:
    """Become the parent of what ftops leaves behind (the trainer's wrapper, the mirror), to get its figures too.

    PR_SET_CHILD_SUBREAPER, see prctl(2).
    """
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def measured(log: Path, figures: Figures) -> Training:
    """What a training took. Waits for the mirror to end, so that it takes nothing from the next one."""
    handle = log.with_name("handle.json")
    if not handle.exists():
        return Training(figures.wall, rate(log), figures.user + figures.system)
    cpu: float | None = None
    with contextlib.suppress(KeyError, ChildProcessError):  # a container's processes are nobody's children here
        usage = os.wait4(json.loads(handle.read_text())["pid"], 0)[2]
        cpu = usage.ru_utime + usage.ru_stime
    mirror = 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            other = os.wait3(0)[2]
            mirror += other.ru_utime + other.ru_stime
    times = json.loads(log.with_name("result.json").read_text())
    outside = figures.wall - (times["endedAt"] - times["startedAt"])
    return Training(figures.wall, rate(log), cpu, outside, mirror)


def bare_attempt(project: Path, number: int) -> Command:
    """`axolotl train` as a person would start it: the same config without the plugin that tells ftops of its events."""
    done = subprocess.run(
        [*FTOPS, "run", "render", "small"], cwd=project, env=environment(), check=True, capture_output=True, text=True
    )
    config = re.sub(r"^plugins:\n(?:\s*- ftops_axolotl\S*\n)+", "", done.stdout, flags=re.MULTILINE)
    if "ftops_axolotl" in config:
        sys.exit(f"the plugin stands in the config in another form than this script knows:\n{config}")
    folder = project / ".ftops" / "runs" / f"bare-{number}" / "attempt-1"  # as deep as a run's: its paths are relative
    folder.mkdir(parents=True)
    folder.joinpath("config.yaml").write_text(config)
    sys.path.insert(0, str(ROOT))
    from ftops.executors.engine import require_engine

    programs = require_engine().bin
    # What ftops sets for a trainer on a CPU runner, so that only ftops itself makes a difference.
    settings = {"AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    path = f"{programs}:{os.environ['PATH']}"
    script = 'exec "$0" train config.yaml --launcher python > output.log 2>&1'
    return Command(
        ("sh", "-c", script, str(programs / "axolotl")), folder, {**settings, "PATH": path, "PYTHONPATH": ""}
    )


def logs(project: Path) -> set[Path]:
    return set(project.glob(".ftops/runs/*/attempt-*/output.log"))


def rate(log: Path) -> float:
    """Steps a second as the trainer itself says at its end."""
    found = re.findall(r"train_steps_per_second\W+([0-9.]+)", log.read_text(errors="replace"))
    if not found:
        sys.exit(f"no train_steps_per_second in {log}:\n{log.read_text(errors='replace')[-2000:]}")
    return float(found[-1])


def come_back(project: Path) -> None:
    """Kill an apply that follows a training, and time the next one until it tells of a step."""
    seed(project, LONG, LONG)
    known = logs(project)
    follower = subprocess.Popen((*FTOPS, "apply", "--yes"), cwd=project, env=environment(), stdout=subprocess.DEVNULL)
    while not any(b'"log"' in each.with_name("events.jsonl").read_bytes() for each in begun(project, known)):
        time.sleep(0.1)
    follower.kill()
    follower.wait()
    began = time.perf_counter()
    again = subprocess.Popen(
        (*FTOPS, "apply", "--yes"), cwd=project, env=environment(), stdout=subprocess.PIPE, text=True
    )
    lines = iter(again.stdout or ())
    told = next((line for line in lines if ": step " in line), None)
    took = time.perf_counter() - began
    subprocess.run((*FTOPS, "stop", "small"), cwd=project, env=environment(), check=True, capture_output=True)
    again.communicate()
    if told is None:
        sys.exit("the training was not followed again")
    print(goal("ftops apply until it follows again what a killed one left", took, BACK_SECONDS, "s of wall time"))


def begun(project: Path, known: set[Path]) -> list[Path]:
    """The logs that are not `known`, of trainings that have told of anything."""
    return [each for each in logs(project) - known if each.with_name("events.jsonl").exists()]


def report(found: dict[str, list[Training]]) -> None:
    def of(name: str, figure: str) -> float:
        return statistics.median(getattr(each, figure) for each in found[name] if getattr(each, figure) is not None)

    known = all(each.cpu is not None for each in found["ftops apply"])
    for figure in ("wall", "cpu", "rate") if known else ("wall", "rate"):
        ours, bare = of("ftops apply", figure), of("axolotl train", figure)
        what = {"wall": "wall", "cpu": "CPU of the trainer", "rate": "steps a second"}[figure]
        print(f"ratio ftops apply : axolotl train: {what} {ours / bare:.2f} ({ours:.2f} : {bare:.2f})")
    more = of("ftops apply", "wall") - of("axolotl train", "wall")
    print(goal("ftops apply above axolotl train", more, SECONDS, "s of wall time"))
    print(goal("ftops apply before and after its trainer", of("ftops apply", "outside"), SECONDS, "s of wall time"))


if __name__ == "__main__":
    main()
