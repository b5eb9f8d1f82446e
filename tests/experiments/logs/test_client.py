"""The client that applications write rows with: what it writes is read back, whoever writes at the same time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ftops.experiments.analysis.observations import Wanted
from ftops.experiments.assignment import Allocation, assign, ranges_by_weight
from ftops.experiments.logs.client import ExperimentLog, new_id
from ftops.experiments.logs.files import LogFile, names
from ftops.experiments.logs.read_files import read
from ftops.experiments.metric_types import METRIC_TYPES

ROOT = Path(__file__).parents[3]
ALLOCATION = Allocation("chat", ranges_by_weight({"a": 5000, "b": 5000}))
HELD = {name: each.values for name, each in METRIC_TYPES.items()}
WANTED = Wanted("chat", ALLOCATION, {"rating": HELD["rating"], "clicked": HELD["binary"]})


def test_what_is_written_is_read_back(tmp_path):
    log = ExperimentLog(tmp_path / "logs", "chat")
    day = datetime(2026, 1, 5, 8, 30, tzinfo=timezone(timedelta(hours=9)))
    arm = assign(ALLOCATION, "user-1")
    first = log.append(
        unit="user-1", arm=arm, rating=4, response_time_ms=12.5, query="q\n", response="답", clicked=True, time=day
    )
    log.append(unit="user-1", arm=arm, clicked=None, time="2026-01-06T00:00:00Z", id="own", model={"name": "x"})
    assert names(tmp_path, "logs/*.jsonl") == ("logs/2026-01-04.jsonl", "logs/2026-01-06.jsonl")
    row = json.loads((tmp_path / "logs" / "2026-01-04.jsonl").read_text())
    assert row == {
        "id": first, "experiment": "chat", "unit": "user-1", "arm": arm, "time": "2026-01-04T23:30:00.000000Z",
        "rating": 4, "response_time_ms": 12.5, "query": "q\n", "response": "답", "feedback": None, "clicked": True,
    }  # fmt: skip
    found = read([LogFile.of_project(tmp_path, name) for name in names(tmp_path, "logs/*.jsonl")], WANTED)
    assert (found.rows.kept, found.rows.faulty, found.units) == (2, 0, 1)


def test_now_is_the_time_and_ids_are_sorted(tmp_path):
    log = ExperimentLog(tmp_path / "log.jsonl", "chat", sync=True)
    before = datetime.now(UTC)
    ids = [log.append(unit="u", arm="a") for _ in range(50)]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ids
    assert len(set(ids)) == 50
    assert all(before <= datetime.fromisoformat(row["time"]) <= datetime.now(UTC) for row in rows)
    assert oct((tmp_path / "log.jsonl").stat().st_mode & 0o777) == "0o640"
    early, _ = new_id(), time.sleep(0.002)
    assert early < new_id()
    assert early[12] == "7"
    assert len(early) == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rating": 6}, "rating: expected a whole number from 1 to 5, or null, found 6"),
        ({"rating": "5"}, "rating: expected"),
        ({"response_time_ms": 0}, "response_time_ms: expected"),
        ({"response_time_ms": float("nan")}, "response_time_ms: expected"),
        ({"unit": ""}, "unit: expected text, found empty text"),
        ({"unit": 5}, "unit: expected text, found 5"),
        ({"unit": "\ud800"}, "unit: expected text in Unicode"),
        ({"arm": None}, "arm: expected text, found null"),
        ({"id": ""}, "id: expected text"),
        ({"time": "yesterday"}, "time: expected RFC 3339"),
        ({"time": datetime(2026, 1, 5)}, "time: expected a time with a zone"),  # noqa: DTZ001
        ({"query": 5}, "query: expected text or null"),
        ({"response": "secret\udfff"}, "response: expected what JSON can say"),
        ({"clicked": float("inf")}, "clicked: expected what JSON can say"),
        ({"clicked": {1, 2}}, "clicked: expected what JSON can say"),
        ({"simulated": "secret"}, "simulated: expected true, false or null"),
        ({"experiment": "other"}, "experiment: expected the one that the log is of"),
    ],
    ids=str,
)
def test_a_row_that_would_not_be_read_back_is_not_written(tmp_path, change, message):
    log = ExperimentLog(tmp_path / "log.jsonl", "chat")
    with pytest.raises(ValueError) as error:
        log.append(**{"unit": "u", "arm": "a", **change})
    assert str(error.value).startswith(message)
    assert "secret" not in str(error.value)
    assert not (tmp_path / "log.jsonl").exists()


def test_a_log_needs_an_experiment(tmp_path):
    with pytest.raises(ValueError, match="experiment: expected a name"):
        ExperimentLog(tmp_path, "")


WRITER = """
import sys
from ftops.experiment_logs import ExperimentLog
place, name, rows = sys.argv[1:]
log = ExperimentLog(place, "chat")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(rows)):
    log.append(unit=f"{name}-{number}", arm="a", response="x" * (number % 7 * 1000), time="2026-01-05T00:00:00Z")
