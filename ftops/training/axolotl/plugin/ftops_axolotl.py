# ruff: noqa: INP001  (no package: Axolotl imports it by its bare name)
"""Tells how a training goes, as lines of JSON, and stops it cleanly on TERM. Runs inside Axolotl; imports no ftops.

The file is copied into the attempt's folder, named in the config (`plugins: [ftops_axolotl.FtopsPlugin]`) and found through
PYTHONPATH. FTOPS_EVENTS names the file that the events are appended to. An event is
`{"event": "begin|log|evaluate|save|warning|end", "step", "maxSteps", "time", …metrics}`: exactly one `begin` a process, which says what
is learned from as well (`measure`, `dropped`), and `end` only after the final weights are written (with `stopped: early` where
it got no better). On TERM the trainer
finishes its step, saves a checkpoint and ends with `step` below `maxSteps`.
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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from axolotl.integrations.base import BasePlugin
from ftops_samples import Samples
from torch.utils.data import BatchSampler
from transformers import EarlyStoppingCallback, TrainerCallback

MASKED = -100
SAMPLED_ROWS = 256
SHOWN = 5
ZERO_LOGS = 3  # a loss of zero without a gradient, so many times in a row, teaches nothing any more
DURABLE = frozenset({"begin", "save", "end"})
EMPTY = "ftops: no supervised tokens: the {} set is empty (are all of its rows longer than sequence_len?)"
FILL = "fill a batch of each process: say `sample_packing: false`, or a smaller micro_batch_size or sequence_len"
WHY = "(does the chat template mark the assistant's turns, and do the rows have answers that are not cut off?)"


class FtopsPlugin(BasePlugin):  # type: ignore[misc]  # Axolotl carries no types
    """The hooks: refuse data that can't teach, write events, write `end` when everything is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: Progress | None = None

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:
        found = measure(trainer.train_dataset)
        data = found | dropped(cfg, found.get("rows"))
        pairs = 2 if cfg.rl == "kto" else 1  # of a pair KTO makes two rows
        refuse_left_out(data.get("rows", 0) // pairs, data.get("droppedRows", 0))
        refuse_evaluation(trainer)
        trainer.args.logging_nan_inf_filter = (
            False  # it would show the mean of the losses before in place of one that is no number
        )
        samples = Samples(trainer, resumed=bool(cfg.resume_from_checkpoint))
        self.progress = Progress(os.environ["FTOPS_EVENTS"], data, cfg.resume_from_checkpoint, samples)
        self.progress.callbacks = trainer.callback_handler.callbacks
        watch = [BadLoss()] if os.environ.get("FTOPS_BAD_LOSS") == "stop" else []
        return [self.progress, *watch]

    def post_train_unload(self, cfg: Any) -> None:  # noqa: ARG002
        # The one hook that Axolotl calls once, after the final weights and the tokenizer are on disk.
        if self.progress is not None:
            self.progress.end()


class Progress(TrainerCallback):  # type: ignore[misc]
    """Writes the events of the process that leads; every process listens to TERM."""

    def __init__(self, path: str, data: dict[str, int], source: str | None, samples: Samples) -> None:
        self.path = path
        self.data = data
        self.source = source
        self.samples = samples
        self.leads = False
        self.stopping = False
        self.logged: tuple[float, float] | None = None
        self.ended_state: Any = None
        self.callbacks: list[TrainerCallback] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        if not has_batch(kwargs.get("train_dataloader")):
            raise ValueError(f"ftops: the training set is too small: {self.data.get('rows')} rows do not {FILL}")
        # Not earlier: Axolotl sets its own handlers just before the training, and would win.
        signal.signal(signal.SIGTERM, self.on_term)
        self.leads = state.is_world_process_zero
        state.best_model_checkpoint = self.best_of(state.best_model_checkpoint)
        # Before it begins: what it takes is no time of a step.
        wrong = self.samples.before(kwargs["model"]) if self.leads else ""
        self.write("begin", state, self.data)
        self.warn(state, wrong)

    def best_of(self, best: str | None) -> str | None:
        """Where the best checkpoint is: one of an earlier attempt is beside the one that this attempt goes on from."""
        if best is None or self.source is None or os.path.exists(best):  # noqa: PTH110  (the trainer's own text)
            return best
        there = Path(self.source).with_name(Path(best).name)
        return str(there) if there.exists() else best

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
        if self.leads and not self.stopping:
            self.warn(state, self.samples.after(kwargs["model"]))

    def warn(self, state: Any, message: str) -> None:
        if message:
            self.write("warning", state, {"message": message})

    def end(self) -> None:
        if self.ended_state is not None:
            self.write("end", self.ended_state, {"stopped": "early"} if self.got_no_better() else {})

    def got_no_better(self) -> bool:
        """Whether it was the early stopping that ended it, and nobody who told it to."""
        watch = [each for each in self.callbacks if isinstance(each, EarlyStoppingCallback)]
        return not self.stopping and any(
            each.early_stopping_patience_counter >= each.early_stopping_patience for each in watch
        )

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


class BadLoss(TrainerCallback):  # type: ignore[misc]
    """Ends a training that has gone wrong for good: raises FloatingPointError in every process."""

    def __init__(self) -> None:
        self.good: tuple[float, int] | None = None
        self.zeros = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        if "loss" not in (logs or {}):
            return
        loss, gradient = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        if not math.isfinite(loss):
            before = "" if self.good is None else f", after {self.good[0]:.4g} at step {self.good[1]}"
            raise FloatingPointError(f"ftops: the loss is {loss} at step {state.global_step}{before}")
        self.good = loss, state.global_step
        self.zeros = self.zeros + 1 if loss == 0 and not 0 < gradient < math.inf else 0
        if self.zeros == ZERO_LOGS:
            raise FloatingPointError(
                f"ftops: the loss is zero, and there is no gradient, at step {state.global_step} and in the two logs before"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        if control.should_save and any(not finite(each) for each in model.parameters() if each.requires_grad):
            raise FloatingPointError(
                f"ftops: weights are no numbers any more at step {state.global_step}; they are not saved"
            )


def finite(weights: Any) -> bool:
    """Whether all of `weights` are finite numbers; of weights that are divided, those of this process."""
    own = weights.to_local() if hasattr(weights, "to_local") else weights
    return bool(torch.isfinite(own).all())


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


def measure(dataset: Any, name: str = "training") -> dict[str, int]:
    """What a training learns from: its rows, their tokens, how many of these are to be learned, and its longest row.

    Nothing where rows come as a stream, or without labels, as pairs of answers do. Raises ValueError, which calls the set by
    its `name`, when there are no rows, or when any has no token to be learned.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "select_columns")):
        refuse_unlabelled(dataset, name)
        return {}
    if not len(dataset):
        raise ValueError(EMPTY.format(name))
    if not {"input_ids", "labels"} <= set(dataset.column_names):
        return {"rows": len(dataset)}
    # What was shuffled or left out is a list of indices over the table: to take rows by it costs several times more than this.
    indices = dataset._indices  # noqa: SLF001
    chosen = np.arange(len(dataset)) if indices is None else np.sort(indices.column(0).to_numpy())
    sizes, taught = lengths(dataset, "input_ids")[chosen], lengths(dataset, "labels", learned=True)[chosen]
    if (silent := chosen[taught == 0]).size:
        shown = ", ".join(str(index + 1) for index in silent[:SHOWN])
        more = f" and {silent.size - SHOWN} more" if silent.size > SHOWN else ""
        raise ValueError(
            f"ftops: no supervised tokens in {silent.size} of {len(sizes)} rows of the {name} set, as tokenised: "
            f"{shown}{more} {WHY}"
        )
    return {
        "rows": len(sizes),
        "tokens": int(sizes.sum()),
        "supervisedTokens": int(taught.sum()),
        "longestRow": int(sizes.max()),
    }


def lengths(dataset: Any, name: str, *, learned: bool = False) -> Any:
    """How many numbers each list of a column has, in the order of the table; with `learned` only those that aren't masked."""
    found = [np.zeros(0, np.int64)]
    for lists in dataset.data.column(name).chunks:
        bounds = lists.offsets.to_numpy()
        if learned:
            values = lists.values.to_numpy()[bounds[0] : bounds[-1]]
            bounds = np.concatenate([[0], np.cumsum(values != MASKED)])[bounds - bounds[0]]
        found.append(np.diff(bounds))
    return np.concatenate(found)


def refuse_unlabelled(stream: Any, name: str) -> None:
    """Raises ValueError when a stream is empty, or when no token of its first rows is there to be learned."""
    rows = list(itertools.islice(iter(stream), SAMPLED_ROWS)) if stream is not None else []
    if not rows:
        raise ValueError(EMPTY.format(name))
    labelled = [row["labels"] for row in rows if "labels" in row]
    if labelled and not any(int(label) != MASKED for labels in labelled for label in labels):
        raise ValueError(f"ftops: no supervised tokens in the first {len(rows)} rows of the {name} set {WHY}")


def refuse_left_out(kept: int, left_out: int) -> None:
    """Raises ValueError where a larger share than FTOPS_MAX_OVER_LENGTH of the rows was left out."""
    most = float(os.environ.get("FTOPS_MAX_OVER_LENGTH", "1"))
    if left_out > most * (kept + left_out):
        raise ValueError(
            f"ftops: {left_out} of {kept + left_out} rows are left out, far most often because they are longer than sequence_len, "
            f"which is more than maxOverLength ({most:.0%}) allows: raise sequence_len, or maxOverLength"
        )


def refuse_evaluation(trainer: Any) -> None:
    """Raises ValueError where the validation set, if there is one, would give no loss: it is empty, has a row without a token to
    be learned, or is packed into fewer batches than there are processes.
    """
    evaluated = getattr(trainer, "eval_dataset", None)
    if evaluated is None:
        return
    measure(evaluated, "validation")
    if not (getattr(trainer.args, "sample_packing", False) and hasattr(evaluated, "__len__")):
        return
    sampler = trainer._get_eval_sampler(evaluated)  # noqa: SLF001  (its data loader would already be of the accelerator)
    if isinstance(sampler, BatchSampler) and len(sampler) < trainer.args.world_size:
        raise ValueError(
            f"ftops: the validation set is too small to be packed: {len(evaluated)} rows do not fill a batch of each process: "
            "say `eval_sample_packing: false`, or add rows"
        )


def has_batch(loader: Any) -> bool:
    """Whether `loader` has a batch, as far as it knows: a stream does not."""
    try:
        return loader is None or len(loader) > 0
    except TypeError:
        return True


def dropped(cfg: Any, kept: int | None) -> dict[str, int]:
    """How many rows of the file are not among those `kept`, by far most often because they are longer than sequence_len.

    Nothing where it can't be known: a text without turns is cut into pieces, a stream has no end yet, and of rows that are
    alike Axolotl keeps one where it is told to.
    """
    entries = cfg.datasets or []
    if kept is None or len(entries) != 1 or entries[0]["type"] == "completion" or cfg.dataset_exact_deduplication:
        return {}
    path = Path(entries[0]["path"])
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return {"droppedRows": lines - kept // (2 if cfg.rl == "kto" else 1)}  # of a pair KTO makes two rows
