"""Attempts in a store as tests wait for them and read them, and the smallest model that the real engine trains."""

from __future__ import annotations

import json
import time

from tests.support.projects import records

SMALL = {"family": "llama", "hiddenSize": 32, "layers": 1, "heads": 2, "vocabSize": 400}
SHORT = {"micro_batch_size": 8, "sequence_len": 256, "learning_rate": 0.005}


def wait(condition, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return value


def events(folder, kind=None):
    """The events of an attempt, of one kind or all."""
    try:
        lines = (folder / "events.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in found if kind in (None, event["event"])]


def attempts(root):
    """Every attempt in the store."""
    return sorted(root.glob(".ftops/runs/*/attempt-*"))


def entry(root, name):
    """The current run in the record of a TrainingRun."""
    status = records(root)[f"registry/runs/{name}.yaml"]["status"]
    return status["runs"][status["current"]]
