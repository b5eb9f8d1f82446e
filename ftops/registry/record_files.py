"""A record's text: its one form in YAML, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import ValidationError

from ftops.datasets.record import DatasetRecord
from ftops.digests import Json, canonical
from ftops.documents.fast_yaml import simple_tree
from ftops.errors import Diagnostic, ExternalError, Where
from ftops.experiments.record import ExperimentRecord
from ftops.models.record import ModelRecord
from ftops.resources.record import Record
from ftops.training.record import RunRecord
from ftops.training.sweep.record import SweepRecord

HEADER: Final = "# Written by ftops; edits are overwritten. What should be is in specs/.\n"

_KINDS: Final[Mapping[str, type[Record]]] = {
    "datasets": DatasetRecord,
    "runs": RunRecord,
    "sweeps": SweepRecord,
    "models": ModelRecord,
    "experiments": ExperimentRecord,
}
_PATH: Final = re.compile(
    r"registry/(?:(datasets|runs|sweeps|experiments)/[-a-z0-9]+|(models)/[-a-z0-9]+/[-+.0-9A-Za-z]+)\.yaml"
)


def is_record(path: str) -> bool:
    """Whether a record may stand at `path`."""
    return _PATH.fullmatch(path) is not None


def dump(record: Record) -> bytes:
    """The text of a record: the same record, the same bytes."""
    tree = record.model_dump(mode="json", by_alias=True, exclude_none=True)
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=120, default_flow_style=False)
    return (HEADER + text).encode()


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (what PyYAML calls)
        """Never an anchor: a reader sees every value where it stands."""
        return True


def tree_of(text: bytes) -> Json:
    """The plain tree of a record's text; raises yaml.YAMLError."""
    tree = simple_tree(text.removeprefix(HEADER.encode()))
    return yaml.load(text, Loader=yaml.CSafeLoader) if tree is None else tree


def parse(path: str, text: bytes) -> Record:
    """The record in `text`; raises ExternalError where it is none, or not the one that belongs at `path`."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ExternalError(Diagnostic(f"{path}: no record belongs there", where=Where(path)))
    try:
        record = _KINDS[match[1] or match[2]].model_validate_json(canonical(tree_of(text)))
    except (yaml.YAMLError, ValidationError, ValueError, TypeError) as error:
        raise ExternalError(
            Diagnostic(
                f"{path}: not a record that ftops wrote",
                detail=_reason(error),
                hint="records are written by `ftops apply` only: `git checkout` the committed one",
                where=Where(path),
            )
        ) from error
    if record.path != path:
        raise ExternalError(Diagnostic(f"{path}: holds the record of {record.path}", where=Where(path)))
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
