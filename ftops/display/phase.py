"""A phase, in its colour."""

from __future__ import annotations

from typing import Final

_GREEN: Final = "\x1b[32m"


_RED: Final = "\x1b[31m"


_YELLOW: Final = "\x1b[33m"


_RESET: Final = "\x1b[0m"


_COLORS: Final = {
    "succeeded": _GREEN,
    "prepared": _GREEN,
    "registered": _GREEN,
    "failed": _RED,
    "cancelled": _RED,
    "running": _YELLOW,
}


def paint_phase(phase: str, width: int = 0, *, color: bool = False) -> str:
    """A phase in its colour, filled up to `width`."""
    paint = _COLORS.get(phase) if color else None
    return f"{paint}{phase:<{width}}{_RESET}" if paint else f"{phase:<{width}}"
