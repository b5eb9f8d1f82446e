"""Rows in and out: strict reading of untrusted files into Arrow files, deterministic JSONL.

Everything after `read_rows` sees only what its one strict parser understood, so no two readers can disagree on a file.
"""

from typing import Final

from ftops.data.form import Form
from ftops.data.jsonl import JsonlWriter
from ftops.data.reading import Reading, peek, read_rows
from ftops.data.shapes import detect_shape
from ftops.data.source import DataFile
from ftops.data.stored import StoredRows

VERSION: Final = 1
"""Raised when the same files would give other rows."""

__all__ = ["VERSION", "DataFile", "Form", "JsonlWriter", "Reading", "StoredRows", "detect_shape", "peek", "read_rows"]
