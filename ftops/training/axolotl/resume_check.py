"""Whether a training can go on from a checkpoint: same optimizer, adapter, data and number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ftops.digests import Json

SAME: Final = (
    "base_model", "revision_of_model", "rl", "reward_model",
    "adapter", "lora_r", "lora_alpha", "lora_target_modules", "lora_target_linear", "lora_target_parameters", "lora_modules_to_save",
    "peft_use_dora", "peft_use_rslora", "load_in_4bit", "load_in_8bit",
    "optimizer", "deepspeed", "fsdp_config", "datasets", "sample_packing",
)  # fmt: skip
"""The keys of a config that must not have changed since the checkpoint was written. Others may: a rate, a length, an interval."""


class Changed(NamedTuple):
    """What a checkpoint was written with, and what the training that would go on from it has."""

    what: str
    before: Json
    after: Json


def changed(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[Changed]:
    """What two configs differ in that a checkpoint of the first one is bound to."""
    for key in SAME:
        if before.get(key) != after.get(key):
            yield Changed(key, before.get(key), after.get(key))
