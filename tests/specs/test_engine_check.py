"""`ftops engine check`: any config for Axolotl, without a project: what it would drop, refuse, or read as something else."""

from __future__ import annotations

import json

import pytest

from ftops.specs.axolotl_config import check_engine_config
from tests.support.projects import ftops

SOUND = "base_model: org/model\nlearning_rate: 2e-4\ndatasets: [{path: data.jsonl, type: alpaca}]\n"


def told(text):
    found, unreadable = check_engine_config("config.yml", text.encode())
    assert not unreadable
    return [(each.where.line, each.where.column, each.fault.kind, each.fault.summary) for each in found]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", []),
        ("micro_batchsize: 2", [(4, 1, "unknown", "unknown key 'micro_batchsize'")]),
        ("max_seq_len: 512", [(4, 1, "unknown", "max_seq_len is an old key")]),
        ("adam_eps: 1e-8", [(4, 1, "unknown", "adam_eps is an old key")]),
        ("save_safetensors: true", [(4, 1, "deprecated", "save_safetensors is an old key")]),
        ("evaluation_strategy: steps", [(4, 1, "deprecated", "evaluation_strategy is an old key")]),
        ("dpo_beta: 0.1", [(4, 1, "deprecated", "dpo_beta is an old key")]),
        ("unsloth_lora_mlp: true", [(4, 1, "unknown", "unsloth_lora_mlp is an old key")]),
        ("trl:\n  beta: 0.1\n  betta: 1", [(6, 3, "unknown", "unknown key 'betta' in trl")]),
        ("load_in_4bit: maybe", [(4, 1, "value", "load_in_4bit: expected bool, got 'maybe'")]),
        ("attn_implementation: flash", [(4, 1, "value", "attn_implementation: 'flash' is refused")]),
        (
            "warmup_steps: 5\nwarmup_ratio: 0.1",
            [(5, 1, "conflict", "warmup_ratio and warmup_steps exclude each other")],
        ),
        (
            "val_set_size: 0.1\ntest_datasets: [{path: b, type: alpaca}]",
            [(4, 1, "conflict", "val_set_size and test_datasets exclude each other")],
        ),
        # As Axolotl reads YAML: by version 1.1.
        ("bf16: yes\nfp16: off\ngradient_checkpointing: True", []),
        ("1: 2", [(4, 1, "unknown", "unknown key '1'")]),
        ("yes: 1", [(1, 1, "unknown", "unknown key 'True'")]),
        # Keys that ftops renders itself are keys all the same.
        ("output_dir: out\nresume_from_checkpoint: a\nwandb_project: x\nadapter: lora", []),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_each_key_is_looked_at(lines, expected):
    assert told(SOUND + lines) == expected


def test_what_a_config_must_have():
    assert [(kind, summary) for _, _, kind, summary in told("sequence_len: 512")] == [
        ("missing", "base_model is missing"),
        ("missing", "learning_rate is missing"),
        ("missing", "datasets or pretraining_dataset is missing"),
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1\n", "this is not valid YAML"),
        (b"- 1\n", "a config is a mapping of keys"),
        (b"a: 1\n---\nb: 2\n", "a config is one document"),
        (b"a: 1\na: 2\n", "key 'a' stands twice"),
        (b"", "the file holds no document"),
        (b"base_model: 2001-13-45\n", "YAML 1.1, which Axolotl reads, has no such value: month"),
        (b"seed: =\n", "YAML 1.1, which Axolotl reads, has no such value: could not determine"),
        (b"\xff\xfe\x00", ""),
        (b"a: &x [" + b"1," * 1000 + b"]\nb: [" + b"*x," * 5000 + b"]\n", ""),
        (b"#" + b"x" * (1 << 20), ""),
    ],
    ids=["syntax", "list", "two", "twice", "empty", "date", "equals", "bytes", "bomb", "large"],
)
def test_what_is_no_config_is_refused_with_its_place(content, expected):
    found, (diagnostic, *_) = check_engine_config("config.yml", content)
    assert found == []
    assert diagnostic.where.file == "config.yml"
    assert diagnostic.summary.startswith(expected)


def test_the_command_reads_files_anywhere(tmp_path):
    (tmp_path / "sound.yml").write_text(SOUND)
    (tmp_path / "typo.yml").write_text(f"{SOUND}lora_rr: 8\n")
    done = ftops(tmp_path, "engine", "check", "sound.yml")
    assert done.stdout == "1 of 1 as Axolotl 0.19.0 reads them.\n"
    done = ftops(tmp_path, "engine", "check", "sound.yml", "typo.yml", code=3)
    assert done.stdout.splitlines() == [
        "typo.yml:4:1: error: unknown key 'lora_rr'",
        "  hint: did you mean 'lora_r'?",
        "1 of 2 as Axolotl 0.19.0 reads them.",
    ]
    tree = json.loads(ftops(tmp_path, "engine", "check", "sound.yml", "typo.yml", "--format", "json", code=3).stdout)
    assert tree["engine"] == "axolotl==0.19.0"
    assert tree["files"] == [
        {"file": "sound.yml", "findings": []},
        {
            "file": "typo.yml",
            "findings": [
                {
                    "kind": "unknown", "key": "lora_rr", "line": 4, "column": 1,
                    "summary": "unknown key 'lora_rr'", "hint": "did you mean 'lora_r'?",
                }
            ],
        },
    ]  # fmt: skip
    assert ftops(tmp_path, "engine", "check", "gone.yml", code=64).stdout == ""


@pytest.mark.parametrize("command", [("engine", "check"), ("import",)], ids=" ".join)
def test_a_long_config_is_read_to_its_end(tmp_path, command):
    (tmp_path / "long.yml").write_text(SOUND + "# a comment\n" * 100_000 + "micro_batchsize: 2\n")
    (tmp_path / "longer.yml").write_text(SOUND + "#" * (10 << 20))
    for name, expected in {"long": "unknown key 'micro_batchsize'", "longer": "more than the 10,485,760"}.items():
        done = ftops(tmp_path, *command, f"{name}.yml", code=3)
        assert expected in done.stdout + done.stderr
