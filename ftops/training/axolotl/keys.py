"""Checks a config for Axolotl key by key, against the snapshot of the keys that Axolotl really knows.

Axolotl drops an unknown key without a word, so a typing error trains something else than was meant. The snapshot is made by
`snapshot.py`, the rules about old keys come from Axolotl's validators (deprecated.py and validation.py in its utils/schemas).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ftops.errors import did_you_mean
from ftops.files import read_shipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ftops.digests import Json

AXOLOTL_VERSION: Final = "0.19.0"
FTOPS_PLUGIN: Final = "ftops_axolotl.FtopsPlugin"

OWNED: Final[Mapping[str, str]] = {
    "adapter": "say `method` in the spec, or `adapter` where the method is one for pairs",
    "auto_resume_from_checkpoints": "ftops resumes from the last checkpoint that it has verified",
    "axolotl_config_path": "ftops decides where a run's files are",
    "base_model": "say `baseModel` in the spec",
    "base_model_config": "say `baseModel` in the spec",
    "dataset_prepared_path": "ftops keeps the tokenised data by the digest of the data set",
    "datasets": "say `dataset` in the spec",
    "device": "the runner decides it",
    "early_stopping_patience": "say `earlyStopping` in the spec",
    "greater_is_better": "say `checkpoints.best` in the spec",
    "hf_mlflow_log_artifacts": "say `tracking` in ftops.yaml",
    "hf_use_auth_token": "credentials come from the runner's environment, never from a spec",
    "is_preprocess": "ftops prepares the data",
    "load_best_model_at_end": "say `checkpoints.best` in the spec",
    "load_in_4bit": "say `method: qlora` in the spec, or `adapter: qlora` where the method is one for pairs",
    "local_rank": "the runner decides it",
    "lora_model_dir": "say `baseModel` in the spec",
    "metric_for_best_model": "say `checkpoints.best` in the spec",
    "model_revision": "say `baseModel.revision` in the spec",
    "output_dir": "every attempt has an output folder of its own in the store",
    "plugins": "ftops adds the plugin that a key needs",
    "pretraining_dataset": "say `dataset` in the spec",
    "process_reward_model": "say `method` in the spec",
    "push_dataset_to_hub": "ftops keeps data sets in its store",
    "remove_unused_columns": "the method decides it: leave it out",
    "resources_per_worker": "say `runner` in the spec",
    "resume_from_checkpoint": "ftops resumes from the last checkpoint that it has verified",
    "revision_of_model": "say `baseModel.revision` in the spec",
    "reward_model": "say `method` in the spec",
    "rl": "say `method` in the spec",
    "save_only_model": "a checkpoint without its optimizer can't be resumed",
    "save_steps": "say `checkpoints.every` in the spec",
    "save_strategy": "say `checkpoints.every` in the spec",
    "save_total_limit": "say `checkpoints.keep` in the spec",
    "saves_per_epoch": "say `checkpoints.every` in the spec",
    "test_datasets": "say `split.validation` in the data set's spec",
    "tokenizer_config": "the tokenizer comes with `baseModel`",
    "trust_remote_code": "code from a model's repository is never run",
    "val_set_size": "say `split.validation` in the data set's spec",
    "world_size": "the runner decides it",
}
"""Keys that ftops renders itself or refuses, and what says it instead."""

_OWNED_PREFIXES: Final = {
    "comet_": "ftops sends metrics to MLflow: say `tracking` in ftops.yaml",
    "hub_": "a model is published by a Model's version",
    "mlflow_": "say `tracking` in ftops.yaml",
    "otel_": "ftops sends metrics to MLflow: say `tracking` in ftops.yaml",
    "ray_": "say `runner` in the spec",
    "trackio_": "ftops sends metrics to MLflow: say `tracking` in ftops.yaml",
    "wandb_": "ftops sends metrics to MLflow: say `tracking` in ftops.yaml",
}
_SWITCHES: Final = ("comet", "mlflow", "otel_metrics", "ray", "trackio", "wandb")
_REMOTE_PLUGINS: Final = ("hatchery", "lm_eval", "nemo_gym", "spectrum", "swanlab")
"""Plugins that download, or send the training elsewhere: a spec can't turn them on."""

_REFUSED: Final = (
    "dpo_generate_during_eval",
    "dpo_norm_loss",
    "dpo_use_logits_to_keep",
    "flash_attn_rms_norm",
    "rpo_alpha",
    "s2_attention",
)
"""Keys that Axolotl knows only to refuse them."""
_LEAVE_OUT: Final = "Axolotl refuses it: leave it out"

