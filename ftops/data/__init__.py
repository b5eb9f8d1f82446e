"""Rows in and out: strict reading of untrusted files into Arrow tables, deterministic JSONL.

Everything after `read` sees only what its one strict parser understood, so no two readers can disagree on a file.
"""

from ftops.data.jsonl import JsonlWriter
from ftops.data.source import DataFile
from ftops.data.table import MESSAGES, Column, Contents, read

__all__ = ["MESSAGES", "Column", "Contents", "DataFile", "JsonlWriter", "read"]
