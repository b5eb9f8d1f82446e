"""What a model answers before and after a training, for people to see: to how many prompts, and where that is kept."""

from __future__ import annotations

from pydantic import Field

from ftops.resources.fields import Strict


class Samples(Strict):
    """Answers to a few rows of the validation split, else of the train split, before the first step and after the last."""

    prompts: int = Field(default=3, ge=0, le=20, description="How many rows; 0 for none.")
    max_new_tokens: int = Field(default=64, ge=1, le=1024, description="Tokens of an answer, at most.")
    record: bool = Field(
        default=False,
        description="Whether they are committed with the record, personal data that is found in them masked. When not, they are "
        "only in the store: rows may be private.",
    )
