"""A phase, in its colour."""

from __future__ import annotations

from typing import Final

from ftops.display.terminal import Style, paint

_COLORS: Final = {
    "succeeded": Style.GREEN,
    "prepared": Style.GREEN,
    "registered": Style.GREEN,
    "failed": Style.RED,
    "cancelled": Style.RED,
    "running": Style.YELLOW,
}


def paint_phase(phase: str, width: int = 0, *, color: bool = False) -> str:
    """A phase in its colour, filled up to `width`."""
    return paint(f"{phase:<{width}}", _COLORS.get(phase, Style.PLAIN), color)
