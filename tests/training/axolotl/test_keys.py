"""Every key that Axolotl would drop or refuse is found, with what to write instead."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ftops
from ftops.executors.engine import find
from ftops.training.axolotl.keys import (
    AXOLOTL_VERSION,
    FTOPS_PLUGIN,
    OWNED,
    RETIRED,
    check_config,
    check_hyperparameters,
    check_whole,
    owner,
    plugins_for,
)

TRAINER = Path(ftops.__file__).parent / "training" / "axolotl"
SNAPSHOT = TRAINER / f"axolotl-{AXOLOTL_VERSION}.json"
LIGER = "axolotl.integrations.liger.LigerPlugin"
ORDINARY = {
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_target_modules": ["q_proj", "v_proj"],
    "learning_rate": 2.0e-4,
    "num_epochs": 1,
    "micro_batch_size": 4,
    "sequence_len": 256,
    "special_tokens": {"pad_token": "<|pad|>"},
}


def one(faults):
    assert len(faults) == 1, faults
    return faults[0]


def test_an_ordinary_set_is_clean():
    assert check_hyperparameters(ORDINARY) == ()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("lora_rank_patern", "lora_rank_pattern"),
        ("learningrate", "learning_rate"),
        ("micro_batchsize", "micro_batch_size"),
        ("gradient_acumulation_steps", "gradient_accumulation_steps"),
        ("liger_ropes", "liger_rope"),
    ],
)
def test_an_unknown_key_gets_the_nearest_one(key, nearest):
    fault = one(check_hyperparameters({key: 1}))
    assert (fault.path, fault.summary) == ((key,), f"unknown key {key!r}")
    assert fault.hint == f"did you mean {nearest!r}?"


@pytest.mark.parametrize(
    ("config", "path", "nearest"),
    [
        ({"datasets": [{"path": "x", "typ": "alpaca"}]}, ("datasets", 0, "typ"), "type"),
        ({"special_tokens": {"pad_tokn": "x"}}, ("special_tokens", "pad_tokn"), "pad_token"),
        ({"trl": {"num_generation": 2}}, ("trl", "num_generation"), "num_generations"),
        ({"peft": {"loftq_config": {"loftq_bit": 4}}}, ("peft", "loftq_config", "loftq_bit"), "loftq_bits"),
        (
            {"fsdp_version": 2, "fsdp_config": {"fsdp_offload_params": True}},
            ("fsdp_config", "fsdp_offload_params"),
            "offload_params",
        ),
        ({"dynamic_checkpoint": {"enable": True}}, ("dynamic_checkpoint", "enable"), "enabled"),
        ({"lr_groups": [{"name": "a", "modules": ["b"], "lrr": 1.0}]}, ("lr_groups", 0, "lrr"), "lr"),
    ],
)
def test_nested_keys_are_checked_too(config, path, nearest):
    fault = one(check_config(config))
    assert fault.path == path
    assert fault.hint == f"did you mean {nearest!r}?"


def test_preference_data_loses_keys_that_supervised_data_has():
    entry = {"path": "x", "type": "chat_template.default", "message_property_mappings": {"role": "role"}}
    assert check_config({"datasets": [entry]}) == ()
    assert one(check_config({"rl": "dpo", "datasets": [entry]})).path == ("datasets", 0, "message_property_mappings")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("micro_batch_size", "four", "micro_batch_size: expected int, got 'four'"),
        ("micro_batch_size", True, "micro_batch_size: expected int, got True"),
        ("sequence_len", 256.5, "sequence_len: expected int, got 256.5"),
        ("learning_rate", "fast", "learning_rate: expected float, got 'fast'"),
        ("bf16", "yes", "bf16: expected 'auto' or bool, got 'yes'"),
        ("group_by_length", "true", "group_by_length: expected bool, got 'true'"),
        ("lora_target_modules", ["q", 3], "lora_target_modules[1]: expected str, got 3"),
        ("special_tokens", "x", "special_tokens: expected a mapping, got 'x'"),
        ("num_epochs", {"a": 1}, "num_epochs: expected float, got {'a': 1}"),
        ("num_epochs", [1], "num_epochs: expected float, got [1]"),
        ("num_epochs", None, "num_epochs: expected float, got None"),
        (
            "excess_length_strategy",
            "cut",
            "excess_length_strategy: expected 'drop' or 'truncate' or 'raise', got 'cut'",
        ),
    ],
)
def test_a_value_of_a_wrong_type(key, value, expected):
    assert one(check_hyperparameters({key: value})).summary == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", "2e-4"),  # what YAML 1.1 makes of 2e-4
        ("learning_rate", 1),
        ("micro_batch_size", 4.0),
        ("bf16", "auto"),
        ("lora_dropout", None),
        ("lora_target_modules", "all-linear"),
        ("max_memory", {"0": "20GiB", "cpu": "60GiB"}),
        ("deepspeed", {"zero_optimization": {"stage": 2}}),
        ("deepspeed", "deepspeed_configs/zero2.json"),
        ("peft_layer_replication", [[0, 4], [2, 5]]),
        ("optimizer", "adamw_torch"),
        ("model_type", "LlamaForCausalLM"),
        ("type_of_model", "LlamaForCausalLM"),
    ],
)
def test_what_axolotl_takes_is_taken(key, value):
    assert check_hyperparameters({key: value}) == ()


@pytest.mark.parametrize(
    "key", [*OWNED, "mlflow_run_name", "hub_model_id", "use_wandb", "wandb_mode", "use_ray", "hatchery"]
)
def test_what_ftops_owns_is_refused_and_says_what_to_use(key):
    fault = one(check_hyperparameters({key: "anything"}))
    assert "ftops owns it" in fault.summary
    assert fault.hint
    assert owner(key) == fault.hint


def test_every_owned_or_retired_key_is_a_real_mistake_to_make():
    known = json.loads(SNAPSHOT.read_text())["keys"]
    aliases = {alias for entry in known.values() for alias in entry.get("alias", ())}
    assert [key for key in OWNED if key not in known and key not in aliases] == []


ANYTHING = (True, 5, -1, 1.5, "x", "", None, [], [[1]], [None], ["x"], [{"a": 1}], {}, {"a": 1}, {"a": [1]})


@pytest.mark.parametrize("check", [check_config, check_hyperparameters, check_whole])
def test_no_value_of_any_key_surprises(check):
    tree = json.loads(SNAPSHOT.read_text())
    keys = {*tree["keys"], *RETIRED, *OWNED, *(key for each in tree["plugins"].values() for key in each)}
    for key in keys:
        for value in ANYTHING:
            assert all(fault.summary for fault in check({key: value})), (key, value)


@pytest.mark.parametrize("key", [*RETIRED, "unsloth_lora_mlp", "flash_attention", "dataset_processes"])
def test_old_keys_say_what_replaced_them(key):
    fault = one(check_config({key: True}))
    assert fault.summary == f"{key} is an old key"
    assert fault.hint


def test_the_new_names_that_old_keys_point_to_exist():
    known = json.loads(SNAPSHOT.read_text())["keys"]
    for hint in RETIRED.values():
        if hint.startswith("use "):
            names = [word.partition(":")[0] for word in hint.split("`")[1::2]]
            assert [name for name in names if name not in known] == [], hint


def test_code_from_a_models_repository_is_refused_at_any_depth():
    assert check_hyperparameters({"trust_remote_code": False}) != ()
    nested = {"datasets": [{"path": "x", "type": "alpaca", "trust_remote_code": True}]}
    assert one(check_config(nested)).summary == "trust_remote_code is refused"


def test_sharegpt_short_attention_names_and_exclusive_keys():
    assert "chat_template" in one(check_config({"datasets": [{"path": "x", "type": "sharegpt"}]})).hint
    assert one(check_config({"attn_implementation": "flash"})).hint == "use 'flash_attention_2'"
    assert "exclude each other" in one(check_config({"warmup_steps": 5, "warmup_ratio": 0.1})).summary
    assert "fsdp_version: 2" in one(check_config({"fsdp_config": {"offload_params": True}})).hint


def test_a_key_of_a_plugin_brings_its_plugin():
    assert check_hyperparameters({"liger_rope": True}) == ()
    assert plugins_for({"liger_rope": True, "liger_rms_norm": True, "lora_r": 1}) == [FTOPS_PLUGIN, LIGER]
    assert one(check_config({"liger_rope": True})).hint == f"add {LIGER} to `plugins`"
    assert check_config({"liger_rope": True, "plugins": [FTOPS_PLUGIN, LIGER]}) == ()
    assert "expected bool" in one(check_config({"liger_rope": "x", "plugins": [LIGER]})).summary


def test_keys_without_effect_in_the_method():
    fault = one(check_hyperparameters({"lora_r": 8}, adapted=False))
    assert "no effect where all weights are trained" in fault.summary
    assert check_hyperparameters({"lora_r": 8}) == ()


def test_all_faults_at_once_in_order():
    faults = check_hyperparameters({"output_dir": "x", "lora_rr": 1, "micro_batch_size": "four"})
    assert [fault.path for fault in faults] == [("output_dir",), ("lora_rr",), ("micro_batch_size",)]


def test_ten_thousand_checks_take_well_under_a_second():
    check_hyperparameters(ORDINARY)
    began = time.process_time()
    for _ in range(10_000):
        check_hyperparameters(ORDINARY)
    assert time.process_time() - began < 1


def test_importing_reads_no_snapshot_and_no_heavy_library():
    script = (
        "import sys, ftops.training.axolotl.config as c, ftops.training.axolotl.keys as k\n"
        "assert k._snapshot.cache_info().currsize == 0\n"
        "print([m for m in ('jinja2', 'yaml', 'pydantic', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.axolotl
@pytest.mark.slow
def test_the_snapshot_is_what_its_script_prints():
    engine = find()
    if engine is None:
        pytest.skip("the engine is not installed")
    done = subprocess.run(
        [engine.python, "-P", TRAINER / "snapshot.py"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout == SNAPSHOT.read_text()
