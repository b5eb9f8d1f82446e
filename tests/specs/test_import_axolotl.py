"""A config for Axolotl becomes specs that say the same, or is refused with the place of each thing that can't be said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ftops.cli import ftops
from ftops.errors import SpecError, UsageError
from ftops.specs import load
from ftops.specs.import_axolotl import import_config
from ftops.training import axolotl
from ftops.training.axolotl.keys import AXOLOTL_VERSION

SNAPSHOT = Path(axolotl.__file__).parent / f"axolotl-{AXOLOTL_VERSION}.json"

LEAST = {
    "base_model": "Qwen/Qwen3-0.6B",
    "revision_of_model": "abc",
    "datasets": [{"path": "rows.jsonl", "type": "alpaca"}],
    "learning_rate": 1.0e-4,
}
RUNNER = b"""\
apiVersion: ftops/v1
kind: Project
metadata: {name: p}
spec: {runners: {local: {executor: local, capabilities: {gpus: 8}}}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def documents(config, *options):
    """What is printed for a config, which is valid."""
    Path("my config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    text = CliRunner().invoke(ftops, ["import", "my config.yml", *options], catch_exceptions=False).stdout
    specs, diagnostics = load({"ftops.yaml": RUNNER, "specs/x.yaml": text.encode()})
    assert specs is not None, diagnostics
    return text


def imported(config, *options):
    """The data set's spec, the run's spec, and the comments."""
    text = documents(config, *options)
    dataset, run = yaml.safe_load_all(text)
    assert dataset["metadata"] == run["metadata"]
    return dataset["spec"], run["spec"], [line[4:] for line in text.splitlines() if line.startswith("# - ")]


def refused(config):
    """What stands in the way: `line: summary`, sorted."""
    Path("c.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(SpecError) as caught:
        ftops.main(["import", "c.yml"], standalone_mode=False)
    assert all(each.where and each.where.file == "c.yml" for each in caught.value.diagnostics)
    return [each.summary for each in caught.value.diagnostics]


def test_the_least():
    dataset, run, notes = imported(LEAST)
    assert dataset == {
        "source": {"path": "rows.jsonl"},
        "shape": "instruction",
        "split": {"train": 1, "validation": 0, "test": 0},
    }
    assert run == {
        "dataset": "my-config",
        "baseModel": {"hub": "Qwen/Qwen3-0.6B", "revision": "abc"},
        "method": "full",
        "hyperparameters": {"learning_rate": 1.0e-4},
    }
    assert notes == []


def test_old_keys_are_written_as_today():
    old = {
        "max_seq_len": 1024,
        "num_train_epochs": 2,
        "adam_eps": 1.0e-6,
        "evaluation_strategy": "steps",
        "flash_attention": True,
        "sdp_attention": False,
        "torch_dtype": "bfloat16",
        "save_safetensors": True,
    }
    _, run, notes = imported({**LEAST, **old})
    assert run["hyperparameters"] == {
        "learning_rate": 1.0e-4,
        "sequence_len": 1024,
        "num_epochs": 2,
        "adam_epsilon": 1.0e-6,
        "eval_strategy": "steps",
        "attn_implementation": "flash_attention_2",
        "bf16": True,
    }
    assert len(notes) == 6
    assert "max_seq_len is sequence_len today" in notes


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"adapter": "lora"}, {"method": "lora"}),
        ({"adapter": "qlora", "load_in_4bit": True}, {"method": "qlora"}),
        ({"rl": "dpo", "adapter": "lora"}, {"method": "dpo", "adapter": "lora"}),
        ({"rl": "kto", "remove_unused_columns": False, "micro_batch_size": 2}, {"method": "kto", "adapter": "none"}),
        ({"rl": "orpo"}, {"method": "orpo", "adapter": "none"}),
        ({"reward_model": True, "adapter": "lora"}, {"method": "reward", "adapter": "lora"}),
        ({"deepspeed": "deepspeed_configs/zero3_bf16.json"}, {"method": "full", "distributed": "zero3"}),
        ({"fsdp_version": 2, "fsdp_config": {"offload_params": False}}, {"method": "full", "distributed": "fsdp"}),
    ],
)
def test_methods(keys, expected):
    pairs = "rl" in keys or "reward_model" in keys
    kind = "bradley_terry.chat_template" if "reward_model" in keys else "chat_template.default" if pairs else "alpaca"
    _, run, _ = imported({**LEAST, **keys, "datasets": [{"path": "rows.jsonl", "type": kind}]})
    assert {key: run.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("entry", "shape", "columns"),
    [
        ({"type": "chat_template"}, "chat", None),
        ({"type": "chat_template", "field_messages": "conversations"}, "chat", None),
        ({"type": "chat_template", "field_messages": "turns"}, "chat", {"messages": "turns"}),
        ({"type": "completion", "field": "content"}, "completion", {"text": "content"}),
    ],
)
def test_rows(entry, shape, columns):
    dataset, _, _ = imported({**LEAST, "datasets": [{"path": "rows.jsonl", **entry}], "val_set_size": 0.1})
    assert dataset["shape"] == shape
    assert dataset["source"].get("columns") == columns
    assert dataset["split"] == {"train": 0.9, "validation": 0.1, "test": 0}


