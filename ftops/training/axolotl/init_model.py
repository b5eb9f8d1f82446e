"""Makes a small random Llama and a tokenizer trained on a data set. Run by the engine's own Python; stands alone:

    ENGINE/bin/python -P ftops/training/axolotl/init_model.py REQUEST.json

The request is `{"family": "llama", "hiddenSize", "layers", "heads", "vocabSize", "seed", "texts": JSONL file, "output":
folder}`. The folder appears whole or not at all, and the same request gives the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Read before the libraries are imported: a tokenizer trained by several threads isn't the same twice.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|begin|>tools\\n' + tools | tojson + '<|end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|begin|>' + message['role'] + (' ' + message['name'] if message['name'] else '') + '\\n' }}"
    "{{ message['content'] or '' }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '\\n' if message['content'] or not loop.first else '' }}"
    "{{ {'name': call['function']['name'], 'arguments': call['function']['arguments']} | tojson }}"
    "{% endfor %}"
    "{{ '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant\\n' }}{% endif %}"
)
"""A turn is its role (and the name of who speaks), its text, and a line of JSON for each function that it calls."""
CONTEXT = 2048
LABELS = frozenset({"role", "from", "type", "id", "tool_call_id"})
"""What says something of a text and is none."""


def texts(path: str) -> Iterator[str]:
    """Every text of every row, wherever it is nested."""
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            yield from said(json.loads(line))


def said(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from said(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name not in LABELS:
                yield from said(each)


def make_tokenizer(request: dict[str, Any], folder: Path) -> int:
    """Writes a byte-level BPE tokenizer; returns the number of its tokens."""
    # Here and below: imported when main() has read a valid request, as the libraries take seconds.
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=request["vocabSize"],
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(request["texts"]), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder)
    return len(wrapped)


def make_model(request: dict[str, Any], tokens: int, folder: Path) -> None:
    """Writes a Llama in float32 with random weights: SwiGLU at 8/3 of the width as in Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(request["seed"])
    width = request["hiddenSize"]
    config = LlamaConfig(
        vocab_size=tokens,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 3 // 32) * 32,
        num_hidden_layers=request["layers"],
        num_attention_heads=request["heads"],
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        dtype="float32",
    )
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)


def main(path: str) -> None:
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    if request["family"] != "llama":
        raise SystemExit(f"init.family: expected llama, got {request['family']!r}")
    output = Path(request["output"])
    if output.exists():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        make_model(request, make_tokenizer(request, folder), folder)
        for file in sorted(folder.iterdir()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        try:
            folder.rename(output)
        except OSError:
            if not output.exists():  # another process that made the same model was first
                raise
            shutil.rmtree(folder)


if __name__ == "__main__":
    main(sys.argv[1])
