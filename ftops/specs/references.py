"""What holds between resources: references lead somewhere, form no circle, and name runners and templates that exist."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ftops.datasets.spec import Dataset, dataset_address
from ftops.documents.yaml_positions import Path
from ftops.errors import Diagnostic, Where, did_you_mean, nearest
from ftops.experiments.spec.experiment import Experiment, version_of
from ftops.models.spec import Model
from ftops.plan.address import Address
from ftops.resources.project import Project
from ftops.resources.resource import Reference, Resource
from ftops.specs.kinds import KINDS
from ftops.training.axolotl.config import PAIRS, PREFERENCES, evaluation_faults, unfit
from ftops.training.axolotl.keys import OWNED
from ftops.training.spec.training_run import TrainingRun, run_address
from ftops.training.sweep.members import Member, Sweep

MOST_HINTS: Final = 100
"""The nearest name is looked for so many times: it costs a comparison with every name."""


@dataclass(slots=True)
class Links:
    """Checks `resources`. `declared` has also the addresses of documents that are not valid: naming one is no further error."""

    resources: Mapping[Address, Resource]
    declared: Collection[Address]
    project: Project | None
    known_templates: Collection[str] | None
    where: Callable[[Address, Path], Where]
    _hints: dict[Address, str] = field(default_factory=dict)

    def check(self) -> Iterator[Diagnostic]:
        """Everything that is wrong between the resources; what a sweep says, and so each of its members, once."""
        told: set[tuple[Where | None, str]] = set()
        members = {str(address) for address, each in self.resources.items() if isinstance(each, Member)}
        for each in self._check():
            if each.address not in members or (each.where, each.summary) not in told:
                yield each
            told.add((each.where, each.summary))

    def _check(self) -> Iterator[Diagnostic]:
        graph = {address: tuple(resource.references()) for address, resource in self.resources.items()}
        for address, references in graph.items():
            yield from (self._missing(address, each) for each in references if each.target not in self.declared)
            resource = self.resources[address]
            match resource:
                case TrainingRun():
                    yield from self._run(address, resource)
                case Experiment():
                    yield from self._arms(address, resource)
                case Model():
                    yield from self._exports(address, resource)
                case _:
                    pass
        yield from self._exclusions()
        for cycle, path in cycles(graph):
            yield Diagnostic(
                f"resources need each other: {' → '.join(str(each) for each in cycle)}",
                hint="let one of them begin without another's result",
                address=str(cycle[0]),
                where=self.where(cycle[0], path),
            )

    def _missing(self, address: Address, reference: Reference) -> Diagnostic:
        target = reference.target
        if target not in self._hints:
            self._hints[target] = self._hint(target) if len(self._hints) < MOST_HINTS else ""
        return Diagnostic(
            f"{target} does not exist",
            hint=self._hints[target],
            address=str(address),
            where=self.where(address, reference.path),
        )

    def _hint(self, target: Address) -> str:
        others = [kind for kind in KINDS if Address(kind, target.name) in self.declared]
        if others:
            return f"there is {others[0]}/{target.name}, but a {target.kind} is needed here"
        names = sorted(each.name for each in self.declared if each.kind == target.kind)
        if not names:
            return f"there is no {target.kind} at all: write one"
        return did_you_mean(target.name, names) or f"write a {target.kind} of this name, or name one that exists"

    def _data(self, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
        """What of its data sets the method can't learn from, or not together."""
        named = [
            (each.path, self.resources.get(each.target))
            for each in run.references()
            if each.target.kind == Dataset.kind_name
        ]
        found = [(path, each) for path, each in named if isinstance(each, Dataset)]
        for path, each in found:
            first = found[0][1]
            if (each.spec.output_format in PAIRS) != (run.spec.method in PREFERENCES):
                yield self._unfit(address, run, each, path)
            elif each.spec.output_format != first.spec.output_format:
                yield Diagnostic(
                    f"{each.address} is written as {each.spec.output_format}, and {first.address} as {first.spec.output_format}",
                    hint=f"say `output: {{format: {first.spec.output_format}}}` in both: rows of one form can be mixed",
                    address=str(address),
                    where=self.where(address, path),
                )

    def _unfit(self, address: Address, run: TrainingRun, dataset: Dataset, path: tuple[str | int, ...]) -> Diagnostic:
        """The method can't learn from what the data set is written as."""
        pairs = dataset.spec.output_format in PAIRS
        is_written_as = "as pairs of answers" if pairs else "without a worse answer beside each"
        return Diagnostic(
            f"{dataset.address} is written {is_written_as} (output.format {dataset.spec.output_format}), "
            f"which method {run.spec.method} can't learn from",
            hint=f"name a data set of shape {'instruction, chat or completion' if pairs else 'preference'}"
            + (f", or say method {', '.join(PREFERENCES[:-1])} or {PREFERENCES[-1]}" if pairs else ""),
            address=str(address),
            where=self.where(address, path),
        )

    def _beyond_runner(self, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
        """What the runner can't do."""
        name = "" if self.project is None else run.spec.runner or self.project.spec.default_runner
        runner = None if self.project is None else self.project.spec.runners.get(name)
        if runner is None:
            return
        given = run.spec.hyperparameters
        for fault in unfit(given, run.spec.trained, runner.gpus, runner.capabilities.compute):
            field = ("hyperparameters", *fault.path) if fault.path[0] in given else ("method",)
            yield Diagnostic(
                f"runner {name}: {fault.summary}",
                hint=fault.hint,
                address=str(address),
                where=self.where(address, ("spec", *field)),
            )

    def _evaluations(self, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
        """What its evaluations have against its checkpoints; nothing is said where a data set of it is missing."""
        found = [self.resources.get(dataset_address(each.name)) for each in run.spec.portions]
        datasets = [each for each in found if isinstance(each, Dataset)]
        if len(datasets) < len(found):
            return
        validated = any(each.spec.split.validation for each in datasets)
        if isinstance(run, Sweep) and run.sweep.best.metric.startswith("eval") and not validated:
            yield Diagnostic(
                f"the sweep chooses by {run.sweep.best.metric}, which only a validation split has",
                hint=OWNED["test_datasets"],
                address=str(address),
                where=self.where(address, ("spec", "sweep", "best", "metric")),
            )
        given, kept = run.spec.hyperparameters, run.spec.checkpoints
        for fault in evaluation_faults(
            given.get("eval_steps", kept.every),  # as the templates say where it does not
            kept.every,
            run.spec.method,
            validated=validated,
            best=kept.best is not None,
        ):
            field = ("hyperparameters", *fault.path) if fault.path[0] in given else ("checkpoints", "best")
            yield Diagnostic(
                fault.summary, hint=fault.hint, address=str(address), where=self.where(address, ("spec", *field))
            )

    def _run(self, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
        runners = None if self.project is None else tuple(self.project.spec.runners)
        templates = self.known_templates
        if runners is not None and (runner := run.spec.runner) is not None and runner not in runners:
            yield Diagnostic(
                f"runner {runner!r} is not in ftops.yaml",
                hint=did_you_mean(runner, runners),
                address=str(address),
                where=self.where(address, ("spec", "runner")),
            )
        yield from self._beyond_runner(address, run)
        yield from self._data(address, run)
        yield from self._evaluations(address, run)
        base = None if run.spec.base_model.run is None else self.resources.get(run_address(run.spec.base_model.run))
        if isinstance(base, TrainingRun) and base.spec.method == "reward":
            yield Diagnostic(
                f"{base.address} makes a model that scores answers, which can't be taught to give any",
                hint="name the run that its own base model comes from",
                address=str(address),
                where=self.where(address, ("spec", "baseModel", "run")),
            )
        if (template := run.spec.template) is not None and templates is not None and template not in templates:
            match = nearest(template, sorted(templates))
            yield Diagnostic(
                f"template {template!r} does not exist",
                hint=f"did you mean {match!r}?" if match else f"write templates/{template}, or leave the field out",
                address=str(address),
                where=self.where(address, ("spec", "template")),
            )

    def _exports(self, address: Address, model: Model) -> Iterator[Diagnostic]:
        """Each version that exports an adapter, or merged weights, is of a run that trains an adapter which can be merged."""
        for version, each in model.spec.versions.items():
            run = self.resources.get(run_address(each.run))
            if each.export is None or not isinstance(run, TrainingRun):
                continue
            why = hint = ""
            if run.spec.trained is None:
                why = "trains all weights: there is no adapter to export, and nothing to merge"
                hint = "leave out export: the version has the weights that the run leaves"
            elif each.merged and run.spec.method == "reward":
                why = "makes a reward model, whose head its base model has no place for: the engine merges none"
                hint = "leave out merged: the version is the adapter"
            if why:
                where = self.where(address, ("spec", "versions", version, "export"))
                yield Diagnostic(f"{run.address} {why}", hint=hint, address=str(address), where=where)

    def _arms(self, address: Address, experiment: Experiment) -> Iterator[Diagnostic]:
        """Each arm's version or alias exists, and no two arms show the same one."""
        shown: dict[tuple[str, str], str] = {}
        for name, arm in experiment.spec.arms.items():
            model_name, which = arm.named
            model = self.resources.get(Address(Model.kind_name, model_name))
            if not isinstance(model, Model):
                continue
            where = self.where(address, ("spec", "arms", name, "model"))
            version = version_of(arm, self.resources)
            if version is None:
                known = [*model.spec.versions, *model.spec.aliases]
                summary = f"{model.address} has no version or alias {which}"
                yield Diagnostic(summary, hint=did_you_mean(which, known), address=str(address), where=where)
            elif (other := shown.setdefault((model_name, version), name)) != name:
                summary = f"arms {other} and {name} both show {model_name}@{version}: they would not differ"
                yield Diagnostic(summary, hint="give one of them another version", address=str(address), where=where)

    def _exclusions(self) -> Iterator[Diagnostic]:
        """No two running experiments of an exclusion group have units in common."""
        taken: dict[str, list[tuple[float, float, Address]]] = {}
        for address, experiment in self.resources.items():
            if not isinstance(experiment, Experiment) or experiment.spec.state != "running":
                continue
            if (exclusion := experiment.spec.exclusion) is None:
                continue
            start, end = exclusion.range
            for low, high, other in taken.setdefault(exclusion.group, []):
                if start < high and low < end:
                    yield Diagnostic(
                        f"{address} and {other} have units in common: their ranges of the group {exclusion.group} overlap",
                        detail=f"[{start:g}, {end:g}) and [{low:g}, {high:g})",
                        hint="give them ranges that do not overlap, or end one of them",
                        address=str(address),
                        where=self.where(address, ("spec", "exclusion", "range")),
                    )
            taken[exclusion.group].append((start, end, address))


def cycles(graph: Mapping[Address, tuple[Reference, ...]]) -> Iterator[tuple[tuple[Address, ...], Path]]:
    """Each circle of references once: its addresses, the first one again at the end, and the path of the first reference.

    Walks without recursion: a chain of runs may be longer than Python's stack.
    """
    done: set[Address] = set()
    for root in sorted(graph):
        if root in done:
            continue
        way: dict[Address, Iterator[Reference]] = {root: iter(graph[root])}
        while way:
            here = next(reversed(way))
            target = next((each.target for each in way[here]), None)
            if target is None:
                done.add(here)
                del way[here]
            elif target in way:
                circle = list(way)[list(way).index(target) :]
                first = circle.index(min(circle))
                circle = [*circle[first:], *circle[:first], circle[first]]
                yield tuple(circle), next(each.path for each in graph[circle[0]] if each.target == circle[1])
            elif target not in done and target in graph:
                way[target] = iter(graph[target])
