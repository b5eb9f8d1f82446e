"""A config for Axolotl as somebody wrote it, in any folder: read strictly, and checked key by key with places."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from ftops.digests import Json
from ftops.documents.yaml_positions import Document, read_documents
from ftops.errors import Diagnostic, SpecError, Where
from ftops.training.axolotl.keys import KeyFault, check_whole


def _with_text_keys(value: Json) -> Json:
    """`value` with `1` and `yes`, which are no text in YAML 1.1, as keys that are text, and that no model knows."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(each) for each in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at `where`, and the place in the tree that it is about."""

    fault: KeyFault
    where: Where


def read_engine_config(file: str, data: bytes) -> tuple[Document, dict[str, Json]]:
    """The one document of the YAML in `data`, and what Axolotl reads in it. Raises SpecError where it is no config."""
    documents, unreadable = read_documents(file, data)
    if unreadable:
        raise SpecError(*unreadable)
    if len(documents) > 1:
        raise SpecError(Diagnostic("a config is one document", hint="take out the ---", where=documents[1].where()))
    (document,) = documents
    if not isinstance(document.tree, dict):
        hint = "expected `base_model: …`"
        raise SpecError(Diagnostic("a config is a mapping of keys", hint=hint, where=document.where()))
    try:
        # Read as Axolotl reads it, by YAML 1.1: there `yes` is true, and 2e-4 is text.
        return document, _with_text_keys(yaml.safe_load(document.text))
    except (yaml.YAMLError, ValueError) as error:  # such as a date that there is none of
        words = str(getattr(error, "problem", None) or error)
        summary = f"YAML 1.1, which Axolotl reads, has no such value: {words}"
        raise SpecError(Diagnostic(summary, where=document.where())) from error


def check_engine_config(file: str, data: bytes) -> tuple[list[Finding], list[Diagnostic]]:
    """What is wrong with the keys of the YAML in `data`, by their places; or why it can't be read as one config."""
    try:
        document, tree = read_engine_config(file, data)
    except SpecError as error:
        return [], list(error.diagnostics)
    found = [Finding(each, document.where(each.path, key=True)) for each in check_whole(tree)]
    return sorted(found, key=lambda each: (each.where.line or 0, each.where.column or 0)), []
