"""What a training takes of the memory of each GPU, before it is begun: counted from the model's shape and the config.

Sources. Weights, gradients and states of the optimizer: Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054), with the bytes that
Axolotl really uses: it loads all weights in 16 bits where bf16 or fp16 is on, and AdamW keeps its states in the type of the
weights. Activations: Korthikanti et al. 2022 (arXiv 2205.05198): s·b·h·(34 + 5·a·s/h) bytes a block, the second part only where
the scores of attention are kept; with checkpointing 2·s·b·h a block, and one block whole. Logits: 6 to 10 bytes for each of
the vocabulary at each token. A parameter of 4 bits takes 0.55 to 0.65 bytes with its scales (Dettmers et al. 2023, QLoRA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ftops.digests import Json
from ftops.plan.estimates import Range
from ftops.training.axolotl.model_shape import LINEAR, Shape

GIB: Final = 1 << 30
CONTEXT: Final = (0.6 * GIB, 1.4 * GIB, 2.0 * GIB)
"""What CUDA and its libraries take of a GPU before anything is trained: low, expected, high."""
PROCESS: Final = (0.7 * GIB, 0.9 * GIB, 1.3 * GIB)
"""What Python, PyTorch and Axolotl take of a machine's memory on a CPU, as measured with Axolotl 0.19."""
_QUANTISED: Final = (0.55, 0.6, 0.65)
_LOGITS: Final = (6, 8, 10)
_WASTE: Final = (1.0, 1.05, 1.15)
"""What lies between blocks of memory, unused."""
_ON_CPU: Final = (1.0, 1.5, 2.5)
"""How many times the activations a process on a CPU holds, which gives memory back late; as measured."""
_FUSED: Final = ("cut_cross_entropy", "liger_fused_linear_cross_entropy")
"""Keys of plugins that compute the loss without writing all logits down."""
_STATES: Final = 2
"""Numbers that Adam keeps for a parameter."""


@dataclass(frozen=True, slots=True)
class Load:
    """What of a config decides how much memory it takes. `width` is the bytes of a weight; `sequences` lie in a batch."""

    shape: Shape
    trainable: int
    adapted: bool
    quantised: bool
    width: int
    state_width: int
    master: bool
    sequences: int
    length: int
    recomputes: bool
    keeps_scores: bool
    fused_loss: bool
    keeps_reference: bool
    gpus: int
    divides: frozenset[str]

    @classmethod
    def of(cls, shape: Shape, config: Mapping[str, Json], gpus: int) -> Load:
        """The load of the rendered `config` on one of `gpus` GPUs, or on the CPU where there is none."""
        adapted = config.get("adapter") is not None
        half = gpus > 0 and (config.get("bf16") not in (False, None) or config.get("fp16") not in (False, None))
        width = 2 if half else 4
        rl = config.get("rl")
        pairs = 2 if rl or config.get("reward_model") else 1
        eight_bits = "8bit" in str(config.get("optimizer"))
        deepspeed = config.get("deepspeed")
        return cls(
            shape=shape,
            trainable=trainable(shape, config),
            adapted=adapted,
            quantised=bool(config.get("load_in_4bit")),
            width=width,
            # Adapters stay in 32 bits beside weights of 16.
            state_width=1 if eight_bits else 4 if adapted else width,
            master=isinstance(deepspeed, dict) and half,
            sequences=int(config.get("micro_batch_size") or 1) * pairs,
            length=int(config.get("sequence_len") or 512),
            recomputes=bool(config.get("gradient_checkpointing")),
            fused_loss=any(config.get(key) for key in _FUSED),
            keeps_scores=config.get("attn_implementation") == "eager",
            # An adapter that is switched off is the model as it was; all weights that are trained need a copy of it.
            keeps_reference=rl in ("dpo", "kto") and not adapted,
            gpus=max(gpus, 1),
            divides=_divided(config),
        )


