"""What a training would take: parameters to the last one, memory beside published figures, refusals before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ftops.errors import SpecError
from ftops.plan.address import Address
from ftops.plan.details import TrainingDetails
from ftops.plan.json import plan_from_json, plan_json
from ftops.plan.text import plan_text
from ftops.reconcile import session
from ftops.reconcile.observe import open_workspace
from ftops.training.axolotl.memory_estimate import GIB, Load, checkpoint, largest_batch, memory, trainable
from ftops.training.axolotl.model_shape import Shape
from ftops.training.configs import render_plan
from ftops.training.costs import steps
from tests.support.projects import PROJECT, commit_all, environment, ftops

LLAMA_2_7B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000,
}  # fmt: skip
LLAMA_3_8B = LLAMA_2_7B | {"num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256}
QWEN_3_06B = {
    "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 3072, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
MIXTRAL = LLAMA_2_7B | {
    "num_key_value_heads": 8, "intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip
TRAINED = {
    "bf16": "auto",
    "micro_batch_size": 1,
    "sequence_len": 2048,
    "attn_implementation": "sdpa",
    "gradient_checkpointing": True,
    "optimizer": "adamw_torch_fused",
}
LORA = {"adapter": "lora", "lora_r": 8, "lora_target_modules": ["q_proj", "v_proj"]}
QLORA = LORA | {"adapter": "qlora", "load_in_4bit": True}


def shape(config):
    found = Shape.of(config)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("config", "parameters"),
    [  # as the models' own weights count
        (LLAMA_2_7B, 6_738_415_616),
        (LLAMA_3_8B, 8_030_261_248),
        (MIXTRAL, 46_702_792_704),
        (QWEN_3_06B, 596_042_752),  # 596,049,920 with the norms of queries and keys
    ],
)
def test_parameters(config, parameters):
    assert shape(config).parameters == parameters
    assert shape({"text_config": config, "vision_config": {}}).parameters == parameters


@pytest.mark.parametrize("config", [{}, {"n_embd": 768, "n_layer": 12}, LLAMA_2_7B | {"hidden_size": "4096"}])
def test_other_architectures_have_no_shape(config):
    assert Shape.of(config) is None


def test_trainable_parameters():
    llama = shape(LLAMA_2_7B)
    assert trainable(llama, {}) == llama.parameters
    assert trainable(llama, LORA) == 4_194_304  # as peft prints for Llama 2 7B
    assert trainable(llama, LORA | {"lora_target_modules": None, "lora_target_linear": True}) == 19_988_480
    assert trainable(llama, LORA | {"peft_use_dora": True}) == 4_194_304 + 32 * 2 * 4096
    assert trainable(llama, LORA | {"lora_modules_to_save": ["lm_head"]}) == 4_194_304 + 32000 * 4096
    assert trainable(llama, {"reward_model": True}) == llama.parameters - 32000 * 4096 + 4096


PUBLISHED = [
    # What LLaMA-Factory's table asks for with a model of 7B, in GB: full with 32-bit copies of the weights, LoRA, QLoRA. It
    # does not say for which length: 1024 is the usual one there.
    ("full", LLAMA_2_7B, TRAINED | {"sequence_len": 1024, "deepspeed": {"zero_optimization": {"stage": 0}}}, 120e9),
    ("LoRA", LLAMA_2_7B, TRAINED | LORA | {"sequence_len": 1024}, 16e9),
    ("QLoRA", LLAMA_2_7B, TRAINED | QLORA | {"sequence_len": 1024}, 6e9),
    # What torchtune measured of Llama 3.1 8B, batch 2 of 2048, in GiB: PyTorch's own share, its loss in chunks.
    ("LoRA", LLAMA_3_8B, TRAINED | LORA | {"micro_batch_size": 2, "cut_cross_entropy": True}, 16.2 * GIB + 1.4 * GIB),
    ("QLoRA", LLAMA_3_8B, TRAINED | QLORA | {"micro_batch_size": 2, "cut_cross_entropy": True}, 7.4 * GIB + 1.4 * GIB),
]


@pytest.mark.parametrize(("method", "config", "trained", "published"), PUBLISHED, ids=lambda value: str(value)[:12])
def test_published_figures_are_within_the_estimate(method, config, trained, published):
    found = memory(Load.of(shape(config), trained, 1))
    assert found.low <= published <= found.high, (method, found)
    assert abs(found.expected / published - 1) < 0.2


def test_the_table_in_the_documentation_is_what_is_computed():
    page = (Path(__file__).parents[2] / "docs/explanation/costs.md").read_text()
    for _, config, trained, published in PUBLISHED:
        found = memory(Load.of(shape(config), trained, 1))
        low, expected, high = (f"{each / GIB:.1f}" for each in (found.low, found.expected, found.high))
        assert f"| {published / GIB:.1f} | {expected} ({low} to {high}) |" in page


def test_what_is_divided_takes_less_of_each_gpu():
    llama = shape(LLAMA_3_8B)

    def needed(gpus, **more):
        return memory(Load.of(llama, TRAINED | more, gpus)).expected

    zero = [{"deepspeed": {"zero_optimization": {"stage": stage}}} for stage in range(4)]
    one = [needed(8, **each) for each in zero]
    assert one == sorted(one, reverse=True)
    assert len(set(one)) == 4
    assert needed(8, fsdp_config={"offload_params": False}) < needed(8)
    assert needed(2, **zero[3]) > needed(8, **zero[3])
    assert needed(8) == needed(1), "without a strategy every GPU has all of it"


def test_more_takes_more():
    llama = shape(LLAMA_3_8B)

    def needed(**more):
        return memory(Load.of(llama, TRAINED | LORA | more, 1)).expected

    assert needed(gradient_checkpointing=False) > needed()
    assert needed(micro_batch_size=2) > needed()
    assert needed(sequence_len=4096) > needed()
    assert needed(attn_implementation="eager") > needed()
    assert needed(rl="dpo") > needed(), "two answers lie in a batch"
    assert needed(cut_cross_entropy=True) < needed()


def test_the_largest_batch_divides_and_fits():
    llama = shape(LLAMA_3_8B)
    found = largest_batch(llama, TRAINED | LORA, 1, 80 * GIB, 24)
    assert found is not None
    assert 24 % found == 0
    assert memory(Load.of(llama, TRAINED | LORA | {"micro_batch_size": found}, 1)).high <= 80 * GIB
    assert largest_batch(llama, TRAINED, 1, 24 * GIB, 8) is None


@pytest.mark.parametrize(
    ("config", "rows", "gpus", "expected"),
    [
        ({"max_steps": 7, "num_epochs": 3}, 100, 1, 7),
        ({"num_epochs": 3, "micro_batch_size": 8}, 538, 0, 202),
        ({"num_epochs": 1, "micro_batch_size": 2, "gradient_accumulation_steps": 4}, 100, 2, 7),
        ({"num_epochs": 1, "micro_batch_size": 4, "rl": "kto"}, 40, 0, 20),
        ({"num_epochs": 1}, None, 1, None),
        ({"num_epochs": 1, "sample_packing": True}, 100, 1, None),
    ],
)
def test_steps(config, rows, gpus, expected):
    assert steps(config, rows, gpus) == expected


# ------------------------------------------------------------------------------------------------- plans


def project(tmp_path, run, capabilities, config=LLAMA_3_8B):
    tree = yaml.safe_load(PROJECT)
    tree["spec"]["runners"] = {"gpus": {"executor": "local", "capabilities": capabilities}}
    tree["spec"]["defaultRunner"] = "gpus"
    (tmp_path / "ftops.yaml").write_text(yaml.safe_dump(tree))
    (tmp_path / "specs").mkdir()
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 4)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    documents = [
        {"apiVersion": "ftops/v1", "kind": "Dataset", "metadata": {"name": "d"}, "spec": {"source": {"path": "rows.jsonl"}, "split": {"train": 1, "validation": 0, "test": 0}}},
        {
            "apiVersion": "ftops/v1",
            "kind": "TrainingRun",
            "metadata": {"name": "r"},
            "spec": {"dataset": "d", "baseModel": {"path": "model"}, **run},
        },
    ]  # fmt: skip
    (tmp_path / "specs" / "all.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return open_workspace(tmp_path)


def planned(workspace):
    plan = session.plan(workspace).plan
    (change,) = [each for each in plan.changes if each.address == Address("TrainingRun", "r")]
    return plan, change


def refused(workspace):
    with pytest.raises(SpecError) as caught:
        session.plan(workspace)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def test_a_plan_says_what_a_training_would_take(tmp_path):
    run = {
        "method": "lora",
        "hyperparameters": {"lora_r": 8, "lora_target_modules": ["q_proj", "v_proj"], "max_steps": 30},
    }
    plan, change = planned(project(tmp_path, run, {"gpus": 1, "gpuMemory": "24GiB", "compute": 8.9}))
    assert change.details_of(TrainingDetails).cost is not None
    assert (
        change.details_of(TrainingDetails).cost.parameters,
        change.details_of(TrainingDetails).cost.trainable,
        change.details_of(TrainingDetails).cost.steps,
    ) == (8_030_261_248, 3_407_872, 30)
    assert "trains 3,407,872 (0.04 %) of 8,030,261,248 parameters, 30 steps, leaves " in plan_text(plan)
    assert "memory of each GPU: about 2" in plan_text(plan)
    assert [each.details_of(TrainingDetails).cost for each in plan_from_json(plan_json(plan)).changes] == [
        None,
        change.details_of(TrainingDetails).cost,
    ]


def test_a_training_that_cannot_fit_is_refused_with_what_would(tmp_path):
    found = refused(
        project(tmp_path, {"method": "full", "hyperparameters": {}}, {"gpus": 1, "gpuMemory": "24GiB", "compute": 8.9})
    )
    assert found.summary.startswith("needs ")
    assert "of each GPU, which has 24.0 GiB" in found.summary
    assert found.hint.startswith(
        "gradient_checkpointing: true and the adapter qlora would take about 8.6 GiB of its 24.0 GiB"
    )
    assert found.where is not None
    assert found.where.file == "specs/all.yaml"


def test_a_budget_refuses_before_anything_is_spent(tmp_path):
    found = refused(project(tmp_path, {"method": "full", "budget": {"diskGiB": 50}}, {"gpus": 8}))
    assert "more than its budget of 50 GiB" in found.summary
    assert found.where is not None
    assert found.where.line is not None


@pytest.mark.parametrize("kind", [{"hub": "nobody/nothing"}, {"path": "elsewhere"}])
def test_a_model_that_is_not_at_hand_costs_what_nobody_knows(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("[]")
    _, change = planned(project(tmp_path, {"method": "full", "baseModel": kind}, {"gpus": 1, "gpuMemory": "1GiB"}))
    assert change.details_of(TrainingDetails).cost is None


def test_a_disk_without_room_for_the_checkpoints_is_told_before_anything_is_started(tmp_path):
    huge = LLAMA_2_7B | {"hidden_size": 1 << 17, "intermediate_size": 1 << 19, "num_hidden_layers": 1 << 12}
    root = project(tmp_path, {"method": "full"}, {"gpus": 0}, huge).root
    (tmp_path / "home").mkdir()
    commit_all(root)
    said = ftops(root, "apply", "--yes", env=environment(tmp_path / "home"), code=7).stdout
    assert "of checkpoints and weights, and the disk of the store has " in said
    assert not list(root.glob(".ftops/runs/*"))


def test_a_model_of_the_hub_is_known_once_it_was_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--meta--small"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc123")
    (folder / "snapshots" / "abc123").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs" / "x").write_text(json.dumps(QWEN_3_06B))
    (folder / "snapshots" / "abc123" / "config.json").symlink_to("../../blobs/x")
    _, change = planned(project(tmp_path, {"method": "full", "baseModel": {"hub": "meta/small"}}, {"gpus": 1}))
    assert change.details_of(TrainingDetails).cost is not None
    assert change.details_of(TrainingDetails).cost.parameters == 596_042_752


def test_a_checkpoint_holds_what_is_trained_and_its_states():
    llama = shape(LLAMA_2_7B)
    assert checkpoint(Load.of(llama, TRAINED | LORA, 1)) == 4_194_304 * 12
    assert checkpoint(Load.of(llama, TRAINED, 1)) == llama.parameters * 6


# ---------------------------------------------------------------------------------- micro_batch_size: auto


def rendered(workspace):
    plan = session.plan(workspace).plan
    return render_plan(plan, workspace)[Address("TrainingRun", "r")].tree


AUTO = {"micro_batch_size": "auto", "batch_size": 48, "gradient_checkpointing": True, "sequence_len": 2048}


def test_auto_takes_what_fits_and_keeps_what_a_step_learns_from(tmp_path):
    sizes = set()
    for number, capabilities in enumerate(
        [{"gpus": 1, "gpuMemory": "24GiB"}, {"gpus": 1, "gpuMemory": "80GiB"}, {"gpus": 8, "gpuMemory": "80GiB"}]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = rendered(project(folder, {"method": "lora", "hyperparameters": AUTO}, capabilities))
        assert config["micro_batch_size"] * config["gradient_accumulation_steps"] * capabilities["gpus"] == 48
        assert "batch_size" not in config
        sizes.add(config["micro_batch_size"])
    assert len(sizes) == 3


@pytest.mark.parametrize(
    ("more", "capabilities", "summary"),
    [
        ({"batch_size": None}, {"gpus": 1, "gpuMemory": "80GiB"}, "needs to know how many rows a step learns from"),
        ({}, {"gpus": 1}, "needs a runner that says how much memory its GPUs have"),
        ({}, {"gpus": 0}, "needs a runner that says how much memory its GPUs have"),
        ({}, {"gpus": 5, "gpuMemory": "80GiB"}, "batch_size 48 can't be divided among 5 GPUs"),
        (
            {"gradient_accumulation_steps": 4},
            {"gpus": 1, "gpuMemory": "80GiB"},
            "decides gradient_accumulation_steps too",
        ),
        ({}, {"gpus": 1, "gpuMemory": "16GiB"}, "not even micro_batch_size: 1 fits: it may take "),
    ],
)
def test_auto_says_what_it_lacks(tmp_path, more, capabilities, summary):
    hyperparameters = {key: value for key, value in {**AUTO, **more}.items() if value is not None}
    found = refused(project(tmp_path, {"method": "lora", "hyperparameters": hyperparameters}, capabilities))
    assert summary in found.summary
    assert found.hint
    assert found.where is not None
    assert found.where.line is not None


def test_auto_does_not_change_which_run_it_is(tmp_path):
    digests = set()
    for gpus in (1, 8):
        folder = tmp_path / str(gpus)
        folder.mkdir()
        run = {"method": "lora", "hyperparameters": AUTO}
        _, change = planned(project(folder, run, {"gpus": gpus, "gpuMemory": "80GiB"}))
        digests.add(change.digest)
    assert len(digests) == 1