RETIRED: Final[Mapping[str, str]] = {
    **dict.fromkeys(_REFUSED, _LEAVE_OUT),
    "adam_eps": "use `adam_epsilon`",
    "bnb_4bit_compute_dtype": "use `bnb_config_kwargs: {bnb_4bit_compute_dtype: …}`",
    "dpo_beta": "use `rl_beta`",
    "eta_min": "use `cosine_min_lr_ratio`",
    "eval_max_new_tokens": "use `generation_max_new_tokens`",
    "eval_table_size": "use `generate_samples` and `num_generation_samples`",
    "evaluation_strategy": "use `eval_strategy`",
    "lr_scheduler_type": "use `lr_scheduler`",
    "max_length": "use `sequence_len`",
    "max_packed_sequence_len": "use `sequence_len` with `sample_packing`",
    "max_seq_len": "use `sequence_len`",
    "max_seq_length": "use `sequence_len`",
    "mlflow_run_id": "say `tracking` in ftops.yaml",
    "noisy_embedding_alpha": "use `neftune_noise_alpha`",
    "num_train_epochs": "use `num_epochs`",
    "per_device_eval_batch_size": "use `eval_batch_size`",
    "per_device_train_batch_size": "use `micro_batch_size`",
    "report_to": "ftops sends metrics to MLflow: say `tracking` in ftops.yaml",
    "rope_scaling": "use `overrides_of_model_config: {rope_scaling: …}`",
    "save_safetensors": "weights are always saved as safetensors: leave it out",
    "torch_dtype": "use `bf16`, `fp16` or `float32`",
}
"""Keys that Axolotl drops silently, refuses, or will drop, and what to write instead."""

_ATTENTION: Final = {
    "flash": "flash_attention_2",
    "flash_attn": "flash_attention_2",
    "sdp": "sdpa",
    "flex": "flex_attention",
}
_ADAPTER_PREFIXES: Final = ("lora_", "loraplus_", "peft_")
Kind = Literal["unknown", "deprecated", "value", "conflict", "missing"]
"""An unknown key is dropped or refused by Axolotl; a deprecated one is still read."""
REQUIRED: Final = (("base_model",), ("learning_rate",), ("datasets", "pretraining_dataset"))
"""What a config must have: one of each group."""


@dataclass(frozen=True, slots=True)
class KeyFault:
    """What is wrong at one place of a config: `path` leads there from the top, `hint` says what to do."""

    path: tuple[str | int, ...]
    summary: str
    hint: str = ""
    kind: Kind = "value"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """Types by key: top-level ones, those that a plugin brings (with its name), and those of nested models."""

    keys: Mapping[str, str]
    deprecated: Mapping[str, str]
    plugin_keys: Mapping[str, tuple[str, str]]
    models: Mapping[str, Mapping[str, str]]


@cache
def _snapshot() -> _Snapshot:
    tree = json.loads(read_shipped(Path(__file__).parent / f"axolotl-{AXOLOTL_VERSION}.json"))

    def types(entries: Mapping[str, Json]) -> dict[str, str]:
        return {each: entry["type"] for key, entry in entries.items() for each in (key, *entry.get("alias", ()))}

    keys = types(tree["keys"])
    return _Snapshot(
        keys=keys,
        deprecated={key: entry["deprecated"] for key, entry in tree["keys"].items() if "deprecated" in entry},
        plugin_keys={
            key: (plugin, kind)
            for plugin, entries in tree["plugins"].items()
            for key, kind in types(entries).items()
            if key not in keys
        },
        models={model: types(entries) for model, entries in tree["models"].items()},
    )


def check_config(config: Mapping[str, Json]) -> tuple[KeyFault, ...]:
    """Every key of `config` that Axolotl would drop or refuse, and every value of a wrong type, in the order of the keys."""
    named = config.get("plugins")
    plugins = frozenset(each for each in named if isinstance(each, str)) if isinstance(named, list) else frozenset()
    return (*_faults_of_keys(config, plugins), *_conflicts(config))


def check_whole(config: Mapping[str, Json]) -> tuple[KeyFault, ...]:
    """What `check_config` finds in a config that ftops has not rendered, and what it lacks."""
    lacks = [group for group in REQUIRED if not any(config.get(key) for key in group)]
    missing = (KeyFault((), f"{' or '.join(group)} is missing", "Axolotl needs it", "missing") for group in lacks)
    return (*missing, *check_config(config))


