"""A data set from its source to its splits: read, each check, split, write, measure; then published whole.

What a stage made is kept in the store's cache under the digest of all that it depends on: what the stage before made, its
own options, and the version of its code. So a change of the split reads nothing again, and a change of one check runs that
check and what comes after it. `stages` says how, `split` which row comes to which side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from ftops.datasets import checks
from ftops.datasets.finding import row_list
from ftops.datasets.prepare.check_rows import CheckedRows, LaterRows, Others, Progress, quiet, read, run_checks
from ftops.datasets.prepare.findings import findings, first_of_each, refuse_failed, refuse_faults
from ftops.datasets.prepare.manifest import INDEX, SIDES, Prepared, prepared_rows, read_manifest, verify
from ftops.datasets.prepare.moved_rows import moved
from ftops.datasets.prepare.report import Outcome, dataset_report, empty_splits
from ftops.datasets.prepare.sample_rows import samples
from ftops.datasets.prepare.split import SPLITS
from ftops.datasets.prepare.stages import Stages
from ftops.datasets.prepare.statistics import measured
from ftops.datasets.prepare.write import split_and_write, take, write_findings
from ftops.datasets.read import DataFile, Form, Reading
from ftops.datasets.record import DatasetReport, FindingReport
from ftops.datasets.spec import DatasetSpec
from ftops.errors import Diagnostic, ExternalError
from ftops.files import publish_folder
from ftops.plan.observed import Source
from ftops.store import process_pool
from ftops.store.arrow import leave_pandas_out
from ftops.store.store import Store

MANY: Final = 40 * 2**20
"""Bytes of files whose rows several processes will look at."""

__all__ = ["SPLITS", "Checked", "Origin", "Prepared", "check", "prepare", "read_manifest", "verify"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a data set is made from beside its spec.

    `sources` are the identities that the plan was made from, by path below `root`; `others` the prepared folders of the
    data sets that checks compare this one with, by name. `previous` is the prepared folder of the version before, and
    `read_before` the sha256 of what URLs without a pin held then.
    """

    root: Path
    sources: Mapping[str, Source | None] = field(default_factory=dict)
    others: Mapping[str, Path] = field(default_factory=dict)
    previous: Path | None = None
    read_before: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in rows that nobody prepared.

    `samples` are up to five of the rows, field by field, with all personal data masked that is found.
    """

    report: DatasetReport
    findings: tuple[FindingReport, ...]
    samples: tuple[Mapping[str, str], ...]


def prepare(
    spec: DatasetSpec,
    digest: str,
    origin: Origin,
    store: Store,
    progress: Progress = quiet,
    keep: Collection[str] = (),
) -> Prepared:
    """Make the prepared data of `spec` in the store, under `digest`; a folder that stands there already is kept.

    Afterwards the cache holds the stages of this data set, and of those with the digests `keep`.
    Raises ChecksFailed when the data can't be parsed or doesn't pass, ExternalError when a file is not at hand or changed,
    or the disk is full; then no prepared data is left in the store.
    """
    target = store.data(digest)
    if (there := read_manifest(target)) is not None:
        return there
    stages = Stages.of(store)
    checked = _checked_rows(spec, origin, store, stages, progress)
    written = split_and_write(spec, checked, stages, progress)
    counted = measured(spec, checked, written, origin.root, stages, progress)
    warnings = [*_new_content(checked.reading, origin), *empty_splits(spec, counted.splits)]
    if origin.previous is not None:
        warnings += moved(origin.previous, written.folder, checked.reading, written.sides, spec.split)

    def build(folder: Path) -> None:
        for name in (*(f"{split}.jsonl" for split in SPLITS), INDEX, SIDES):
            take(written.folder / name, folder / name)
        found = write_findings(folder, findings(checked, spec.on_invalid))
        outcome = Outcome(counted.statistics, found, counted.splits, tuple(warnings))
        Prepared(
            digest=digest,
            prepared_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            format=spec.output_format,
            split=spec.split.model_dump(mode="json"),
            stages=tuple(stages.used),
            report=dataset_report(spec, checked, outcome),
        ).write(folder)

    publish_folder(build, target)
    prepared = read_manifest(target)
    if prepared is None:
        raise ExternalError(Diagnostic(f"{target}: holds no manifest", hint="remove the folder and apply again"))
    kept = filter(None, (read_manifest(store.data(each)) for each in keep))
    stages.keep_only({name for each in kept for name in each.stages})
    return prepared


def _checked_rows(spec: DatasetSpec, origin: Origin, store: Store, stages: Stages, progress: Progress) -> CheckedRows:
    """What was read and found; raises ChecksFailed where the spec wants that to stop everything."""
    files = list(_files(spec, origin))
    _make_ready(files)
    if not stages.empty:  # where nothing was kept, nothing can be found again: reading tells the digest too
        files = [_identified(file, store) for file in files]
    reading, key = read(files, Form.of(spec), stages, progress)
    if spec.on_invalid == "fail":
        refuse_faults(reading)
    others = Others(
        {name: LaterRows(partial(prepared_rows, folder, stages)) for name, folder in origin.others.items()},
        {name: folder.name for name, folder in origin.others.items()},
    )
    checked = run_checks(spec.checks, reading, key, stages, others, progress)
    refuse_failed(checked)
    return checked


def _files(spec: DatasetSpec, origin: Origin) -> Iterator[DataFile]:
    source = spec.source
    if source.url is not None:
        yield DataFile(None, source.url, None if source.sha256 is None else f"sha256:{source.sha256}")
        return
    for path in source.files:
        known = origin.sources.get(path)
        yield DataFile(origin.root, path, known.digest if known else None)


def _make_ready(files: Iterable[DataFile]) -> None:
    """Has pyarrow do without pandas, and starts what will look at many rows while they are still being read."""
    leave_pandas_out()
    paths = [file.root / file.path for file in files if file.root is not None]
    if sum(path.stat().st_size for path in paths if path.is_file()) > MANY:
        process_pool.start("pyarrow.compute", checks.__name__)


def _identified(file: DataFile, store: Store) -> DataFile:
    """`file` with its digest, where only the pointer of its folder is known; a URL's content is known when it was read."""
    if file.root is None or file.expected is not None:
        return file
    try:
        return replace(file, expected=store.file_digest(file.root / file.path))
    except (ExternalError, FileNotFoundError):
        return file  # reading it says what is wrong


