"""An answer to the question of a page, in words and in colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "even", "open", "bad"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`word` answers "can we decide?"; `headline` says what; `mark` and `tone` say it again, for the eye."""

    word: str
    headline: str
    mark: str
    tone: Tone

    def __str__(self) -> str:
        return f"{self.word}: {self.headline}"
