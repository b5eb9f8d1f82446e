"""However much of a file is missing at its end, it is torn."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.training.checkpoints import Checkpoint, Incomplete, final_weights, verify

tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != "__metadata__"),
    st.integers(1, 64),
    min_size=1,
    max_size=5,
)


def safetensors(sizes: dict[str, int]) -> bytes:
    header, end = {}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def checkpoint(folder: Path, sizes: dict[str, int], state: dict) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(safetensors(sizes))
    for number, name in enumerate(("optimizer.pt", "scheduler.pt", "rng_state.pth"), 1):
        with zipfile.ZipFile(folder / name, "w") as archive:
            for part in range(number):
                archive.writestr(f"archive/{part}", bytes(part * 10))
    (folder / "trainer_state.json").write_text(json.dumps({**state, "global_step": 7}))


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json"]


@settings(deadline=None)  # the disk decides how long an example takes
@given(tensors, st.dictionaries(st.text(), st.integers()), st.sampled_from(FILES), st.data())
def test_a_checkpoint_with_a_truncated_file_is_torn(sizes, state, name, data):
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, "checkpoint-7")
        checkpoint(folder, sizes, state)
        assert isinstance(verify(folder), Checkpoint)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert isinstance(verify(folder), Incomplete)


@settings(deadline=None)  # the disk decides how long an example takes
@given(tensors, st.data())
def test_truncated_final_weights_are_torn(sizes, data):
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.json").write_text("{}")
        whole = safetensors(sizes)
        (folder / "model.safetensors").write_bytes(whole)
        assert final_weights(folder)["model.safetensors"].size == len(whole)
        (folder / "model.safetensors").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        assert isinstance(final_weights(folder), Incomplete)


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.binary(max_size=200))
def test_any_bytes_are_judged_without_an_error(content):
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(content)
        assert isinstance(final_weights(folder), Incomplete)
