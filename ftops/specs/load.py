"""The texts of a project's files → its resources, or everything that is wrong with them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

import ftops
from ftops.digests import Json, canonical
from ftops.documents.yaml_positions import Document, read_documents
from ftops.errors import Diagnostic, Severity, Where, did_you_mean
from ftops.plan.address import API_VERSION, Address
from ftops.resources.fields import NAME_PATTERN
from ftops.resources.project import PROJECT_FILE, Project
from ftops.resources.resource import Resource
from ftops.resources.specs import Sources, Specs
from ftops.specs.errors import Fault, faults, found
from ftops.specs.kinds import declared
from ftops.specs.members import MemberDocument, member_documents, member_of, sweep_of
from ftops.specs.references import Links
from ftops.specs.schema import models
from ftops.training.axolotl.config import METHODS, adapter_of
from ftops.training.axolotl.keys import check_hyperparameters
from ftops.training.spec.sweep import Point
from ftops.training.spec.training_run import TrainingRun

MOST_HYPERPARAMETERS: Final = 1000
"""Axolotl has fewer keys; for each unknown one the nearest is looked for, which takes time."""

BEGINNING: Final = f"""begin with an {PROJECT_FILE} like this:

apiVersion: {API_VERSION}
kind: Project
metadata: {{name: my-project}}
"""


def load(
    texts: Mapping[str, bytes], *, known_templates: Collection[str] | None = None
) -> tuple[Specs | None, tuple[Diagnostic, ...]]:
    """The specs in `texts` (by file name; the project's is `ftops.yaml`), and every error and warning, sorted by place.

    There are no specs where there is an error. A template that a run names must be in `known_templates`, where given.
    """
    loading = Loading()
    if PROJECT_FILE not in texts:
        loading.diagnostics.append(Diagnostic(f"{PROJECT_FILE} is missing", hint=BEGINNING))
    loading.read(texts)
    project = loading.project
    loading.check(project, known_templates)
    diagnostics = sorted(loading.diagnostics, key=_by_place)
    if project is None or any(each.severity is Severity.ERROR for each in diagnostics):
        return None, tuple(diagnostics)
    kinds = list(declared())
    addresses = sorted(loading.resources, key=lambda each: (kinds.index(each.kind), each.name))
    specs = Specs(
        project=project,
        resources={each: loading.resources[each] for each in addresses},
        spec_digests={str(each): loading.digests[each] for each in (project.address, *addresses)},
        files=tuple(sorted(texts)),
        warnings=tuple(diagnostics),
        _sources=loading.sources,
    )
    return specs, tuple(diagnostics)


@dataclass(slots=True)
class Loading:
    """What has been read so far. A resource stands in `resources` when nothing is wrong with its own document."""

    sources: Sources = field(default_factory=Sources)
    resources: dict[Address, Resource] = field(default_factory=dict)
    project: Project | None = None
    digests: dict[Address, str] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _told: set[tuple[Where, str]] = field(default_factory=set)

    def read(self, texts: Mapping[str, bytes]) -> None:
        """Reads every file, the project's first: its defaults go into the others."""
        documents: list[Document] = []
        for file in sorted(texts, key=lambda name: (name != PROJECT_FILE, name)):
            sound, wrong = read_documents(file, texts[file])
            documents += sound
            self.diagnostics += wrong
        for document in documents:
            if (kind := self._kind(document)) is not None:
                self._document(kind, document)
        for resource in tuple(self.resources.values()):
            if isinstance(resource, TrainingRun) and resource.spec.sweep is not None:
                self._expand(resource)

    def check(self, project: Project | None, known_templates: Collection[str] | None) -> None:
        """Checks what holds between the documents."""
        if project is not None:
            self._requires(project)
        links = Links(self.resources, self.sources.documents.keys(), project, known_templates, self.sources.where)
        self.diagnostics += links.check()

    def _requires(self, project: Project) -> None:
        if not project.spec.requires:
            return
        from packaging.specifiers import SpecifierSet  # many projects say no `requires`

        requires = SpecifierSet(project.spec.requires)
        if not requires.contains(ftops.__version__, prereleases=True):
            self.diagnostics.append(
                Diagnostic(
                    f"this repository needs ftops {requires}, and this is ftops {ftops.__version__}",
                    hint=f'install it: pip install "ftops{requires}"',
                    where=self.sources.where(project.address, ("spec", "requires")),
                )
            )

    def _kind(self, document: Document) -> str | None:
        """The kind of a document, or None after saying why it has none that may stand there."""
        tree, in_project = document.tree, document.file == PROJECT_FILE
        if not isinstance(tree, dict):
            summary = f"expected a mapping with apiVersion, kind, metadata and spec, found {found(tree)}"
            self._report(document, Fault((), summary))
        elif "kind" not in tree:
            hint = f"say what the document is: {'Project' if in_project else ', '.join(declared())}"
            self._report(document, Fault((), "kind is missing", hint))
        elif not isinstance(kind := tree["kind"], str) or kind not in models():
            known = tuple(declared())
            hint = did_you_mean(kind, known) if isinstance(kind, str) else f"valid: {', '.join(known)}"
            self._report(document, Fault(("kind",), f"unknown kind {found(kind)}", hint))
        elif in_project != (kind == Project.kind_name):
            place = (
                f"only a Project may stand in {PROJECT_FILE}"
                if in_project
                else f"a Project may only stand in {PROJECT_FILE}"
            )
            self._report(
                document, Fault(("kind",), place, "move it into a file of its own under specs/" if in_project else "")
            )
        else:
            return kind
        return None

    def _document(self, kind: str, document: Document) -> None:
        """Reads one document of `kind`."""
        tree = document.tree
        address = _address(kind, tree)
        if kind == Project.kind_name:
            if self.sources.project is not None:
                return self._report(document, Fault((), f"{PROJECT_FILE} holds more than one Project"), address)
            self.sources.project = document
        elif isinstance(tree.get("spec"), dict) and (defaults := self.sources.defaults(kind)):
            tree = {**tree, "spec": merged(defaults, tree["spec"])}
        if address is not None and (first := self.sources.documents.get(address)) is not None:
            place = first.where(("metadata", "name"))
            summary, detail = f"{address} is declared twice", f"first at {place}"
            hint = "give one of them another name"
            if isinstance(document, MemberDocument):
                hint = "a member of this sweep is called so: give the other, or the sweep, another name"
            return self._report(document, Fault(("metadata", "name"), summary, hint, detail), address)
        if address is not None:
            self.sources.documents[address] = document
        self._validate(kind, document, tree, address)
        for fault in _hyperparameters(kind, tree):
            self._report(document, fault, address, kind)
        return None

    def _expand(self, run: TrainingRun) -> None:
        """Reads the members of a sweep, as if each stood in a document of its own."""
        members: dict[str, Point] = {}
        for point, document in member_documents(self.sources.documents[run.address], run):
            self._document(run.kind, document)
            address = _address(run.kind, document.tree)
            made = None if address is None else self.resources.get(address)
            if isinstance(made, TrainingRun) and self.sources.documents[made.address] is document:
                self.resources[made.address] = member_of(run, made, point)
                members[made.metadata.name] = point
        self.resources[run.address] = sweep_of(run, members)

    def _validate(self, kind: str, document: Document, tree: Json, address: Address | None) -> None:
        text = canonical(tree)
        try:
            resource = models()[kind].model_validate_json(text, by_alias=True, by_name=False)
        except ValidationError as error:
            for fault in _plainer(faults(kind, tree, error), tree):
                self._report(document, fault, address, kind)
        else:
            self.digests[resource.address] = hashlib.sha256(text).hexdigest()
            if isinstance(resource, Resource):
                self.resources[resource.address] = resource
            elif isinstance(resource, Project):
                self.project = resource

    def _report(self, document: Document, fault: Fault, address: Address | None = None, kind: str = "") -> None:
        where = self.sources.find(document, kind, fault.path, key=fault.at_key)
        at_place, in_document = (where, fault.summary), (Where(document.file, document.line), fault.summary)
        # A fault in the defaults is found in every resource that they go into, and one of a sweep in its members; it is one fault.
        if at_place in self._told and where.file != document.file:
            return
        if in_document in self._told and isinstance(document, MemberDocument):
            return
        self._told |= {at_place, in_document}
        name = None if address is None else str(address)
        self.diagnostics.append(Diagnostic(fault.summary, fault.detail, fault.hint, address=name, where=where))


def merged(defaults: Json, spec: Json) -> Json:
    """`spec` over `defaults`: mappings are merged key by key, anything else is taken from `spec`."""
    if not (isinstance(defaults, dict) and isinstance(spec, dict)):
        return spec
    return defaults | {key: merged(defaults.get(key), value) for key, value in spec.items()}


def _plainer(all_faults: Iterable[Fault], tree: Json) -> Iterator[Fault]:
    """A version of the format that is not ours explains itself by more than the one text that was expected."""
    for fault in all_faults:
        if fault.path == ("apiVersion",) and "apiVersion" in tree:
            hint = f"this ftops reads {API_VERSION}; for a newer format, install a newer ftops"
            yield Fault(fault.path, fault.summary, hint)
        else:
            yield fault


def _hyperparameters(kind: str, tree: Json) -> Iterator[Fault]:
    """What Axolotl would not understand. Looked for in a document that is wrong otherwise too: all errors at once."""
    spec = tree.get("spec")
    if kind != "TrainingRun" or not isinstance(spec, dict) or not isinstance(spec.get("hyperparameters"), dict):
        return
    if len(spec["hyperparameters"]) > MOST_HYPERPARAMETERS:
        yield Fault(("spec", "hyperparameters"), f"more than {MOST_HYPERPARAMETERS:,} hyperparameters")
        return
    method, adapter = spec.get("method"), spec.get("adapter")
    full = method in METHODS and adapter_of(method, adapter if isinstance(adapter, str) else None) is None
    for each in check_hyperparameters(spec["hyperparameters"], adapted=not full):
        yield Fault(("spec", "hyperparameters", *each.path), each.summary, each.hint, at_key=True)


def _address(kind: str, tree: Json) -> Address | None:
    metadata = tree.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return Address(kind, name) if isinstance(name, str) and re.fullmatch(NAME_PATTERN, name) else None


def _by_place(diagnostic: Diagnostic) -> tuple[bool, str, int, int, str]:
    where = diagnostic.where or Where("")
    return where.file != PROJECT_FILE, where.file, where.line or 0, where.column or 0, diagnostic.summary