def test_files_that_are_read_in_several_ways_are_several_data_sets():
    files = [
        {"path": "a.jsonl", "type": "chat_template", "field_messages": "conversations"},
        {"path": "b.jsonl", "type": "chat_template", "field_messages": "talk"},
        {"path": "c.jsonl", "type": "chat_template"},
    ]
    text = documents({**LEAST, "datasets": files, "val_set_size": 0.1}, "--name", "mine")
    first, second, run = yaml.safe_load_all(text)
    assert [each["metadata"]["name"] for each in (first, second, run)] == ["mine-1", "mine-2", "mine"]
    assert first["spec"]["source"] == {"paths": ["a.jsonl", "c.jsonl"]}
    assert second["spec"]["source"] == {"path": "b.jsonl", "columns": {"messages": "talk"}}
    assert first["spec"]["split"] == second["spec"]["split"] == {"train": 0.9, "validation": 0.1, "test": 0}
    assert run["spec"]["datasets"] == [{"name": "mine-1"}, {"name": "mine-2"}]
    assert "dataset" not in run["spec"]


def test_several_files_and_checkpoints_and_a_folder():
    Path("models/m").mkdir(parents=True)
    files = [{"path": f"{name}.jsonl", "type": "alpaca"} for name in "ab"]
    saved = {
        "save_steps": 20, "save_total_limit": 3, "load_best_model_at_end": True, "metric_for_best_model": "loss",
        "val_set_size": 0.1, "eval_steps": 20, "early_stopping_patience": 4,
    }  # fmt: skip
    config = {**LEAST, **saved, "base_model": "./models/m", "revision_of_model": None, "datasets": files}
    dataset, run, notes = imported(config, "--name", "mine")
    assert dataset["source"] == {"paths": ["a.jsonl", "b.jsonl"]}
    assert run["dataset"] == "mine"
    assert run["baseModel"] == {"path": "models/m"}
    assert run["checkpoints"] == {"every": 20, "keep": 3, "best": {"metric": "eval_loss", "mode": "min"}}
    assert run["earlyStopping"] == {"patience": 4}
    assert notes == []


def test_what_ftops_decides_is_left_out_and_said():
    more = {
        "wandb_project": "x",
        "hub_model_id": "y",
        "output_dir": "out",
        "saves_per_epoch": 2,
        "revision_of_model": None,
    }
    _, run, notes = imported({**LEAST, **more})
    assert run["hyperparameters"] == {"learning_rate": 1.0e-4}
    assert [note.split()[0] for note in notes] == [
        "baseModel.revision",
        "checkpoints.every",
        "wandb_project",
        "hub_model_id",
    ]


@pytest.mark.parametrize(
    ("keys", "summary"),
    [
        ({"micro_batchsize": 4}, "unknown key 'micro_batchsize'"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"rl": "simpo"}, "ftops has no method for rl 'simpo'"),
        ({"adapter": "llama-adapter"}, "ftops trains no adapter 'llama-adapter'"),
        ({"trust_remote_code": True}, "trust_remote_code can't be carried over"),
        ({"test_datasets": [{"path": "t.jsonl", "type": "alpaca"}]}, "a data set is split, not given in two"),
        ({"val_set_size": 200}, "200 is no share of the rows"),
        ({"base_model": "../elsewhere"}, "../elsewhere is no folder, and no name of the hub"),
        ({"datasets": [{"path": "tatsu-lab/alpaca", "type": "alpaca"}]}, "tatsu-lab/alpaca is no file of rows"),
        ({"datasets": [{"path": "/data/rows.jsonl", "type": "alpaca"}]}, "/data/rows.jsonl lies outside of the project"),
        ({"datasets": [{"path": "rows.jsonl", "type": "mine"}]}, "rows of type 'mine' are not known"),
        ({"datasets": [{"path": "rows.jsonl", "type": "alpaca", "shards": 4}]}, "shards of a data set can't be carried over"),
        ({"max_seq_len": 4, "sequence_len": 5}, "max_seq_len and sequence_len say different things"),
        ({"datasets": []}, "datasets or pretraining_dataset is missing"),
        (
            {"datasets": [{"path": "a.jsonl", "type": "alpaca"}, {"path": "b.jsonl", "type": "completion"}]},
            "rows of several forms are not trained on together: alpaca, completion",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(keys, summary):
    found = refused({**LEAST, **keys})
    assert any(summary in each for each in found), found
    assert len(found) <= 2, found


ROWS = json.loads(SNAPSHOT.read_text())["models"]["SFTDataset"]
ANYTHING = (True, 5, -1, 1.5, "x", "", [], [[1]], [None], ["x"], [{"a": 1}], {}, {"a": 1}, {"field_instruction": "a"})


@pytest.mark.parametrize("kind", ["alpaca", "chat_template", "completion"])
def test_no_value_of_any_key_surprises(kind):
    entry = {"path": "rows.jsonl", "type": kind}
    for key in ROWS:
        for value in ANYTHING:
            import_config({**LEAST, "datasets": [{**entry, key: value}]}, "x", lambda path: False)
    for key in (
        "datasets",
        "test_datasets",
        "val_set_size",
        "adapter",
        "rl",
        "base_model",
        "save_steps",
        "saves_per_epoch",
    ):
        for value in ANYTHING:
            import_config({**LEAST, "datasets": [entry], key: value}, "x", lambda path: False)


def test_a_type_with_fields_of_its_own_is_refused_with_its_place():
    assert refused({**LEAST, "datasets": [{"path": "rows.jsonl", "type": {"field_instruction": "q"}}]}) == [
        "rows of type {'field_instruction': 'q'} are not known"
    ]


def test_a_file_is_written_once():
    Path("c.yml").write_text(json.dumps(LEAST))
    ftops.main(["import", "c.yml", "--out", "specs.yaml"], standalone_mode=False)
    before = Path("specs.yaml").read_bytes()
    with pytest.raises(UsageError):
        ftops.main(["import", "c.yml", "--out", "specs.yaml"], standalone_mode=False)
    assert Path("specs.yaml").read_bytes() == before
