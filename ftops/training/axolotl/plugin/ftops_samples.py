# ruff: noqa: INP001  (no package: Axolotl imports it by its bare name)
"""What a model answers before a training and after it, to the same few prompts, in the same way. Runs inside Axolotl.

The prompts are rows as the trainer has them, up to the last turn that is learned: so they are formed as those that it is
trained on. Generating is greedy, and leaves the state of every random generator, and the mode of every module, as it was.
FTOPS_SAMPLES is how many prompts, FTOPS_SAMPLE_TOKENS how many tokens are generated at most; samples.json is written:
`{"split": "validation|train", "rows": [{"prompt", "reference", "before"?, "after"?}]}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

MASKED = -100
FILE = "samples.json"
LONGEST = 2000  # characters of a text; more is cut
BEGINNING = 64  # tokens of a row that is learned as a whole that are its prompt, or half of them


class Samples:
    """The prompts of a training, and what its model answers. Nothing that goes wrong here ends a training."""

    def __init__(self, trainer: Any, *, resumed: bool) -> None:
        self.count = int(os.environ.get("FTOPS_SAMPLES", "0"))
        self.tokens = int(os.environ.get("FTOPS_SAMPLE_TOKENS", "64"))
        self.trainer = trainer
        self.resumed = resumed
        self.split = ""
        self.prompts: list[list[int]] = []
        self.rows: list[dict[str, str]] = []

    def before(self, model: Any) -> str:
        """Chooses the prompts and answers them; of an attempt that goes on from another one, that one has done it.

        Returns what went wrong, if anything.
        """
        return self.safely(lambda: self.begin(model)) if self.count else ""

    def after(self, model: Any) -> str:
        """Answers them again. Returns what went wrong, if anything."""
        return self.safely(lambda: self.answer(model, "after")) if self.prompts else ""

    def safely(self, work: Any) -> str:
        try:
            work()
        except Exception as error:  # noqa: BLE001  (a sample is worth no training)
            return f"no samples: {type(error).__name__}: {error}"[:LONGEST]
        return ""

    def begin(self, model: Any) -> None:
        if any(is_divided(each) for each in model.parameters()):
            raise ValueError("the weights are divided among processes")
        validation = getattr(self.trainer, "eval_dataset", None)
        self.split, rows = ("validation", validation) if has_rows(validation) else ("train", self.trainer.train_dataset)
        found = list(chosen(rows, self.count)) if has_rows(rows) else []
        if not found:
            raise ValueError("no row has a prompt and an answer")
        self.prompts = [prompt for prompt, _ in found]
        self.rows = [
            {"prompt": self.text(prompt, end=True), "reference": self.text(answer)} for prompt, answer in found
        ]
        if self.resumed:
            self.write()
        else:
            self.answer(model, "before")

    def answer(self, model: Any, when: str) -> None:
        tokenizer = self.trainer.processing_class
        config = GenerationConfig(
            max_new_tokens=self.tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )
        device = next(model.parameters()).device
        with untouched(model, device):
            for prompt, row in zip(self.prompts, self.rows, strict=True):
                ids = torch.tensor([prompt], device=device)
                said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
                row[when] = self.text(said[0, len(prompt) :].tolist())
        self.write()

    def text(self, tokens: list[int], *, end: bool = False) -> str:
        """Tokens as text; of a prompt, with its special tokens, the end is kept where it is too long."""
        text: str = self.trainer.processing_class.decode(tokens, skip_special_tokens=not end)
        if len(text) <= LONGEST:
            return text
        return f"…{text[1 - LONGEST :]}" if end else f"{text[: LONGEST - 1]}…"

    def write(self) -> None:
        path = Path(FILE)
        path.with_suffix(".tmp").write_text(json.dumps({"split": self.split, "rows": self.rows}), encoding="utf-8")
        path.with_suffix(".tmp").replace(path)


def has_rows(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and hasattr(dataset, "column_names") and len(dataset) > 0


def is_divided(weights: Any) -> bool:
    """Whether a process has only a part of a parameter: with ZeRO-3 (`ds_id`), FSDP 2 (`to_local`), FSDP 1 (flat)."""
    return hasattr(weights, "ds_id") or hasattr(weights, "to_local") or type(weights).__name__ == "FlatParameter"


def chosen(rows: Any, count: int) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and answer of `count` rows, or of all that there are, spread evenly over them; those without are passed over."""
    many = min(count, len(rows))
    for index in range(many):
        start, end = (len(rows) * each // many for each in (index, index + 1))
        halves = (halved(rows[place]) for place in range(start, end))
        found = next((each for each in halves if each is not None), None)
        if found is not None:
            yield found


def halved(row: dict[str, Any]) -> tuple[list[int], list[int]] | None:
    """The tokens of the prompt of a row, and of the answer that it is taught; None where it has not both.

    Rows of supervised training have labels; DPO, KTO and ORPO of TRL name the parts, each in its own way.
    """
    if "prompt_ids" in row:
        answer = row.get("chosen_ids") or (row.get("completion_ids") if row.get("label", True) else None)
        return both(row["prompt_ids"], answer)
    if "prompt_input_ids" in row:
        if not row.get("label", True):
            return None
        labels = row.get("chosen_labels") or row.get("completion_labels") or []
        return both(row["prompt_input_ids"], [each for each in labels if each != MASKED])
    ids, labels = row.get("input_ids"), row.get("labels")
    if not ids or not labels:
        return None
    end = max((place + 1 for place, label in enumerate(labels) if label != MASKED), default=0)
    start = max((place + 1 for place in range(end) if labels[place] == MASKED), default=0)
    start = start or min(BEGINNING, end // 2)
    return both(ids[:start], ids[start:end])


def both(prompt: list[int], answer: list[int] | None) -> tuple[list[int], list[int]] | None:
    return (list(prompt), list(answer)) if prompt and answer else None


@contextlib.contextmanager
def untouched(model: Any, device: Any) -> Iterator[None]:
    """Evaluates without gradients; puts back the mode of each module, and the state of each random generator."""
    modes = [(each, each.training) for each in model.modules()]
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002  (what the trainer uses)
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            model.eval()
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
