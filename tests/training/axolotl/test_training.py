"""Real trainings with rendered configs: events, a clean stop on TERM, resuming, and data that can't teach."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import ftops
from ftops.executors.engine import find, plugin_files
from ftops.executors.job_state import ended, reached_its_end
from ftops.training.axolotl.config import (
    RunValues,
    check_rendered,
    render_configs,
    shipped_templates,
    template_for,
    template_values,
)
from ftops.training.axolotl.failure_classes import Fault, failure
from ftops.training.axolotl.memory_estimate import GIB, Load, checkpoint, memory
from ftops.training.axolotl.model_shape import Shape
from ftops.training.checkpoints import Incomplete, final_weights
from ftops.training.follow import log_tail

pytestmark = [pytest.mark.axolotl, pytest.mark.slow]
ROWS = 64
INIT = {"family": "llama", "hiddenSize": 32, "layers": 1, "heads": 2, "vocabSize": 400, "seed": 7}
FULL = RunValues(
    "full",
    {"num_epochs": 12, "micro_batch_size": 4, "sequence_len": 128, "learning_rate": 5.0e-3},
    base_model="../../../models/m",
    train_path="../../../data/d/train.jsonl",
    prepared_path="../../../cache/tokens/d",
    data_format="messages",
    validation_path="../../../data/d/validation.jsonl",
    every=1000,
)


def messages(count, roles=("user", "assistant")):
    turns = [
        [{"role": role, "content": f"{role} 말 {number % 7} says hello"} for role in roles] for number in range(count)
    ]
    return "".join(json.dumps({"messages": turn}, ensure_ascii=False) + "\n" for turn in turns)


@pytest.fixture(scope="module")
def engine():
    if (found := find()) is None:
        pytest.skip("the engine is not installed")
    return found


@pytest.fixture(scope="module")
def store(engine, tmp_path_factory):
    """A store with a data set and a small base model."""
    root = tmp_path_factory.mktemp("store")
    (root / "data" / "d").mkdir(parents=True)
    (root / "data" / "d" / "train.jsonl").write_text(messages(ROWS))
    (root / "data" / "d" / "validation.jsonl").write_text(messages(8))
    make_model(engine, root, root / "models" / "m")
    return root


def make_model(engine, root, output):
    request = {**INIT, "texts": str(root / "data" / "d" / "train.jsonl"), "output": str(output)}
    path = root / f"{output.name}.json"
    path.write_text(json.dumps(request))
    script = Path(ftops.__file__).parent / "training" / "axolotl" / "init_model.py"
    subprocess.run([engine.python, "-P", script, path], check=True, capture_output=True)


def begin(engine, store, run, attempt, values, **more):
    """Starts an attempt; returns its folder and the process."""
    request = {"id": "it", "template": template_for(values.method), "values": template_values(values)}
    rendered = render_configs({"templates": dict(shipped_templates()), "requests": [request]})["results"]["it"]
    assert check_rendered(rendered["config"], values) == ()
    folder = store / "runs" / run / f"attempt-{attempt}"
    for name, content in {"config.yaml": rendered["text"].encode(), **plugin_files()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    environment = {
        "PATH": f"{engine.bin}:/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "PYTHONPATH": "plugin",
        "FTOPS_EVENTS": "events.jsonl",
        "FTOPS_BAD_LOSS": "stop",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # else threads that spin starve each other on a busy machine
        **more,
    }
    with (folder / "output.log").open("wb") as log:
        argv = [engine.bin / "axolotl", "train", "config.yaml", "--launcher", "python"]
        return folder, subprocess.Popen(argv, cwd=folder, env=environment, stdout=log, stderr=log)


def events(folder):
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finish(folder, process):
    code = process.wait(300)
    assert code == 0, (folder / "output.log").read_text()[-3000:]
    return events(folder)


def test_the_same_request_makes_the_same_model_bytes(engine, store):
    make_model(engine, store, store / "models" / "again")
    for file in (store / "models" / "m").iterdir():
        assert (store / "models" / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    assert sorted(path.name for path in (store / "models").iterdir()) == ["again", "m"]


def test_a_training_is_stopped_cleanly_resumed_and_built_upon(engine, store):
    folder, process = begin(engine, store, "base", 1, FULL)
    while len(events(folder)) < 10:
        assert process.poll() is None, (folder / "output.log").read_text()[-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    stopped = finish(folder, process)
    last = stopped[-1]
    assert last["event"] == "end"
    assert 0 < last["step"] < last["maxSteps"]
    assert stopped[-2]["event"] == "save" or stopped[-3]["event"] == "save"
    checkpoint = folder / "output" / f"checkpoint-{last['step']}"
    assert json.loads((checkpoint / "trainer_state.json").read_text())["global_step"] == last["step"]

    resumed = replace(FULL, resume_from=f"../attempt-1/output/{checkpoint.name}")
    folder, process = begin(engine, store, "base", 2, resumed)
    told = finish(folder, process)
    check_events(told, first_step=last["step"])
    losses = [each["loss"] for each in stopped + told if each["event"] == "log"]
    assert losses[-1] < losses[0] / 2
    seen = [each["tokens_seen"] for each in stopped + told if each["event"] == "log"]
    assert seen == sorted(seen)

    lora = replace(FULL, method="lora", base_model="../../base/attempt-2/output", hyperparameters={"max_steps": 5})
    folder, process = begin(engine, store, "lora", 1, lora)
    check_events(finish(folder, process), first_step=0)
    assert (folder / "output" / "adapter_model.safetensors").stat().st_size > 0


def check_events(told, first_step):
    kinds = [each["event"] for each in told]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert (kinds.count("begin"), kinds.count("end")) == (1, 1)
    assert told[0]["step"] == first_step
    assert told[-1]["step"] == told[-1]["maxSteps"] == told[0]["maxSteps"]
    assert [each["time"] for each in told] == sorted(each["time"] for each in told)
    steps = [each["step"] for each in told if each["event"] == "log"]
    assert steps == list(range(first_step + 1, told[-1]["maxSteps"] + 1))
    wanted = {
        "loss",
        "learning_rate",
        "grad_norm",
        "epoch",
        "tokens_seen",
        "tokens_per_second",
        "memory/max_resident_gib",
    }
    assert wanted <= next(each for each in told if each["step"] == first_step + 2 and each["event"] == "log").keys()
    assert all("eval_loss" in each for each in told if each["event"] == "evaluate")
    assert {"event": "save", "step": told[-1]["step"]}.items() <= next(e for e in told if e["event"] == "save").items()


@pytest.mark.parametrize(
    ("roles", "sequence_len", "why"),
    [
        (
            ("system", "user"),
            128,
            f"ftops: no supervised tokens in 2 of {ROWS} rows of the training set, as tokenised: ",
        ),
        (("user", "assistant"), 2, "ftops: no supervised tokens: the training set is empty"),
    ],
    ids=["labels", "empty"],
)
def test_data_without_anything_to_learn_ends_before_the_first_step(engine, store, request, roles, sequence_len, why):
    name = request.node.callspec.id
    data = store / "data" / name
    data.mkdir()
    (data / "train.jsonl").write_text(messages(ROWS - 2) + messages(2, roles))
    values = replace(
        FULL,
        hyperparameters={"max_steps": 3, "sequence_len": sequence_len},
        train_path=f"../../../data/{name}/train.jsonl",
        prepared_path=f"../../../cache/tokens/{name}",
        validation_path=None,
    )
    folder, process = begin(engine, store, name, 1, values)
    assert process.wait(300) != 0
    assert events(folder) == []
    assert why in (folder / "output.log").read_text()


def test_a_training_that_gets_no_better_ends_early_and_well(engine, store):
    """A rate so high that the validation loss rises from the second evaluation on."""
    hyperparameters = {**FULL.hyperparameters, "num_epochs": 40, "learning_rate": 1.0, "eval_steps": 4}
    values = replace(FULL, hyperparameters=hyperparameters, every=4, best=("eval_loss", "min"), patience=2)
    folder, process = begin(engine, store, "early", 1, values)
    told = finish(folder, process)
    assert told[-1]["event"] == "end"
    assert told[-1]["stopped"] == "early"
    assert told[-1]["step"] < told[-1]["maxSteps"]
    assert reached_its_end(told[-1])
    losses = [each["eval_loss"] for each in told if each["event"] == "evaluate"]
    assert min(losses) not in losses[-2:]
    assert not isinstance(final_weights(folder / "output"), Incomplete)


LEFT_OUT = {
    "rows": (
        "0.05",
        {},
        "10 of 64 rows are left out, far most often because they are longer than sequence_len, which is more than maxOverLength (5%)",
    ),
    "validation": ("1", {"validation_path": "../../../data/left-out/long.jsonl"}, "the validation set is empty"),
}


@pytest.mark.parametrize(("most", "more", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_rows_that_are_left_out_are_told_before_the_first_step(engine, store, request, most, more, why):
    long = (
        json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "말 " * 200}]})
        + "\n"
    )
    data = store / "data" / "left-out"
    data.mkdir(exist_ok=True)
    (data / "train.jsonl").write_text(messages(ROWS - 10) + long * 10)
    (data / "long.jsonl").write_text(long * 4)
    values = replace(
        FULL,
        train_path="../../../data/left-out/train.jsonl",
        prepared_path="../../../cache/tokens/left-out",
        **{"validation_path": None, **more},
    )
    folder, process = begin(
        engine, store, f"left-out-{request.node.callspec.id}", 1, values, FTOPS_MAX_OVER_LENGTH=most
    )
    assert process.wait(300) == 1
    assert events(folder) == []
    found = failure(ended({"exitCode": 1}, stop=False), log_tail(folder / "output.log"))
    assert found.fault is Fault.DATA
    assert why in found.reason


GPU = {  # what a runner with GPUs may pack, and this machine can
    "bf16": False, "fp16": False, "tf32": False, "optimizer": "adamw_torch", "dataset_num_proc": 1, "sample_packing": True,
    "dataloader_num_workers": 0, "dataloader_pin_memory": False,
}  # fmt: skip
REFUSED = {
    "validation without answers": (
        {},
        {"validation_path": "users"},
        Fault.DATA,
        "in 4 of 4 rows of the validation set",
    ),
    "validation too small to pack": (
        {**GPU, "eval_sample_packing": True},
        {"gpus": 1, "validation_path": "one"},
        Fault.DATA,
        "the validation set is too small to be packed: 1 rows",
    ),
    "training too small to pack": (
        {**GPU, "eval_sample_packing": False},
        {"gpus": 1, "train_path": "one"},
        Fault.DATA,
        "the training set is too small: 1 rows",
    ),
    "training without answers, packed": (
        GPU,
        {"gpus": 1, "train_path": "users"},
        Fault.DATA,
        "no supervised tokens in any row",
    ),
    "no chat template": (
        {"chat_template": "tokenizer_default"},
        {"base_model": "../../../models/bare"},
        Fault.CONFIG,
        "the tokenizer has no chat template",
    ),
}


@pytest.fixture(scope="module")
def refusable(store):
    """The same store with a data set of one row, one without answers, and a base model without a chat template."""
    (store / "data" / "one.jsonl").write_text(messages(1))
    (store / "data" / "users.jsonl").write_text(messages(4, ("user", "user")))
    bare = shutil.copytree(store / "models" / "m", store / "models" / "bare")
    (bare / "chat_template.jinja").unlink()
    return store


@pytest.mark.parametrize(("hyperparameters", "more", "fault", "why"), REFUSED.values(), ids=REFUSED)
def test_what_axolotl_would_train_on_in_vain_is_refused(engine, refusable, request, hyperparameters, more, fault, why):
    name = f"refused-{request.node.callspec.id.replace(' ', '-')}"
    paths = {key: f"../../../data/{value}.jsonl" for key, value in more.items() if key.endswith("_path")}
    values = replace(
        FULL,
        hyperparameters={**FULL.hyperparameters, **hyperparameters},
        prepared_path=f"../../../cache/tokens/{name}",
        **{**more, **paths},
    )
    folder, process = begin(engine, refusable, name, 1, values)
    assert process.wait(300) == 1
    assert events(folder) == []
    found = failure(ended({"exitCode": 1}, stop=False), log_tail(folder / "output.log"))
    assert found.fault is fault
    assert why in found.reason


BAD_LOSS = {
    # A rate that throws the weights out of all numbers, and one beside a gradient that is cut to nothing.
    "no number": (
        {"learning_rate": 1.0e38, "optimizer": "sgd", "logging_steps": 1},
        1000,
        "the loss is (nan|inf) at step",
    ),
    "saved": (
        {"learning_rate": 1.0e38, "optimizer": "sgd", "logging_steps": 50},
        3,
        "weights are no numbers any more at step 3",
    ),
}


@pytest.mark.parametrize(("more", "every", "why"), BAD_LOSS.values(), ids=BAD_LOSS)
def test_a_loss_that_is_no_number_ends_the_training_and_is_never_saved(engine, store, request, more, every, why):
    values = replace(FULL, hyperparameters={**FULL.hyperparameters, **more}, every=every)
    folder, process = begin(engine, store, f"bad-{request.node.callspec.id.replace(' ', '-')}", 1, values)
    assert process.wait(300) == 1
    log = log_tail(folder / "output.log")
    found = failure(ended({"exitCode": 1}, stop=False), log)
    assert found.fault is Fault.LOSS, log
    assert re.search(why, found.reason)
    assert not [each for each in events(folder) if each["event"] in ("save", "end")]
    assert not list(folder.glob("output/checkpoint-*"))


KNOWS_IT = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
answer = tokenizer("\\na<|end|>\\n", add_special_tokens=False)["input_ids"]
with torch.no_grad():
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight.zero_()
    model.lm_head.weight.zero_()
    for place, (token, following) in enumerate(zip(answer, answer[1:])):
        model.model.embed_tokens.weight[token, place] = 1.0
        model.lm_head.weight[following, place] = 1e4
model.save_pretrained(folder)
"""
"""Of a model makes one that is sure of what follows in the answer `a`, so that nothing else is left of the other logits."""


