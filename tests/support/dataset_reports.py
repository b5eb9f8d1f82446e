"""Reports on data sets for tests, as the pipeline would make them."""

from __future__ import annotations

from ftops.datasets.record import (
    CheckReport,
    ClusterReport,
    ComponentReport,
    Counts,
    DatasetRecord,
    DatasetReport,
    DatasetStatus,
    Distribution,
    FindingReport,
    QualityReport,
    SourceFile,
    SplitReport,
    Statistics,
    TokenReport,
)
from ftops.resources.record import RecordMetadata

LENGTHS = Distribution(
    rows=9_700, total=3_400_000, min=12, mean=350.52, p50=280, p95=760, max=41_200,
    edges=(0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 41_200), counts=(700, 1900, 2600, 1800, 1100, 700, 400, 260, 120, 60, 60),
)  # fmt: skip
TOKENS = TokenReport(
    tokenizer="models/base/tokenizer.json", sampled=2000, mean=88.31, mean_interval=(86.1, 90.52), total=856_607, total_interval=(835_170, 878_044),
    distribution=Distribution(
        rows=2000, total=176_620, min=4, mean=88.31, p50=71, p95=190, max=402, edges=(0, 50, 100, 150, 200, 250, 300, 350, 400, 450),
        counts=(640, 700, 380, 190, 60, 20, 6, 3, 1),
    ),
)  # fmt: skip
QUALITY = QualityReport(
    score=0.9412, min_score=0.8, action="warn",
    components=(
        ComponentReport(name="pii", weight=0.2, value=0.97, rows=300), ComponentReport(name="duplicates", weight=0.2, value=0.93, rows=700),
        ComponentReport(name="answers", weight=0.15, value=0.99, rows=100), ComponentReport(name="format", weight=0.15, value=0.98, rows=200),
        ComponentReport(name="length", weight=0.1, value=0.999999, rows=1), ComponentReport(name="language", weight=0.1, value=0.7, rows=3000),
        ComponentReport(name="repetition", weight=0.1, value=1.0, rows=0),
    ),
)  # fmt: skip


def finding(check, row, **fields):
    return FindingReport(check=check, row=row, **{"detail": "is there", "file": "datasets/chat.csv", **fields})


def clean_report(**fields):
    """Ten rows in which nothing was found."""
    given = {
        "shape": "instruction",
        "files": (SourceFile(path="datasets/chat.csv", sha256="a" * 64, bytes=1234, rows=10),),
        "rows": Counts(read=10, kept=10),
        "valid": True,
        "checks": (
            CheckReport(name="pii", parameters={"others": "report"}, summary={}),
            CheckReport(name="duplicates", parameters={"exact": "drop"}, summary={"exactRows": 0, "nearRows": 0, "clusters": 0}),
            CheckReport(name="quality", parameters={"minScore": 0.8}, summary={"score": 1.0}),
        ),
        "quality": QualityReport(score=1.0, min_score=0.8, components=(ComponentReport(name="format", weight=1, value=1.0, rows=0),)),
    }  # fmt: skip
    return DatasetReport(**{**given, **fields})


def full_report(**fields):
    """Ten thousand rows with something of everything."""
    given = {
        "shape": "instruction",
        "files": (
            SourceFile(path="datasets/chat.csv", sha256="a" * 64, bytes=12_345_678, rows=9_000, notes=("CP949", "separated by semicolons")),
            SourceFile(path="datasets/more.jsonl.gz", sha256="b" * 64, bytes=1_234_567, rows=1_000),
        ),
        "unused_columns": ("id", "label"),
        "rows": Counts(read=10_000, invalid=200, dropped=100, masked=280, kept=9_700),
        "valid": True,
        "format": {"output is empty": 150, "instruction is missing": 50},
        "checks": (
            CheckReport(name="pii", parameters={"entities": {"email": "mask", "kr_rrn": "drop"}}, summary={"email": 260, "phone": 30, "kr_rrn": 20}, rows=300, dropped=20, masked=280),
            CheckReport(name="duplicates", parameters={"exact": "drop"}, summary={"exactRows": 80, "nearRows": 620, "clusters": 500}, rows=700, dropped=80),
            CheckReport(name="contamination", parameters={"against": ["held-out"]}, summary={"held-out": 7}, rows=7),
            CheckReport(name="quality", parameters={"minScore": 0.8}, summary={"score": 0.9412}),
        ),
        "quality": QUALITY,
        "clusters": ClusterReport(clusters=500, rows=1200, largest=40, sizes={"2": 400, "3": 60, "4": 20, "5": 10, "6": 5, "9": 3, "20": 1, "40": 1}),
        "statistics": Statistics(
            characters={"instruction": LENGTHS, "output": LENGTHS, "row": LENGTHS}, scripts={"Hangul": 5000, "Latin": 4650, "none": 50}, tokens=TOKENS
        ),
        "splits": {
            "train": SplitReport(rows=8_730, bytes=9_000_000, sha256="c" * 64, characters=LENGTHS, tokens=TOKENS),
            "validation": SplitReport(rows=485, bytes=500_000, sha256="d" * 64),
            "test": SplitReport(rows=485, bytes=510_000, sha256="e" * 64, characters=LENGTHS),
        },
        "found": {"format": 200, "pii": 310, "duplicates": 700, "quality": 3100},
        "findings": (
            finding("format", 7, field="output", detail="is empty", entity="empty", action="left out", line=8, byte=1024),
            finding("pii", 12, field="output", detail="e-mail address, masked", entity="email", start=4, end=20, masked="<EMAIL>", action="masked", line=13),
            finding("duplicates", 90, detail="says the same as row 12", entity="exact", action="dropped", file="datasets/more.jsonl.gz"),
            finding("quality", 95, field="output", detail="begins with a refusal", entity="answers", line=96),
        ),
        "warnings": ("duplicates found and kept: rows 91, 92 and 618 more",),
    }  # fmt: skip
    return DatasetReport(**{**given, **fields})


def record(report, name="korean-chat"):
    """The record of a data set with that report."""
    status = DatasetStatus(
        phase="prepared", digest="f" * 64, inputs={}, sources={}, report=report, prepared_at="2026-11-22T10:00:00Z", input_commit="1" * 40,
    )  # fmt: skip
    return DatasetRecord(metadata=RecordMetadata(name=name), status=status)
