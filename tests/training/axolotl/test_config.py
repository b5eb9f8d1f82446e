"""Golden configs (configs/*.yaml: values in, config out), and what a template may and may not change."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from ftops.executors.engine import find, plugin_files
from ftops.training.axolotl.config import (
    METHODS,
    PREFERENCES,
    RunValues,
    adapter_of,
    check_rendered,
    owned_values,
    render_configs,
    shipped_templates,
    takes_own_template,
    template_for,
    template_sources,
    template_values,
)

CASES = sorted((Path(__file__).parent / "configs").glob("*.yaml"))
VALUES = RunValues("lora", {"lora_r": 8}, "../../../models/m", "../../../data/d/train.jsonl", "../../../cache/tokens/d")


def golden(path):
    case = yaml.safe_load(path.read_text())
    best = case["values"].pop("best", None)
    return RunValues(**case["values"], best=best and tuple(best)), case["config"]


def render(values, template=None, **templates):
    texts = {**shipped_templates(), **{f"{name}.j2": text for name, text in templates.items()}}
    request = {"id": "it", "template": template or template_for(values.method), "values": template_values(values)}
    payload = json.loads(json.dumps({"templates": texts, "requests": [request]}))
    return render_configs(payload)["results"]["it"]


def error_of(text, values=VALUES):
    return render(values, "mine.j2", mine=text)["error"]


def faults(extra, values=VALUES, template='{% extends "axolotl/lora.yaml.j2" %}'):
    """What is wrong with the shipped config, changed by a template's method block."""
    text = template + "{% set learning_rate = 1.0e-4 %}{% block method %}{{ super() }}\n" + extra + "{% endblock %}"
    result = render(values, "mine.j2", mine=text)
    return [fault.summary for fault in check_rendered(result["config"], values)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden(path):
    values, expected = golden(path)
    result = render(values)
    assert result["config"] == expected
    assert check_rendered(result["config"], values) == ()


def test_the_text_is_what_the_golden_file_shows():
    path = next(path for path in CASES if path.stem == "lora-cpu-resumed")
    shown = path.read_text().partition("config:\n")[2]
    assert render(golden(path)[0])["text"] == "".join(f"{line[2:]}\n" for line in shown.splitlines())


@pytest.mark.parametrize("method", METHODS)
def test_every_text_parses_to_its_config_and_has_no_odd_blank_lines(method):
    result = render(dataclasses.replace(VALUES, method=method, hyperparameters={"max_grad_norm": 0.5}))
    assert yaml.safe_load(result["text"]) == result["config"]
    assert "\n\n\n" not in result["text"]
    assert not result["text"].startswith("\n")
    assert result["text"].endswith("\n")


def test_hyperparameters_win_over_defaults():
    given = {"seed": 7, "optimizer": "adamw_8bit", "logging_steps": 5, "excess_length_strategy": "raise", "lora_r": 4}
    config = render(dataclasses.replace(VALUES, hyperparameters=given, gpus=1))["config"]
    assert {key: config[key] for key in given} == given


def test_a_runner_without_gpus_gets_its_switches_and_one_with_gpus_not():
    assert render(VALUES)["config"]["bf16"] is False
    assert render(dataclasses.replace(VALUES, gpus=1))["config"]["bf16"] == "auto"


@pytest.mark.parametrize(
    ("key", "value"),
    [("bf16", True), ("bf16", "auto"), ("fp16", True), ("sample_packing", True), ("lora_mlp_kernel", True)],
)
def test_what_needs_a_gpu_is_refused_without_one(key, value):
    values = dataclasses.replace(VALUES, hyperparameters={key: value})
    (fault,) = check_rendered(render(values)["config"], values)
    assert fault.path == (key,)
    assert fault.summary == f"{key} is {json.dumps(value)}, which a runner without GPUs can't do"
    with_gpu = dataclasses.replace(values, gpus=1)
    assert check_rendered(render(with_gpu)["config"], with_gpu) == ()


def test_flash_attention_needs_a_gpu():
    values = dataclasses.replace(VALUES, hyperparameters={"attn_implementation": "flash_attention_2"})
    assert [fault.path for fault in check_rendered(render(values)["config"], values)] == [("attn_implementation",)]


def test_a_template_that_leaves_the_cpu_switches_out_is_refused_on_a_cpu():
    text = (
        "\n".join(f"{{{{ owned({key!r}) }}}}" for key in owned_values(VALUES)) + "\n{{ rest() }}\nlearning_rate: 0.1\n"
    )
    config = render(VALUES, "mine.j2", mine=text)["config"]
    assert {fault.path[0] for fault in check_rendered(config, VALUES)} >= {"bf16", "lora_qkv_kernel", "sample_packing"}
    assert check_rendered(config, dataclasses.replace(VALUES, gpus=1)) == ()


def test_the_best_checkpoint_needs_a_validation_split():
    values = dataclasses.replace(VALUES, best=("eval_loss", "min"))
    (fault,) = check_rendered(render(values)["config"], values)
    assert "needs a validation split" in fault.summary


# ------------------------------------------------------------------------------------------- own templates


def test_an_own_template_may_extend_a_shipped_one():
    assert faults("max_grad_norm: 0.5") == []


def test_an_own_template_may_include_another():
    values = dataclasses.replace(VALUES, method="full")
    text = '{% set learning_rate = 1 %}{% include "axolotl/sft.yaml.j2" %}{% include "more.j2" %}'
    config = render(values, "mine.j2", mine=text, more="\ngroup_by_length: {{ gpus > 0 }}\n")["config"]
    assert config["group_by_length"] is False


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("hub_model_id: me/mine", "hub_model_id"),
        ("resume_from_checkpoint: /elsewhere", "resume_from_checkpoint"),
        ("trust_remote_code: true", "trust_remote_code"),
        ("mlflow_tracking_uri: http://elsewhere", "mlflow_tracking_uri"),
    ],
)
def test_an_own_template_may_not_add_what_ftops_owns(line, key):
    assert f"the template sets {key}, which ftops owns" in faults(line)


