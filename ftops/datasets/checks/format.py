"""Counts faults of format: rows that break their shape. They are found by `ftops.datasets.read`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from ftops.datasets.finding import Finding

CHECK: Final = "format"
"""The name of the check that these findings are of."""
WORDS: Final = {
    "missing": "is missing", "empty": "is empty", "not text": "is no text", "NUL": "has a NUL character",
    "no list": "is no list", "no object": "is no object", "role": "is unknown", "no answer": "has no answer",
    "no question": "has no question", "two systems": "stands twice", "prompt": "answers something else",
    "tool call": "is no call", "tools": "is no list of tools",
}  # fmt: skip
_INDEX: Final = re.compile(r"\[\d+\]")


def fault(finding: Finding) -> str:
    """What a fault is counted under: `output is empty`, `messages[].role is unknown`, `unreadable`."""
    where = _INDEX.sub("[]", finding.field)
    name = finding.entity or finding.detail
    return f"{where} {WORDS.get(name, name)}" if where else name


def by_fault(findings: Iterable[Finding]) -> dict[str, int]:
    """How many rows have each fault, the most frequent first."""
    seen = {(fault(finding), finding.row) for finding in findings if finding.check == CHECK}
    counted = Counter(name for name, _ in seen)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
