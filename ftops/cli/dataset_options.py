"""Data files that a command is given: which they are, how they are to be read, and which shape their rows have."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
from pydantic import ValidationError

from ftops.datasets.spec import DatasetSpec, Format, Shape
from ftops.errors import Diagnostic, UsageError
from ftops.resources.fields import NAME_PATTERN

if TYPE_CHECKING:
    from ftops.datasets.read import DataFile
    from ftops.digests import Json

KIND: Final = "Dataset"
DELIMITERS: Final = {",": ",", ";": ";", "|": "|", "tab": "\t"}
NAMES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Options:
    """How files are to be read: the fields of `source` in a spec by their names there, those that were given; and the shape."""

    source: Json
    shape: Shape | None = None

    def __bool__(self) -> bool:
        return bool(self.source) or self.shape is not None


@dataclass(frozen=True, slots=True)
class Given:
    """Files to be read as one, or a URL; `root` is the folder that paths in `spec` count from, None for a URL."""

    root: Path | None
    files: tuple[DataFile, ...]
    spec: DatasetSpec


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how files are read; the command gets them as `options`. They are the fields of a spec's source."""

    @wraps(command)
    def read(*args: Any, columns: Sequence[str], shape: Shape | None, **more: Any) -> Any:
        source = {name: more.pop(option) for option, name in _FIELDS.items() if more.get(option) is not None}
        for option in _FIELDS:
            more.pop(option, None)
        if "delimiter" in source:
            source["delimiter"] = DELIMITERS[source["delimiter"]]
        if mapped := _columns(columns):
            source["columns"] = mapped
        return command(*args, options=Options(source, shape), **more)

    for option in reversed(_OPTIONS):
        read = option(read)
    return read


_FIELDS: Final = {
    "source_format": "format",
    "encoding": "encoding",
    "delimiter": "delimiter",
    "size_limit": "sizeLimit",
    "decoded_limit": "decodedLimit",
    "memory_limit": "memoryLimit",
}
_OPTIONS: Final = (
    click.option(
        "--columns",
        multiple=True,
        metavar="FIELD=COLUMN,…",
        help="Which column is which field, such as instruction=Q,output=A.",
    ),
    click.option("--shape", type=click.Choice(get_args(Shape)), help="What a row is; by the columns when absent."),
    click.option("--source-format", type=click.Choice(get_args(Format)), help="By the extension when absent."),
    click.option("--encoding", type=click.Choice(["utf-8", "cp949", "utf-16"]), help="Of CSV; recognised when absent."),
    click.option(
        "--delimiter",
        type=click.Choice(list(DELIMITERS)),
        metavar="CHARACTER",
        help="Of CSV: comma, semicolon, | or the word tab; recognised when absent.",
    ),
    click.option("--size-limit", metavar="SIZE", help="Refuse a larger file.  [default: 100MiB]"),
    click.option("--decoded-limit", metavar="SIZE", help="Refuse what decodes to more.  [default: ten times as much]"),
    click.option("--memory-limit", metavar="SIZE", help="Memory of a process that reads.  [default: 4GiB]"),
)


def _columns(texts: Sequence[str]) -> dict[str, str]:
    """Field → column. Raises UsageError for what is none."""
    found = {}
    for each in filter(None, (part.strip() for text in texts for part in text.split(","))):
        field, _, column = (part.strip() for part in each.partition("="))
        if not field or not column:
            raise UsageError(
                Diagnostic(f"--columns: {each!r} is no FIELD=COLUMN", hint="such as --columns instruction=Q,output=A")
            )
        found[field] = column
    return found


def is_name(target: str) -> bool:
    """Whether `target` is written as the name, or the address, of a data set; files have a dot or a slash in theirs."""
    return re.fullmatch(NAME_PATTERN, target.removeprefix(f"{KIND}/")) is not None


def whole(path: Path) -> Path:
    """`path` from the top, without `..` in it, and with its links as they are."""
    return Path(os.path.normpath(path.absolute()))


def given(targets: Sequence[str], options: Options, **spec: Json) -> Given:
    """The files `targets` (or one URL) as a data set that `options` say how to read, with the further fields `spec`.

    Raises UsageError where they can't be one, or their shape can't be told; else what reading their columns raises.
    """
    from ftops.datasets.read import DataFile  # Arrow's companions: only commands that read wait for them

    if any("://" in each for each in targets):
        if len(targets) > 1:
            raise UsageError(Diagnostic("a URL is read by itself", hint="name one URL, or files"))
        files: tuple[DataFile, ...] = (DataFile(None, targets[0]),)
        place: Json = {"url": targets[0]}
    else:
        paths = [whole(Path(each)) for each in targets]
        # Through the folders below this one no link is followed.
        root = Path(os.path.commonpath([path.parent for path in paths]))
        files = tuple(DataFile(root, path.relative_to(root).as_posix()) for path in paths)
        place = {"paths": [file.path for file in files]}
    source = {**place, **options.source}
    shape = options.shape or _shape(files[0], source)
    return Given(files[0].root, files, checked_spec({"source": source, "shape": shape, **spec}))


def checked_spec(tree: Json) -> DatasetSpec:
    """`tree` as the spec of a data set. Raises UsageError with all that is wrong, by the fields of the spec."""
    try:
        # By way of Python values lists would have to be tuples.
        return DatasetSpec.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise UsageError(
            *(Diagnostic(f"{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in error.errors())
        ) from None


def _shape(file: DataFile, source: Json) -> Shape:
    """The shape that the columns of `file` speak for."""
    from ftops.datasets.read import Form, detect_shape, peek

    mapped = source.get("columns", {})
    if (shape := detect_shape((), mapped)) is not None:
        return shape
    bare = {key: value for key, value in source.items() if key != "columns"}
    names = peek(file, Form.of(checked_spec({"source": bare})))
    if (shape := detect_shape(names, mapped)) is not None:
        return shape
    if not names:
        raise UsageError(
            Diagnostic(
                f"{file.path}: cannot tell what a row is: none of the first ones can be read",
                hint="say --shape, such as --shape instruction: then it is told what is wrong with each row",
            )
        )
    more = f", and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    raise UsageError(
        Diagnostic(
            f"{file.path}: cannot tell what a row is by its columns",
            f"there are {', '.join(name[:80] for name in names[:NAMES_SHOWN])}{more}",
            "say which column is which field, such as --columns instruction=Q,output=A, or say --shape",
        )
    )


def name_of(path: str) -> str:
    """A name of a resource that is made of the name of a file: `Chatbot Data.csv.gz` → `chatbot-data`."""
    stem = re.split(r"[/\\]", path)[-1].partition(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63].rstrip("-") or "data"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for rows on their way, which goes with the command."""
    return tempfile.TemporaryDirectory(prefix="ftops-")