@pytest.mark.parametrize("key", list(owned_values(VALUES)))
def test_an_own_template_may_neither_change_nor_drop_what_ftops_owns(key):
    config = render(VALUES)["config"]
    changed = check_rendered({**config, key: "elsewhere"}, VALUES)
    assert f"the template sets {key}, which ftops owns" in [fault.summary for fault in changed]
    dropped = check_rendered({name: value for name, value in config.items() if name != key}, VALUES)
    assert f"the template leaves out {key}" in [fault.summary for fault in dropped]


def test_a_template_that_forgets_a_hyperparameter_is_told():
    config = {key: value for key, value in render(VALUES)["config"].items() if key != "lora_r"}
    assert "the template leaves out the hyperparameter lora_r" in [
        fault.summary for fault in check_rendered(config, VALUES)
    ]


def test_an_unknown_key_of_a_template_is_found():
    assert faults("lora_rr: 3") == ["unknown key 'lora_rr'"]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: {{ lora_rank }}\n", "'lora_rank' is undefined", 2),
        ("a: 1\n\nb: {{ hyperparameters.lora_x }}\n", "'dict object' has no attribute 'lora_x'", 3),
        ("a: 1\nb: [{{ nothing }}]\n", "'nothing' is undefined", 2),
        ("a: 1\n{% if %}\n", "Expected an expression, got 'end of statement block'", 2),
        ("a: 1\n{{ option('x') }}\n", "missing 1 required positional argument: 'default'", 2),
        ("a: 1\na: 2\n", "'a' stands twice in line 2 of the rendered config", None),
        ("a: {b: 1, b: 2}\n", "'b' stands twice in line 1 of the rendered config", None),
        ("a: [1\n", "in line 2 of the rendered config", None),
        ("- a\n- b\n", "it renders no mapping", None),
        ("", "it renders no mapping", None),
        ("a: {b: 2024-01-01}\n", "a.b is a date: put it in quotes", None),
        ("on: 1\n", "the key True is no text: put it in quotes", None),
        ("a: .nan\n", "nan is no number that a config can hold", None),
        ("a: !!python/object/apply:os.system [id]\n", "could not determine a constructor", None),
        ("a: &a [*a]\n", "maximum recursion depth exceeded", None),
    ],
)
def test_what_is_wrong_with_a_template_is_said_with_its_line(text, message, line):
    error = error_of(text)
    assert message in error["message"]
    assert (error["template"], error["line"]) == ("mine.j2", line)


