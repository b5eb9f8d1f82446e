"""The config in an attempt's folder: read back as it was written, and refused where the job wrote something else there."""

from __future__ import annotations

import os

import pytest

from ftops.errors import ExternalError
from ftops.training.attempt_config import MOST, read_config


def test_a_config_is_read_as_it_was_written(tmp_path):
    (tmp_path / "config.yaml").write_text("base_model: ../x\ndatasets:\n- path: a.jsonl\nlr: 0.0002\n한국어: null\n")
    assert read_config(tmp_path) == {
        "base_model": "../x",
        "datasets": [{"path": "a.jsonl"}],
        "lr": 0.0002,
        "한국어": None,
    }


def test_where_there_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "mapping"), (b"- a\n", "mapping"), (b"a: [", "while parsing"), (b"\xff\xfe\x00", ""), (b"a: !!python/object:os.x 1\n", "constructor"),
        (b"a: 2026-13-45\n", "month"), (b"a: &a\n  b: *c\n", "undefined alias"), (b"[" * 100_000, ""),
    ],
)  # fmt: skip
def test_what_is_no_config_is_told_with_its_path(tmp_path, content, told):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ExternalError) as error:
        read_config(tmp_path)
    (diagnostic,) = error.value.diagnostics
    assert str(tmp_path / "config.yaml") in diagnostic.summary
    assert told in diagnostic.detail


def test_one_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"a: " + b"x" * MOST)
    with pytest.raises(ExternalError, match=r"config\.yaml"):
        read_config(tmp_path)


def test_a_link_or_a_pipe_in_its_place_is_not_read(tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text("a: 1\n")
    place = tmp_path / "config.yaml"
    place.symlink_to(secret)
    with pytest.raises(ExternalError):
        read_config(tmp_path)
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(ExternalError):
        read_config(tmp_path)
