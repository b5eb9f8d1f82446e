"""What a terminal is told by escape codes (ECMA-48): how a text looks, and what of the screen is written over."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Style(StrEnum):
    """How a text looks; the value is the parameter of the code (SGR)."""

    PLAIN = ""
    BOLD = "1"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    MAGENTA = "35"
    BOLD_RED = "1;31"
    BOLD_GREEN = "1;32"
    BOLD_YELLOW = "1;33"
    BOLD_CYAN = "1;36"


HOME: Final = "\x1b[H"
"""To the first letter of the screen."""
ERASE_BELOW: Final = "\x1b[J"
ERASE_LINE: Final = "\x1b[K"
"""From here to the end of the line."""
CLEAR: Final = f"{HOME}\x1b[2J"


def paint(text: str, style: Style, color: bool = True) -> str:
    """`text` between the codes of a style; as it is where the style is plain, or no `color` is wanted."""
    return f"\x1b[{style}m{text}\x1b[0m" if color and style else text