def trainable(shape: Shape, config: Mapping[str, Json]) -> int:
    """How many parameters the rendered `config` trains: all, or those of the adapter."""
    score = shape.hidden if config.get("reward_model") else 0
    if config.get("adapter") is None:
        return shape.parameters + score - (shape.embedding if config.get("reward_model") and not shape.tied else 0)
    rank = int(config.get("lora_r") or 8)
    named = config.get("lora_target_modules")
    targets = LINEAR if config.get("lora_target_linear") or not named else named
    total = score
    for name in [named] if isinstance(named, str) and not config.get("lora_target_linear") else targets:
        count, inputs, outputs = shape.linear.get(str(name), (0, 0, 0))
        total += shape.layers * count * (rank * (inputs + outputs) + (outputs if config.get("peft_use_dora") else 0))
    saved = config.get("lora_modules_to_save") or []
    return total + sum(shape.embedding for name in saved if name in ("embed_tokens", "lm_head"))


def memory(load: Load, *, cpu: bool = False) -> Range:
    """Bytes that a GPU needs; with `cpu` what the process needs of the machine."""
    fixed = _weights(load)
    context = PROCESS if cpu else CONTEXT
    times = _ON_CPU if cpu else (1, 1, 1)
    low, expected, high = (
        round((fixed[each] + _activations(load, each) * times[each]) * _WASTE[each] + context[each])
        for each in range(3)
    )
    return Range(low, expected, high)


def checkpoint(load: Load) -> int:
    """Bytes of a checkpoint on the disk: the weights that are trained, and the optimizer's states of them."""
    width = 4 if load.adapted else load.width
    return load.trainable * (width + _STATES * (4 if load.master else load.state_width))


def largest_batch(shape: Shape, config: Mapping[str, Json], gpus: int, room: int, most: int) -> int | None:
    """The largest number of sequences up to `most`, which it divides, with which `config` is expected to fit into `room` bytes."""
    for size in sorted((each for each in range(1, most + 1) if most % each == 0), reverse=True):
        load = Load.of(shape, {**config, "micro_batch_size": size}, gpus)
        if memory(load).high <= room:
            return size
    return None


def _divided(config: Mapping[str, Json]) -> frozenset[str]:
    """What is divided among the GPUs."""
    if config.get("fsdp_config"):
        return frozenset({"weights", "gradients", "states"})
    deepspeed = config.get("deepspeed")
    zero = deepspeed.get("zero_optimization") if isinstance(deepspeed, dict) else None
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    parts = (("states", 1), ("gradients", 2), ("weights", 3))
    return frozenset(part for part, least in parts if isinstance(stage, int) and stage >= least)


def _weights(load: Load) -> tuple[float, float, float]:
    """Weights, gradients and states, which don't depend on the batch."""
    shape = load.shape

    def share(part: str) -> int:
        return load.gpus if part in load.divides else 1

    own_width = 4 if load.adapted else load.width
    states = load.trainable * (_STATES * (4 if load.master else load.state_width) + (4 if load.master else 0))
    rest = load.trainable * own_width / share("gradients") + states / share("states")
    if load.adapted:
        rest += load.trainable * own_width  # beside the frozen weights
    whole = shape.parameters * load.width * (2 if load.keeps_reference else 1)
    if not load.quantised:
        return (whole / share("weights") + rest,) * 3
    kept = (shape.parameters - shape.in_linear) * load.width
    low, expected, high = ((shape.in_linear * each + kept) / share("weights") + rest for each in _QUANTISED)
    return low, expected, high


def _activations(load: Load, which: int) -> float:
    """What the backward pass needs of the forward pass, and the logits: low, expected, high by `which`."""
    shape, tokens = load.shape, load.sequences * load.length
    width = load.width / 2  # the formula is of 16 bits
    scores = 5 * shape.heads * load.length / shape.hidden if load.keeps_scores else 0.0
    # The formula has a feed-forward layer of four times the hidden size; ours is gated, of any size, and may have experts.
    feed_forward = 34 - 19 + 19 * (3 * shape.feed_forward * shape.active) / (8 * shape.hidden)
    block = tokens * shape.hidden * (feed_forward + scores) * width
    kept = 2 * tokens * shape.hidden * width
    blocks = shape.layers * kept + block if load.recomputes else shape.layers * block
    return blocks + (0 if load.fused_loss else tokens * shape.vocabulary * _LOGITS[which])
