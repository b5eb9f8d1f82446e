"""One document by itself: from a file without a project, or by its name among a project's files.

What it refers to is not looked up, and what is wrong with other documents does not matter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from ftops.documents.yaml_positions import MAX_BYTES, too_large
from ftops.errors import Diagnostic, Severity, SpecError, UsageError, Where, did_you_mean
from ftops.files import open_given
from ftops.plan.address import Address
from ftops.resources.project import PROJECT_FILE
from ftops.resources.resource import Resource
from ftops.specs.files import Files, find_root
from ftops.specs.load import Loading

R = TypeVar("R", bound=Resource)


def read_one(path: Path, model: type[R], name: str | None = None) -> R:
    """The resource of that kind in the file at `path`, the one called `name` where it holds several.

    Where the file lies below an ftops.yaml, the defaults of that one count as usual. Raises SpecError with every error of
    the document and its place, UsageError where there is no such file or it holds several.
    """
    file, kind = str(path), model.kind_name
    texts = {file: _content(path)}
    if (project := _project_above(path)) is not None and not project.samefile(path):
        texts[PROJECT_FILE] = _content(project)
    loading = Loading()
    loading.read(texts)
    declared = [each for each, document in loading.sources.documents.items() if document.file == file]
    names = [each.name for each in declared if each.kind == kind]
    if name is not None and names and name not in names:
        raise UsageError(Diagnostic(f"no {kind} in {file} is called {name!r}", hint=did_you_mean(name, names)))
    if name is None and len(names) > 1:
        hint = f"say which, such as {file}#{names[0]}"
        raise UsageError(Diagnostic(f"{file} holds {len(names)} of kind {kind}: {', '.join(names)}", hint=hint))
    if names:
        return _sound(loading, model, name or names[0])
    missing = Diagnostic(f"the file holds no {kind}", hint=f"name a file with `kind: {kind}`", where=Where(file))
    raise SpecError(*(_errors(loading.diagnostics) or [missing]))


def find_one(root: Path, model: type[R], name: str) -> R:
    """The resource of that kind called `name` among the specs of the project at `root`.

    Raises SpecError with every error of its document, UsageError where there is none of that name.
    """
    kind = model.kind_name
    files = Files(root)
    files.add_project()
    loading = Loading()
    loading.read(files.texts)
    if Address(kind, name) in loading.sources.documents:
        return _sound(loading, model, name)
    # It may stand in what can't be read, or in a document whose own name is wrong.
    unknown = [each for each in _errors([*files.diagnostics, *loading.diagnostics]) if each.address is None]
    known = [each.name for each in loading.sources.documents if each.kind == kind]
    missing = Diagnostic(f"no {kind} is called {name!r}", hint=did_you_mean(name, known))
    raise SpecError(missing, *unknown) if unknown else UsageError(missing)


def _sound(loading: Loading, model: type[R], name: str) -> R:
    """The resource of that name; raises SpecError where its document or ftops.yaml is wrong."""
    address = Address(model.kind_name, name)
    wrong = [
        each
        for each in _errors(loading.diagnostics)
        if each.address == str(address) or (each.where is not None and each.where.file == PROJECT_FILE)
    ]
    if wrong:
        raise SpecError(*wrong)
    resource = loading.resources[address]
    if not isinstance(resource, model):
        raise TypeError(f"{address} was read as {type(resource).__name__}")
    return resource


def _errors(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    return [each for each in diagnostics if each.severity is Severity.ERROR]


def _project_above(path: Path) -> Path | None:
    try:
        return find_root(path.absolute().parent) / PROJECT_FILE
    except SpecError:
        return None


def _content(path: Path) -> bytes:
    try:
        with os.fdopen(open_given(path), "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(Diagnostic(f"{path} cannot be read: {error.strerror}")) from None
    if len(content) > MAX_BYTES:
        raise SpecError(too_large(str(path), path.stat().st_size))
    return content