"""


def writer(place, name, rows):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place), name, str(rows)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_eight_processes_write_at_once(tmp_path):
    started = [writer(tmp_path, f"process-{number}", 300) for number in range(8)]
    for each in started:
        assert each.stdout.readline() == "ready\n"
    for each in started:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in started:
        each.communicate()
        assert each.returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "2026-01-05.jsonl").read_text().splitlines()]
    assert {row["unit"] for row in rows} == {f"process-{number}-{each}" for number in range(8) for each in range(300)}
    assert len({row["id"] for row in rows}) == len(rows) == 2400


def test_threads_write_at_once(tmp_path):
    log = ExperimentLog(tmp_path / "log.jsonl", "chat")
    threads = [threading.Thread(target=lambda: [log.append(unit="u", arm="a") for _ in range(100)]) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len({json.loads(line)["id"] for line in (tmp_path / "log.jsonl").read_text().splitlines()}) == 800


def test_a_writer_that_is_killed_costs_no_row_of_others(tmp_path):
    """Whatever of its last row is in the file, the next row begins a line of its own."""
    with writer(tmp_path, "victim", 10**6) as victim:
        assert victim.stdout.readline() == "ready\n"
        victim.stdin.write("\n")
        victim.stdin.flush()
        place = tmp_path / "2026-01-05.jsonl"
        while not place.exists() or place.stat().st_size < 100_000:
            time.sleep(0.005)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    with place.open("ab") as stream:
        stream.write(b'{"id": "torn", "expe')
    before = place.read_bytes()
    arm = assign(ALLOCATION, "after")
    ExperimentLog(tmp_path, "chat").append(unit="after", arm=arm, rating=5, clicked=None, time="2026-01-05T01:00:00Z")
    after = place.read_bytes()
    assert after.startswith(before + b"\n")
    assert json.loads(after.splitlines()[-1])["unit"] == "after"
    found = read([LogFile.named(place)], Wanted("chat", ALLOCATION, {"rating": HELD["rating"]}))
    assert found.rows.faulty == 1
    assert found.rows.read == after.count(b"\n")


def test_a_full_disk_leaves_no_half_row(tmp_path):
    script = f"""
import errno, resource, signal
from pathlib import Path
from ftops.experiment_logs import ExperimentLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = ExperimentLog({str(tmp_path / "log.jsonl")!r}, "chat")
log.append(unit="u", arm="a")
before = Path({str(tmp_path / "log.jsonl")!r}).read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, len(before) + 50))
try:
    log.append(unit="u", arm="a")
except OSError as error:
    assert error.errno == errno.EFBIG
else:
    raise SystemExit("was written")
assert Path({str(tmp_path / "log.jsonl")!r}).read_bytes() == before
"""
    done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


def test_writing_imports_the_standard_library_only():
    script = "import sys; from ftops.experiment_logs import ExperimentLog; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "ftops.experiments.logs.client" in loaded
    assert not loaded & {
        "numpy",
        "pyarrow",
        "orjson",
        "pydantic",
        "yaml",
        "sqlalchemy",
        "subprocess",
        "ftops.experiments.analysis",
    }
