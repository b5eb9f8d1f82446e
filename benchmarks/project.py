"""Makes projects of any size where nothing is left to do: one for ftops, one each for its peers.

    python benchmarks/project.py ftops|dvc|terraform FOLDER COUNT

Of the ftops specs a fifth are data sets (each with a file of its own), three fifths runs and a fifth models. Their
records are made from the plan of ftops itself, as `apply` makes them, with invented results. The peers get as many
stages or resources, and the lock or state file that their own apply would have left.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftops.datasets.record import DatasetRecord
    from ftops.datasets.spec import Dataset
    from ftops.plan.changes import Change
    from ftops.plan.observed import Observed
    from ftops.plan.steps import Train
    from ftops.resources.workspace import Workspace
    from ftops.training.record import RunRecord

FAMILIES = ("support", "legal", "retail", "medical", "travel")
NOW = "2026-01-01T00:00:00Z"

PROJECT = """\
apiVersion: ftops/v1
kind: Project
metadata: {name: benchmark}
spec:
  defaults:
    TrainingRun: {timeout: 2h}
"""

DATASET = """\
# Questions of customers, collected in week {number}.
apiVersion: ftops/v1
kind: Dataset
metadata:
  name: {name}
  description: Questions and answers, collection {number}.
  labels: {{team: {family}}}
spec:
  source:
    path: datasets/{name}.csv
    columns: {{instruction: question, output: answer}}
  shape: instruction
  onInvalid: fail
  checks:
    - duplicates: {{exact: drop}}
  split: {{train: 0.9, validation: 0.05, test: 0.05, seed: 42}}
  output: {{format: alpaca}}
"""

RUN = """\
apiVersion: ftops/v1
kind: TrainingRun
metadata:
  name: {name}-{role}
  description: The {role} of {name}.
  labels: {{team: {family}}}
spec:
  dataset: {name}
  baseModel: {base}
  method: {method}
  hyperparameters:
    learning_rate: 2.0e-4
    num_epochs: 2
    micro_batch_size: 8
    sequence_len: 256
{more}  checkpoints: {{every: 50, keep: 2}}
  timeout: 1h
  tracking:
    tags: {{purpose: benchmark}}
"""

LORA = """\
    lora_r: 16
    lora_alpha: 32
"""

MODEL = """\
apiVersion: ftops/v1
kind: Model
metadata:
  name: {name}
  description: Answers questions of collection {number}.
spec:
  versions:
    1.0.0: {{run: {name}-adapter, tags: [english, {family}]}}
  aliases: {{staging: 1.0.0, production: 1.0.0}}