def test_an_error_in_a_parent_names_the_parent():
    error = error_of('{# no learning rate #}\n{% extends "axolotl/sft.yaml.j2" %}\n')
    assert error["message"] == "'learning_rate' is undefined"
    assert error["template"] == "axolotl/sft.yaml.j2"
    assert "learning_rate" in shipped_templates()["axolotl/sft.yaml.j2"].splitlines()[error["line"] - 1]


def test_one_bad_template_leaves_the_others_alone():
    good = {"id": "good", "template": "axolotl/lora.yaml.j2", "values": template_values(VALUES)}
    bad = {"id": "bad", "template": "bad.j2", "values": template_values(VALUES)}
    results = render_configs({"templates": {**shipped_templates(), "bad.j2": "{{ x }}"}, "requests": [bad, good]})[
        "results"
    ]
    assert "error" in results["bad"]
    assert "config" in results["good"]


def test_the_sources_of_a_template():
    texts = {
        "a": '{% extends "b" %}{% include "c" ignore missing %}',
        "b": "{%- import 'd' as d -%}{% from \"e\" import x, y %}",
        "c": "",
        "d": "",
        "e": "{# extends #}",
        "f": "{% include hyperparameters.name %}",
        "g": '{% extends "a" if gpus else "b" %}',
    }
    assert set(template_sources("a", texts)) == {"a", "b", "c", "d", "e"}
    assert template_sources("e", texts) == ("e",)
    assert set(template_sources("f", texts)) == set(texts)
    assert set(template_sources("g", texts)) == set(texts)
    assert template_sources("axolotl/lora.yaml.j2", shipped_templates()) == (
        "axolotl/lora.yaml.j2",
        "axolotl/adapter.yaml.j2",
        "axolotl/sft.yaml.j2",
    )


@pytest.mark.parametrize(
    ("steps", "every", "told"),
    [(10, 50, ""), (50, 50, ""), (100, 50, ""), (30, 50, "`eval_steps: 25`"), (20, 50, "`checkpoints: {every: 40}`")],
)
def test_evaluations_and_checkpoints_meet(steps, every, told):
    values = dataclasses.replace(
        VALUES, validation_path="../v.jsonl", every=every, hyperparameters={"eval_steps": steps}, gpus=1, compute=9.0
    )
    faults = check_rendered(render_all({"it": values})["it"], values)
    assert [each.path for each in faults] == ([("eval_steps",)] if told else [])
    assert told in "".join(each.hint for each in faults)


@pytest.mark.parametrize(
    ("kind", "chosen", "takes"),
    [
        ("chat_template", None, True),
        ("chat_template.default", None, True),
        ("ftops_rows.judged", "tokenizer_default", True),
        ("ftops_rows.judged", "tokenizer_default_fallback_chatml", False),
        ("chat_template", "llama3", False),
        ("alpaca", None, False),
        ("alpaca", "tokenizer_default", True),
    ],
)
def test_which_training_takes_the_chat_template_of_the_tokenizer(kind, chosen, takes):
    config = {"datasets": [{"path": "train.jsonl", "type": kind}], **({"chat_template": chosen} if chosen else {})}
    assert takes_own_template(config) is takes


# ----------------------------------------------------------------------------------------------- the judge

