"""The text of records, and what is refused as one."""

from __future__ import annotations

import pytest
import yaml

from ftops.datasets.record import DatasetRecord
from ftops.documents.fast_yaml import simple_tree
from ftops.errors import ExternalError, RecordConflict
from ftops.models.record import ModelRecord
from ftops.plan.run import RunState
from ftops.plan.sweep_choice import MemberResult, choose
from ftops.registry.merge import merge
from ftops.registry.record_files import HEADER, dump, is_record, parse
from ftops.training.record import Attempt, RunEntry, RunRecord, RunStatus
from ftops.training.sweep.record import SweepRecord
from tests.support import dataset_reports, experiment_records

DIGEST = "0123456789ab" + "c" * 52
PATH = "registry/runs/base.yaml"

TEXT = f"""\
# Written by ftops; edits are overwritten. What should be is in specs/.
apiVersion: ftops/v1
kind: RunRecord
metadata:
  name: base
status:
  current: {DIGEST}
  phase: failed
  runs:
    {DIGEST}:
      attempts:
        '1':
          endedAt: '2026-01-02T03:04:05Z'
          phase: failed
          reason: it was killed by signal 9
          signal: 9
          startedAt: '2026-01-02T03:00:00Z'
          step: 20
      configDigest: {"d" * 64}
      engine: axolotl==0.19.0
      id: base-0123456789ab
      inputs:
        hyperparameters:
          chat_template: 한국어 "quoted" - as is
          learning_rate: 0.0002
          lr_scheduler: null
        method: full
      metrics: {{}}
      phase: failed
      weights: {{}}
"""


def entry(**fields):
    return RunEntry(
        **{
            "id": "base-0123456789ab",
            "phase": RunState.FAILED,
            "inputs": {},
            "engine": "axolotl==0.19.0",
            "config_digest": "d" * 64,
            "attempts": {},
            **fields,
        }
    )


def record(**fields):
    made = entry(**fields)
    return RunRecord(metadata={"name": "base"}, status=RunStatus(phase=made.phase, current=DIGEST, runs={DIGEST: made}))


def test_a_record_is_read_and_written_byte_for_byte():
    found = parse(PATH, TEXT.encode())
    assert dump(found).decode() == TEXT
    kept = found.status.runs[DIGEST]
    assert kept.attempts["1"].signal == 9
    assert kept.inputs["hyperparameters"]["lr_scheduler"] is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Input should be an object"),
        ("a: [", "while parsing"),
        ("\x00", "unacceptable character"),
        ("<<<<<<< HEAD\nkind: RunRecord\n=======\nkind: x\n>>>>>>> other\n", "mapping values are not allowed"),
        (TEXT.replace("kind: RunRecord", "kind: ModelRecord"), "kind: Input should be 'RunRecord'"),
        (TEXT.replace("  phase: failed\n  runs", "  phase: glorious\n  runs"), "status.phase"),
        (TEXT.replace("metadata:", "more: 1\nmetadata:"), "more: Extra inputs are not permitted"),
        (TEXT.replace("      id: base-0123456789ab\n", ""), "Field required"),
        ("x: .nan", "Out of range float"),
        ("x: 1.0e+999", "Out of range float"),
        ("x: -1.7976931348623159e+308", "Out of range float"),
        ("a: &a [*a]", ""),
    ],
)
def test_what_is_no_record_is_told_with_its_file(text, told):
    with pytest.raises(ExternalError) as error:
        parse(PATH, text.encode())
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.where.file == PATH
    assert told in diagnostic.detail
    assert "git checkout" in diagnostic.hint


def test_a_record_belongs_where_its_name_says():
    with pytest.raises(ExternalError, match=r"holds the record of registry/runs/base\.yaml"):
        parse("registry/runs/other.yaml", TEXT.encode())


@pytest.mark.parametrize(
    "path",
    [
        "registry/runs/../x.yaml", "registry/runs/a/b.yaml", "registry/runs/a.yml", "registry/a.yaml", "specs/a.yaml",
        "registry/models/a.yaml", "registry/models/../1.0.0.yaml", "registry/models/a/.yaml.x", "/registry/runs/a.yaml",
        "registry/runs/A.yaml", "registry/runs/a.yaml\n", "registry/deployments/a.yaml", "registry/runs/.yaml",
    ],
)  # fmt: skip
def test_where_no_record_may_stand(path):
    assert not is_record(path)
    with pytest.raises(ExternalError, match="no record belongs there"):
        parse(path, TEXT.encode())


