"""What preparing a data set left → its record."""

from __future__ import annotations

from ftops.datasets.prepare.manifest import read_manifest
from ftops.datasets.record import DatasetRecord, DatasetStatus, SourceEntry
from ftops.errors import Diagnostic, ExternalError
from ftops.plan.changes import Change
from ftops.plan.details import DatasetDetails
from ftops.plan.observed import Observed
from ftops.resources.record import RecordMetadata
from ftops.resources.workspace import Workspace


def dataset_record(change: Change, workspace: Workspace, observed: Observed) -> DatasetRecord:
    """The record of the data set that `change` prepared."""
    folder = workspace.store.data(change.digest or "")
    manifest = read_manifest(folder)
    if manifest is None:
        raise ExternalError(
            Diagnostic(
                f"{folder}: the prepared data is gone",
                hint="run `ftops apply` again: it is prepared anew",
                address=str(change.address),
            )
        )
    sources = {
        path: SourceEntry(digest=source.digest or source.pointer or "", pointer=source.pointer)
        for path in workspace.specs.resources[change.address].source_paths()
        if (source := observed.sources.get(path)) is not None
    }
    urls = {
        file.path: SourceEntry(digest=f"sha256:{file.sha256}")
        for file in manifest.report.files
        if file.path not in sources
    }
    return DatasetRecord(
        metadata=RecordMetadata(name=change.address.name),
        status=DatasetStatus(
            phase="prepared",
            digest=manifest.digest,
            inputs=change.inputs,
            same_rows=change.details_of(DatasetDetails).equivalent_digests,
            sources=sources | urls,
            report=manifest.report,
            prepared_at=manifest.prepared_at,
            input_commit=observed.commit,
        ),
    )
