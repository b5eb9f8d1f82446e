"""The config that an attempt trains with, as it stands in the attempt's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from ftops.digests import Json
from ftops.errors import Diagnostic, ExternalError
from ftops.files import read_bytes

NAME: Final = "config.yaml"
MOST: Final = 10 << 20
"""Bytes; a config takes some thousands."""


def read_config(folder: Path) -> dict[str, Json]:
    """The config of the attempt in `folder`.

    Raises FileNotFoundError where there is none, ExternalError where it is none that ftops wrote: a job may write what it
    likes into its folder.
    """
    path = folder / NAME
    text = read_bytes(path, MOST)
    try:
        tree = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _no_config(path, str(error)) from error
    if not isinstance(tree, dict):
        raise _no_config(path, "expected a mapping")
    return tree


def _no_config(path: Path, detail: str) -> ExternalError:
    return ExternalError(
        Diagnostic(
            f"{path}: not a config that ftops wrote",
            detail=detail,
            hint="its job wrote over it: train again with `ftops apply --rerun NAME`",
        )
    )
