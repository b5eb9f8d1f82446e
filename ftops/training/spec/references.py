"""What must hold between a training and what it names: its runner, data sets, base model and template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ftops.datasets.spec import Dataset, dataset_address
from ftops.errors import Diagnostic, did_you_mean, nearest
from ftops.plan.address import Address
from ftops.resources.kind import Surroundings
from ftops.training.axolotl.config import PAIRS, PREFERENCES, evaluation_faults, unfit
from ftops.training.axolotl.keys import OWNED
from ftops.training.spec.training_run import TrainingRun, run_address


def check_runs(runs: Mapping[Address, TrainingRun], around: Surroundings) -> Iterator[Diagnostic]:
    """What is wrong with `runs`, each by itself."""
    for address, run in runs.items():
        yield from _run(around, address, run)


def _run(around: Surroundings, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
    runners = None if around.project is None else tuple(around.project.spec.runners)
    templates = around.known_templates
    if runners is not None and (runner := run.spec.runner) is not None and runner not in runners:
        yield Diagnostic(
            f"runner {runner!r} is not in ftops.yaml",
            hint=did_you_mean(runner, runners),
            address=str(address),
            where=around.where(address, ("spec", "runner")),
        )
    yield from _beyond_runner(around, address, run)
    yield from _data(around, address, run)
    yield from _evaluations(around, address, run)
    base = None if run.spec.base_model.run is None else around.resources.get(run_address(run.spec.base_model.run))
    if isinstance(base, TrainingRun) and base.spec.method == "reward":
        yield Diagnostic(
            f"{base.address} makes a model that scores answers, which can't be taught to give any",
            hint="name the run that its own base model comes from",
            address=str(address),
            where=around.where(address, ("spec", "baseModel", "run")),
        )
    if (template := run.spec.template) is not None and templates is not None and template not in templates:
        match = nearest(template, sorted(templates))
        yield Diagnostic(
            f"template {template!r} does not exist",
            hint=f"did you mean {match!r}?" if match else f"write templates/{template}, or leave the field out",
            address=str(address),
            where=around.where(address, ("spec", "template")),
        )


def _data(around: Surroundings, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
    """What of its data sets the method can't learn from, or not together."""
    named = [
        (each.path, around.resources.get(each.target))
        for each in run.references()
        if each.target.kind == Dataset.kind_name
    ]
    found = [(path, each) for path, each in named if isinstance(each, Dataset)]
    for path, each in found:
        first = found[0][1]
        if (each.spec.output_format in PAIRS) != (run.spec.method in PREFERENCES):
            yield _unfit(around, address, run, each, path)
        elif each.spec.output_format != first.spec.output_format:
            yield Diagnostic(
                f"{each.address} is written as {each.spec.output_format}, and {first.address} as {first.spec.output_format}",
                hint=f"say `output: {{format: {first.spec.output_format}}}` in both: rows of one form can be mixed",
                address=str(address),
                where=around.where(address, path),
            )


def _unfit(
    around: Surroundings, address: Address, run: TrainingRun, dataset: Dataset, path: tuple[str | int, ...]
) -> Diagnostic:
    """The method can't learn from what the data set is written as."""
    pairs = dataset.spec.output_format in PAIRS
    is_written_as = "as pairs of answers" if pairs else "without a worse answer beside each"
    return Diagnostic(
        f"{dataset.address} is written {is_written_as} (output.format {dataset.spec.output_format}), "
        f"which method {run.spec.method} can't learn from",
        hint=f"name a data set of shape {'instruction, chat or completion' if pairs else 'preference'}"
        + (f", or say method {', '.join(PREFERENCES[:-1])} or {PREFERENCES[-1]}" if pairs else ""),
        address=str(address),
        where=around.where(address, path),
    )


def _beyond_runner(around: Surroundings, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
    """What the runner can't do."""
    name = "" if around.project is None else run.spec.runner or around.project.spec.default_runner
    runner = None if around.project is None else around.project.spec.runners.get(name)
    if runner is None:
        return
    given = run.spec.hyperparameters
    for fault in unfit(given, run.spec.trained, runner.gpus, runner.capabilities.compute):
        field = ("hyperparameters", *fault.path) if fault.path[0] in given else ("method",)
        yield Diagnostic(
            f"runner {name}: {fault.summary}",
            hint=fault.hint,
            address=str(address),
            where=around.where(address, ("spec", *field)),
        )


def _evaluations(around: Surroundings, address: Address, run: TrainingRun) -> Iterator[Diagnostic]:
    """What its evaluations have against its checkpoints; nothing is said where a data set of it is missing."""
    found = [around.resources.get(dataset_address(each.name)) for each in run.spec.portions]
    datasets = [each for each in found if isinstance(each, Dataset)]
    if len(datasets) < len(found):
        return
    validated = any(each.spec.split.validation for each in datasets)
    sweep = run.spec.sweep
    if sweep is not None and sweep.best.metric.startswith("eval") and not validated:
        yield Diagnostic(
            f"the sweep chooses by {sweep.best.metric}, which only a validation split has",
            hint=OWNED["test_datasets"],
            address=str(address),
            where=around.where(address, ("spec", "sweep", "best", "metric")),
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
            fault.summary, hint=fault.hint, address=str(address), where=around.where(address, ("spec", *field))
        )
