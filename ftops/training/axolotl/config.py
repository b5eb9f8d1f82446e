"""What a run's config is rendered from, and what a rendered config must hold. How it is rendered: `templates.py`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ftops.files import read_shipped
from ftops.training.axolotl.distributed import keys_of
from ftops.training.axolotl.keys import OWNED, KeyFault, check_config, owner, plugins_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ftops.digests import Json

Adapter = Literal["lora", "qlora"]
ADAPTERS: Final[Mapping[str, Adapter | None]] = {"full": None, "lora": "lora", "qlora": "qlora"}
"""The methods that say themselves what is trained: an adapter, or all weights. They learn from answers."""
PREFERENCES: Final = ("dpo", "orpo", "kto", "reward")
"""The methods that learn which of two answers is the better one."""
PAIRS: Final = ("preference",)
"""The forms of data that hold a better and a worse answer each: what PREFERENCES learn from, and no other method."""
METHODS: Final = (*ADAPTERS, *PREFERENCES)
OUTPUT: Final = "output"
"""The folder of checkpoints and weights, in the attempt's folder."""


@dataclass(frozen=True, slots=True)
class RunValues:
    """What a config is rendered from. Paths are relative to the attempt's folder.

    `adapter` is what the spec says of one. `best` is (metric, "min" or "max"): the weights that the run ends with are those of
    its best checkpoint; after `patience` evaluations that are no better it ends early. `gpus` and their `compute` capability (9.0 for an H100; None where nobody says it) are what the
    runner declares, `distributed` how the training is spread over several.
    """

    method: str
    hyperparameters: Mapping[str, Json]
    base_model: str
    train_path: str
    prepared_path: str
    adapter: str | None = None
    data_format: str = "alpaca"
    validation_path: str | None = None
    revision: str | None = None
    resume_from: str | None = None
    every: int = 50
    keep: int = 2
    best: tuple[str, str] | None = None
    patience: int | None = None
    gpus: int = 0
    compute: float | None = None
    distributed: str | None = None


def adapter_of(method: str, said: str | None) -> Adapter | None:
    """The adapter that `method` trains where the spec says `said` of it; None where all weights are trained."""
    if method in ADAPTERS:
        return ADAPTERS[method]
    return {"none": None, "qlora": "qlora"}.get(said or "", "lora")


def template_for(method: str) -> str:
    """The shipped template of a method. Raises KeyError for a method that has none."""
    return {method: f"axolotl/{method}.yaml.j2" for method in METHODS}[method]


@cache
def shipped_templates() -> Mapping[str, str]:
    """The text of each template for Axolotl that comes with ftops, by its name; one of the user's own wins over it."""
    package = Path(__file__).parents[2]
    # The wheel holds templates/ inside the package, a checkout beside it.
    root = next(path for path in (package / "templates", package.parent / "templates") if path.is_dir())
    return {str(path.relative_to(root)): read_shipped(path).decode() for path in sorted(root.glob("axolotl/*.j2"))}