RUNNERS = {
    "h100": {"gpus": 8, "compute": 9.0},
    "rtx4090": {"gpus": 1, "compute": 8.9},
    "t4": {"gpus": 1, "compute": 7.5},
    "cpu": {"gpus": 0},
}
SHORT = {"sequence_len": 256, "num_epochs": 2}
OPTIONS = {
    "plain": {},
    "evaluated": {"validation_path": "../../../data/d/validation.jsonl"},
    "resumed": {"resume_from": "../attempt-1/output/checkpoint-50"},
    "best": {"validation_path": "../../../data/d/validation.jsonl", "best": ("eval_loss", "min")},
    "early": {
        "validation_path": "../../../data/d/validation.jsonl",
        "best": ("eval_loss", "min"),
        "patience": 3,
    },
    "packed": {"hyperparameters": {**SHORT, "sample_packing": True, "eval_sample_packing": False}},
    "dora": {"hyperparameters": {**SHORT, "peft_use_dora": True}},
    "rslora": {"hyperparameters": {**SHORT, "peft_use_rslora": True, "lora_target_modules": ["q_proj", "v_proj"]}},
    **{each: {"distributed": each} for each in ("ddp", "zero1", "zero2", "zero3", "fsdp")},
}


def matrix():
    """Every shipped template with every option on every runner where the two go together, by a name."""
    for method in METHODS:
        adapters = (None, "qlora", "none") if method in PREFERENCES else (None,)
        forms = ("preference",) if method in PREFERENCES else ("alpaca", "messages", "sharegpt", "completion")
        for adapter, form, runner, option in itertools.product(adapters, forms, RUNNERS, OPTIONS):
            values = dataclasses.replace(
                VALUES,
                method=method,
                adapter=adapter,
                data_format=form,
                **{"hyperparameters": SHORT, **RUNNERS[runner], **OPTIONS[option]},
            )
            if fits(values, runner, option):
                yield "-".join(filter(None, (method, adapter, form, runner, option))), values


def fits(values, runner, option):
    trained = adapter_of(values.method, values.adapter)
    pairs = values.method in PREFERENCES
    return not (
        (runner == "cpu" and (trained == "qlora" or option == "packed"))
        or (values.distributed and values.gpus < 2)
        or (option in ("dora", "rslora") and trained is None)
        or (option == "packed" and pairs)
        or (option in ("best", "early") and pairs and values.method != "reward")
        or (option == "fsdp" and trained == "qlora" and values.method in ("dpo", "orpo", "kto"))
    )


def render_all(values):
    """The rendered config of each of `values`, by its name."""
    requests = [
        {"id": name, "template": template_for(each.method), "values": template_values(each)}
        for name, each in values.items()
    ]
    payload = json.loads(json.dumps({"templates": dict(shipped_templates()), "requests": requests}))
    results = render_configs(payload)["results"]
    assert {name: each["error"] for name, each in results.items() if "error" in each} == {}
    return {name: each["config"] for name, each in results.items()}


def test_every_option_of_every_template_passes_our_own_check():
    values = dict(matrix())
    assert len(values) > 500
    configs = render_all(values)
    assert {name: faults for name, each in values.items() if (faults := check_rendered(configs[name], each))} == {}


VALIDATE = """
import copy, json, logging, sys, warnings
from axolotl.utils.dict import DictDefault
from axolotl.utils.config import prepare_plugins, validate_config
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
verdicts = {}
for name, (config, gpus, compute) in json.load(sys.stdin).items():
    try:
        cfg = DictDefault(copy.deepcopy(config))
        prepare_plugins(cfg)
        compute = compute or 9.0
        capabilities = {
            "bf16": gpus > 0 and compute >= 8, "fp8": gpus > 0 and compute >= 8.9, "tf32": gpus > 0 and compute >= 8,
            "n_gpu": gpus, "compute_capability": f"sm_{compute * 10:.0f}" if gpus else None,
        }
        checked = validate_config(cfg, capabilities=capabilities, env_capabilities={"torch_version": "2.13.0"})
        dropped = sorted(set(config) - set(checked) - {key for key, value in config.items() if value is None})
        if dropped:
            verdicts[name] = f"dropped {dropped}"
    except Exception as wrong:
        verdicts[name] = repr(wrong)
json.dump(verdicts, open(sys.argv[1], "w"))
"""


