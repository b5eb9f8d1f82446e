"""Wherever a reader of events stops, it reads each event once and none in halves."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.executors.protocol import follow

events = st.lists(st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3), max_size=8)


@settings(deadline=None)  # the disk decides how long an example takes
@given(events, st.lists(st.integers(0, 400), max_size=6))
def test_events_are_read_once_however_they_arrive(expected, cuts):
    content = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in expected)
    # What JSON allows unescaped and Python takes for ends of lines is none here.
    whole = content.encode("utf-8", "surrogatepass")
    with TemporaryDirectory() as temporary:
        path, offset, found = Path(temporary, "events.jsonl"), 0, []
        for cut in [*sorted(min(cut, len(whole)) for cut in cuts), len(whole)]:
            path.write_bytes(whole[:cut])
            some, offset, skipped = follow(Path(temporary), offset)
            assert skipped == 0
            found += some
    assert found == expected
    assert offset == len(whole)


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(content):
    with TemporaryDirectory() as temporary:
        Path(temporary, "events.jsonl").write_bytes(content)
        found = follow(Path(temporary))
    assert found.offset == content.rfind(b"\n") + 1
