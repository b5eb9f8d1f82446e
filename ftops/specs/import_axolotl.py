"""A config for Axolotl → the specs that say the same. What specs can't say is refused, with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ftops.datasets.spec import FORMATS
from ftops.digests import Json
from ftops.plan.address import API_VERSION
from ftops.training.axolotl.distributed import KEYS
from ftops.training.axolotl.keys import KeyFault, check_whole, owner

RENAMED: Final[Mapping[str, str]] = {
    "adam_eps": "adam_epsilon",
    "dataset_processes": "dataset_num_proc",
    "dpo_beta": "rl_beta",
    "eval_max_new_tokens": "generation_max_new_tokens",
    "evaluation_strategy": "eval_strategy",
    "lr_scheduler_type": "lr_scheduler",
    "max_length": "sequence_len",
    "max_packed_sequence_len": "sequence_len",
    "max_seq_len": "sequence_len",
    "max_seq_length": "sequence_len",
    "noisy_embedding_alpha": "neftune_noise_alpha",
    "num_train_epochs": "num_epochs",
    "per_device_eval_batch_size": "eval_batch_size",
    "per_device_train_batch_size": "micro_batch_size",
}
"""Old keys whose value is that of the new one."""
_ATTENTION: Final[Mapping[str, str]] = {
    "eager_attention": "eager",
    "flash_attention": "flash_attention_2",
    "flex_attention": "flex_attention",
    "sdp_attention": "sdpa",
    "xformers_attention": "xformers",
}
_NESTED: Final[Mapping[str, str]] = {
    "bnb_4bit_compute_dtype": "bnb_config_kwargs",
    "rope_scaling": "overrides_of_model_config",
}
"""Old keys that stand inside of another one today."""
_DTYPES: Final[Mapping[str, str]] = {"bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16"}
_ALWAYS: Final[Mapping[str, Json]] = {"save_safetensors": True, "report_to": "none", "trust_remote_code": False}
"""What needs no saying where it has this value."""
_MEANT: Final = (
    "lora_model_dir",
    "pretraining_dataset",
    "process_reward_model",
    "tokenizer_config",
    "trust_remote_code",
)
"""Keys without which another model would be made, and that no spec can say."""
_SHAPES: Final[Mapping[str, tuple[str, str]]] = {
    "alpaca": ("instruction", "alpaca"),
    "chat_template": ("chat", "messages"),
    "sharegpt": ("chat", "messages"),
    "completion": ("completion", "completion"),
    "chat_template.default": ("preference", "preference"),
    "chat_template.argilla": ("preference", "preference"),
    "chat_template.argilla_chat": ("preference", "preference"),
    "bradley_terry.chat_template": ("preference", "preference"),
}
"""The shape of rows, and the form that they are written in, by how Axolotl was told to read them."""
_COLUMNS: Final[Mapping[str, str]] = {
    "field": "text", "field_messages": "messages", "field_chosen": "chosen", "field_rejected": "rejected",
}  # fmt: skip
_READ_BY_FTOPS: Final = frozenset({
    "path", "ds_type", "type", "data_files", "split", "roles", "message_property_mappings", "conversation", *_COLUMNS,
})  # fmt: skip
"""Keys of an entry that say how the file is to be read, which ftops sees for itself."""
_HUB: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


@dataclass(slots=True)
class Imported:
    """The specs, what was changed on the way (sentences), and what stands in the way."""

    documents: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[KeyFault] = field(default_factory=list)


def import_config(config: Mapping[str, Json], name: str, is_folder: Callable[[str], bool]) -> Imported:
    """The specs of a run called `name` and of its data, called so too, or `name`-1, `name`-2 … where files are read in several
    ways; `is_folder` tells whether a path leads to a folder of a model."""
    found = Imported()
    tree = _migrated({key: value for key, value in config.items() if value is not None}, found)
    found.faults += [each for each in check_whole(tree) if each.kind != "deprecated"]
    datasets = _datasets(tree, found)
    names = [name] if len(datasets) == 1 else [f"{name}-{number}" for number in range(1, len(datasets) + 1)]
    data: dict[str, Json] = {"dataset": name} if len(names) == 1 else {"datasets": [{"name": each} for each in names]}
    run = {**data, **_run(tree, found, is_folder)}
    kinds = [*(("Dataset", *each) for each in zip(names, datasets, strict=True)), ("TrainingRun", name, run)]
    found.documents = [
        {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": called}, "spec": spec}
        for kind, called, spec in kinds
    ]
    return found


def _migrated(config: dict[str, Json], found: Imported) -> dict[str, Json]:
    """`config` with the keys of today."""
    tree = dict(config)

    def rename(old: str, new: str, value: Json) -> None:
        del tree[old]
        if tree.setdefault(new, value) != value:
            found.faults.append(KeyFault((old,), f"{old} and {new} say different things", f"keep {new}"))
        found.notes.append(f"{old} is {new} today")

    for old, (new, value) in _today(tree):
        rename(old, new, value)
    for key, value in _ALWAYS.items():
        if tree.get(key) == value:
            del tree[key]
    return {key: value for key, value in tree.items() if key not in _ATTENTION}


def _today(tree: Mapping[str, Json]) -> list[tuple[str, tuple[str, Json]]]:
    """The old keys of `tree`, with what says it today."""
    found = [(old, (new, tree[old])) for old, new in RENAMED.items() if old in tree]
    found += [(old, ("attn_implementation", kind)) for old, kind in _ATTENTION.items() if tree.get(old) is True]
    if (dtype := _DTYPES.get(str(tree.get("torch_dtype")))) is not None:
        found.append(("torch_dtype", (dtype, True)))
    for old, new in _NESTED.items():
        if old in tree:
            found.append((old, (new, {old: tree[old]})))
    return found


# ------------------------------------------------------------------------------------------------- data


class _Reading(NamedTuple):
    """How files are read: the shape and form of their rows, and the columns that have other names."""

    shape: str
    form: str
    columns: tuple[tuple[str, str], ...]


def _datasets(tree: Mapping[str, Json], found: Imported) -> list[dict[str, Json]]:
    """A data set for each way in which files are read: never none, so that all else can be looked at too."""
    named = tree.get("datasets")
    entries = [each for each in named if isinstance(each, dict)] if isinstance(named, list) else []
    files: dict[_Reading, list[str]] = {}
    for index, entry in enumerate(entries):
        paths, reading = _entry(index, entry, found)
        files.setdefault(reading, []).extend(paths)
    if len(forms := {each.form for each in files}) > 1:
        what = f"rows of several forms are not trained on together: {', '.join(sorted(forms))}"
        hint = "make a data set of each, all with the same output.format, and name them in `datasets` of the run"
        found.faults.append(KeyFault(("datasets",), what, hint))
    split = _split(tree, found)
    return [_dataset(paths, reading, split) for reading, paths in files.items()] or [{}]


def _dataset(paths: list[str], reading: _Reading, split: dict[str, Json]) -> dict[str, Json]:
    source: dict[str, Json] = {"path": paths[0]} if len(paths) == 1 else {"paths": paths}
    if reading.columns:
        source["columns"] = dict(reading.columns)
    spec: dict[str, Json] = {"source": source, "shape": reading.shape}
    if reading.shape == "chat":
        spec["output"] = {"format": reading.form}
    return {**spec, "split": split}


def _entry(index: int, entry: Mapping[str, Json], found: Imported) -> tuple[list[str], _Reading]:
    """The files of an entry of `datasets`, and how they are read."""
    place = ("datasets", index)
    files = entry.get("data_files") or entry.get("path")
    paths = [str(each) for each in (files if isinstance(files, list) else [files])]
    for path in paths:
        if path.startswith(("/", "~")) or ".." in path.split("/"):
            found.faults.append(
                KeyFault((*place, "path"), f"{path} lies outside of the project", "copy the file into it")
            )
        elif not path.removesuffix(".gz").removesuffix(".zst").endswith(tuple(FORMATS)):
            hint = f"name a file ({', '.join(FORMATS)}): what lies on the hub is fetched first, and versioned with DVC"
            found.faults.append(KeyFault((*place, "path"), f"{path} is no file of rows", hint))
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in _SHAPES:
        hint = f"ftops writes rows for {', '.join(_SHAPES)}"
        found.faults.append(KeyFault((*place, "type"), f"rows of type {kind!r} are not known", hint))
    for key in sorted(entry.keys() - _READ_BY_FTOPS):
        if entry[key] not in (None, False):
            hint = "take it out, or render it with a template of your own"
            found.faults.append(KeyFault((*place, key), f"{key} of a data set can't be carried over", hint))
    named = {target: entry[key] for key, target in _COLUMNS.items() if entry.get(key) not in (None, target)}
    usual = {"messages": ("conversations", "conversation")}
    columns = tuple((target, str(value)) for target, value in named.items() if value not in usual.get(target, ()))
    return paths, _Reading(*_SHAPES.get(str(kind), ("instruction", "alpaca")), columns)


def _split(tree: Mapping[str, Json], found: Imported) -> dict[str, Json]:
    share = tree.get("val_set_size") or 0
    if tree.get("test_datasets"):
        hint = "put the rows into the files of the data set: ftops splits it, and keeps rows that are alike together"
        found.faults.append(KeyFault(("test_datasets",), "a data set is split, not given in two", hint))
    if not isinstance(share, int | float) or not 0 <= share < 1:
        found.faults.append(KeyFault(("val_set_size",), f"{share} is no share of the rows", "say one, such as 0.05"))
        share = 0
    return {"train": round(1 - share, 9), "validation": share, "test": 0}


# -------------------------------------------------------------------------------------------------- run


def _run(tree: dict[str, Json], found: Imported, is_folder: Callable[[str], bool]) -> dict[str, Json]:
    run: dict[str, Json] = {"baseModel": _base_model(tree, found, is_folder), **_method(tree, found)}
    if strategy := _strategy(tree):
        run["distributed"] = strategy
        tree = {key: value for key, value in tree.items() if key not in KEYS}
    if kept := dict(_checkpoints(tree, found)):
        run["checkpoints"] = kept
    if (patience := tree.get("early_stopping_patience")) is not None:
        run["earlyStopping"] = {"patience": patience}
    hyperparameters = {}
    for key, value in tree.items():
        if (instead := owner(key)) is None:
            hyperparameters[key] = value
        elif key in _MEANT:
            found.faults.append(KeyFault((key,), f"{key} can't be carried over", instead))
        elif key not in _SAID:
            found.notes.append(f"{key} is left out: {instead}")
    return {**run, "hyperparameters": hyperparameters}


_SAID: Final = frozenset({
    "adapter", "base_model", "datasets", "early_stopping_patience", "greater_is_better", "load_best_model_at_end", "load_in_4bit", "metric_for_best_model",
    "output_dir", "dataset_prepared_path", "plugins", "remove_unused_columns", "revision_of_model", "reward_model", "rl",
    "save_steps", "save_strategy", "save_total_limit", "saves_per_epoch", "test_datasets", "val_set_size",
})  # fmt: skip
"""Keys that the specs say in another way, or that ftops decides without anybody missing them."""


def _base_model(tree: Mapping[str, Json], found: Imported, is_folder: Callable[[str], bool]) -> dict[str, Json]:
    name = str(tree.get("base_model") or "")
    if is_folder(name):
        return {"path": name.removeprefix("./").rstrip("/")}
    if name and not _HUB.fullmatch(name):
        hint = "name a folder of the project, or a model of the hub"
        found.faults.append(KeyFault(("base_model",), f"{name} is no folder, and no name of the hub", hint))
    revision = tree.get("revision_of_model")
    if revision is None:
        found.notes.append("baseModel.revision is not said: the hub's newest is taken each time")
    return {"hub": name, **({} if revision is None else {"revision": revision})}


def _method(tree: Mapping[str, Json], found: Imported) -> dict[str, Json]:
    adapter, rl = tree.get("adapter"), tree.get("rl")
    if adapter not in (None, "lora", "qlora"):
        found.faults.append(KeyFault(("adapter",), f"ftops trains no adapter {adapter!r}", "lora and qlora are known"))
    if rl not in (None, "dpo", "orpo", "kto"):
        found.faults.append(KeyFault(("rl",), f"ftops has no method for rl {rl!r}", "dpo, orpo and kto are known"))
    preferring = "reward" if tree.get("reward_model") else rl
    if preferring:
        return {"method": preferring, "adapter": adapter or "none"}
    return {"method": adapter or "full"}


def _strategy(tree: Mapping[str, Json]) -> str | None:
    """The strategy that a config with one of the usual files, or with FSDP2, means."""
    named = re.fullmatch(r"(?:.*/)?(zero[123])(?:_bf16)?\.json", str(tree.get("deepspeed")))
    if named:
        return named[1]
    return "fsdp" if tree.get("fsdp_config") and tree.get("fsdp_version") == 2 else None


def _checkpoints(tree: Mapping[str, Json], found: Imported) -> Iterator[tuple[str, Json]]:
    every, keep = tree.get("save_steps"), tree.get("save_total_limit")
    if isinstance(every, int) and every > 0:
        yield "every", every
    elif isinstance(every, float) or "saves_per_epoch" in tree or tree.get("save_strategy") in ("epoch", "best", "no"):
        found.notes.append("checkpoints.every is 50, as it counts steps: say what fits")
    if isinstance(keep, int) and keep > 0:
        yield "keep", keep
    if tree.get("load_best_model_at_end") or tree.get("early_stopping_patience"):
        metric = str(tree.get("metric_for_best_model") or "eval_loss")
        more = tree.get("greater_is_better", not metric.endswith("loss"))  # as transformers takes it
        mode = "max" if more else "min"
        yield "best", {"metric": metric if metric.startswith("eval_") else f"eval_{metric}", "mode": mode}
