"""Axolotl itself loads and tokenises what `datasets/formats.py` writes: every row, and of each only what it should learn."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import ftops
from ftops.datasets import formats
from ftops.datasets.read import DataFile, Form, read_rows
from ftops.datasets.spec import DatasetSpec
from ftops.executors.engine import find, plugin_files
from ftops.training.axolotl.config import (
    RunValues,
    check_rendered,
    dataset_entry,
    render_configs,
    shipped_templates,
    template_for,
    template_values,
)

pytestmark = [pytest.mark.axolotl, pytest.mark.slow]
PUBLIC = Path(ftops.__file__).parents[2] / "shared" / "data" / "llama-factory"
END = "<|end|>"

LOAD = """
import json

CAPABILITIES = {"bf16": False, "fp8": False, "tf32": False, "n_gpu": 0, "compute_capability": None}

def learned(tokenizer, row):
    runs, last = [], None
    for index, label in enumerate(row["labels"]):
        if label != -100:
            assert label == row["input_ids"][index]
            if last != index - 1:
                runs.append([])
            runs[-1].append(label)
            last = index
    return [tokenizer.decode(run) for run in runs]

def read(config):
    from axolotl.common.datasets import load_datasets, load_preference_datasets
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.config import normalize_cfg_datasets, normalize_config, prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault
    from ftops_axolotl import measure

    cfg = DictDefault(config)
    prepare_plugins(cfg)
    cfg = validate_config(cfg, capabilities=CAPABILITIES, env_capabilities={"torch_version": "2.13.0"})
    normalize_config(cfg)
    normalize_cfg_datasets(cfg)
    cfg.dataset_num_proc = None  # in this process: one of its own would be started for each step of each data set
    if cfg.rl:
        data = load_preference_datasets(cfg=cfg).train_dataset
        return {"rows": [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in data]}
    tokenizer = load_tokenizer(cfg)
    data = load_datasets(cfg=cfg).train_dataset
    return {
        "rows": [{"learned": learned(tokenizer, row), "shown": tokenizer.decode(row["input_ids"])} for row in data],
        "measured": measure(data),
        "tokens": [len(row["input_ids"]) for row in data],
        "supervised": [sum(label != -100 for label in row["labels"]) for row in data],
    }

# The processes that save the tokenised rows import this file again.
if __name__ == "__main__":
    with open("configs.json") as file:
        found = {name: read(config) for name, config in json.load(file).items()}
    with open("found.json", "w") as file:
        json.dump(found, file)
