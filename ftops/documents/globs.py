"""Globs of a project: which paths a pattern means."""

from __future__ import annotations

import re


def glob_pattern(parts: tuple[str, ...]) -> re.Pattern[str]:
    """The regular expression of a glob: `**` stands for any number of folders, `*` and `?` stay inside of one."""
    pattern = ""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            pattern += ".*" if last else "(?:[^/]+/)*"
            continue
        # What follows a star is looked for once, at the first place where it fits (the last one's at the end): that finds
        # what there is, and takes no time that grows with the number of stars.
        first, *rest = (_fixed(each) for each in re.split(r"\*+(?![^\[]*\])", part))
        found = "".join(f"(?>[^/]*?{each})" for each in rest[:-1]) + "".join(f"[^/]*{each}" for each in rest[-1:])
        pattern += first + found + ("" if last else "/")
    return re.compile(pattern)


def _fixed(part: str) -> str:
    """The regular expression of a part of a glob without a star."""
    pieces = re.split(r"(\?|\[[^]]+\])", part)
    return "".join(
        "[^/]" if piece == "?" else piece if piece.startswith("[") and piece.endswith("]") else re.escape(piece)
        for piece in pieces
    )