def check_hyperparameters(hyperparameters: Mapping[str, Json], *, adapted: bool = True) -> tuple[KeyFault, ...]:
    """What `check_config` finds, plus the keys that ftops owns, and those of an adapter where none is trained."""
    known = _snapshot()
    plugins = frozenset(known.plugin_keys[key][0] for key in hyperparameters if key in known.plugin_keys)
    mine: dict[str, KeyFault] = {}
    for key in hyperparameters:
        if (instead := owner(key)) is not None:
            mine[key] = KeyFault((key,), f"{key} is not a hyperparameter: ftops owns it", instead)
        elif not adapted and key.startswith(_ADAPTER_PREFIXES):
            mine[key] = KeyFault(
                (key,), f"{key} has no effect where all weights are trained", "leave it out, or train an adapter"
            )
    free = {
        key: value
        for key, value in hyperparameters.items()
        if key not in mine and (key, value) != ("micro_batch_size", "auto")
    }
    return (*mine.values(), *_faults_of_keys(free, plugins), *_conflicts(free))


def owner(key: str) -> str | None:
    """What says a key instead of `hyperparameters`, when ftops owns it; None for a key that is free."""
    if (instead := OWNED.get(key)) is not None:
        return instead
    if key.startswith("use_") and key[4:] in _SWITCHES:
        return _OWNED_PREFIXES.get(f"{key[4:].partition('_')[0]}_")
    if (plugin := _snapshot().plugin_keys.get(key)) is not None and plugin[0].split(".")[2] in _REMOTE_PLUGINS:
        return "it downloads, or sends the training elsewhere: leave it out"
    prefix = key.partition("_")[0] + "_"
    return _OWNED_PREFIXES.get(prefix) if key not in RETIRED else None


def plugins_for(hyperparameters: Mapping[str, Json]) -> list[str]:
    """The `plugins` of a run: the one that writes events, and those that its hyperparameters need."""
    brought = _snapshot().plugin_keys
    return [FTOPS_PLUGIN, *sorted({brought[key][0] for key in hyperparameters if key in brought})]


def _faults_of_keys(config: Mapping[str, Json], plugins: frozenset[str]) -> Iterator[KeyFault]:
    known = _snapshot()
    for key, value in config.items():
        if key in RETIRED or key.startswith("unsloth_"):
            kind: Kind = "deprecated" if key in known.keys and key in RETIRED and key not in _REFUSED else "unknown"
            yield KeyFault((key,), f"{key} is an old key", RETIRED.get(key, _LEAVE_OUT), kind)
        elif key in known.deprecated:
            yield KeyFault((key,), f"{key} is an old key", known.deprecated[key].strip(), "deprecated")
        elif key in ("datasets", "test_datasets"):
            yield from _value_faults(value, _dataset_type(config), (key,))
        elif key in known.keys:
            yield from _value_faults(value, known.keys[key], (key,))
        elif key in known.plugin_keys:
            plugin, type_ = known.plugin_keys[key]
            if plugin not in plugins:
                yield KeyFault((key,), f"{key} needs a plugin", f"add {plugin} to `plugins`", "unknown")
            else:
                yield from _value_faults(value, type_, (key,))
        else:
            yield KeyFault((key,), f"unknown key {key!r}", _nearest_key(key), "unknown")


def _dataset_type(config: Mapping[str, Json]) -> str:
    """The type of `datasets`: Axolotl reads the entries by method, and drops what the others know."""
    rl = config.get("rl")
    model = "KTODataset" if rl == "kto" else "DPODataset" if rl in ("dpo", "ipo", "simpo") else "SFTDataset"
    return f"list[{model} | SyntheticDataset] | None"


def _conflicts(config: Mapping[str, Json]) -> Iterator[KeyFault]:
    if config.get("warmup_steps") and config.get("warmup_ratio"):
        yield KeyFault(
            ("warmup_ratio",), "warmup_ratio and warmup_steps exclude each other", "leave one out", "conflict"
        )
    if config.get("val_set_size") and config.get("test_datasets"):
        summary = "val_set_size and test_datasets exclude each other"
        yield KeyFault(("val_set_size",), summary, "leave one out", "conflict")
    if config.get("fsdp_config") and not config.get("fsdp_version"):
        summary = "fsdp_config without fsdp_version means an old FSDP"
        yield KeyFault(("fsdp_config",), summary, "add `fsdp_version: 2`", "conflict")
    short = config.get("attn_implementation")
    if isinstance(short, str) and short in _ATTENTION:
        name = _ATTENTION[short]
        yield KeyFault(("attn_implementation",), f"attn_implementation: {short!r} is refused", f"use {name!r}")


