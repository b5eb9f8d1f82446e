"""One training on several GPUs of a machine: how the weights, gradients and optimizer states are spread over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ftops.digests import Json

Strategy = Literal["ddp", "zero1", "zero2", "zero3", "fsdp"]
"""Every GPU has all of it (ddp); the optimizer's states are divided (zero1), gradients too (zero2), weights too (zero3 of
DeepSpeed, Rajbhandari et al. 2020; fsdp is PyTorch's FSDP2, which does the same)."""

KEYS: Final = ("deepspeed", "fsdp_version", "fsdp_config")
"""What Axolotl is told by. A spec that needs more than a strategy has them as hyperparameters, and names no strategy."""


def keys_of(strategy: str | None, gpus: int, *, four_bits: bool = False) -> Mapping[str, Json]:
    """Those of KEYS that a run on so many GPUs has; nothing where there is nothing to divide."""
    if gpus < 2 or strategy in (None, "ddp"):
        return {}
    if strategy == "fsdp":
        return {"fsdp_version": 2, "fsdp_config": _fsdp(four_bits=four_bits)}
    return {"deepspeed": _deepspeed(int(strategy[-1]))}


def launcher(gpus: int) -> Sequence[str]:
    """The arguments of `axolotl train` that start a process for each GPU: none but this one for a CPU or a single GPU."""
    if gpus < 2:
        return ("--launcher", "python")
    # Without a fixed address torchrun would take its default port, which another run on this machine may have.
    return ("--launcher", "torchrun", "--", "--standalone", f"--nproc_per_node={gpus}")


def _deepspeed(stage: int) -> dict[str, Json]:
    """https://www.deepspeed.ai/docs/config-json/; `auto` is what the config says elsewhere."""
    zero: dict[str, Json] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        zero |= {
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            # Else a checkpoint has the weights in pieces that nobody but DeepSpeed reads.
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": "auto"},
        "fp16": {"enabled": "auto"},
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def _fsdp(*, four_bits: bool) -> dict[str, Json]:
    return {
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "state_dict_type": "FULL_STATE_DICT",  # else a checkpoint has the weights in pieces that only FSDP reads
        "offload_params": False,
        # Quantised on one GPU only, weights of 4 bits would not fit together with those that the others wait for.
        "cpu_ram_efficient_loading": not four_bits,
    }
