"""A sweep → its members, as if each stood in a document of its own. Errors point to the sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ftops.documents.yaml_positions import Document, Path
from ftops.errors import Where
from ftops.training.spec.sweep import Point, member_name
from ftops.training.spec.training_run import TrainingRun
from ftops.training.sweep.members import Member, Sweep


@dataclass(frozen=True, slots=True)
class MemberDocument(Document):
    """The document of a sweep with the tree of one of its members; `moved` says where the sweep has what the member has elsewhere."""

    moved: Mapping[Path, Path]

    def where(self, path: Path = (), *, key: bool = False) -> Where:
        for there, here in self.moved.items():
            if path[: len(there)] == there:
                return Document.where(self, (*here, *path[len(there) :]))
        return Document.where(self, path, key=key)


def member_documents(document: Document, run: TrainingRun) -> Iterator[tuple[Point, MemberDocument]]:
    """The values of each member of the sweep `run`, which `document` says, and its document."""
    if run.spec.sweep is None:
        return
    tree, parameters = document.tree, run.spec.sweep.parameters
    spec = tree["spec"]
    tracking = spec.get("tracking", {})
    for point in run.spec.sweep.points():
        mine = {
            **spec,
            "hyperparameters": {**spec.get("hyperparameters", {}), **point},
            "tracking": {**tracking, "tags": {**tracking.get("tags", {}), "sweep": run.metadata.name}},
            "sweep": None,
        }
        metadata = {**tree["metadata"], "name": member_name(run.metadata.name, point)}
        moved: dict[Path, Path] = {
            ("spec", "hyperparameters", key): ("spec", "sweep", "parameters", key, parameters[key].index(value))
            for key, value in point.items()
        }
        moved["metadata", "name"] = ("spec", "sweep", "parameters")
        yield (
            point,
            MemberDocument(
                document.file, document.line, document.text, {**tree, "metadata": metadata, "spec": mine}, moved
            ),
        )


def member_of(sweep: TrainingRun, run: TrainingRun, point: Point) -> Member:
    """`run`, which was read from the document of a member, as that member of `sweep`."""
    return Member.model_construct(**dict(run), sweep=sweep.metadata.name, point=point)


def sweep_of(run: TrainingRun, members: Mapping[str, Point]) -> Sweep:
    """`run` as the sweep of `members`."""
    return Sweep.model_construct(**dict(run), members=members)
