"""The templates of a project: the shipped ones, and over them its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ftops.files import open_regular
from ftops.resources.workspace import Workspace
from ftops.training.axolotl.config import shipped_templates, template_for, template_sources
from ftops.training.spec.training_run import TrainingRun

TEMPLATES: Final = "templates"
TEMPLATE_BYTES: Final = 1 << 20


def template_texts(root: Path) -> dict[str, str]:
    """Every template by path: the shipped ones, and over them those in the project's own templates/ folder."""
    return {**shipped_templates(), **_read_templates(root / TEMPLATES)}


def _read_templates(folder: Path) -> dict[str, str]:
    texts = {}
    for path in sorted(folder.rglob("*.j2")):
        if path.is_symlink() or not path.is_file():
            continue
        with os.fdopen(open_regular(path, folder.parent), "rb") as file:
            texts[path.relative_to(folder).as_posix()] = file.read(TEMPLATE_BYTES).decode("utf-8", "replace")
    return texts


def own_templates(workspace: Workspace) -> Mapping[str, str]:
    """For each method or template that a run uses: the text of all the user's own templates that go into it."""
    shipped, texts = shipped_templates(), template_texts(workspace.root)
    own = {path for path, text in texts.items() if shipped.get(path) != text}
    if not own:
        return {}
    runs = [each for each in workspace.specs.resources.values() if isinstance(each, TrainingRun)]
    used = {run.spec.template or template_for(run.spec.method) for run in runs}
    found = {}
    for template in sorted(used):
        sources = [path for path in template_sources(template, texts) if path in own]
        if sources:
            found[template] = "\n".join(f"{path}\n{texts[path]}" for path in sources)
    return found
