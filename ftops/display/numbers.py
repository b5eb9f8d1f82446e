"""Figures as people read them: as many decimals as can be compared, a real minus sign, a dash for none."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final

NONE: Final = "–"
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def number(value: float | None, digits: int = 4) -> str:
    """`value` to so many significant digits, and whole from 1,000 on."""
    if value is None:
        return NONE
    size = 0 if value == 0 else math.floor(math.log10(abs(value)))
    return fixed(value, 0 if value == int(value) else min(max(digits - 1 - size, 0), 8))


def trimmed(value: float | None, digits: int = 4) -> str:
    """The same without zeros at its end, for a figure that stands alone."""
    text = number(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float, places: int, *, sign: bool = False) -> str:
    """`value` with so many decimals; zero has no sign."""
    text = f"{abs(value):,.{places}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return f"{'−' if value < 0 else '+' if sign else ''}{text}"


def gib(size: float) -> str:
    """Bytes as `16.2 GiB`, or `310 MiB` where there is less than one GiB."""
    return f"{fixed(size / 2**30, 1)} GiB" if size >= 2**30 else f"{fixed(size / 2**20, 0)} MiB"


def percent(share: float | None, places: int = 1, *, sign: bool = False) -> str:
    """A share as `3.4 %`."""
    return NONE if share is None else f"{fixed(share * 100, places, sign=sign)} %"


def places_for(width: float) -> int:
    """The decimals that show two digits of what is uncertain, by the half width of an interval."""
    if width <= 0 or not math.isfinite(width):
        return 2
    return min(max(1 - math.floor(math.log10(width)), 0), 6)


def p_text(p_value: float | None) -> str:
    """`0.013`; what is below a thousandth only as that."""
    if p_value is None:
        return NONE
    return "< 0.001" if p_value < 0.001 else fixed(p_value, 3)


def p_is(p_value: float | None) -> str:
    """`p = 0.013`, `p < 0.001`."""
    text = p_text(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def day_text(day: str) -> str:
    """An ISO date, or the date of a time, as `24 Oct`."""
    found = date.fromisoformat(day[:10])
    return f"{found.day} {_MONTHS[found.month - 1]}"


def chance_text(share: float | None) -> str:
    """A chance as a percentage that is never rounded to certainty."""
    if share is None:
        return NONE
    if share > 0.999:
        return "over 99.9 %"
    return "below 0.1 %" if share < 0.001 else percent(share)


def shortened(text: str, most: int = 12) -> str:
    """`text` cut to so many letters, for a place in a picture."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def counted(count: int, word: str) -> str:
    """`1 look`, `1,200 users`."""
    return f"{count:,} {word if count == 1 else f'{word}s'}"


def listed(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = list(words) or [NONE]
    return f"{', '.join(most)} and {last}" if most else last


def size_text(size: int) -> str:
    """A size in bytes as `512 B`, `1.4 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def clock(seconds: float) -> str:
    """A duration as people say it: `0.4 s`, `12 s`, `3:05`, `1:02:09`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def utc(seconds: float | None) -> str | None:
    """A time as records write it: RFC 3339 in UTC, whole seconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