def _new_content(reading: Reading, origin: Origin) -> Iterator[str]:
    for file in reading.files:
        before = origin.read_before.get(file.path)
        if before is not None and before != f"sha256:{file.sha256}":
            yield f"{file.path} holds something else than before: sha256 {file.sha256}"


def check(
    spec: DatasetSpec,
    root: Path | None,
    scratch: Path,
    progress: Progress = quiet,
    *,
    others: Mapping[str, Path] | None = None,
    files: Sequence[DataFile] | None = None,
) -> Checked:
    """What `spec` finds in its rows, which are neither split nor written, and whatever is found stops nothing.

    `root` is the folder that the spec's paths are below, `scratch` one for what is needed meanwhile; `files` are read instead
    of those that the spec names. `others` are prepared folders, or plain files with the same columns, for the data sets that
    checks compare this one with. Raises ChecksFailed where a file can't be parsed or is over a limit, ExternalError where one
    can't be read.
    """
    stages, form = Stages(scratch), Form.of(spec)
    if files is None:
        files = list(_files(spec, Origin(root or scratch)))
    _make_ready(files)
    reading, key = read(files, form, stages, progress)
    warnings: list[str] = []
    against = {name: _rows_of(path, form, stages, warnings) for name, path in (others or {}).items()}
    checked = run_checks(spec.checks, reading, key, stages, Others(against, {}), progress)
    counted = measured(spec, checked, None, root or scratch, stages, progress)
    found = tuple(findings(checked, spec.on_invalid))
    outcome = Outcome(counted.statistics, first_of_each(found), warnings=tuple(warnings))
    return Checked(dataset_report(spec, checked, outcome), found, tuple(samples(reading.rows)))


def _rows_of(path: Path, form: Form, stages: Stages, warnings: list[str]) -> LaterRows:
    if path.is_dir():
        return LaterRows(partial(prepared_rows, path, stages))
    form = replace(form, stratum=None, format=None)
    reading, _ = read([DataFile(path.parent, path.name)], form, stages, quiet)
    if reading.faults:
        faulty = {fault.row for fault in reading.faults}
        warnings.append(f"{path.name}: compared without what breaks the shape there: {row_list(faulty)}")
    return LaterRows(lambda: reading.rows)
