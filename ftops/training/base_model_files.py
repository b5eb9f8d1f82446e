"""The model that a run begins with: its shape, by its spec or its config.json, and its chat template."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.errors import ExternalError
from ftops.files import read_bytes
from ftops.training.axolotl.model_shape import Shape
from ftops.training.spec.base_model import InitModel
from ftops.training.spec.training_run import TrainingRun, run_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ftops.digests import Json
    from ftops.plan.address import Address
    from ftops.resources.resource import Resource

LIMIT: Final = 1 << 24
"""Bytes of a file of JSON that comes with a model; a tokenizer may list thousands of tokens in one."""
MOST: Final = 100
"""Runs that are built on each other: a chain of them leads to the model that all began with."""


def shape_of(run: TrainingRun, resources: Mapping[Address, Resource], root: Path) -> Shape | None:
    """The shape of the base model of `run`; None where nothing at hand tells it.

    A model of the hub is looked for where huggingface_hub keeps what it has fetched; nothing is fetched.
    """
    for _ in range(MOST):
        base = run.spec.base_model
        if base.run is None:
            break
        before = resources.get(run_address(base.run))
        if not isinstance(before, TrainingRun):
            return None
        run = before
    base = run.spec.base_model
    if base.init is not None:
        return of_init(base.init)
    if base.path is not None:
        return _shape(root / base.path / "config.json")
    folder = None if base.hub is None else fetched(base.hub, base.revision)
    return None if folder is None else _shape((folder / "config.json").resolve())  # the cache has links to its files


def lacks_template(folder: Path) -> bool:
    """Whether the tokenizer of the model in `folder` has no chat template; False where there is no tokenizer to be seen."""
    tree = _read(folder / "tokenizer_config.json")
    # transformers writes it to a file of its own; earlier versions wrote it into the config.
    return tree is not None and not tree.get("chat_template") and not (folder / "chat_template.jinja").exists()


def of_init(init: InitModel) -> Shape:
    """What `training/axolotl/init_model.py` makes; its tokenizer may turn out smaller."""
    wide = -(-init.hidden_size * 8 // 3 // 32) * 32
    return Shape(
        init.hidden_size, init.layers, init.heads, init.heads, init.hidden_size // init.heads, wide, init.vocab_size
    )


def fetched(name: str, revision: str | None) -> Path | None:
    """The folder of a model of the hub that was fetched for this user; None where the cache of huggingface_hub has none."""
    from huggingface_hub import try_to_load_from_cache  # 0.2 s, for those who name a model of the hub

    # The library reads these variables once, when it is imported.
    user = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = Path(os.environ.get("HF_HOME") or user / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    try:
        config = try_to_load_from_cache(name, "config.json", cache_dir=cache, revision=revision)
    except (OSError, ValueError):  # a name that the hub can't have, or a cache that can't be read
        return None
    return Path(config).parent if isinstance(config, str) else None


def _shape(path: Path) -> Shape | None:
    tree = _read(path)
    return None if tree is None else Shape.of(tree)


def _read(path: Path) -> dict[str, Json] | None:
    """The object in a file of JSON; None where there is none that can be read."""
    try:
        tree: Json = json.loads(read_bytes(path, LIMIT))
    except (OSError, ExternalError, ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None
