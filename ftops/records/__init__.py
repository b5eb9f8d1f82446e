"""What is committed under registry/: the schema of each record, its text, and how two of them merge. Pure.

A record is YAML with sorted keys, so that a diff shows only what changed. It holds no absolute path and no secret.
"""

from __future__ import annotations

from ftops.records.experiment import Conclusion, ExperimentRecord, ExperimentStatus, Phase, PhaseArm, Proposal
from ftops.records.merging import RecordConflict, instead, merge
from ftops.records.models import (
    FOLDER,
    Attempt,
    CheckpointEntry,
    DatasetRecord,
    DatasetStatus,
    FileEntry,
    MergedWeights,
    ModelDigests,
    ModelRecord,
    ModelRecordMetadata,
    ModelStatus,
    RecordMetadata,
    RunEntry,
    RunRecord,
    RunStatus,
    Sample,
    Samples,
    SourceEntry,
)
from ftops.records.sweep import MemberEntry, SweepRecord, SweepStatus
from ftops.records.text import HEADER, Record, dump, is_record, parse, tree_of

__all__ = [
    "FOLDER",
    "HEADER",
    "Attempt",
    "CheckpointEntry",
    "Conclusion",
    "DatasetRecord",
    "DatasetStatus",
    "ExperimentRecord",
    "ExperimentStatus",
    "FileEntry",
    "MemberEntry",
    "MergedWeights",
    "ModelDigests",
    "ModelRecord",
    "ModelRecordMetadata",
    "ModelStatus",
    "Phase",
    "PhaseArm",
    "Proposal",
    "Record",
    "RecordConflict",
    "RecordMetadata",
    "RunEntry",
    "RunRecord",
    "RunStatus",
    "Sample",
    "Samples",
    "SourceEntry",
    "SweepRecord",
    "SweepStatus",
    "dump",
    "instead",
    "is_record",
    "merge",
    "parse",
    "tree_of",
]