"""


def make_ftops(folder: Path, count: int) -> None:
    """A committed project of `count` specs (a multiple of 5), all applied and recorded."""
    from ftops.reconcile.observe import observe, open_workspace
    from ftops.reconcile.planner import make_plan

    _write(folder / "ftops.yaml", PROJECT)
    _write(folder / ".gitignore", "/.ftops/\n")
    for number in range(count // 5):
        family = FAMILIES[number % len(FAMILIES)]
        _write_family(folder, f"{family}-{number:05}", family, number)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _commit(folder, "specs and data")
    workspace = open_workspace(folder)
    observed = observe(workspace)
    _write_records(workspace, observed, make_plan(workspace.specs, observed).changes)
    _commit(folder, "results")


def _write_family(folder: Path, name: str, family: str, number: int) -> None:
    """A data set, three runs on it (one on top of another), and a model."""
    values = {"name": name, "family": family, "number": number}
    bases = {
        "base": ("{init: {family: llama, hiddenSize: 64, layers: 2}}", "full", ""),
        "adapter": (f"{{run: {name}-base}}", "lora", LORA),
        "trial": ("{hub: example/small-model, revision: main}", "lora", LORA),
    }
    _write(folder / f"datasets/{name}.csv", f"question,answer\nWhat is number {number}?,It is {number}.\n")
    _write(folder / f"specs/datasets/{name}.yaml", DATASET.format_map(values))
    for role, (base, method, more) in bases.items():
        text = RUN.format_map({**values, "role": role, "base": base, "method": method, "more": more})
        _write(folder / f"specs/runs/{name}-{role}.yaml", text)
    _write(folder / f"specs/models/{name}.yaml", MODEL.format_map(values))


def _write_records(workspace: Workspace, observed: Observed, changes: tuple[Change, ...]) -> None:
    from ftops.datasets.spec import Dataset
    from ftops.models.results import labelled, model_record
    from ftops.plan.steps import LabelVersion, RegisterVersion, Train
    from ftops.registry.record_files import dump

    runs: dict[str, RunRecord] = {}
    for change in changes:
        resource = workspace.specs.resources[change.address]
        record = _dataset_record(change, observed, resource) if isinstance(resource, Dataset) else None
        for step in change.steps:
            match step:
                case Train():
                    record = runs[step.run_id] = _run_record(change, step, observed)
                case RegisterVersion():
                    record = model_record(step, runs[step.run_id], observed.commit)
                case LabelVersion():
                    record = labelled(record, step)
        _write(workspace.root / record.path, dump(record).decode())


def _dataset_record(change: Change, observed: Observed, dataset: Dataset) -> DatasetRecord:
    from ftops.datasets.record import (
        CheckReport,
        Counts,
        DatasetRecord,
        DatasetReport,
        DatasetStatus,
        Distribution,
        FindingReport,
        SourceEntry,
        SourceFile,
        SplitReport,
        Statistics,
    )
    from ftops.resources.record import RecordMetadata

    lengths = Distribution(rows=600, total=18840, min=12, mean=31.4, p50=30, p95=48, max=64)
    details = ((70 + number, f"says the same as row {7 + number}") for number in range(12))
    report = DatasetReport(
        shape="instruction",
        files=tuple(
            SourceFile(path=path, sha256=_sha(path), bytes=90_000, rows=612) for path in dataset.spec.source.files
        ),
        rows=Counts(read=612, dropped=12, kept=600),
        valid=True,
        checks=(CheckReport(name="duplicates", parameters={}, summary={"exactRows": 12}, rows=12, dropped=12),),
        statistics=Statistics(characters={"instruction": lengths, "output": lengths}),
        splits={
            name: SplitReport(rows=rows, bytes=150 * rows, sha256=_sha((change.digest or "") + name))
            for name, rows in (("train", 540), ("validation", 30), ("test", 30))
        },
        found={"duplicates": 12},
        findings=tuple(FindingReport(check="duplicates", row=row, detail=detail) for row, detail in details),
    )
    return DatasetRecord(
        metadata=RecordMetadata(name=change.address.name),
        status=DatasetStatus(
            phase="prepared",
            digest=change.digest,
            inputs=change.inputs,
            sources={path: SourceEntry(digest=observed.sources[path].digest) for path in dataset.source_paths()},
            report=report,
            prepared_at=NOW,
            input_commit=observed.commit,
        ),
    )


def _run_record(change: Change, step: Train, observed: Observed) -> RunRecord:
    from ftops.plan.run import RunState
    from ftops.resources.record import FileEntry, RecordMetadata
    from ftops.training.record import Attempt, RunEntry, RunRecord, RunStatus

    done = RunState.SUCCEEDED
    entry = RunEntry(
        id=step.run_id,
        phase=done,
        inputs=change.inputs,
        engine="axolotl==0.19.0",
        config_digest=_sha(step.digest),
        attempts={"1": Attempt(phase=done, started_at=NOW, ended_at=NOW, step=138, exit_code=0)},
        steps=138,
        max_steps=138,
        input_commit=observed.commit,
        metrics={"firstLoss": 7.6, "loss": 2.345678, "evalLoss": 2.4, "tokensPerSecond": 812.25},
        output=f"runs/{step.run_id}/attempt-1/output",
        weights={
            name: FileEntry(sha256=_sha(step.digest + name), size=1_234_567)
            for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
        },
    )
    status = RunStatus(phase=done, current=step.digest, runs={step.digest: entry})
    return RunRecord(metadata=RecordMetadata(name=step.run), status=status)


def make_dvc(folder: Path, count: int) -> None:
    """A DVC project of `count` stages, each with a dependency and an output, locked as `dvc repro` leaves them."""
    stages, locked = {}, {}
    for number in range(count):
        entries = {}
        for side in ("in", "out"):
            text = f"{side} {number}\n"
            _write(folder / f"{side}/{number}.txt", text)
            md5 = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            entries[side] = {"path": f"{side}/{number}.txt", "hash": "md5", "md5": md5, "size": len(text)}
        command = f"cp in/{number}.txt out/{number}.txt"
        out = [{f"out/{number}.txt": {"cache": False}}]
        stages[f"stage-{number}"] = {"cmd": command, "deps": [f"in/{number}.txt"], "outs": out}
        locked[f"stage-{number}"] = {"cmd": command, "deps": [entries["in"]], "outs": [entries["out"]]}
    _write(folder / "dvc.yaml", json.dumps({"stages": stages}, indent=1))
    _write(folder / "dvc.lock", json.dumps({"schema": "2.0", "stages": locked}, indent=1))
    _git(folder, "init", "--quiet", "--initial-branch=main")
    subprocess.run([sys.executable, "-P", "-m", "dvc", "init", "--quiet"], cwd=folder, check=True)
    _commit(folder, "stages")


def make_terraform(folder: Path, count: int) -> None:
    """A configuration of `count` resources of the provider that is built in, and the state with all of them made."""
    provider = 'provider["terraform.io/builtin/terraform"]'
    blocks, resources = [], []
    for number in range(count):
        blocks.append(f'resource "terraform_data" "r{number}" {{\n  input = "value {number}"\n}}\n')
        value = {"value": f"value {number}", "type": "string"}
        attributes = {"id": f"id-{number}", "input": value, "output": value, "triggers_replace": None}
        instance = {"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}
        about = {"mode": "managed", "type": "terraform_data", "name": f"r{number}", "provider": provider}
        resources.append({**about, "instances": [instance]})
    _write(folder / "main.tf", "\n".join(blocks))
    state = {"version": 4, "terraform_version": "1.0.0", "serial": 1, "lineage": "benchmark", "outputs": {}}
    _write(folder / "terraform.tfstate", json.dumps({**state, "resources": resources, "check_results": None}))
    subprocess.run(["terraform", "init", "-input=false"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _git(folder: Path, *argv: str) -> None:
    identity = ("-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost")
    subprocess.run(["git", *identity, "-c", "gc.auto=0", *argv], cwd=folder, check=True)


def _commit(folder: Path, message: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", f"--message={message}")


if __name__ == "__main__":
    tool, where, size = sys.argv[1:]
    {"ftops": make_ftops, "dvc": make_dvc, "terraform": make_terraform}[tool](Path(where), int(size))
