"""YAML specs → resources: read strictly, checked whole, every error with its place.

`documents` reads YAML, `faults` words what does not fit a kind, `links` checks what holds between resources, `resources` puts
them together, `files` reads a project's folder, `one` a single document, `schema` makes JSON Schemas.
"""

from __future__ import annotations

from ftops.specs.files import find_root, read_project
from ftops.specs.load import PROJECT_FILE, Resolved, Specs, load
from ftops.specs.schema import MODELS, json_schema
from ftops.specs.single_document import find_one, read_one

__all__ = [
    "MODELS",
    "PROJECT_FILE",
    "Resolved",
    "Specs",
    "find_one",
    "find_root",
    "json_schema",
    "load",
    "read_one",
    "read_project",
]
