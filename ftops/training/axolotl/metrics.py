"""Which way a metric of a training is better."""

from __future__ import annotations

import re
from typing import Final, Literal

_LESS: Final = re.compile(r"(^|[/_])(loss|ppl|perplexity|wer|cer|mae|mse|rmse)$")
_MORE: Final = re.compile(r"(^|[/_])(accuracy|accuracies|f1|bleu|rouge\w*|chrf|margins|exact_match|reward)$")


def better(metric: str) -> Literal["min", "max"] | None:
    """Whether less or more of `metric` (as events name it) is better; None for one that is not known."""
    if _LESS.search(metric):
        return "min"
    return "max" if _MORE.search(metric) else None
