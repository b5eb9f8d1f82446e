"""YAML specs → resources: read strictly, checked whole, every error with its place.

`errors` words what does not fit a kind, `references` checks what holds between resources, `load` puts them together,
`files` reads a project's folder, `single_document` a document alone, `schema` makes JSON Schemas.
"""

from __future__ import annotations

from ftops.specs.files import find_root, read_project
from ftops.specs.load import load
from ftops.specs.schema import json_schema, models
from ftops.specs.single_document import find_one, read_one

__all__ = [
    "find_one",
    "find_root",
    "json_schema",
    "load",
    "models",
    "read_one",
    "read_project",
]
