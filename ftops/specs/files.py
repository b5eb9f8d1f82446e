"""Reads a project's files: regular ones below its root, once, without following links."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from ftops.documents.globs import glob_pattern
from ftops.documents.yaml_positions import MAX_BYTES, read_documents, too_large
from ftops.errors import Diagnostic, Severity, SpecError, UsageError, Where
from ftops.files import LINKED, open_below
from ftops.resources.project import PROJECT_FILE
from ftops.resources.specs import Specs
from ftops.specs.load import BEGINNING, load

SUFFIXES: Final = (".yaml", ".yml")


def find_root(start: Path) -> Path:
    """The folder that holds ftops.yaml: `start` or the nearest above it. Raises SpecError where there is none."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if os.path.lexists(folder / PROJECT_FILE):
            return folder
    raise SpecError(
        Diagnostic(f"{PROJECT_FILE} is missing", f"neither {start} nor a folder above it has one", BEGINNING)
    )


def read_project(root: Path, paths: Iterable[Path] = (), *, known_templates: Collection[str] | None = None) -> Specs:
    """The specs of the project at `root`; `paths` are further files and folders to read, inside of it.

    Raises SpecError with every error that there is, UsageError for a path outside of the project.
    """
    files = Files(root)
    files.add_project()
    for path in paths:
        files.add_path(path)
    specs, diagnostics = load(files.texts, known_templates=known_templates)
    errors = [*files.diagnostics, *diagnostics]
    if specs is None or any(each.severity is Severity.ERROR for each in errors):
        raise SpecError(*errors)
    if not specs.resources:
        errors.append(
            Diagnostic(
                "the project has no specs",
                hint=f"write one under {', '.join(specs.project.spec.specs)}",
                where=Where(PROJECT_FILE),
                severity=Severity.WARNING,
            )
        )
    return Specs(
        specs.project,
        specs.resources,
        specs.spec_digests,
        specs.files,
        tuple(errors),
        _sources=specs._sources,  # noqa: SLF001
    )


@dataclass(slots=True)
class Files:
    """The files read so far, by their path from the root."""

    root: Path
    texts: dict[str, bytes] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def add_project(self) -> None:
        """Reads ftops.yaml and the specs that it names."""
        if os.path.lexists(self.root / PROJECT_FILE):
            self._read(PROJECT_FILE)
        for entry, where in _entries(self.texts):
            names = list(self._named(entry))
            for name in names:
                self._read(name)
            if not names and not (self.root / entry).is_dir() and not re.search(r"[*?[]", entry):
                self._report(f"{entry}: no such file or folder", where, "make it, or correct `specs` of ftops.yaml")

    def add_path(self, path: Path) -> None:
        """Reads a file that a person named, or a folder as far as it holds none of the project's specs."""
        try:
            name = Path(os.path.normpath(path.absolute())).relative_to(self.root.absolute()).as_posix()
        except ValueError:
            raise UsageError(
                Diagnostic(f"{path} is not in the project {self.root}", hint="name a path inside of it")
            ) from None
        names = [name]
        if (self.root / name).is_dir():
            if any(PurePosixPath(each).is_relative_to(name) for each in self.texts):
                return
            names = list(self._walk(name))
            if not names:
                self._report(f"{path}: no specs in this folder", Where(name))
        for each in names:
            self._read(each)

    def _named(self, entry: str) -> Iterator[str]:
        """The files that an entry of `specs` stands for: a file, the YAML files of a folder, or those that a glob matches."""
        parts = PurePosixPath(entry).parts
        magic = next((position for position, part in enumerate(parts) if re.search(r"[*?[]", part)), None)
        if magic is not None:
            pattern = glob_pattern(parts)
            yield from (name for name in self._walk("/".join(parts[:magic])) if pattern.fullmatch(name))
        elif (self.root / entry).is_dir():
            yield from self._walk(entry)
        elif os.path.lexists(self.root / entry):
            yield PurePosixPath(entry).as_posix()

    def _walk(self, folder: str) -> Iterator[str]:
        """The YAML files below a folder, in the order of their names; hidden ones and linked folders are left out."""
        if self._linked(folder):
            return
        for current, folders, names in os.walk(self.root / folder, onerror=self._unreadable):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            base = Path(current).relative_to(self.root).as_posix()
            for name in sorted(names):
                file = name if base == "." else f"{base}/{name}"
                if name.endswith(SUFFIXES) and not name.startswith(".") and file != PROJECT_FILE:
                    yield file

    def _linked(self, name: str) -> bool:
        """Whether a link stands in the way; it is then reported."""
        parts = PurePosixPath(name).parts
        for end in range(1, len(parts) + 1):
            if (self.root / Path(*parts[:end])).is_symlink():
                self._report(
                    "links are not followed", Where("/".join(parts[:end])), "put the file itself here", Severity.WARNING
                )
                return True
        return False

    def _read(self, name: str) -> None:
        if name in self.texts:
            return
        try:
            with os.fdopen(open_below(self.root, name), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    self._report("this is no regular file", Where(name))
                elif status.st_size > MAX_BYTES:
                    self.diagnostics.append(too_large(name, status.st_size))
                else:
                    # Asked for all that a file may have, Python would take and give back 10 MiB for each.
                    text = file.read(status.st_size + 1)
                    grown = file.read(MAX_BYTES + 1 - len(text)) if len(text) > status.st_size else b""
                    self.texts[name] = text + grown
        except OSError as error:
            if error.errno not in LINKED or not self._linked(name):
                self._report(f"cannot be read: {error.strerror}", Where(name))

    def _unreadable(self, error: OSError) -> None:
        name = Path(error.filename).relative_to(self.root).as_posix()
        self._report(f"cannot be read: {error.strerror}", Where(name))

    def _report(self, summary: str, where: Where, hint: str = "", severity: Severity = Severity.ERROR) -> None:
        self.diagnostics.append(Diagnostic(summary, hint=hint, where=where, severity=severity))


def _entries(texts: Mapping[str, bytes]) -> list[tuple[str, Where]]:
    """What `specs` of ftops.yaml names, and where; the default where it is absent or wrong (which `load` reports)."""
    documents, _ = read_documents(PROJECT_FILE, texts.get(PROJECT_FILE, b""))
    tree = documents[0].tree if documents else None
    spec = tree.get("spec") if isinstance(tree, dict) else None
    named = spec.get("specs") if isinstance(spec, dict) else None
    if not isinstance(named, list):
        return [("specs", Where(PROJECT_FILE))]
    return [
        (entry, documents[0].where(("spec", "specs", position)))
        for position, entry in enumerate(named)
        if isinstance(entry, str)
        and entry
        and not entry.startswith(("/", "~"))
        and ".." not in entry.split("/")
        and "\x00" not in entry
    ]
