"""Data of experiments for tests: specs, and rows as columns without any file."""

from __future__ import annotations

import json

import numpy as np

from ftops.experiments.analysis.interim_result import Rows
from ftops.experiments.analysis.observations import Observations
from ftops.experiments.record import ExperimentRecord, ExperimentStatus, Phase, PhaseArm
from ftops.experiments.spec.experiment import Experiment
from ftops.resources.record import RecordMetadata

DAY = 20_000
"""2024-10-04."""


def experiment(name="v2", **spec):
    """An experiment between versions 1.0.0 (arm a) and 1.1.0 (arm b), with what `spec` says over that."""
    fields = {
        "arms": {"a": {"model": "chat@1.0.0", "weight": 0.5}, "b": {"model": "chat@1.1.0", "weight": 0.5}},
        "metric": {"name": "rating", "type": "rating"},
        "design": {"targetSamples": 400, "minimumDetectableEffect": 0.3},
        "logs": {"path": "logs/*.jsonl"},
        **spec,
    }
    document = {"apiVersion": "ftops/v1", "kind": "Experiment", "metadata": {"name": name}, "spec": fields}
    return Experiment.model_validate_json(json.dumps(document))


def three_arms():
    return {
        "a": {"model": "chat@1.0.0", "weight": 0.4},
        "b": {"model": "chat@1.1.0", "weight": 0.3},
        "c": {"model": "chat@1.2.0", "weight": 0.3},
    }


def columns(unit, arm, values, *, day=None, arms=("a", "b"), **more):
    """Observations of rows: `unit` of each, `arm` of each unit, `values` by field."""
    unit = np.asarray(unit, np.int32)
    day = np.full(len(unit), DAY, np.int32) if day is None else np.asarray(day, np.int32)
    fields = {name: np.asarray(each, np.float64) for name, each in values.items()}
    about = {"rows": Rows(read=len(unit), kept=len(unit)), "digest": "d" * 64, **more}
    return Observations(tuple(arms), unit, np.asarray(arm, np.int8), day, fields, **about)


def ratings(difference=0.0, units=400, seed=1, arms=2, spread=0.8, **more):
    """One rating a unit; those of the arms after the first are `difference` higher. Days go by evenly."""
    random = np.random.default_rng(seed)
    arm = np.repeat(np.arange(arms), units)
    order = random.permutation(len(arm))
    arm = arm[order]
    values = np.clip(random.normal(3.0, spread, len(arm)) + difference * (arm > 0), 1, 5)
    day = DAY + np.arange(len(arm)) * 14 // len(arm)
    names = ("a", "b", "c", "d")[:arms]
    return columns(np.arange(len(arm)), arm, {"rating": values}, day=day, arms=names, **more)


def record(*looks, name="v2", phases=None):
    """The record of a running experiment with these looks in its first phase."""
    arms = {"a": PhaseArm(model="chat@1.0.0", weight=0.5, baseline=True), "b": PhaseArm(model="chat@1.1.0", weight=0.5)}
    phases = phases or {"1": Phase(arms=arms, looks={str(look.number): look for look in looks})}
    inputs = {"unit": "user_id", "baseline": "a", "coverage": 1.0}
    status = ExperimentStatus(
        phase="running", inputs=inputs, digest="e" * 64, current=max(phases, key=int), phases=phases, traffic=57.14
    )
    return ExperimentRecord(metadata=RecordMetadata(name=name), status=status)