def _value_faults(value: Json, kind: str, path: tuple[str | int, ...]) -> Iterator[KeyFault]:
    """What is wrong with `value` where the snapshot says the type `kind`."""
    members = _members(kind)
    if type(value) in _plain_types(kind) or "Any" in members:
        return
    if isinstance(value, dict):
        yield from _mapping_faults(value, members, path)
    elif isinstance(value, list):
        yield from _list_faults(value, members, path)
    elif not any(_fits(value, member) for member in members):
        yield _wrong_type(value, members, path)


def _mapping_faults(value: dict[str, Json], members: Sequence[str], path: tuple[str | int, ...]) -> Iterator[KeyFault]:
    models = [_snapshot().models[member] for member in members if member in _snapshot().models]
    for key, inner in value.items():
        if key == "trust_remote_code" and inner:
            yield KeyFault((*path, key), "trust_remote_code is refused", OWNED["trust_remote_code"])
        elif key == "type" and inner == "sharegpt":
            shape = "`type: chat_template` with `field_messages: conversations` and `message_property_mappings`"
            yield KeyFault((*path, key), "type: sharegpt is refused", f"use {shape}")
        elif models and (kinds := [model[key] for model in models if key in model]):
            yield from _value_faults(inner, " | ".join(kinds), (*path, key))
        elif models:
            names = tuple(dict.fromkeys(name for model in models for name in model))
            summary = f"unknown key {key!r} in {spell(path)}"
            yield KeyFault((*path, key), summary, did_you_mean(str(key), names), "unknown")
    if models or "dict" in members:
        return
    inner_kinds = [_split(member[5:-1], ", ")[1] for member in members if member.startswith("dict[")]
    if not inner_kinds:
        yield _wrong_type(value, members, path)
    for key, inner in value.items() if inner_kinds else ():
        yield from _value_faults(inner, " | ".join(inner_kinds), (*path, key))


def _list_faults(value: list[Json], members: Sequence[str], path: tuple[str | int, ...]) -> Iterator[KeyFault]:
    if "list" in members:
        return
    inner_kinds = [member[5:-1] for member in members if member.startswith("list[")]
    inner_kinds += [" | ".join(_split(member[6:-1], ", ")) for member in members if member.startswith("tuple[")]
    if not inner_kinds:
        yield _wrong_type(value, members, path)
    for position, inner in enumerate(value if inner_kinds else ()):
        yield from _value_faults(inner, " | ".join(inner_kinds), (*path, position))


def _fits(value: Json, member: str) -> bool:
    """Does a scalar fit one plain type or literal? Numbers in quotes do, as Axolotl reads them: YAML takes 2e-4 for text."""
    if member.startswith("'"):
        return bool(value == member[1:-1])
    if isinstance(value, bool) or member not in ("int", "float"):
        return False
    if isinstance(value, float):
        return member == "float" or value.is_integer()
    if isinstance(value, int):
        return member == "float"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return member == "float" or number.is_integer()


def _wrong_type(value: Json, members: Sequence[str], path: tuple[str | int, ...]) -> KeyFault:
    shown = repr(value) if len(repr(value)) <= 40 else f"{repr(value)[:37]}..."
    expected = [_expected(member) for member in members if member != "None"]
    return KeyFault(path, f"{spell(path)}: expected {' or '.join(dict.fromkeys(expected))}, got {shown}")


def _expected(member: str) -> str:
    if member in _snapshot().models or member.startswith("dict"):
        return "a mapping"
    return "a list" if member.startswith(("list", "tuple")) else member


def spell(path: Sequence[str | int]) -> str:
    """`datasets[0].type`: a path as people write it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


@lru_cache(maxsize=4096)
def _nearest_key(key: str) -> str:
    known = _snapshot()
    return did_you_mean(key, (*known.keys, *known.plugin_keys))


@cache
def _members(kind: str) -> tuple[str, ...]:
    # learning_rate is `str | float` for the sake of numbers in quotes; any other text in it is a mistake.
    return ("float",) if kind == "str | float" else _split(kind, " | ")


@cache
def _plain_types(kind: str) -> frozenset[type]:
    """The types of values that fit whatever they hold: the common case is decided by one look-up."""
    plain = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
    return frozenset(plain[member] for member in _members(kind) if member in plain)


@cache
def _split(text: str, separator: str) -> tuple[str, ...]:
    """`text` cut at each separator that stands in no brackets."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        depth += {"[": 1, "]": -1}.get(text[position], 0)
        if depth == 0 and text.startswith(separator, position):
            parts.append(text[start:position])
            position += len(separator)
            start = position
        else:
            position += 1
    return (*parts, text[start:])
