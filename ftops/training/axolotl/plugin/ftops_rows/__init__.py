"""Pairs of answers as the trainings of Axolotl want them that don't read such rows by themselves. Imports no ftops.

The folder is copied into the attempt's folder and found through PYTHONPATH; a config names what is here as the `type` of its
data (`type: ftops_rows.pairs`). Rows are those of the form `preference`: `{"messages", "chosen", "rejected"}`, each message with
`role` and `content`. So one data set serves every method that learns from pairs.
"""

from __future__ import annotations

from typing import Any

from axolotl.prompt_strategies.dpo.chat_template import default


def pairs(cfg: Any, **kwargs: Any) -> Any:
    """For ORPO: the text of the prompt and of both answers, as Axolotl makes them for DPO."""
    return default(cfg, **kwargs)


def judged(cfg: Any, **kwargs: Any) -> Any:
    """For KTO: each pair as two rows, `prompt` and `completion`, of which the `label` of the better answer is true."""
    make, _ = default(cfg, **kwargs)

    def both(batch: dict[str, list[Any]], tokenizer: Any = None) -> dict[str, list[Any]]:
        rows: dict[str, list[Any]] = {"prompt": [], "completion": [], "label": []}
        for values in zip(*batch.values(), strict=True):
            made = make(dict(zip(batch, values, strict=True)), tokenizer=tokenizer)
            for name, label in (("chosen", True), ("rejected", False)):
                rows["prompt"].append(made["prompt"])
                rows["completion"].append(made[name])
                rows["label"].append(label)
        return rows

    return both, {"batched": True, "remove_columns": "__all__"}
