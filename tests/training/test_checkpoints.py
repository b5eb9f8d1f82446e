"""Whole and torn checkpoints, each fault one case; the files are made here, byte by byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
import zipfile

import pytest

from ftops.training.checkpoints import (
    BLOCK,
    Checkpoint,
    FileDigest,
    Incomplete,
    by_step,
    file_digest,
    final_weights,
    last_whole,
    logged,
    read_whole,
    verify,
)


def safetensors(path, names=("layer.weight",), size=16, metadata=True):
    header = {"__metadata__": {"format": "pt"}} if metadata else {}
    for index, name in enumerate(names):
        offsets = [index * size, (index + 1) * size]
        header[name] = {"dtype": "F32", "shape": [size // 4], "data_offsets": offsets}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size * len(names)))


def archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"x" * 50)


def weights(folder, kind):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text("{}")
    if kind == "adapter":
        (folder / "adapter_config.json").write_text("{}")
        safetensors(folder / "adapter_model.safetensors")
        return
    (folder / "config.json").write_text("{}")
    if kind == "full":
        safetensors(folder / "model.safetensors")
        return
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name, shard in shards.items():
        safetensors(folder / shard, (name,))


def checkpoint(output, step=50, kind="full", ranks=1):
    folder = output / f"checkpoint-{step}"
    weights(folder, kind)
    for name in ("optimizer.pt", "scheduler.pt"):
        archive(folder / name)
    for rank in range(ranks):
        archive(folder / ("rng_state.pth" if ranks == 1 else f"rng_state_{rank}.pth"))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


KINDS = ["full", "adapter", "sharded"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_whole_checkpoint(tmp_path, kind, ranks):
    folder = checkpoint(tmp_path, 50, kind, ranks)
    assert verify(folder) == Checkpoint(folder, 50, kind == "adapter", ranks)


def rewrite(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


MODEL = "model.safetensors"
FAULTS = {
    "no state": lambda f: (f / "trainer_state.json").unlink(),
    "torn state": lambda f: shorten(f / "trainer_state.json"),
    "state that is no object": lambda f: (f / "trainer_state.json").write_text("[50]"),
    "state nested without end": lambda f: (f / "trainer_state.json").write_text("[" * 100_000),
    "state of another step": lambda f: (f / "trainer_state.json").write_text('{"global_step": 49}'),
    "no weights": lambda f: (f / MODEL).unlink(),
    "no configuration": lambda f: (f / "config.json").unlink(),
    "empty weights": lambda f: (f / MODEL).write_bytes(b""),
    "torn weights": lambda f: shorten(f / MODEL),
    "weights with more": lambda f: (f / MODEL).write_bytes((f / MODEL).read_bytes() + b"\0"),
    "header longer than the file": lambda f: rewrite(f / MODEL, b"{}", length=2**40),
    "header longer than anything": lambda f: rewrite(f / MODEL, b"{}", length=2**64 - 1),
    "header that is no JSON": lambda f: rewrite(f / MODEL, b"\xff{"),
    "header that is a list": lambda f: rewrite(f / MODEL, []),
    "header without tensors": lambda f: rewrite(f / MODEL, {"__metadata__": {}}),
    "header without offsets": lambda f: rewrite(f / MODEL, {"a": {"dtype": "F32"}}),
    "header with a wrong offset": lambda f: rewrite(f / MODEL, {"a": {"data_offsets": [0, None]}}),
    "header with an endless offset": lambda f: rewrite(f / MODEL, b'{"a": {"data_offsets": [0, 1e999]}}'),
    "header with text for a tensor": lambda f: rewrite(f / MODEL, {"a": "b"}),
    "weights that are a link": lambda f: ((f / MODEL).rename(f / "x"), (f / MODEL).symlink_to("x")),
    "weights that are a pipe": lambda f: ((f / MODEL).unlink(), os.mkfifo(f / MODEL)),
    "no optimizer": lambda f: (f / "optimizer.pt").unlink(),
    "torn optimizer": lambda f: shorten(f / "optimizer.pt"),
    "empty optimizer": lambda f: (f / "optimizer.pt").write_bytes(b""),
    "optimizer of zeros": lambda f: (f / "optimizer.pt").write_bytes(bytes(500)),
    "no scheduler": lambda f: (f / "scheduler.pt").unlink(),
    "torn scheduler": lambda f: shorten(f / "scheduler.pt"),
    "no random state": lambda f: (f / "rng_state.pth").unlink(),
    "torn random state": lambda f: shorten(f / "rng_state.pth"),
    "torn random state of one rank": lambda f: (f / "rng_state_1.pth").write_bytes(b"PK"),
    "an adapter's configuration alone": lambda f: (f / "adapter_config.json").write_text("{}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_torn_checkpoint(tmp_path, fault):
    folder = checkpoint(tmp_path)
    FAULTS[fault](folder)
    found = verify(folder)
    assert isinstance(found, Incomplete)
    assert found.path == folder
    assert found.reason


INDEX = "model.safetensors.index.json"
SHARD_FAULTS = {
    "no shard": lambda f: (f / "model-00002-of-00002.safetensors").unlink(),
    "torn shard": lambda f: shorten(f / "model-00002-of-00002.safetensors"),
    "shard without its tensor": lambda f: safetensors(f / "model-00002-of-00002.safetensors", ("c",)),
    "torn index": lambda f: shorten(f / INDEX),
    "empty index": lambda f: (f / INDEX).write_text('{"weight_map": {}}'),
    "index without a map": lambda f: (f / INDEX).write_text('{"weight_map": ["a"]}'),
    "index with a number": lambda f: (f / INDEX).write_text('{"weight_map": {"a": 1}}'),
    "index that leads out": lambda f: (f / INDEX).write_text('{"weight_map": {"a": "../checkpoint-1/x.safetensors"}}'),
}


@pytest.mark.parametrize("fault", SHARD_FAULTS)
def test_a_torn_sharded_checkpoint(tmp_path, fault):
    folder = checkpoint(tmp_path, kind="sharded")
    assert isinstance(verify(folder), Checkpoint)
    SHARD_FAULTS[fault](folder)
    assert isinstance(verify(folder), Incomplete)


def test_what_is_no_checkpoint_folder(tmp_path):
    folder = checkpoint(tmp_path)
    for name in ("checkpoint-51", "checkpoint-050", "checkpoint-", "final"):
        assert isinstance(verify(folder.rename(tmp_path / name)), Incomplete)
        (tmp_path / name).rename(folder)
    (tmp_path / "checkpoint-7").symlink_to(folder)
    assert isinstance(verify(tmp_path / "checkpoint-7"), Incomplete)
    assert isinstance(verify(tmp_path / "checkpoint-8"), Incomplete)


def test_the_last_whole_checkpoint(tmp_path):
    assert last_whole(tmp_path / "absent") is None
    assert last_whole(tmp_path) is None
    for step in (9, 50, 100, 150):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-200").touch()
    assert last_whole(tmp_path).step == 150
    (tmp_path / "checkpoint-150" / "trainer_state.json").unlink()
    shorten(tmp_path / "checkpoint-100" / "optimizer.pt")
    assert last_whole(tmp_path).step == 50
    (tmp_path / "checkpoint-50" / "rng_state.pth").unlink()
    (tmp_path / "checkpoint-9" / "scheduler.pt").unlink()
    assert last_whole(tmp_path) is None


@pytest.mark.parametrize("kind", KINDS)
def test_final_weights_are_digested(tmp_path, kind):
    weights(tmp_path, kind)
    checkpoint(tmp_path, 50, kind)
    for name in ("tokenizer_config.json", "chat_template.jinja", "debug.log", "training_args.bin", "README.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "tokenizer_backup").mkdir()
    found = final_weights(tmp_path)
    expected = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} | {
        "full": {"config.json", "model.safetensors"},
        "adapter": {"adapter_config.json", "adapter_model.safetensors"},
        "sharded": {"config.json", INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
    }[kind]
    assert set(found) == expected
    for name, digest in found.items():
        content = (tmp_path / name).read_bytes()
        assert digest == FileDigest(len(content), hashlib.sha256(content).hexdigest())


def test_configuration_and_tokenizer_alone_are_no_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "model.safetensors is missing" in final_weights(tmp_path).reason
    safetensors(tmp_path / "model.safetensors")
    shorten(tmp_path / "model.safetensors")
    assert "torn" in final_weights(tmp_path).reason
    assert isinstance(final_weights(tmp_path / "absent"), Incomplete)


def test_checkpoints_by_step(tmp_path):
    for step in (100, 9, 20):
        checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / ".checkpoint-5.abcd.tmp").mkdir()
    assert list(by_step(tmp_path)) == [9, 20, 100]
    assert by_step(tmp_path / "absent") == {}


def test_what_was_logged_at_the_step_of_a_checkpoint(tmp_path):
    folder = checkpoint(tmp_path, 50)
    assert logged(folder) == {}
    history = [
        {"step": 49, "loss": 9.0},
        {"step": 50, "loss": 2.5, "epoch": 1},
        {"step": 50, "eval_loss": 3.0, "note": "x"},
    ]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 50, "log_history": history}))
    assert logged(folder) == {"loss": 2.5, "epoch": 1.0, "eval_loss": 3.0}
    (folder / "trainer_state.json").write_text("{")
    assert logged(folder) == {}


def test_every_byte_is_read(tmp_path):
    folder = checkpoint(tmp_path, 50, "sharded", 2)
    found = read_whole(folder)
    assert found.keys() == {path.name for path in folder.iterdir()}
    assert found["optimizer.pt"].sha256 == hashlib.sha256((folder / "optimizer.pt").read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_the_digest_is_of_each_byte(tmp_path, size):
    content = random.Random(size).randbytes(size)
    (tmp_path / "weights").write_bytes(content)
    assert file_digest(tmp_path / "weights") == FileDigest(size, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: f.write_bytes(f.read_bytes().replace(b"xxxx", b"xxyx", 1)), "optimizer.pt is damaged: archive/data.pkl"),
        (lambda f: f.write_bytes(b"no archive"), "optimizer.pt is damaged"),
        (lambda f: (f.rename(f.with_name("x")), f.symlink_to("x")), "symbolic link"),
    ],
)  # fmt: skip
def test_a_damage_that_only_reading_shows(tmp_path, damage, reason):
    folder = checkpoint(tmp_path, 50)
    damage(folder / "optimizer.pt")
    found = read_whole(folder)
    assert isinstance(found, Incomplete)
    assert reason in found.reason


def divided(folder, ranks):
    """What DeepSpeed leaves in the place of optimizer.pt."""
    (folder / "optimizer.pt").unlink()
    (folder / "latest").write_text("global_step50")
    (folder / "global_step50").mkdir()
    archive(folder / "global_step50" / "mp_rank_00_model_states.pt")
    for rank in range(ranks):
        archive(folder / "global_step50" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")


def test_states_that_deepspeed_divides(tmp_path):
    folder = checkpoint(tmp_path, ranks=2)
    divided(folder, 2)
    assert verify(folder) == Checkpoint(folder, 50, adapter=False, world_size=2)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda f: (f / "global_step50/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink(),
            "global_step50 has the optimizer's state of 1 of 2 processes",
        ),
        (
            lambda f: shorten(f / "global_step50/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"),
            "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt is torn: it has no directory at its end",
        ),
        (lambda f: (f / "global_step50/mp_rank_00_model_states.pt").unlink(), "global_step50 has no model states"),
        (lambda f: (f / "latest").write_text("global_step40"), "latest names 'global_step40', which is no folder"),
        (
            lambda f: (f / "latest").write_text("../checkpoint-50"),
            "latest names '../checkpoint-50', which is no folder",
        ),
    ],
)
def test_torn_states_of_deepspeed(tmp_path, damage, reason):
    folder = checkpoint(tmp_path, ranks=2)
    divided(folder, 2)
    damage(folder)
    assert verify(folder) == Incomplete(folder, reason)


def test_states_of_fsdp(tmp_path):
    whole = checkpoint(tmp_path, 50, ranks=2)
    (whole / "optimizer.pt").rename(whole / "optimizer.bin")
    assert isinstance(verify(whole), Checkpoint)
    shorten(whole / "optimizer.bin")
    assert isinstance(verify(whole), Incomplete)
    parts = checkpoint(tmp_path, 60, ranks=2)
    (parts / "optimizer.pt").unlink()
    (parts / "optimizer_0").mkdir()
    assert verify(parts) == Incomplete(parts, "optimizer_0 is empty")
    (parts / "optimizer_0" / "__0_0.distcp").write_bytes(b"x")
    assert verify(parts) == Incomplete(parts, "optimizer_0 is torn: it has no .metadata")
    (parts / "optimizer_0" / ".metadata").write_bytes(b"x")
    assert isinstance(verify(parts), Checkpoint)
