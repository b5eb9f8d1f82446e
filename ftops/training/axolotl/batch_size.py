"""`micro_batch_size: auto`: how many rows each GPU takes at once, of those that a step learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ftops.digests import Json
from ftops.display.numbers import gib
from ftops.training.axolotl.memory_estimate import Load, largest_batch, memory
from ftops.training.axolotl.model_shape import Shape

AUTO: Final = "auto"
MICRO, WHOLE, ACCUMULATED = "micro_batch_size", "batch_size", "gradient_accumulation_steps"


def is_auto(hyperparameters: Mapping[str, Json]) -> bool:
    """Whether the micro batch is to be found."""
    return hyperparameters.get(MICRO) == AUTO


def sized(hyperparameters: Mapping[str, Json], size: int, gpus: int) -> dict[str, Json]:
    """`hyperparameters` with `size` rows for each of `gpus` processes at once, and as many rows a step as they say."""
    whole = hyperparameters.get(WHOLE)
    steps = whole // (size * gpus) if isinstance(whole, int) else 1
    rest = {key: value for key, value in hyperparameters.items() if key not in (MICRO, WHOLE)}
    return {**rest, MICRO: size, ACCUMULATED: max(steps, 1)}


def batch_of(
    hyperparameters: Mapping[str, Json], config: Mapping[str, Json], shape: Shape | None, gpus: int, room: int | None
) -> int | tuple[str, str]:
    """The largest number of rows that `config` is expected to fit into `room` bytes of a GPU with; or what is wrong, and a hint.

    It divides what a step learns from, so that a change of the runner changes nothing of what is learned.
    """
    whole = hyperparameters.get(WHOLE)
    if not isinstance(whole, int) or isinstance(whole, bool) or whole < 1:
        return (
            "micro_batch_size: auto needs to know how many rows a step learns from",
            "say it in batch_size: on every runner it is kept, by gradient accumulation",
        )
    if ACCUMULATED in hyperparameters:
        return "micro_batch_size: auto decides gradient_accumulation_steps too", "leave gradient_accumulation_steps out"
    if not gpus or room is None:
        return (
            "micro_batch_size: auto needs a runner that says how much memory its GPUs have",
            "say capabilities.gpuMemory of the runner in ftops.yaml, or a number here",
        )
    if whole % gpus:
        return f"batch_size {whole} can't be divided among {gpus} GPUs", f"take a multiple of {gpus}"
    if shape is None:
        return (
            "micro_batch_size: auto needs the shape of the base model, which is not at hand",
            "fetch the model, or say a number here",
        )
    least = 2 if config.get("rl") == "kto" else 1
    size = largest_batch(shape, config, gpus, room, whole // gpus)
    if size is None or size < least:
        needed = memory(Load.of(shape, {**config, MICRO: least}, gpus))
        return (
            f"not even micro_batch_size: {least} fits: it may take {gib(needed.high)} of the {gib(room)} of each GPU",
            "shorten sequence_len, say gradient_checkpointing: true, train an adapter, or divide it (distributed)",
        )
    return size