"""

INSTRUCTIONS = [
    {"instruction": "물의 화학식은?", "input": "", "output": "H2O입니다."},
    {"instruction": "영어로 옮겨 줘", "input": "안녕하세요", "output": "Hello"},
    {"instruction": "Say it twice", "input": "네", "output": "네 네"},
    {"instruction": "빈칸을 채워 줘", "input": "", "output": " 앞뒤 빈칸 \n\n줄도 있어요\n"},
]
ANSWERS = [row["output"] for row in INSTRUCTIONS]
SYSTEM = [{**row, "system": "짧게 답해." if number % 2 else ""} for number, row in enumerate(INSTRUCTIONS)]
CALL = {"name": "get_weather", "arguments": {"city": "서울", "days": 2}}
TOOLS = [{"name": "get_weather", "description": "날씨", "parameters": {"type": "object", "properties": {"city": {}}}}]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "친절하게 답해."},
            {"role": "user", "content": "이름이 뭐야?"},
            {"role": "assistant", "content": "도우미예요."},
            {"role": "user", "content": "고마워"},
            {"role": "assistant", "content": "천만에요!"},
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "서울 날씨 알려 줘"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": CALL}]},
            {"role": "tool", "content": '{"sky": "맑음"}', "name": "get_weather", "tool_call_id": "c1"},
            {"role": "assistant", "content": "서울은 맑아요."},
        ],
        "tools": TOOLS,
    },
    {
        "messages": [
            {"role": "user", "content": "둘 다"},
            {"role": "assistant", "content": "볼게요.", "tool_calls": [{"function": {**CALL, "arguments": {}}}] * 2},
            {"role": "tool", "content": ""},
            {"role": "assistant", "content": "끝."},
        ],
        "tools": TOOLS,
    },
]
TEXTS = [{"text": "옛날 옛적에 호랑이가 살았다."}, {"text": "Once upon a time."}]
CHOICES = [
    {"messages": CHATS[0]["messages"][:2], "chosen": "도우미예요.", "rejected": "몰라."},
    {"messages": CHATS[0]["messages"][:4], "chosen": "천만에요!", "rejected": "그래."},
]


class Case:
    """A data set, read from a file as users have it and written in `form`."""

    def __init__(self, folder, name, file, shape, form):
        spec = DatasetSpec.model_validate({"source": {"path": file.name}, "shape": shape, "output": {"format": form}})
        scratch = folder / f"{name}.rows"
        scratch.mkdir()
        self.rows = read_rows([DataFile(file.parent, file.name)], Form.of(spec), scratch, lambda *_: None).rows
        self.form = form
        self.path = folder / f"{name}.jsonl"
        declared = frozenset().union(*map(formats.optional_fields, self.rows.batches()))
        with self.path.open("wb") as target:
            for batch in self.rows.batches():
                target.writelines(formats.lines(batch, form, declared).to_pylist())

    @property
    def table(self):
        return [row for batch in self.rows.batches() for row in batch.to_pylist()]

    def config(self):
        # Pairs have no method yet: their config is one of supervised training but for what reads the data.
        pairs = self.form == "preference"
        values = RunValues(
            "full",
            {"sequence_len": 16384, "shuffle_merged_datasets": False},
            base_model="model",
            train_path=self.path.name,
            prepared_path=f"prepared-{self.path.stem}",
            data_format="messages" if pairs else self.form,
        )
        request = {"id": "it", "template": template_for("full"), "values": template_values(values)}
        rendered = render_configs({"templates": dict(shipped_templates()), "requests": [request]})["results"]["it"]
        assert check_rendered(rendered["config"], values) == ()
        if pairs:
            return rendered["config"] | {"rl": "dpo", "datasets": [dataset_entry(self.path.name, self.form, "dpo")]}
        return rendered["config"]


def own_cases(folder):
    for name, rows, shape, form in (
        ("alpaca", INSTRUCTIONS, "instruction", "alpaca"),
        ("system", SYSTEM, "instruction", "messages"),
        ("system-sharegpt", SYSTEM, "instruction", "sharegpt"),
        ("chat", CHATS, "chat", "messages"),
        ("chat-sharegpt", CHATS, "chat", "sharegpt"),
        ("completion", TEXTS, "completion", "completion"),
        ("preference", CHOICES, "preference", "preference"),
    ):
        file = folder / f"{name}-source.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        yield name, file, shape, form


def public_cases():
    for name, file, shape, form in (
        ("glaive", "glaive_toolcall_en_demo.json", "chat", "messages"),
        ("glaive-sharegpt", "glaive_toolcall_en_demo.json", "chat", "sharegpt"),
        ("dpo", "dpo_en_demo.json", "preference", "preference"),
    ):
        if (PUBLIC / file).exists():
            yield name, PUBLIC / file, shape, form


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """By name: each case, and what Axolotl made of it, in one process for all."""
    if (engine := find()) is None:
        pytest.skip("the engine is not installed")
    folder = tmp_path_factory.mktemp("axolotl-data")
    cases = {case[0]: Case(folder, *case) for case in (*own_cases(folder), *public_cases())}
    texts = folder / "texts.jsonl"
    texts.write_bytes(b"".join(case.path.read_bytes()[:200_000].rsplit(b"\n", 1)[0] + b"\n" for case in cases.values()))
    request = {"family": "llama", "hiddenSize": 16, "layers": 1, "heads": 2, "vocabSize": 600, "seed": 1}
    (folder / "model.json").write_text(json.dumps({**request, "texts": str(texts), "output": str(folder / "model")}))
    script = Path(ftops.__file__).parent / "training" / "axolotl" / "init_model.py"
    ran(engine, folder, "-P", str(script), "model.json")
    for name, content in plugin_files().items():
        place = folder / name.removeprefix("plugin/")
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
    (folder / "configs.json").write_text(json.dumps({name: case.config() for name, case in cases.items()}))
    (folder / "load.py").write_text(LOAD)
    ran(engine, folder, "load.py")
    found = json.loads((folder / "found.json").read_text())
    return {name: (case, found[name]) for name, case in cases.items()}


def ran(engine, folder, *argv):
    environment = {
        "PATH": f"{engine.bin}:/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "AXOLOTL_DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DATASET_NUM_PROC": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    done = subprocess.run(
        [engine.python, *argv], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def learned(loaded, name):
    return [row["learned"] for row in loaded[name][1]["rows"]]


def called(call, spaced):
    return json.dumps(call, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))


def test_alpaca_learns_the_answer_and_nothing_else(loaded):
    assert learned(loaded, "alpaca") == [[answer + END] for answer in ANSWERS]
    assert "안녕하세요" in loaded["alpaca"][1]["rows"][1]["shown"]


@pytest.mark.parametrize("name", ["system", "system-sharegpt"])
def test_instructions_as_chats(loaded, name):
    assert learned(loaded, name) == [[answer + END] for answer in ANSWERS]
    shown = [row["shown"] for row in loaded[name][1]["rows"]]
    assert ["짧게 답해." in text for text in shown] == [False, True, False, True]
    assert shown[1].startswith("<|begin|>system\n짧게 답해.<|end|>\n<|begin|>user\n영어로 옮겨 줘\n안녕하세요<|end|>\n")


def test_chats_learn_every_turn_of_the_assistant_and_its_calls(loaded):
    call = called(CALL, spaced=True)
    empty = called({**CALL, "arguments": {}}, spaced=True)
    assert learned(loaded, "chat") == [
        ["도우미예요." + END, "천만에요!" + END],
        [call + END, "서울은 맑아요." + END],
        [f"볼게요.\n{empty}\n{empty}{END}", "끝." + END],
    ]
    shown = [row["shown"] for row in loaded["chat"][1]["rows"]]
    assert ["<|begin|>tools\n" in text for text in shown] == [False, True, True]
    assert '<|begin|>tool get_weather\n{"sky": "맑음"}<|end|>' in shown[1]


def test_chats_as_sharegpt_learn_the_same(loaded):
    call = called(CALL, spaced=False)
    empty = called({**CALL, "arguments": {}}, spaced=False)
    assert learned(loaded, "chat-sharegpt") == [
        ["도우미예요." + END, "천만에요!" + END],
        [call + END, "서울은 맑아요." + END],
        ["볼게요." + END, f"[{empty},{empty}]{END}", "끝." + END],
    ]
    assert "<|begin|>tool\n" in loaded["chat-sharegpt"][1]["rows"][1]["shown"]


def test_completions_learn_all(loaded):
    assert learned(loaded, "completion") == [[row["text"] + END] for row in TEXTS]


def test_preferences_are_read_as_the_answers_to_one_chat(loaded):
    rows = loaded["preference"][1]["rows"]
    assert [(row["chosen"], row["rejected"]) for row in rows] == [
        ("도우미예요." + END, "몰라." + END),
        ("천만에요!" + END, "그래." + END),
    ]
    assert all(row["prompt"].endswith("<|begin|>assistant\n") for row in rows)
    assert rows[1]["prompt"].count("<|begin|>") == 5


def test_what_the_plugin_measures_is_what_is_there(loaded):
    for _, found in loaded.values():
        if "measured" in found:
            assert found["measured"] == {
                "rows": len(found["rows"]),
                "tokens": sum(found["tokens"]),
                "supervisedTokens": sum(found["supervised"]),
                "longestRow": max(found["tokens"]),
            }


# ------------------------------------------------------------------------------------------- public data


def public(loaded, name):
    if name not in loaded:
        pytest.skip("the public data is not at hand")
    return loaded[name]


@pytest.mark.parametrize("name", ["glaive", "glaive-sharegpt"])
def test_real_tool_calls_are_learned_in_every_row(loaded, name):
    case, found = public(loaded, name)
    assert len(found["rows"]) == len(case.table) == 300
    for row, read in zip(case.table, found["rows"], strict=True):
        turns = [each for each in row["messages"] if each["role"] == "assistant"]
        assert len(read["learned"]) == len(turns)
        for turn, text in zip(turns, read["learned"], strict=True):
            if turn["tool_calls"] is None:
                assert text == turn["content"] + END
            else:
                (call,) = json.loads(turn["tool_calls"])
                assert json.loads(text.removesuffix(END)) == call["function"]


def test_real_preferences(loaded):
    case, found = public(loaded, "dpo")
    assert len(found["rows"]) == len(case.table) == 300
    for row, read in zip(case.table, found["rows"], strict=True):
        assert read["chosen"] == (row["chosen"] + END).rstrip()
        assert read["rejected"] == (row["rejected"] + END).rstrip()
        assert all(each["content"] in read["prompt"] for each in row["messages"])


# ------------------------------------------------------------------------------------------- large files

SIZES = """
import datasets, json, sys
datasets.disable_progress_bars()
data = datasets.load_dataset("json", data_files=["late.jsonl"], split="train")
json.dump([len(data), data[-1]], sys.stdout)
"""


def test_a_part_that_only_the_last_of_many_rows_has_is_read(tmp_path):
    """`datasets` decides by the first 10 MB what a row is, and fails when a later one has more."""
    if (engine := find()) is None:
        pytest.skip("the engine is not installed")
    plain = {"messages": [{"role": "user", "content": "x" * 10_000}, {"role": "assistant", "content": "네"}]}
    file = tmp_path / "source.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (*[plain] * 1200, CHATS[1])))
    case = Case(tmp_path, "late", file, "chat", "messages")
    environment = {"HOME": os.environ["HOME"], "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [engine.python, "-c", SIZES], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    count, last = json.loads(done.stdout.splitlines()[-1])
    assert count == 1201
    assert last["messages"][1]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert json.loads(last["tools"]) == TOOLS
    assert case.path.stat().st_size > 11_000_000
