"""What is planned, case by case: each file below `plans/` is one, and adding one needs no Python.

    history:     what was applied before, one after the other: each has `specs`, `sources`, the addresses that `failed`, the
                 metrics that were `measured` of runs, the seconds that they `took`, what was `read` of URLs, and the data
                 sets that were `pruned`
    specs:       the documents now (`apiVersion` may be left out)
    sources:     path → its digest, or {digest, pointer, present}; null where there is neither file nor pointer
    changed:     paths whose content is not what their pointer says
    store:       empty (the records are there, the store is another machine's), or what to leave out: prepared, made
    found:       what the last look at an experiment found: name → fields of ExperimentState
    live:        runs that the store knows: {run, state, attempt, step, checkpoint, detail}
    templates:   the user's own templates: path → text
    targets, excludes, reruns, resumed
    expect:      address → action, class, reasons, steps, and where there are any note, advice, needs, estimate; or
    error:       what PlanError says

A run is called `base@now`, or by the place of what made it in `history`: `base@1`. Digests are not told.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ftops.display.text import shown
from ftops.errors import Diagnostic, PlanError
from ftops.plan.details import TrainingDetails, duration_text
from ftops.plan.observed import Observed, Source
from ftops.plan.run import Run, RunState, run_id
from ftops.plan.step_text import step_text
from ftops.reconcile.planner import make_plan
from ftops.training.spec.training_run import run_address
from tests.support.outcomes import applied, read, recorded

CASES = sorted((Path(__file__).parent / "plans").glob("*/*.yaml"))
KEYS = {
    "history",
    "specs",
    "sources",
    "changed",
    "store",
    "found",
    "live",
    "templates",
    "targets",
    "excludes",
    "reruns",
    "resumed",
    "expect",
    "error",
}


class Case:
    def __init__(self, tree):
        assert tree.keys() <= KEYS, tree.keys() - KEYS
        self.tree = tree
        self.names = {}
        self.specs = read(tree["specs"])

    def observed(self):
        """What `history` left, and what the case says beside it."""
        found = Observed()
        for number, before in enumerate(self.tree.get("history", []), 1):
            specs = read(before["specs"])
            sources = {**before.get("sources", self.tree["sources"]), **before.get("read", {})}
            found = replace(found, sources=sources_of(sources))
            plan = make_plan(specs, found)
            self._call(plan, number)
            about = (before.get(name) for name in ("measured", "took"))
            found = applied(plan, specs, found, before.get("failed", ()), *about)
            pruned = {name: replace(found.datasets[name], pruned=True) for name in before.get("pruned", ())}
            found = recorded(found, datasets={**found.datasets, **pruned})
        about = self.tree.get("found", {}).items()
        looked = {name: replace(found.experiments[name], **_tuples(fields)) for name, fields in about}
        found = recorded(found, experiments={**found.experiments, **looked})
        changed = {
            path: Diagnostic(f"{path} changed since its pointer", hint="…") for path in self.tree.get("changed", ())
        }
        found = replace(
            found,
            sources=sources_of(self.tree["sources"]),
            changed=changed,
            templates=self.tree.get("templates", {}),
            **{name: frozenset() for name in self._left_out()},
        )
        self._call(make_plan(self.specs, found) if "error" not in self.tree else None, "now")
        return replace(found, live={run.id: run for run in map(self._live, self.tree.get("live", ()))})

    def _left_out(self):
        left_out = self.tree.get("store", ())
        return ("prepared", "made") if left_out == "empty" else left_out

    def _call(self, plan, when):
        for change in plan.changes if plan else ():
            if change.address.kind == "TrainingRun" and change.digest is not None and change.selected_member is None:
                self.names.setdefault(run_id(change.address.name, change.digest), f"{change.address.name}@{when}")

    def _live(self, about):
        identity = {name: key for key, name in self.names.items()}[about.pop("run")]
        name, _, digest = identity.rpartition("-")
        state = RunState(about.pop("state"))
        return Run(identity, name, digest, about.pop("attempt", 1), state, **about)

    def told(self, text):
        for identity, name in self.names.items():
            text = text.replace(identity, name)
        return re.sub(r"\b(sha256:|md5:)?[0-9a-f]{12}…", "…", text)

    def describe(self, change):
        """A change as cases write it."""
        full = {
            "action": str(change.action),
            "class": str(change.change_class),
            "reasons": [
                self.told(f"{each.field}: {shown(each.before)} → {shown(each.after)}") for each in change.reasons
            ],
            "steps": [self.told(step_text(step)) for step in change.steps],
            "note": self.told(change.note),
            "advice": [self.told(each) for each in change.advice],
            "estimate": ""
            if (estimate := change.details_of(TrainingDetails).estimate) is None
            else self.told(duration_text(estimate)),
        }
        return {key: value for key, value in full.items() if value}


def _tuples(fields):
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


def sources_of(tree):
    def source(path, value):
        about = value if isinstance(value, dict) else {"digest": value, "present": value is not None}
        return Source(path, about.get("digest"), about.get("pointer"), about.get("present", True))

    return {path: source(path, value) for path, value in tree.items()}


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_plans(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    case = Case(tree)
    observed = case.observed()
    choice = {name: tree[name] for name in ("targets", "excludes", "reruns") if name in tree}
    choice["resumed"] = [run_address(name) for name in tree.get("resumed", ())]
    if "error" in tree:
        with pytest.raises(PlanError) as raised:
            make_plan(case.specs, observed, **choice)
        assert [f"{each.address}: {each.summary}" for each in raised.value.diagnostics] == tree["error"]
        return
    plan = make_plan(case.specs, observed, **choice)
    found = {str(change.address): case.describe(change) for change in plan.changes}
    expected = dict(tree["expect"])
    warnings = expected.pop("warnings", [])
    assert found == expected
    assert [text for text in plan.warnings if "changed since" in text] == warnings
    for change in plan.changes:
        assert change.note or not change.is_noop, "a no-op has a reason"


def test_every_case_is_read():
    assert {path.parent.name for path in CASES} == {"dataset", "experiment", "model", "sweep", "training-run"}
    assert len(CASES) >= 30