@pytest.mark.axolotl
@pytest.mark.slow
def test_axolotl_itself_takes_every_config_on_the_runner_it_is_for_and_drops_nothing(tmp_path):
    engine = find()
    if engine is None:
        pytest.skip("the engine is not installed")
    for name, content in plugin_files().items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(content)
    values = dict(matrix())
    configs = render_all(values)
    asked = {name: (configs[name], each.gpus, each.compute) for name, each in values.items()}
    for path in CASES:
        case, config = golden(path)
        asked[path.stem] = (config, case.gpus, case.compute)
    done = subprocess.run(
        [engine.python, "-c", VALIDATE, tmp_path / "verdicts.json"],
        input=json.dumps(asked),
        env={"PYTHONPATH": "plugin", "AXOLOTL_DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "verdicts.json").read_text()) == {}


@pytest.mark.parametrize(("method", "adapter"), [("qlora", None), ("dpo", "qlora")])
def test_weights_of_four_bits_need_a_gpu(method, adapter):
    form = "preference" if method == "dpo" else "alpaca"
    values = dataclasses.replace(VALUES, method=method, adapter=adapter, hyperparameters={}, data_format=form)
    (fault,) = check_rendered(render(values)["config"], values)
    assert fault.summary == "load_in_4bit is true, which a runner without GPUs can't do"
    assert fault.hint == "take a runner with GPUs, or the adapter lora"
    values = dataclasses.replace(values, gpus=1)
    assert check_rendered(render(values)["config"], values) == ()


@pytest.mark.parametrize(
    ("key", "value", "compute", "summary"),
    [
        ("bf16", True, 7.5, "bf16 needs GPUs of compute capability 8.0; these have 7.5"),
        ("tf32", True, 7.0, "tf32 needs GPUs of compute capability 8.0; these have 7.0"),
        ("fp8", True, 8.6, "fp8 needs GPUs of compute capability 8.9; these have 8.6"),
        ("attn_implementation", "flash_attention_2", 7.5, "flash_attention_2 needs GPUs of compute capability 8.0; these have 7.5"),
        ("attn_implementation", "flash_attention_3", 8.9, "flash_attention_3 needs GPUs of compute capability 9.0; these have 8.9"),
    ],
)  # fmt: skip
def test_what_older_gpus_cannot_do_is_refused(key, value, compute, summary):
    values = dataclasses.replace(VALUES, gpus=1, compute=compute, hyperparameters={key: value})
    assert [each.summary for each in check_rendered(render(values)["config"], values)] == [summary]
    for able in (9.0, None):  # where nobody says what they can do, nothing is refused
        values = dataclasses.replace(values, compute=able)
        assert check_rendered(render(values)["config"], values) == ()


def test_fsdp_refuses_pairs_beside_four_bits_and_kto_a_batch_of_one():
    values = dataclasses.replace(
        VALUES, method="dpo", adapter="qlora", hyperparameters={}, data_format="preference", gpus=2, distributed="fsdp"
    )
    (fault,) = check_rendered(render(values)["config"], values)
    assert fault.path == ("fsdp_config",)
    values = dataclasses.replace(values, method="kto", adapter="lora", hyperparameters={"micro_batch_size": 1})
    (fault,) = check_rendered(render(values)["config"], values)
    assert fault.path == ("micro_batch_size",)
    packed = dataclasses.replace(values, hyperparameters={"sample_packing": True})
    assert [fault.path for fault in check_rendered(render(packed)["config"], packed)] == [("sample_packing",)]
