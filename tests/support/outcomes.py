"""What is observed after a plan was applied, reckoned without applying it: the pure half of `apply`."""

from __future__ import annotations

from dataclasses import replace

import yaml

from ftops.plan.details import DatasetDetails
from ftops.plan.observed import DatasetState, ExperimentState, RunHistory, TrainedRun, VersionState
from ftops.plan.run import RunState, run_id
from ftops.plan.steps import AddMerged, Analyze, LabelVersion, MakeBaseModel, PrepareData, RegisterVersion
from ftops.reconcile.planner import make_plan
from ftops.specs import load
from ftops.training.spec.training_run import run_address
from ftops.training.sweep.members import Sweep

PROJECT = b"apiVersion: ftops/v1\nkind: Project\nmetadata: {name: demo}\n"
TEMPLATES = ("axolotl/full.yaml.j2", "axolotl/lora.yaml.j2", "own.yaml.j2")


def read(documents, *, files=1):
    """The specs that `documents` are, dealt out to `files` files."""
    texts = {"ftops.yaml": PROJECT}
    for number in range(files):
        mine = [{"apiVersion": "ftops/v1", **each} for each in documents[number::files]]
        if mine:
            texts[f"specs/{number}.yaml"] = yaml.safe_dump_all(mine, sort_keys=False).encode()
    specs, diagnostics = load(texts, known_templates=TEMPLATES)
    assert specs is not None, diagnostics
    return specs


def recorded(observed, **states):
    """`observed`, where records say `states`, by the folder of their kind."""
    return replace(observed, states={**observed.states, **states})


def applied(plan, specs, observed, failed=(), measured=None, took=None):
    """`observed` once every change of `plan` is done, but for the runs whose addresses are in `failed`.

    `measured` has the metrics of runs by name, `took` their seconds; a run that has none there ended with an eval_loss of 1.
    """
    for change in plan.changes:
        if change.selected_member is not None and not change.is_noop:
            digests = {each.address.name: each.digest for each in plan.changes}
            found = specs.resources[change.address].choice(digests, observed.runs)
            observed = recorded(observed, sweeps={**observed.sweeps, change.address.name: found})
        elif not change.is_noop:
            after = {"Dataset": _prepared, "TrainingRun": _trained, "Model": _registered, "Experiment": _analyzed}[
                change.address.kind
            ]
            observed = after(change, specs, observed, str(change.address) in failed)
            observed = recorded(observed, runs=_measured(observed.runs, measured or {}, took or {}))
    return observed


def _measured(runs, measured, took):
    """`runs` with what each of theirs measured, and how long it took."""

    def ended(name, run):
        return replace(run, metrics=measured.get(name, {"eval_loss": 1.0}), seconds=took.get(name))

    return {
        name: replace(history, runs={key: ended(name, run) for key, run in history.runs.items()})
        for name, history in runs.items()
    }


def planned_again(specs, observed):
    """The plan right after what `specs` say was applied."""
    return make_plan(specs, applied(make_plan(specs, observed), specs, observed))


def _analyzed(change, specs, observed, _):
    """A look at the logs; one more than before where there are any."""
    name = change.address.name
    before = observed.experiments.get(name, ExperimentState("running", {}, "1"))
    (step,) = (each for each in change.steps if isinstance(each, Analyze))
    looks = 0 if step.opens else before.looks
    new = "logs" in change.inputs and change.inputs["logs"] != before.inputs.get("logs")
    state = specs.resources[change.address].spec.state
    after = replace(before, state=state, inputs=change.inputs, phase=step.phase, looks=looks + new)
    return recorded(observed, experiments={**observed.experiments, name: after})


def _prepared(change, specs, observed, _):
    paths = [*specs.resources[change.address].source_paths(), *specs.resources[change.address].spec.source.files]
    sources = {path: observed.sources[path] for path in paths if path in observed.sources}
    state = DatasetState(
        change.digest, change.inputs, sources, same_rows=change.details_of(DatasetDetails).equivalent_digests
    )
    known = recorded(observed, datasets={**observed.datasets, change.address.name: state})
    return replace(known, prepared=observed.prepared | {change.digest})


def _trained(change, _, observed, failed):
    name = change.address.name
    before = observed.runs[name].runs if name in observed.runs else {}
    attempts = before[change.digest].attempts + 1 if change.digest in before else 1
    phase = RunState.FAILED if failed else RunState.SUCCEEDED
    entry = TrainedRun(change.digest, change.inputs, phase, attempts)
    if change.digest in before and before[change.digest].phase is RunState.SUCCEEDED:
        entry = before[change.digest]
    history = RunHistory(change.digest, {**before, change.digest: entry})
    return replace(
        recorded(observed, runs={**observed.runs, name: history}),
        prepared=observed.prepared | {step.digest for step in change.steps if isinstance(step, PrepareData)},
        made=observed.made | {step.digest for step in change.steps if isinstance(step, MakeBaseModel)},
    )


def _registered(change, specs, observed, _):
    versions = dict(observed.versions.get(change.address.name, {}))
    for step in change.steps:
        match step:
            case RegisterVersion(version=version, run_id=identity):
                run = specs.resources[change.address].spec.versions[version].run
                if isinstance(specs.resources[run_address(run)], Sweep):
                    best = observed.sweeps[run].best
                    if best is None:
                        return observed
                    run, identity = best.name, run_id(best.name, best.digest)
                (digest,) = (key for key in observed.runs[run].runs if run_id(run, key) == identity)
                versions[version] = VersionState(run, digest)
            case AddMerged(version=version):
                versions[version] = replace(versions[version], merged=True)
            case LabelVersion(version=version, aliases=aliases, tags=tags):
                versions[version] = replace(versions[version], aliases=aliases, tags=tags)
    return recorded(observed, models={**observed.versions, change.address.name: versions})
