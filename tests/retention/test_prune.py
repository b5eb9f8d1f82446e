"""A record says that its rows were removed on purpose, unless newer ones were prepared meanwhile."""

from __future__ import annotations

import pytest

from ftops.datasets.record import Counts, DatasetRecord, DatasetReport, DatasetStatus, SplitReport
from ftops.registry.merge import merge
from ftops.resources.record import RecordMetadata

SPLITS = {"train": SplitReport(rows=2, bytes=20, sha256="0" * 64)}


def record(digest, phase="prepared", at="2026-01-01T00:00:00Z", splits=SPLITS):
    report = DatasetReport(shape="instruction", files=(), rows=Counts(read=2, kept=2), valid=True, splits=splits)
    status = DatasetStatus(phase=phase, digest=digest, inputs={}, sources={}, report=report, prepared_at=at)
    return DatasetRecord(metadata=RecordMetadata(name="chat"), status=status)


@pytest.mark.parametrize(
    ("tip", "mine", "stands"),
    [
        (record("a"), record("a", "pruned"), "mine"),
        (record("b"), record("a", "pruned"), "tip"),
        (record("a", "pruned"), record("a", at="2026-01-02T00:00:00Z"), "mine"),
        (record("a"), record("a", at="2026-01-02T00:00:00Z"), "tip"),
        (record("a"), record("a", splits={}), "mine"),
        (record("a"), record("b"), "mine"),
        (record("a", "pruned"), record("b"), "mine"),
    ],
)
def test_what_stands_when_a_record_meets_another(tip, mine, stands):
    assert merge(tip, mine) == {"tip": tip, "mine": mine}[stands]
