"""Work that several processes do: the same results in the same order, and nothing is left over whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import loky
import pytest

from ftops.datasets.read import stored_rows
from ftops.errors import ExternalError
from ftops.store import process_pool
from tests.support.reading import read_content


@pytest.fixture(autouse=True)
def several(monkeypatch):
    """Two more processes, however many processors there are; they end with the test."""
    monkeypatch.setattr(process_pool, "helpers", lambda: 2)
    yield
    loky.get_reusable_executor(2).shutdown(wait=True, kill_workers=True)


def slow_for_even(number):
    time.sleep(0.1 * (number % 2 == 0))
    return number, os.getpid()


def broken(number):
    if number == 3:
        raise ValueError("three")
    return number


def killed(caller):
    if os.getpid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)


def rows_and_process(batch):
    return batch.column("row").to_pylist(), batch.column("output").to_pylist(), os.getpid()


def test_results_come_in_order_from_several_processes():
    found = list(process_pool.spread(slow_for_even, range(20)))
    assert [number for number, _ in found] == list(range(20))
    pids = {pid for _, pid in found}
    assert len(pids - {os.getpid()}) == 2


def test_little_is_handed_out_ahead():
    taken = []

    def shares():
        for number in range(100):
            taken.append(number)
            yield number

    results = process_pool.spread(slow_for_even, shares())
    next(results)
    assert len(taken) <= (process_pool.WINDOW + 1) * 2
    results.close()


def test_this_process_works_too():
    assert os.getpid() in {pid for _, pid in process_pool.spread(slow_for_even, range(40))}


def test_what_goes_wrong_in_a_process_is_raised_here_and_others_go_on():
    with pytest.raises(ValueError, match="three"):
        list(process_pool.spread(broken, range(10)))
    assert list(process_pool.spread(broken, range(3))) == [0, 1, 2]


def test_a_process_that_was_killed_is_told_and_replaced():
    with pytest.raises(ExternalError) as caught:
        list(process_pool.spread(killed, [os.getpid()] * 10))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.summary == "a process that worked on the rows was killed"
    assert list(process_pool.spread(broken, range(3))) == [0, 1, 2]


def test_stored_rows_are_the_same_by_one_process_and_by_several(tmp_path, monkeypatch):
    content = "".join(f'{{"instruction":"q","output":"{number}"}}\n' for number in range(20_000))
    rows = read_content(tmp_path, content).rows
    alone = list(rows.each(rows_and_process))
    monkeypatch.setattr(stored_rows, "FEW", 100)
    together = list(rows.each(rows_and_process))
    assert [each[:2] for each in together] == [each[:2] for each in alone]
    assert {pid for *_, pid in alone} == {os.getpid()}
    assert {pid for *_, pid in together} > {os.getpid()}


WAITING = """
import os, time
from ftops.store import process_pool as workers
workers.helpers = lambda: 2
workers.IDLE_SECONDS = 1
def wait(number):
    print(os.getpid(), flush=True)
    time.sleep(1)
list(workers.spread(wait, range(100)))
"""


def test_processes_end_when_the_one_that_started_them_was_killed(tmp_path):
    script = tmp_path / "waiting.py"
    script.write_text(WAITING)
    env = os.environ | {"PYTHONPATH": str(Path(process_pool.__file__).parents[2])}
    with subprocess.Popen((sys.executable, script), env=env, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        pids = set()
        while len(pids - {started.pid}) < 2:
            pids.add(int(started.stdout.readline()))
        started.kill()
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
