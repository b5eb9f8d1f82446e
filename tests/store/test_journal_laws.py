"""A journal that is cut off anywhere says which steps had begun and not ended, and no others."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.store.journal import Journal, interrupted

names = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=5)


@settings(deadline=None)  # the disk decides how long an example takes
@given(names, st.floats(0, 1))
def test_a_journal_cut_off_anywhere(steps, share):
    with TemporaryDirectory() as temporary:
        with Journal.open(Path(temporary)) as journal:
            for name in steps:
                with journal.step(name, {"detail": name}):
                    pass
        whole = journal.path.read_bytes()
        length = round(share * len(whole))
        journal.path.write_bytes(whole[:length])
        # A line whose end is all that is missing is whole.
        count = sum(end <= length + 1 for end in (at + 1 for at, byte in enumerate(whole) if byte == 10))
        found = interrupted(Path(temporary))
        assert [each.name for each in found.open] == [steps[count // 2]] if count % 2 else found is None


@settings(deadline=None)  # the disk decides how long an example takes
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(content):
    with TemporaryDirectory() as temporary:
        Path(temporary, "20200101T000000.000000Z-1.jsonl").write_bytes(content)
        interrupted(Path(temporary))
