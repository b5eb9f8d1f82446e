"""Every benchmark runs at its smallest size and prints its ratios."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers import IMAGE

FOLDER = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str, *options: str) -> str:
    command = [sys.executable, str(FOLDER / name), "--quick", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_start():
    said = benchmark("start.py")
    assert "ratio ftops : dvc --version: user CPU " in said
    assert "goal ftops --version: " in said


@pytest.mark.slow
def test_plan():
    said = benchmark("plan.py")
    assert "ratio ftops plan : dvc status: user CPU " in said
    assert "goal ftops plan at 10: " in said


@pytest.mark.slow
def test_assignment():
    said = benchmark("assignment.py")
    assert "ratio assign of user-N: to sha1 " in said
    assert "goal assign_many of user-N, Arrow: " in said


@pytest.mark.slow
def test_logs():
    said = benchmark("logs.py")
    assert "ratio ftops : scipy: " in said
    assert "ratio ftops : json: " in said
    assert "goal ftops at 20,000 rows of parquet: " in said


@pytest.mark.slow
def test_data():
    said = benchmark("data.py")
    assert "goal prepare at 4,000 rows, all its processes: " in said
    assert "rows with personal data: 1.0000 of " in said
    assert "rows like an earlier one: 1.0000 of " in said
    assert "0 more that were not planted" in said


@pytest.mark.slow
def test_experiments():
    said = benchmark("experiments.py")
    assert "| `obrien-fleming` |" in said
    assert "goal false alarms of ftops's rules: " in said
    assert "6 of 6 verdicts are right." in said


@pytest.mark.slow
@pytest.mark.axolotl
def test_training():
    said = benchmark("training.py")
    assert "ratio ftops apply : axolotl train: wall " in said
    assert "goal ftops apply above axolotl train: " in said
    assert "goal ftops apply until it follows again what a killed one left: " in said


@pytest.mark.slow
@pytest.mark.axolotl
def test_training_in_a_container(docker):
    said = benchmark("training.py", "--image", IMAGE, "--host", docker.url)
    assert "ratio ftops apply : axolotl train: steps a second " in said
    assert "goal ftops apply until it follows again what a killed one left: " in said
    assert docker.names() == []


def test_looking():
    said = benchmark("looking.py")
    assert "ratio ftops run show : json: user CPU " in said
    assert "ratio ftops … --verify : cat, not cached: " in said
    assert "goal ftops run show of 1,000 steps: " in said


def test_a_command_that_fails_ends_the_benchmark():
    script = "import measure, sys; measure.run(measure.Command((sys.executable, '-c', 'raise SystemExit(3)')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exit code 3" in done.stderr
