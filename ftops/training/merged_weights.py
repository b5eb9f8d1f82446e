"""Whether merged weights are what they should be: whole, of the base's shapes, with the adapter in them, and numbers.

Reads safetensors by their headers and maps the data, so a model need not fit into memory.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.files import open_regular
from ftops.training.checkpoints import (
    FileDigest,
    Incomplete,
    InvalidCheckpoint,
    final_weights,
    is_adapter,
    layout,
    read_object,
)

if TYPE_CHECKING:
    import numpy as np

EXPONENTS: Final = {"F64": (8, 0x7FF << 52), "F32": (4, 0xFF << 23), "BF16": (2, 0xFF << 7), "F16": (2, 0x1F << 10)}
"""Of each type of numbers its bytes, and the bits that are all set in what is no finite number (IEEE 754; bfloat16 is the
upper half of a float32)."""
BLOCK: Final = 1 << 24
"""Bytes that are looked at at once."""
PREFIX: Final = "base_model.model."
"""What PEFT writes before the name of each tensor of an adapter."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is: its file, type (as safetensors write it), shape, and its bytes from `start` to `end` in the file."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def verify(folder: Path, adapter: Path, base: Path | None) -> Mapping[str, FileDigest] | Incomplete:
    """The files of the model in `folder` by name, when it is `adapter` merged into `base`.

    `base` is None where it is not at hand: it is not compared with then.
    """
    found = final_weights(folder)
    if isinstance(found, Incomplete):
        return found
    try:
        _refuse_incomplete(folder, found)
        model, whole = tensors_of(folder), _whole(adapter)
        _refuse_lost(model, whole, tied=bool(read_object(folder / "config.json").get("tie_word_embeddings")))
        if base is not None and any(base.glob("model*.safetensors")):
            _refuse_other(model, tensors_of(base), whole)
        refuse_infinite(model)
    except InvalidCheckpoint as fault:
        return Incomplete(folder, str(fault))
    return found


def _refuse_incomplete(folder: Path, names: Collection[str]) -> None:
    if is_adapter(folder):
        raise InvalidCheckpoint("it is an adapter")
    if not any(name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece")) for name in names):
        raise InvalidCheckpoint("it has no tokenizer")


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The tensors of the weights in `folder`, by name; raises InvalidCheckpoint where a header does not place them."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob(f"{'adapter_' if is_adapter(folder) else ''}model*.safetensors")):
        first, header = layout(path)
        for name, about in header.items():
            try:
                start, end = (first + int(each) for each in about["data_offsets"])
                found[name] = Tensor(path, str(about["dtype"]), tuple(map(int, about["shape"])), start, end)
            except (KeyError, TypeError, ValueError):
                raise InvalidCheckpoint(f"{path.name} has a header that does not describe {name}") from None
    return found


def _whole(adapter: Path) -> dict[str, Tensor]:
    """The tensors that an adapter has beside its low-rank ones: they stand for those of the base of the same name."""
    return {
        name.removeprefix(PREFIX).replace(".base_layer.", "."): each
        for name, each in tensors_of(adapter).items()
        if ".lora_" not in name
    }


def _refuse_lost(model: Mapping[str, Tensor], whole: Mapping[str, Tensor], *, tied: bool) -> None:
    """Raises InvalidCheckpoint where a tensor that was trained whole is not there as it was trained."""
    for name, each in whole.items():
        if name not in model and not (tied and name == "lm_head.weight"):
            raise InvalidCheckpoint(f"{name}, which was trained, is not in it")
        if name in model and model[name].shape != each.shape:
            raise InvalidCheckpoint(f"{name} has shape {model[name].shape}, and was trained with {each.shape}")


def _refuse_other(model: Mapping[str, Tensor], base: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
    """Raises InvalidCheckpoint where the model has not the tensors of the base, or all of them as they were."""
    if missing := sorted(base.keys() - model.keys()):
        raise InvalidCheckpoint(f"it lacks {missing[0]} of its base model")
    common = [name for name in model if name in base]
    for name in common:
        if model[name].shape != base[name].shape and name not in whole:
            raise InvalidCheckpoint(f"{name} has shape {model[name].shape}, and {base[name].shape} in its base model")
    if common and not any(_differ(model[name], base[name]) for name in common):
        raise InvalidCheckpoint("nothing was merged: its weights are those of its base model")


def _differ(one: Tensor, other: Tensor) -> bool:
    if (one.kind, one.shape) != (other.kind, other.shape):
        return one.shape != other.shape  # in another type the same numbers have other bytes
    return any(a.tobytes() != b.tobytes() for a, b in zip(_blocks(one), _blocks(other), strict=True))


def refuse_infinite(model: Mapping[str, Tensor]) -> None:
    """Raises InvalidCheckpoint where a weight is no finite number; types that hold none are not looked at."""
    for name, each in model.items():
        if each.kind not in EXPONENTS:
            continue
        width, bits = EXPONENTS[each.kind]
        if each.end - each.start != math.prod(each.shape) * width:
            raise InvalidCheckpoint(
                f"{name} has {each.end - each.start} bytes, which are not those of its shape {each.shape}"
            )
        for block in _blocks(each):
            numbers = block.view(f"<u{width}")
            if ((numbers & numbers.dtype.type(bits)) == bits).any():
                raise InvalidCheckpoint(f"{name} has weights that are no numbers")


def _blocks(tensor: Tensor) -> Iterator[np.ndarray]:
    """The bytes of a tensor, piece by piece."""
    import numpy as np

    if math.prod(tensor.shape):
        with os.fdopen(open_regular(tensor.path), "rb") as file:
            data = np.memmap(file, np.uint8, "r")
        for start in range(tensor.start, tensor.end, BLOCK):
            yield np.asarray(data[start : min(start + BLOCK, tensor.end)])