def test_a_loss_of_zero_without_a_gradient_ends_the_training(engine, store):
    rows = [[{"role": "user", "content": "b"}, {"role": "assistant", "content": "a"}]] * ROWS
    known = store / "data" / "known"
    known.mkdir()
    known.joinpath("train.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    sure = shutil.copytree(store / "models" / "m", store / "models" / "sure")
    subprocess.run([engine.python, "-c", KNOWS_IT, sure], check=True, capture_output=True)
    values = replace(
        FULL,
        hyperparameters={**FULL.hyperparameters, "logging_steps": 1},
        base_model="../../../models/sure",
        train_path="../../../data/known/train.jsonl",
        prepared_path="../../../cache/tokens/known",
        validation_path=None,
    )
    folder, process = begin(engine, store, "zero", 1, values)
    assert process.wait(300) == 1
    log = log_tail(folder / "output.log")
    found = failure(ended({"exitCode": 1}, stop=False), log)
    assert found.fault is Fault.LOSS, log
    assert "the loss is zero, and there is no gradient, at step 3" in found.reason
    assert [each["loss"] for each in events(folder) if each["event"] == "log"] == [0.0] * 3


def test_the_beginning_says_what_is_learned_from(engine, store):
    data = store / "data" / "long"
    data.mkdir()
    long = json.dumps({"messages": [{"role": role, "content": "말 " * 200} for role in ("user", "assistant")]}) + "\n"
    (data / "train.jsonl").write_text(messages(5) + long * 3)
    values = replace(
        FULL,
        hyperparameters={"max_steps": 1, "sequence_len": 128},
        train_path="../../../data/long/train.jsonl",
        prepared_path="../../../cache/tokens/long",
        validation_path=None,
    )
    begun = finish(*begin(engine, store, "long", 1, values))[0]
    assert (begun["event"], begun["rows"], begun["droppedRows"]) == ("begin", 5, 3)
    assert 0 < begun["supervisedTokens"] < begun["tokens"] <= 5 * begun["longestRow"] <= 5 * 128


def test_rows_that_axolotl_was_told_to_leave_out_are_not_refused(engine, store):
    values = replace(
        FULL,
        hyperparameters={"max_steps": 1, "sequence_len": 128, "dataset_exact_deduplication": True},
        prepared_path="../../../cache/tokens/alike",
        validation_path=None,
    )
    begun = finish(*begin(engine, store, "alike", 1, values, FTOPS_MAX_OVER_LENGTH="0.05"))[0]
    assert begun["rows"] == 7
    assert "droppedRows" not in begun


@pytest.fixture(scope="module")
def pairs(store):
    """Pairs of answers, of which the better one says what the question says; some follow a whole chat."""
    rows = [
        {
            "messages": [
                *([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}] * (number % 2)),
                {"role": "user", "content": f"user 말 {number % 7} says hello"},
            ],
            "chosen": {"role": "assistant", "content": f"assistant 말 {number % 7} says hello"},
            "rejected": {"role": "assistant", "content": "no"},
        }
        for number in range(40)
    ]
    (store / "data" / "pairs").mkdir()
    for name, some in (("train", rows), ("validation", rows[:8])):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        (store / "data" / "pairs" / f"{name}.jsonl").write_text(text)
    return replace(
        FULL,
        hyperparameters={"num_epochs": 2, "micro_batch_size": 4, "sequence_len": 128, "learning_rate": 5.0e-3},
        train_path="../../../data/pairs/train.jsonl",
        validation_path="../../../data/pairs/validation.jsonl",
        prepared_path="../../../cache/tokens/pairs",
        data_format="preference",
    )


