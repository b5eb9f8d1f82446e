"""Every benchmark runs at its smallest size and prints its ratios."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import check
from tests.support.containers import IMAGE

FOLDER = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str, *options: str) -> str:
    command = [sys.executable, str(FOLDER / name), "--quick", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_start():
    said = benchmark("start.py")
    assert "ratio ftops : dvc --version: CPU " in said
    assert "goal ftops --version: " in said


@pytest.mark.slow
def test_plan():
    said = benchmark("plan.py")
    assert "ratio ftops plan : dvc status at 10: CPU " in said
    assert "goal ftops plan at 10: " in said


@pytest.mark.slow
def test_assignment():
    said = benchmark("assignment.py")
    assert "ratio assign of user-N: to sha1 " in said
    assert "goal assign_many of user-N, Arrow: " in said


@pytest.mark.slow
def test_logs():
    said = benchmark("logs.py")
    assert "ratio ftops : scipy of 20,000 rows of parquet: " in said
    assert "ratio ftops : json of 20,000 rows of jsonl: " in said
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
    assert "ratio ftops run show : json: CPU " in said
    assert "ratio ftops … --verify : hashlib.sha256, not cached: " in said
    assert "goal ftops run show of 1,000 steps: " in said


def test_a_command_that_fails_ends_the_benchmark():
    script = "import measure, sys; measure.run(measure.Command((sys.executable, '-c', 'raise SystemExit(3)')))"
    done = subprocess.run([sys.executable, "-c", script], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "exit code 3" in done.stderr


def verdicts(before, now):
    return {row.name: row.verdict for row in check.compared("plan.py", before, now)}


def test_more_time_than_the_limit_is_worse_and_less_is_better():
    before = {"ftops : dvc": {"CPU": 0.4, "peak memory": 1.0}, "ftops : terraform": {"CPU": 2.0}}
    now = {"ftops : dvc": {"CPU": 0.47, "peak memory": 1.14}, "ftops : terraform": {"CPU": 1.6}}
    assert verdicts(before, now) == {
        "ftops : dvc: CPU": "WORSE",
        "ftops : dvc: peak memory": "",
        "ftops : terraform: CPU": "better",
    }


def test_of_a_rate_less_is_worse():
    assert verdicts({"a : b": {"steps a second": 1.0}}, {"a : b": {"steps a second": 0.8}}) == {
        "a : b: steps a second": "WORSE"
    }
    assert verdicts({"a : b": {"steps a second": 1.0}}, {"a : b": {"steps a second": 1.3}}) == {
        "a : b: steps a second": "better"
    }


def test_what_is_new_or_gone_is_told_and_no_fault():
    assert verdicts({"a : b": {"CPU": 1.0}}, {"a : c": {"CPU": 9.0}}) == {"a : b: CPU": "gone", "a : c: CPU": "new"}


def test_of_two_runs_the_better_figure_counts():
    one = {"a : b": {"CPU": 1.0, "steps a second": 2.0}}
    other = {"a : b": {"CPU": 0.9, "steps a second": 1.0}, "a : c": {"CPU": 1.0}}
    assert check.better(one, other) == {"a : b": {"CPU": 0.9, "steps a second": 2.0}, "a : c": {"CPU": 1.0}}


def test_a_table_says_what_changed_and_by_how_much():
    rows = check.compared("start.py", {"a : b": {"CPU": 0.4}}, {"a : b": {"CPU": 0.6}, "a : c": {"CPU": 1.0}})
    assert [line.split() for line in check.table(rows).splitlines()[1:]] == [
        ["start.py", "a", ":", "b:", "CPU", "0.400", "0.600", "+50%", "WORSE"],
        ["start.py", "a", ":", "c:", "CPU", "1.000", "new"],
    ]


def test_what_is_written_is_read_back():
    ratios = {"start.py": {"ftops : dvc --version": {"CPU": 0.38571}}}
    assert check.read(check.written(ratios)) == {"start.py": {"ftops : dvc --version": {"CPU": 0.3857}}}


def test_the_committed_ratios_are_those_of_the_benchmarks_that_are_checked():
    committed = check.read(check.COMMITTED.read_text())
    assert committed.keys() == check.BENCHMARKS.keys()
    assert all(figures for ratios in committed.values() for figures in ratios.values())


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Has `check.py` find in each run what is next in this list, and hold it to a ratio of 1."""
    found = []
    monkeypatch.setattr(check, "measured", lambda _: {"a : b": {"CPU": found.pop(0)}})
    monkeypatch.setattr(check, "COMMITTED", tmp_path / "ratios.json")
    check.COMMITTED.write_text(check.written({"start.py": {"a : b": {"CPU": 1.0}}}))
    return found


@pytest.mark.parametrize(("values", "code"), [([1.1], 0), ([1.4, 1.1], 0), ([1.4, 1.3], 1)])
def test_it_fails_where_a_ratio_is_worse_twice(runs, monkeypatch, capsys, values, code):
    runs.extend(values)
    monkeypatch.setattr(sys, "argv", ["check.py", "--only", "start.py"])
    with pytest.raises(SystemExit) as ended:
        check.main()
    assert (ended.value.code, runs) == (code, [])
    assert ("1 of 1 got worse by more than 15%." in capsys.readouterr().out) == bool(code)


def test_writing_compares_nothing_and_keeps_the_others(runs, monkeypatch):
    runs.append(3.0)
    monkeypatch.setattr(sys, "argv", ["check.py", "--only", "plan.py", "--write"])
    check.main()
    assert check.read(check.COMMITTED.read_text()) == {
        "plan.py": {"a : b": {"CPU": 3.0}},
        "start.py": {"a : b": {"CPU": 1.0}},
    }


def test_a_benchmark_tells_its_ratios_where_it_is_asked_to(tmp_path, monkeypatch):
    monkeypatch.setenv("FTOPS_BENCHMARK_RATIOS", str(tmp_path / "told"))
    benchmark("start.py")
    told = json.loads((tmp_path / "told").read_text())
    assert told["name"] == "ftops : dvc --version"
    assert 0 < told["figures"]["peak memory"] < 1