def template_sources(template: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the templates that go into rendering `template`, itself first; all when a name is computed."""
    found: list[str] = []
    to_read = [template]
    while to_read:
        name = to_read.pop()
        if name in found or name not in texts:
            continue
        found.append(name)
        for tag in _REFERENCE.findall(texts[name]):
            if (plain := _PLAIN_NAME.fullmatch(tag)) is None:
                return (template, *(each for each in texts if each != template))
            to_read.append(plain["name"])
    return tuple(found)


_REFERENCE: Final = re.compile(r"\{%[-+]?\s*(?:extends|include|import|from)\b(.*?)[-+]?%\}", re.DOTALL)
_PLAIN_NAME: Final = re.compile(r"""\s*["'](?P<name>[^"']+)["'](\s+(import|as|ignore|with|without)\b[\w\s,]*)?\s*""")


# ------------------------------------------------------------------------------------------------- values


def owned_values(values: RunValues) -> dict[str, Json]:
    """The keys that ftops decides, for this run; an owned key that is not among them must not be in its config."""
    adapter = adapter_of(values.method, values.adapter)
    decided: dict[str, Json] = {
        "base_model": values.base_model,
        "revision_of_model": values.revision,
        "adapter": adapter,
        "load_in_4bit": True if adapter == "qlora" else None,
        **_PREFERRING.get(values.method, {}),
        "datasets": [dataset_entry(values.train_path, values.data_format, values.method)],
        "test_datasets": [dataset_entry(values.validation_path, values.data_format, values.method)]
        if values.validation_path
        else None,
        "dataset_prepared_path": values.prepared_path,
        "output_dir": OUTPUT,
        "resume_from_checkpoint": values.resume_from,
        "save_steps": values.every,
        "save_total_limit": values.keep,
        "plugins": plugins_for(values.hyperparameters),
        **keys_of(values.distributed, values.gpus, four_bits=adapter == "qlora"),
    }
    if values.best is not None:
        metric, mode = values.best
        decided |= {
            "load_best_model_at_end": True,
            "metric_for_best_model": metric,
            "greater_is_better": mode == "max",
            "early_stopping_patience": values.patience,
        }
    return {key: value for key, value in decided.items() if value is not None}


_PREFERRING: Final[Mapping[str, Mapping[str, Json]]] = {
    "dpo": {"rl": "dpo"},
    "orpo": {"rl": "orpo"},
    "kto": {"rl": "kto", "remove_unused_columns": False},
    "reward": {"reward_model": True},
}
"""How Axolotl is told which of PREFERENCES is meant."""

_READ_AS: Final[Mapping[str, Mapping[str, Json]]] = {
    "alpaca": {"ds_type": "json", "type": "alpaca"},
    "messages": {
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
    },
    "sharegpt": {
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "conversations",
        "message_property_mappings": {"role": "from", "content": "value"},
        "roles": {
            "system": ["system"],
            "user": ["human"],
            "assistant": ["gpt", "function_call"],
            "tool": ["observation"],
        },
    },
    "completion": {"ds_type": "json", "type": "completion", "field": "text"},
}
"""How Axolotl is told to read each form that `datasets/formats.py` writes, but for PAIRS."""

_PAIRS_READ_AS: Final[Mapping[str, Mapping[str, Json]]] = {
    # Of an entry for dpo, orpo or kto Axolotl drops ds_type, roles and mappings: the rows have its own names.
    "dpo": {"type": "chat_template.default"},
    "orpo": {"type": "ftops_rows.pairs"},
    "kto": {"type": "ftops_rows.judged"},
    "reward": {"ds_type": "json", "type": "ftops_rows.scored"},
}
"""The same for pairs, by method; where Axolotl would want the rows in another form, `plugin/ftops_rows` makes it."""


def dataset_entry(path: str, data_format: str, method: str) -> dict[str, Json]:
    """The entry of `datasets` for the file `path`. Raises KeyError for a form that is not written, or not for `method`."""
    return {"path": path, **(_PAIRS_READ_AS[method] if data_format in PAIRS else _READ_AS[data_format])}


def template_values(values: RunValues) -> dict[str, Json]:
    """The context of a template, as JSON."""
    return {
        "method": values.method,
        "data_format": values.data_format,
        "gpus": values.gpus,
        "compute": values.compute,
        "hyperparameters": dict(values.hyperparameters),
        "ftops": owned_values(values),
    }


def render_configs(payload: Json) -> Json:
    """The configs of many runs; to be called in a sandboxed child, as templates may be anybody's.

    Payload: `{"templates": {name: text}, "requests": [{"id", "template", "values"}]}`, values as `template_values` gives
    them. Returns `{"results": {id: {"config", "text"} or {"error": {"message", "template", "line"}}}}`.
    """
    from ftops.training.axolotl.templates import render_all  # only the child needs Jinja

    return render_all(payload["templates"], payload["requests"])


# -------------------------------------------------------------------------------------------------- check


def check_rendered(config: Mapping[str, Json], values: RunValues) -> tuple[KeyFault, ...]:
    """What is wrong with a rendered config: its keys, what ftops owns and the template changed, what the runner can't."""
    return (
        *check_config(config),
        *_ownership_faults(config, values),
        *(_gpu_faults(config, values.compute) if values.gpus else _cpu_faults(config)),
        *_method_faults(config),
    )


def _ownership_faults(config: Mapping[str, Json], values: RunValues) -> Iterator[KeyFault]:
    decided = owned_values(values)
    for key, value in config.items():
        if key not in decided and (instead := owner(key)) is not None:
            yield KeyFault((key,), f"the template sets {key}, which ftops owns", instead)
        elif key in decided and value != decided[key]:
            yield KeyFault((key,), f"the template sets {key}, which ftops owns", f"write {{{{ owned({key!r}) }}}}")
    for key in (each for each in decided if each not in config):
        yield KeyFault((key,), f"the template leaves out {key}", f"write {{{{ owned({key!r}) }}}}")
    for key in (each for each in values.hyperparameters if each not in config):
        yield KeyFault((key,), f"the template leaves out the hyperparameter {key}", "write {{ rest() }} at its end")
    yield from evaluation_faults(
        config.get("eval_steps"),
        values.every,
        values.method,
        validated=values.validation_path is not None,
        best=values.best is not None,
    )


def evaluation_faults(steps: Json, every: int, method: str, *, validated: bool, best: bool) -> Iterator[KeyFault]:
    """What is wrong with evaluating every `steps` and saving `every` so many; `validated` where there is a validation split, `best`
    where the best checkpoint is to be known."""
    if best:
        yield from _best_faults(steps, every, method, validated=validated)
    elif validated and isinstance(steps, int) and steps > 0 and every % steps and steps % every:
        # They never meet: no checkpoint would have a loss to be chosen by.
        fits = min((each for each in range(1, every + 1) if every % each == 0), key=lambda each: abs(each - steps))
        yield KeyFault(
            ("eval_steps",),
            f"it is evaluated every {steps} steps and saved every {every}: neither divides the other",
            f"say `eval_steps: {fits}`, or `checkpoints: {{every: {steps * max(1, round(every / steps))}}}`",
        )


def _best_faults(steps: Json, every: int, method: str, *, validated: bool) -> Iterator[KeyFault]:
    """Why the best checkpoint would not be known: transformers compares evaluations, and each save needs one of its step."""
    if not validated:
        yield KeyFault(("metric_for_best_model",), "checkpoints.best needs a validation split", OWNED["test_datasets"])
        return
    if "rl" in _PREFERRING.get(method, {}):
        yield KeyFault(("rl",), f"checkpoints.best does not go with method {method}", "leave it out")
    if not isinstance(steps, int) or steps < 1 or every % steps:
        hint = f"leave eval_steps out, or set it to a divisor of {every}"
        yield KeyFault(("eval_steps",), f"checkpoints.best needs an evaluation every {every} steps", hint)


def takes_own_template(config: Mapping[str, Json]) -> bool:
    """Whether a training takes the chat template of its base model's tokenizer, which has to have one then."""
    chats = any(str(entry["type"]).startswith(("chat_template", "ftops_rows")) for entry in config["datasets"])
    # Unset is the tokenizer's for Axolotl too, but it asks for it only where there are chats.
    chosen: Json = config.get("chat_template") or ("tokenizer_default" if chats else None)
    return bool(chosen == "tokenizer_default")


def _method_faults(config: Mapping[str, Json]) -> Iterator[KeyFault]:
    size = config.get("micro_batch_size")
    if config.get("rl") == "kto" and isinstance(size, int) and size < 2:
        yield KeyFault(
            ("micro_batch_size",),
            "micro_batch_size is 1, with which KTO can't learn: it compares an answer with those of other rows of its batch",
            "say `micro_batch_size: 2` or more",
        )
    if config.get("sample_packing") and (config.get("rl") or config.get("reward_model")):
        yield KeyFault(("sample_packing",), "pairs of answers can't be packed", "leave sample_packing out")


_CPU_MUST_BE: Final[Mapping[str, Json]] = {
    "bf16": False,
    "fp16": False,
    "tf32": False,
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "lora_embedding_kernel": False,
    "sample_packing": False,
    "load_in_8bit": False,
    "load_in_4bit": False,
}
"""What a machine without a GPU can't do; Axolotl's own defaults would turn some of it on."""
_CPU_ATTENTION: Final[Mapping[str, Json]] = {"attn_implementation": "sdpa"}


def _cpu_faults(config: Mapping[str, Json]) -> Iterator[KeyFault]:
    needed = _CPU_MUST_BE if config.get("adapter") else {k: v for k, v in _CPU_MUST_BE.items() if "kernel" not in k}
    for key, value in needed.items():
        # Unset is what Axolotl decides by itself: only for 8 and 4 bits is that off.
        if config.get(key, False if key.startswith("load_in_") else None) != value:
            shown = json.dumps(config[key]) if key in config else "not set"
            hint = f"say `{key}: {json.dumps(value)}`, or take a runner with GPUs"
            if key == "load_in_4bit":
                hint = "take a runner with GPUs, or the adapter lora"
            yield KeyFault((key,), f"{key} is {shown}, which a runner without GPUs can't do", hint)
    attention = config.get("attn_implementation")
    if attention not in ("eager", "sdpa"):
        hint = "say `attn_implementation: sdpa`, or take a runner with GPUs"
        yield KeyFault(("attn_implementation",), f"attn_implementation {attention!r} needs a GPU", hint)


_NEEDS: Final[Mapping[str, tuple[Json, float, str]]] = {
    "bf16": (True, 8.0, "`bf16: false` and `fp16: true`"),
    "bfloat16": (True, 8.0, "`bf16: false` and `fp16: true`"),
    "tf32": (True, 8.0, "`tf32: false`"),
    "fp8": (True, 8.9, "`fp8: false`"),
}
"""What takes a GPU of some compute capability (https://developer.nvidia.com/cuda-gpus), and what to say for an older one."""
_ATTENTION_NEEDS: Final[Mapping[str, float]] = {"flash_attention_2": 8.0, "flash_attention_3": 9.0}


def unfit(
    hyperparameters: Mapping[str, Json], adapter: str | None, gpus: int, own: float | None
) -> tuple[KeyFault, ...]:
    """What of a spec, not rendered yet, a runner with so many GPUs of compute capability `own` can't do."""
    said = {**hyperparameters, **({"load_in_4bit": True} if adapter == "qlora" else {})}
    found = (
        _gpu_faults(said, own) if gpus else _cpu_faults({**_CPU_MUST_BE, "adapter": adapter, **_CPU_ATTENTION, **said})
    )
    return tuple(found)


def _gpu_faults(config: Mapping[str, Json], own: float | None) -> Iterator[KeyFault]:
    for key, (value, least, instead) in _NEEDS.items():
        if own is not None and own < least and config.get(key) is value:
            yield KeyFault(
                (key,), f"{key} needs GPUs of compute capability {least:.1f}; these have {own:.1f}", f"say {instead}"
            )
    attention = str(config.get("attn_implementation"))
    if own is not None and own < (least := _ATTENTION_NEEDS.get(attention, 0.0)):
        yield KeyFault(
            ("attn_implementation",),
            f"{attention} needs GPUs of compute capability {least:.1f}; these have {own:.1f}",
            "say `attn_implementation: sdpa`",
        )
    if config.get("fsdp_config") and config.get("load_in_4bit") and config.get("rl"):
        yield KeyFault(
            ("fsdp_config",),
            "FSDP can't train on pairs beside weights of 4 bits",
            "say `distributed: zero2`, or the adapter lora",
        )