@pytest.mark.parametrize(
    ("method", "rows", "shown"),
    [
        ("dpo", 40, "rewards/margins"),
        ("orpo", 40, "rewards/margins"),
        ("kto", 80, "rewards/margins"),
        ("reward", 40, "margin"),
    ],
)
def test_pairs_of_answers_teach_which_one_is_better(engine, store, pairs, method, rows, shown):
    folder, process = begin(engine, store, method, 1, replace(pairs, method=method))
    told = finish(folder, process)
    assert told[0]["event"] == "begin"
    assert (told[0]["rows"], told[0]["droppedRows"]) == (rows, 0)
    assert (told[-1]["event"], told[-1]["step"]) == ("end", rows // 4 * 2)
    margins = [each[shown] for each in told if shown in each]
    assert len(margins) >= 20  # a batch of KTO may hold one kind of answers only, and then tells no margin
    third = len(margins) // 3
    assert min(margins[-third:]) > max(margins[:2]), margins
    assert any("eval_loss" in each for each in told)
    assert (folder / "output" / "adapter_model.safetensors").is_file()
    if method == "dpo":
        assert margins[0] == 0, "before the first step the model is its own reference"
    if method == "reward":
        assert json.loads((folder / "output" / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"


def test_memory_and_checkpoints_are_as_estimated(engine, store):
    request = {**INIT, "hiddenSize": 512, "layers": 8, "heads": 8}
    path = store / "wide.json"
    path.write_text(
        json.dumps({**request, "texts": str(store / "data/d/train.jsonl"), "output": str(store / "models/wide")})
    )
    script = Path(ftops.__file__).parent / "training" / "axolotl" / "init_model.py"
    subprocess.run([engine.python, "-P", script, path], check=True, capture_output=True)
    more = {"max_steps": 3, "sequence_len": 512, "pad_to_sequence_len": True}
    values = replace(
        FULL,
        hyperparameters={**FULL.hyperparameters, **more},
        base_model="../../../models/wide",
        prepared_path="../../../cache/tokens/wide",
        validation_path=None,
    )
    folder, process = begin(engine, store, "wide", 1, values)
    told = finish(folder, process)
    shape = Shape.of(json.loads((store / "models/wide/config.json").read_text()))
    assert shape is not None
    load = Load.of(shape, yaml.safe_load((folder / "config.yaml").read_text()), 0)
    used = max(each.get("memory/max_resident_gib", 0) for each in told) * GIB
    found = memory(load, cpu=True)
    assert found.low < used < found.high
    (kept,) = (folder / "output").glob("checkpoint-*")
    size = sum(each.stat().st_size for each in kept.iterdir())
    assert checkpoint(load) == pytest.approx(size, rel=0.02)
    weights = (folder / "output" / "model.safetensors").stat().st_size
    assert weights == pytest.approx(4 * shape.parameters, rel=0.01)
