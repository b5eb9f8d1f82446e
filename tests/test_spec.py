"""YAML specs → resources: golden cases of what is refused, and what good specs mean."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from ftops.cli.schema import schema
from ftops.cli.validate import validate
from ftops.errors import SpecError, UsageError
from ftops.render import diagnostics_text
from ftops.spec import MODELS, find_root, json_schema, load, read_project
from ftops.spec.documents import MAX_BYTES, plain, read_documents
from ftops.values import Address, digest

CASES = sorted((Path(__file__).parent / "specs").glob("*.yaml"))
TEMPLATES = ("axolotl/full.yaml.j2", "axolotl/lora.yaml.j2")
REPOSITORY = Path(__file__).parent.parent

BASE = {
    "ftops.yaml": b"apiVersion: ftops/v1\nkind: Project\nmetadata: {name: demo}\n",
    "specs/base.yaml": b"""\
apiVersion: ftops/v1
kind: Dataset
metadata: {name: chat}
spec: {source: {path: datasets/chat.csv}}
---
apiVersion: ftops/v1
kind: TrainingRun
metadata: {name: base}
spec: {dataset: chat, baseModel: {init: {}}, method: full}
""",
}


def texts_of(files):
    """The files of a golden case over those of a project that is sound."""
    encoded = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    return BASE | encoded


def write(root, files):
    for name, text in texts_of(files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_errors(path):
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    specs, diagnostics = load(texts_of(case["files"]), known_templates=TEMPLATES)
    assert diagnostics_text(diagnostics) == case["expected"].strip("\n")
    assert (specs is None) == any(each.severity == "error" for each in diagnostics)
