"""Trainings as values, for the tests of what is shown of them."""

from __future__ import annotations

import math

from ftops.plan.run import RunState
from ftops.training.metrics import Checkpoints, RunView, SavedCheckpoint, Series
from ftops.training.record import Attempt

ID = "chat-lora-0123456789ab"


def curve(steps, first, last, wave=0.0):
    """A figure that falls, faster at the beginning, and swings."""
    values = [last + (first - last) * math.exp(-3 * step / steps[-1]) + wave * math.sin(step * 2.4) for step in steps]
    return Series(list(steps), [round(value, 6) for value in values])


def checkpoint(step, attempt=1, state="whole", **more):
    return SavedCheckpoint(attempt, step, state, 4_300_000, world_size=1 if state == "whole" else None, **more)


def running():
    """In its second attempt, which began at step 50."""
    steps = range(1, 121)
    evaluations = Series([0, 50, 100], [7.4, 5.1, 4.6])
    saved = (
        checkpoint(50, metrics={"loss": 4.9, "eval_loss": 5.1}),
        checkpoint(100, 2, metrics={"loss": 4.2, "eval_loss": 4.6}),
        checkpoint(120, 2, "writing", reason="optimizer.pt is missing"),
    )
    return RunView(
        ID, "chat-lora", RunState.RUNNING,
        {
            1: Attempt(
                phase=RunState.FAILED, started_at="2026-11-20T10:00:00Z", ended_at="2026-11-20T10:02:30Z", step=63, signal=9,
                reason="it was killed by signal 9",
            ),
            2: Attempt(
                phase=RunState.RUNNING, started_at="2026-11-20T10:10:00Z", step=120,
                resumed_from=f"runs/{ID}/attempt-1/output/checkpoint-50",
            ),
        },
        inputs={"method": "lora", "hyperparameters": {"lora_r": 16}, "dataset": "d" * 64},
        step=120, max_steps=200, eta=95.4, step_seconds=1.19,
        curves={
            "loss": curve(steps, 7.5, 3.9, 0.12), "eval_loss": evaluations, "learning_rate": curve(steps, 2e-4, 1e-5),
            "tokens_per_second": curve(steps, 1500, 1520), "memory/max_allocated_gib": Series([1, 120], [11.5, 12.25]),
        },
        system={
            "cpu_percent": Series([0.0, 5.0, 10.0], [80.0, 140.0, 130.0]), "memory_gib": Series([0.0, 5.0, 10.0], [3.0, 3.5, 3.5]),
            "gpu_0_percent": Series([0.0, 5.0, 10.0], [0.0, 97.0, 98.0]),
        },
        begun_at=(50,),
        checkpoints=Checkpoints(ID, saved, "eval_loss", "min", "attempt-2/output/checkpoint-100"),
    )  # fmt: skip


def overfitted(**more):
    """It has succeeded, and was best in the middle."""
    steps = range(1, 201)
    values = {
        "curves": {"loss": curve(steps, 7.5, 2.0), "eval_loss": Series([0, 50, 100, 150, 200], [7.4, 5.1, 4.6, 4.8, 5.3])},
        "inputs": {"method": "lora"},
    }  # fmt: skip
    attempt = Attempt(
        phase=RunState.SUCCEEDED, started_at="2026-11-20T10:00:00Z", ended_at="2026-11-20T10:04:00Z", step=200
    )
    return RunView(ID, "chat-lora", RunState.SUCCEEDED, {1: attempt}, step=200, max_steps=200, **{**values, **more})


def recorded():
    """One that only its record is known of."""
    figures = {"firstLoss": 7.5, "loss": 2.0, "evalLoss": 4.6, "tokensPerSecond": 1520.0, "memoryGib": 12.25}
    return overfitted(curves={}, figures=figures)
