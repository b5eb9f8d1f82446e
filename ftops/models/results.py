"""What registering, merging and labelling left → the record of a version."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ftops import tracking
from ftops.display.numbers import utc
from ftops.errors import Diagnostic, ExternalError
from ftops.models.record import MergedWeights, ModelDigests, ModelRecord, ModelRecordMetadata, ModelStatus
from ftops.plan.run import RunState
from ftops.plan.steps import LabelVersion, RegisterVersion
from ftops.resources.record import FileEntry
from ftops.store.store import Store
from ftops.training import checkpoints
from ftops.training.record import RunRecord
from ftops.training.spec.training_run import MERGED


def model_record(step: RegisterVersion, run: RunRecord, commit: str | None) -> ModelRecord:
    """The record of a new version, made from the record of its run."""
    found = [(key, entry) for key, entry in run.status.runs.items() if entry.id == step.run_id]
    if not found or found[0][1].phase is not RunState.SUCCEEDED or found[0][1].output is None:
        raise ExternalError(
            Diagnostic(
                f"{step.run_id} has not succeeded: there is nothing to register as {step.version}",
                hint="run `ftops apply`: it trains what is missing first",
            )
        )
    key, entry = found[0]
    return ModelRecord(
        metadata=ModelRecordMetadata(name=step.model, version=step.version),
        status=ModelStatus(
            phase="registered",
            run=run.metadata.name,
            run_digest=key,
            run_id=entry.id,
            method=entry.inputs["method"],
            base_model=entry.inputs["baseModel"],
            size=sum(each.size for each in entry.weights.values()),
            digests=ModelDigests(data=entry.inputs["dataset"], config=entry.config_digest, weights=entry.weights),
            output=entry.output or "",
            mlflow=tracking.model_uri(step.model, step.version),
            registered_at=utc(datetime.now(UTC).timestamp()) or "",
            input_commit=commit,
        ),
    )


def with_merged(record: ModelRecord, store: Store) -> ModelRecord:
    """`record` with the merged weights of its adapter. Raises ExternalError where they are not whole any more."""
    output = Path(record.status.output).with_name(MERGED)
    files = checkpoints.final_weights(store.root / output)
    if isinstance(files, checkpoints.Incomplete):
        hint = f"remove {files.path} and run `ftops apply` again: they are merged anew"
        raise ExternalError(Diagnostic(f"{output}: its merged weights are not whole: {files.reason}", hint=hint))
    entries = {name: FileEntry(sha256=each.sha256, size=each.size) for name, each in files.items()}
    merged = MergedWeights(output=output.as_posix(), size=sum(each.size for each in entries.values()), weights=entries)
    return record.model_copy(update={"status": record.status.model_copy(update={"merged": merged})})


def labelled(record: ModelRecord, step: LabelVersion) -> ModelRecord:
    """`record` with the aliases and tags that `step` names, and no others."""
    labels = {"aliases": step.aliases, "tags": step.tags}
    return record.model_copy(update={"status": record.status.model_copy(update=labels)})
