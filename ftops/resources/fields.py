"""The types of the fields of specs: names, versions, paths, durations, sizes; strict, and plain in what they refuse."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SEMVER_PATTERN: Final = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)
"""Semantic versioning 2.0.0, as semver.org suggests it; `[0-9]` because pydantic's `\\d` takes digits of every script."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN, max_length=63)]
Semver = Annotated[str, StringConstraints(pattern=SEMVER_PATTERN, max_length=64)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9가-힣][-A-Za-z0-9가-힣_./: ]*$", max_length=63)]


def _relative_path(value: object) -> object:
    """A path of the repository: relative, inside of it, without tricks. Refused here, before anything opens it."""
    if not isinstance(value, str):
        return value
    if not value or "\x00" in value or "\\" in value:
        raise PydanticCustomError("path", "expected a path with forward slashes")
    if value.startswith(("/", "~")) or re.match(r"^[A-Za-z]:", value):
        raise PydanticCustomError("path", "expected a path relative to the project, not an absolute one")
    if ".." in value.split("/"):
        raise PydanticCustomError("path", "expected a path inside the project: '..' is not allowed")
    if value.count("**") > 3:
        raise PydanticCustomError("path", "expected at most three '**' in a path")
    return value


RelativePath = Annotated[str, BeforeValidator(_relative_path)]


def is_pattern(path: str) -> bool:
    """Whether `path` is a glob that may stand for several files."""
    return re.search(r"[*?[]", path) is not None


def fixed_part(path: str) -> str:
    """The folder that all files lie in which the glob `path` stands for; a path that is no glob as it is."""
    parts = path.split("/")
    magic = next((position for position, part in enumerate(parts) if is_pattern(part)), len(parts))
    return "/".join(parts[:magic])


_DURATION: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _quantity(units: Mapping[str, int], example: str) -> BeforeValidator:
    pattern = re.compile(rf"(\d{{1,15}})({'|'.join(units)})")

    def parse(value: object) -> object:
        if isinstance(value, str) and (match := pattern.fullmatch(value)):
            return int(match[1]) * units[match[2]]
        raise PydanticCustomError(
            "quantity",
            "expected a number with a unit ({units}), such as {example}",
            {"units": ", ".join(units), "example": example},
        )

    return BeforeValidator(parse)


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[int, _quantity(_DURATION, "24h"), _text_schema(r"^\d{1,15}(s|m|h|d)$", "24h")]
"""Seconds, written with a unit."""
Size = Annotated[int, _quantity(_SIZE, "100MiB"), _text_schema(r"^\d{1,15}(B|KiB|MiB|GiB|TiB|KB|MB|GB)$", "100MiB")]
"""Bytes, written with a unit."""


class Strict(BaseModel):
    """The shape of everything in a spec: frozen, camelCase, nothing unknown, no guessing of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False
    )


def exactly_one(model: BaseModel, *fields: str) -> None:
    """Raises where not just one of `fields` of `model` was given."""
    given = [to_camel(name) for name in fields if getattr(model, name) is not None]
    if len(given) != 1:
        names = ", ".join(to_camel(name) for name in fields)
        found = f"found {' and '.join(given)}" if given else "found none"
        raise PydanticCustomError(
            "exactly_one", "expected exactly one of {names}; {found}", {"names": names, "found": found}
        )
