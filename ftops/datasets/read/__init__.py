"""Rows in and out: strict reading of untrusted files into Arrow files, deterministic JSONL.

Everything after `read_rows` sees only what its one strict parser understood, so no two readers can disagree on a file.
"""

from typing import Final

from ftops.datasets.read.jsonl_writer import JsonlWriter
from ftops.datasets.read.parse_options import Form
from ftops.datasets.read.read import Reading, peek, read_rows
from ftops.datasets.read.row_shapes import detect_shape
from ftops.datasets.read.source import DataFile
from ftops.datasets.read.stored_rows import StoredRows

VERSION: Final = 1
"""Raised when the same files would give other rows."""

__all__ = ["VERSION", "DataFile", "Form", "JsonlWriter", "Reading", "StoredRows", "detect_shape", "peek", "read_rows"]
