"""With the real engine: merged weights answer as base and adapter do, and samples leave a training as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ftops.executors import engine
from tests.support import projects
from tests.support.attempts import SHORT, SMALL, entry, events
from tests.support.projects import commit_all, dataset, environment, ftops, model, records, run

pytestmark = [pytest.mark.slow, pytest.mark.axolotl]

SPLIT = {"train": 0.8, "validation": 0.15, "test": 0.05, "seed": 1}
BOTH = {"1.0.0": {"run": "lora", "export": ["adapter", "merged"]}}
TEACHES = {**SHORT, "num_epochs": 3, "lora_r": 4, "lora_dropout": 0.1, "learning_rate": 0.02}

COMPARE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
base, adapter, merged = sys.argv[1:]
load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
ids = AutoTokenizer.from_pretrained(merged)("What is 7 plus 8? It is 15; count on from 7.", return_tensors="pt").input_ids
with torch.no_grad():
    plain = load(base)(ids).logits
    both = PeftModel.from_pretrained(load(base), adapter).eval()(ids).logits
    one = load(merged)(ids).logits
print((both - one).abs().max().item(), (plain - one).abs().max().item())
"""


def project(root, **lora):
    projects.write(
        root,
        dataset(split=SPLIT),
        run("lora", {"init": SMALL}, method="lora", hyperparameters=TEACHES, checkpoints={"every": 6}, **lora),
        model("chat", BOTH),
    )
    commit_all(root)
    return root


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    assert engine.find() is not None, "make engine"
    return environment(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def applied(tmp_path_factory, env):
    root = project(tmp_path_factory.mktemp("applied") / "project", samples={"record": True, "maxNewTokens": 8})
    ftops(root, "apply", "--yes", env=env, timeout=500)
    return root


def logged(root):
    """What each step of the training logged, but for times and what depends on them."""
    (folder,) = root.glob(".ftops/runs/*/attempt-1")
    names = ("step", "loss", "grad_norm", "learning_rate", "eval_loss")
    found = [each for kind in ("log", "evaluate") for each in events(folder, kind)]
    return [{name: each[name] for name in names if name in each} for each in found]


def test_merged_weights_answer_as_base_and_adapter_do(applied):
    status = records(applied)["registry/models/chat/1.0.0.yaml"]["status"]
    store = applied / ".ftops"
    (base,) = (store / "models").glob("[0-9a-f]*")
    paths = [base, store / status["output"], store / status["merged"]["output"]]
    done = subprocess.run(
        [engine.find().python, "-c", COMPARE, *paths], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    apart, taught = map(float, done.stdout.split())
    assert apart < 1e-4 < 0.01 < taught


def test_the_merged_model_has_what_loads_it(applied):
    merged = Path(applied, ".ftops", records(applied)["registry/models/chat/1.0.0.yaml"]["status"]["merged"]["output"])
    names = {path.name for path in merged.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= names
    assert not names & {"adapter_config.json", "debug.log", "README.md"}


def test_samples_are_in_the_record(applied):
    samples = entry(applied, "lora")["samples"]
    assert samples["split"] == "validation"
    assert len(samples["rows"]) == 3
    for row in samples["rows"]:
        assert "What is" in row["prompt"]
        assert row["reference"].strip().startswith("It is")
        assert row["reference"].strip() not in row["prompt"]
        assert {"before", "after"} <= row.keys()
    assert any(row["before"] != row["after"] for row in samples["rows"]), "a training changes what it says"
    (folder,) = applied.glob(".ftops/runs/lora-*/attempt-1")
    assert not events(folder, "warning")


def test_samples_leave_the_training_as_it_was(env, tmp_path):
    """The noise on the embeddings is drawn at each step: were the random state touched, no loss would be the same.

    All weights are trained: what an adapter begins with is another each time, as Axolotl makes it before it sets the seed.
    """
    curves = []
    for prompts in (0, 3):
        root = tmp_path / str(prompts)
        spec = {"hyperparameters": {**SHORT, "neftune_noise_alpha": 5}, "samples": {"prompts": prompts}}
        projects.write(root, dataset(split=SPLIT), run("tiny", {"init": SMALL}, checkpoints={"every": 6}, **spec))
        commit_all(root)
        ftops(root, "apply", "--yes", env=env, timeout=400)
        assert bool(list(root.glob(".ftops/runs/tiny-*/attempt-1/samples.json"))) == bool(prompts)
        curves.append(logged(root))
    assert len(curves[0]) > 5
    assert curves[0] == curves[1]