def test_a_success_elsewhere_keeps_the_failure_here():
    """Two machines: one failed its first attempt, the other succeeded with its own."""
    failed = record(attempts={"1": Attempt(phase=RunState.FAILED, reason="exit code 1")})
    succeeded = record(
        phase=RunState.SUCCEEDED,
        attempts={"2": Attempt(phase=RunState.SUCCEEDED)},
        weights={"model.safetensors": {"sha256": "e" * 64, "size": 8}},
    )
    for merged in (merge(failed, succeeded), merge(succeeded, failed)):
        kept = merged.status.runs[DIGEST]
        assert kept.phase is merged.status.phase is RunState.SUCCEEDED
        assert {number: str(each.phase) for number, each in kept.attempts.items()} == {"1": "failed", "2": "succeeded"}
        assert kept.weights


def test_a_later_attempt_of_a_machine_that_has_only_that_one_counts():
    two = record(attempts={str(n): Attempt(phase=RunState.FAILED) for n in (1, 2)})
    third = record(phase=RunState.RUNNING, attempts={"3": Attempt(phase=RunState.RUNNING)})
    merged = merge(two, third).status
    assert merged.phase is RunState.RUNNING
    assert sorted(merged.runs[DIGEST].attempts) == ["1", "2", "3"]


def test_different_kinds_are_a_conflict():
    report = {"shape": "instruction", "files": (), "rows": {"read": 0, "kept": 0}, "valid": False}
    status = {"phase": "prepared", "digest": DIGEST, "inputs": {}, "sources": {}, "report": report}
    other = DatasetRecord.model_validate({"metadata": {"name": "base"}, "status": {**status, "preparedAt": "now"}})
    with pytest.raises(RecordConflict, match="another kind of record"):
        merge(other, record())


def told_at_length():
    """The record of a run with texts of every form: quoted, folded, of several lines, and of characters that are escaped."""
    template = (
        "{% for each in messages %}\n  {{ each['role'] + ': ' + each['content'] }}\n{% endfor %}\n\ttab \U0001f600"
    )
    inputs = {
        "chat_template": template,
        "special tokens": {"pad": "<|pad|>", "eos": "", "한국어": ["'", '"', "yes", "1e5", "2026-01-02", "~", " a ", "a: b", "# c"]},
        "empty": [[], {}, None, True, -1.5, 1e-07, 2**40, [[0, 5000], ["a", "b c"]], [{"a": 1, "b": [2]}]],
    }  # fmt: skip
    reason = "it ended with exit code 1\nTraceback (most recent call last):\nValueError: " + "one of many words, " * 20
    return record(inputs=inputs, attempts={"1": Attempt(phase=RunState.FAILED, reason=reason.strip(), exit_code=1)})


def registered():
    """The record of a version."""
    status = {
        "phase": "registered", "run": "base", "run_digest": DIGEST, "run_id": "base-0123456789ab", "method": "full", "base_model": {"hub": "some/model"},
        "size": 8, "digests": {"data": DIGEST, "config": DIGEST, "weights": {}}, "output": "runs/x/attempt-1/output", "mlflow": "models:/chat/1",
        "aliases": ("staging",), "tags": ("한국어",), "registered_at": "2026-01-02T05:00:00Z",
    }  # fmt: skip
    return ModelRecord.model_validate({"metadata": {"name": "chat", "version": "1.0.0-rc.1+b"}, "status": status})


def searched():
    """The record of a sweep."""
    failed = MemberResult(
        "search-r-8", {"lora_r": 8}, "e" * 64, "failed", None, "it ended with exit code 1: out of memory"
    )
    best = MemberResult("search-r-16", {"lora_r": 16, "lr": 2e-5}, DIGEST, "succeeded", 1.5)
    return SweepRecord.of("search", choose("eval_loss", "min", 1, [failed, best]), "1" * 40)


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda: parse(PATH, TEXT.encode()), id="run"),
        pytest.param(told_at_length, id="run-with-every-form-of-text"),
        pytest.param(lambda: dataset_reports.record(dataset_reports.clean_report()), id="dataset"),
        pytest.param(lambda: dataset_reports.record(dataset_reports.full_report()), id="dataset-with-findings"),
        pytest.param(registered, id="model"),
        pytest.param(searched, id="sweep"),
        *(pytest.param(made, id=f"experiment-{name}") for name, made in experiment_records.RECORDS.items()),
    ],
)
def test_what_ftops_writes_is_read_quickly(written):
    text = dump(written()).removeprefix(HEADER.encode())
    tree = simple_tree(text)
    assert tree is not None
    assert repr(tree) == repr(yaml.load(text, Loader=yaml.CSafeLoader))
