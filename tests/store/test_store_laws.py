"""What is written is what is read, and equal content has an equal digest wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.executors.attempts import last_event, runs_of
from ftops.files import write_atomic
from ftops.plan.run import RunState
from ftops.store.store import NAME, Store, open_store

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), each, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) < 200), trees)
def test_a_run_is_read_as_it_was_written(run_id, value):
    with TemporaryDirectory() as temporary:
        store = open_store(Path(temporary, "store"))
        about = {"id": run_id, "name": "n", "digest": "d", "inputs": value}
        store.write_run(run_id, about)
        assert store.read_run(run_id) == about
        assert [(run.id, run.state) for run in runs_of(store)] == [(run_id, RunState.PENDING)]


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.text())
def test_every_path_lies_in_the_store(name):
    store = Store(Path("/store"))
    for kind in (store.run, store.data, store.model):
        try:
            path = kind(name)
        except ValueError:
            continue
        assert len(path.parts) == 4
        assert ".." not in path.parts


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.binary(max_size=1000))
def test_a_digest_is_of_the_content(content):
    with TemporaryDirectory() as temporary:
        store, path = open_store(Path(temporary, "store")), Path(temporary, "file")
        write_atomic(path, content)
        assert path.read_bytes() == content
        assert store.file_digest(path) == f"sha256:{hashlib.sha256(content).hexdigest()}"


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.binary(max_size=300))
def test_any_bytes_have_a_last_event(content):
    with TemporaryDirectory() as temporary:
        Path(temporary, "events.jsonl").write_bytes(content)
        assert isinstance(last_event(Path(temporary)), dict)
