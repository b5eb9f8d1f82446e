"""A record's text: its one form in YAML, and back."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final, TypeVar

import orjson
import yaml
from pydantic import ValidationError

from ftops.digests import Json, canonical
from ftops.documents.fast_yaml import simple_tree
from ftops.errors import Diagnostic, ExternalError, Where
from ftops.resources.kind import Kind
from ftops.resources.record import Record
from ftops.specs.kinds import KINDS

C = TypeVar("C", bound=Record)

HEADER: Final = "# Written by ftops; edits are overwritten. What should be is in specs/.\n"


@cache
def _path(kinds: tuple[tuple[str, bool], ...]) -> re.Pattern[str]:
    """The paths of records: group 1 is the folder of the kind."""
    forms = "|".join(
        rf"(?P<{folder}>{folder})/[-a-z0-9]+{'/[-+.0-9A-Za-z]+' if versioned else ''}" for folder, versioned in kinds
    )
    return re.compile(rf"registry/(?:{forms})\.yaml")


def kind_at(path: str) -> Kind[Any] | None:
    """The kind whose record may stand at `path`; None where none may."""
    match = _path(tuple((each.folder, each.versioned) for each in KINDS)).fullmatch(path)
    return None if match is None else next(each for each in KINDS if each.folder == match.lastgroup)


def is_record(path: str) -> bool:
    """Whether a record may stand at `path`."""
    return kind_at(path) is not None


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


def _json_of(text: bytes) -> bytes:
    """The tree of a record's text as JSON with sorted keys; raises what `tree_of` and `canonical` raise."""
    tree = simple_tree(text.removeprefix(HEADER.encode()))
    # A simple tree has no NaN, date or number beyond 64 bits, of which orjson thinks otherwise than `canonical`.
    return (
        canonical(yaml.load(text, Loader=yaml.CSafeLoader))
        if tree is None
        else orjson.dumps(tree, option=orjson.OPT_SORT_KEYS)
    )


def parse(path: str, text: bytes) -> Record:
    """The record in `text`; raises ExternalError where it is none, or not the one that belongs at `path`."""
    kind = kind_at(path)
    if kind is None:
        raise ExternalError(Diagnostic(f"{path}: no record belongs there", where=Where(path)))
    try:
        record: Record = kind.records().model.model_validate_json(_json_of(text))
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


def parse_as(model: type[C], path: str, text: bytes) -> C:
    """As `parse`, a record of that kind; raises TypeError where `path` is that of another kind."""
    record = parse(path, text)
    if not isinstance(record, model):
        raise TypeError(f"{path} is no {model.__name__}")
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error)
