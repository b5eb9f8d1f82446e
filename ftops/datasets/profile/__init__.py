"""The statistics of rows: lengths, scripts, tokens. Pure."""

from __future__ import annotations

from typing import Final

from ftops.datasets.profile.lengths import Measured, distribution, measure
from ftops.datasets.profile.tokens import Counted, count_tokens

VERSION: Final = 1
"""Raised when the same rows would give other statistics."""

__all__ = ["VERSION", "Counted", "Measured", "count_tokens", "distribution", "measure"]
