# ruff: noqa: INP001  (no package: Axolotl imports it by its bare name)
"""Tells how a training goes, as lines of JSON, and stops it cleanly on TERM. Runs inside Axolotl; imports no ftops.

The file is copied into the attempt's folder, named in the config (`plugins: [ftops_axolotl.FtopsPlugin]`) and found through
PYTHONPATH. FTOPS_EVENTS names the file that the events are appended to. An event is
`{"event": "begin|log|evaluate|save|end", "step", "maxSteps", "time", …metrics}`: exactly one `begin` a process, and `end` only
after the final weights are written. On TERM the trainer finishes its step, saves a checkpoint and ends with `step` below
`maxSteps`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import resource
import signal
import time
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

SAMPLED_ROWS = 256
DURABLE = frozenset({"begin", "save", "end"})


class FtopsPlugin(BasePlugin):  # type: ignore[misc]  # Axolotl carries no types
    """The hooks: refuse data that can't teach, write events, write `end` when everything is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: Progress | None = None

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:  # noqa: ARG002
        refuse_unsupervised(trainer.train_dataset)
        self.progress = Progress(os.environ["FTOPS_EVENTS"])
        return [self.progress]

    def post_train_unload(self, cfg: Any) -> None:  # noqa: ARG002
        # The one hook that Axolotl calls once, after the final weights and the tokenizer are on disk.
        if self.progress is not None:
            self.progress.end()


class Progress(TrainerCallback):  # type: ignore[misc]
    """Writes the events of the process that leads; every process listens to TERM."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.leads = False
        self.stopping = False
        self.logged: tuple[float, float] | None = None
        self.ended_state: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # Not earlier: Axolotl sets its own handlers just before the training, and would win.
        signal.signal(signal.SIGTERM, self.on_term)
        self.leads = state.is_world_process_zero
        self.write("begin", state, {})

    def on_term(self, *_: Any) -> None:
        self.stopping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        if self.stopping:
            control.should_save = True
            control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        metrics = numbers(logs or {})
        if "train_runtime" in metrics:
            return  # the summary at the very end repeats what was logged
        if not any(name.startswith("eval_") for name in metrics):
            self.write("log", state, metrics | self.throughput(state))  # evaluations come by on_evaluate

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        self.write("evaluate", state, numbers(metrics or {}))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.write("save", state, {"checkpoint": f"checkpoint-{state.global_step}"})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self.ended_state = state

    def end(self) -> None:
        if self.ended_state is not None:
            self.write("end", self.ended_state, {})

    def throughput(self, state: Any) -> dict[str, float]:
        """Tokens since the first step: those shown (padding included) and those to be learned; and those shown a second."""
        tokens = getattr(state, "tokens", None)
        if not tokens:
            return {}
        seen, now = float(tokens["total"]), time.monotonic()
        found = {"tokens_seen": seen, "tokens_supervised": float(tokens["trainable"])}
        if self.logged is not None and now > self.logged[1]:
            found["tokens_per_second"] = (seen - self.logged[0]) / (now - self.logged[1])
        self.logged = (seen, now)
        return found

    def write(self, event: str, state: Any, metrics: dict[str, Any]) -> None:
        if not self.leads:
            return
        line = {"event": event, "step": state.global_step, "maxSteps": state.max_steps, "time": time.time(), **metrics}
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        # Opened for each event: one write to a file opened to append is whole, whoever else writes or reads it.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, data)
            if event in DURABLE:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """What of `metrics` is a finite number (Axolotl gives some as text, and a loss may be NaN), by a name fit for MLflow.

    Token counts are left to `throughput`. Without a GPU its memory is always 0: then the process's own peak stands instead.
    """
    found: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number) and not name.startswith("tokens/"):
            found[re.sub(r"[^\w./-]+", "_", name.replace("(GiB)", "gib")).lower()] = number
    memory = [name for name in found if name.startswith("memory/")]
    if memory and not any(found[name] for name in memory):
        found = {name: number for name, number in found.items() if name not in memory}
        found["memory/max_resident_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    return found


def refuse_unsupervised(dataset: Any) -> None:
    """Raises ValueError when the data set is empty, or when no token of its first rows is there to be learned."""
    rows = list(itertools.islice(iter(dataset), SAMPLED_ROWS)) if dataset is not None else []
    if not rows:
        raise ValueError(
            "ftops: no supervised tokens: the training set is empty (are all rows longer than sequence_len?)"
        )
    labelled = [row["labels"] for row in rows if "labels" in row]
    if labelled and not any(int(label) != -100 for labels in labelled for label in labels):
        raise ValueError(
            f"ftops: no supervised tokens: all labels of the first {len(rows)} rows are masked "
            "(does the chat template mark the assistant's turns, and do the rows have answers?)"
        )
