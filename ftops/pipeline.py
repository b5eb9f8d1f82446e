"""A data set from its source to its splits: read, map, check, split, write, stage by stage; then published whole.

Which split a row comes to depends on its text and the seed alone. So rows that are added later move no other row, the
order of rows doesn't matter, and equal texts are always on one side. The ratios are met in the mean, not exactly: of n
rows a split with ratio r gets n·r ± √(n·r·(1-r)).
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ftops.checks.rows import BATCH, row_digests, row_numbers
from ftops.data import MESSAGES, Column, Contents, DataFile, JsonlWriter, read
from ftops.errors import ChecksFailed, Diagnostic, ExternalError, Where
from ftops.kinds.dataset import PIPELINE_VERSION, SHAPES, DatasetSpec, Split
from ftops.store import Store, publish_folder, read_json
from ftops.values import FORMAT_VERSION, Finding, Json, Source

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS: Final = ("train", "validation", "test")
SHOWN: Final = 20
"""Findings that are told one by one; all are counted."""
Progress = Callable[[str, int, int], None]
"""Is told the stage (read, check, split, write), how much is done, and of how much: files, checks, then rows."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a prepared folder holds, as its manifest.json says; nothing in it is a row, or a part of one.

    `splits` has for each split `rows`, `bytes`, `sha256`, of a file of its name. `findings` counts by check what was
    found. `statistics` counts rows, and gives lengths in characters by field. `prepared_at` is UTC, RFC 3339.
    """

    digest: str
    prepared_at: str
    statistics: Json
    splits: Mapping[str, Json]
    findings: Json
    warnings: tuple[str, ...]


def prepare(
    spec: DatasetSpec,
    digest: str,
    root: Path,
    sources: Mapping[str, Source | None],
    store: Store,
    progress: Progress = lambda _stage, _done, _total: None,
) -> Prepared:
    """Make the prepared data of `spec` in the store, under `digest`; a folder that stands there already is kept.

    `sources` are the identities that the plan was made from, by path below `root`. Raises ChecksFailed when the data
    can't be parsed or doesn't pass, ExternalError when a file is not at hand or changed, or the disk is full; then
    nothing is left in the store.
    """
    target = store.data(digest)

    def build(folder: Path) -> None:
        rows = _read(spec, root, sources, progress)
        checked = _check(rows, spec, progress)
        sides = assign(checked.table, spec.split)
        splits = _write(folder, checked.table, sides, spec, progress)
        warnings = [*checked.warnings, *_empty_splits(splits, spec)]
        manifest = {
            "formatVersion": FORMAT_VERSION,
            "pipeline": PIPELINE_VERSION,
            "digest": digest,
            "preparedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "sources": rows.sources,
            "unusedColumns": rows.unused,
            "statistics": _statistics(rows, checked),
            "splits": splits,
            "findings": checked.findings,
            "warnings": warnings,
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")

    publish_folder(build, target)
    prepared = read_manifest(target)
    if prepared is None:
        raise ExternalError(Diagnostic(f"{target}: holds no manifest", hint="remove the folder and apply again"))
    return prepared


def read_manifest(folder: Path) -> Prepared | None:
    """What the prepared folder `folder` holds, None where there is none."""
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("formatVersion") != FORMAT_VERSION:
        return None
    return Prepared(
        digest=manifest["digest"],
        prepared_at=manifest["preparedAt"],
        statistics=manifest["statistics"],
        splits={name: manifest["splits"][name] for name in SPLITS},
        findings=manifest["findings"],
        warnings=tuple(manifest["warnings"]),
    )


def verify(folder: Path) -> tuple[Diagnostic, ...]:
    """What in the prepared folder `folder` is not as its manifest says; nothing when it is whole."""
    prepared = read_manifest(folder)
    if prepared is None:
        return (Diagnostic(f"{folder}: no prepared data"),)
    broken = []
    for name, split in prepared.splits.items():
        path = folder / f"{name}.jsonl"
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            broken.append(Diagnostic(f"{path}: cannot be read: {error.strerror}"))
            continue
        if found != split["sha256"]:
            broken.append(
                Diagnostic(f"{path}: not what was prepared", f"expected sha256 {split['sha256']}, found {found}")
            )
    return tuple(broken)


# ------------------------------------------------------------------------------------------------- read


def columns_of(spec: DatasetSpec) -> tuple[Column, ...]:
    """The fields of the prepared rows and where they are read from: where `columns` says, else a column of their name.

    A column that is mapped to one field is not read for another by its name.
    """
    named = spec.source.columns
    required = SHAPES[spec.shape]
    return tuple(
        Column(name, named.get(name, name), required=name in required, mapped=name in named)
        for name in spec.fields
        if name in named or name in required or name not in named.values()
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of all files, numbered through, and what is known of where they came from."""

    table: pa.Table
    columns: tuple[Column, ...]
    files: tuple[tuple[str, int], ...]
    faults: tuple[Finding, ...]
    sources: list[Json]
    unused: list[str]

    def diagnostics(self, findings: tuple[Finding, ...]) -> Iterator[Diagnostic]:
        """The first findings, each with the place of its row; then how many more there are."""
        for finding in findings[:SHOWN]:
            path, first = self.files[bisect_right(self.files, finding.row, key=lambda file: file[1]) - 1]
            start = self.table.select(["line", "byte"]).slice(finding.row - 1, 1).to_pylist()[0]
            detail = [f"row {finding.row - first + 1} of {path}"] if len(self.files) > 1 else []
            if start["byte"] is not None:
                detail.append(f"at byte {start['byte']:,}")
            what = f"{finding.field!r} {finding.detail}" if finding.field else finding.detail
            yield Diagnostic(f"row {finding.row}: {what}", ", ".join(detail), where=Where(path, start["line"]))
        if len(findings) > SHOWN:
            yield Diagnostic(f"and {len(findings) - SHOWN:,} more like these")


def _read(spec: DatasetSpec, root: Path, sources: Mapping[str, Source | None], progress: Progress) -> _Rows:
    import pyarrow as pa

    columns = columns_of(spec)
    contents: list[Contents] = []
    files: list[tuple[str, int]] = []
    row = 1
    for number, path in enumerate(spec.source.files):
        progress("read", number, len(spec.source.files))
        known = sources.get(path)
        file = DataFile(
            root, path, spec.source.format_of(path), spec.source.size_limit, known.digest if known else None
        )
        contents.append(read(file, columns, row))
        files.append((path, row))
        row += contents[-1].table.num_rows
    progress("read", len(files), len(files))
    return _Rows(
        pa.concat_tables([each.table for each in contents]),
        columns,
        tuple(files),
        tuple(fault for each in contents for fault in each.faults),
        [{"sha256": each.sha256, "bytes": each.size, "rows": each.table.num_rows} for each in contents],
        sorted({name for each in contents for name in each.unused}),
    )


# ----------------------------------------------------------------------------------------------- check


@dataclass(frozen=True, slots=True)
class _Checked:
    """The rows that passed, and what was found on the way: counts by check, and sentences for a person."""

    table: pa.Table
    findings: Json
    warnings: list[str]


def _check(rows: _Rows, spec: DatasetSpec, progress: Progress) -> _Checked:
    """Raises ChecksFailed, naming rows, where the spec wants a fault or a finding to stop everything."""
    import pyarrow as pa

    if rows.faults and spec.on_invalid == "fail":
        raise ChecksFailed(*rows.diagnostics(rows.faults))
    table, warnings = rows.table, []
    faulty = {fault.row for fault in rows.faults}
    if faulty:
        table = table.filter(pa.array([row not in faulty for row in row_numbers(table)], pa.bool_()))
        warnings.append(f"left out, because they break the shape: {_listed(sorted(faulty))}")
    findings = {"format": Counter(f"{each.field} {re.sub(r'[0-9]+', 'N', each.detail)}" for each in rows.faults)}
    for number, check in enumerate(spec.checks):
        progress("check", number, len(spec.checks))
        result = check.run(table)
        if result.failed:
            raise ChecksFailed(*rows.diagnostics(result.findings))
        findings.setdefault(check.name, Counter()).update(result.summary)
        if result.findings and result.table.num_rows == table.num_rows:
            warnings.append(f"{check.name} found and kept: {_listed(sorted({each.row for each in result.findings}))}")
        table = result.table
    progress("check", len(spec.checks), len(spec.checks))
    return _Checked(table, findings, warnings)


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else ""
    return f"row{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers[:SHOWN]))}{more}"


def _statistics(rows: _Rows, checked: _Checked) -> Json:
    """Counts of rows, and the lengths in characters of each field: a chat's is that of all its messages together."""
    invalid = len({fault.row for fault in rows.faults})
    lengths = {column.field: _lengths(checked.table[column.field], column.field) for column in rows.columns}
    return {
        "rowsRead": rows.table.num_rows,
        "invalidRows": invalid,
        "droppedRows": rows.table.num_rows - invalid - checked.table.num_rows,
        "rows": checked.table.num_rows,
        "lengths": {field: found for field, found in lengths.items() if found["max"]},
    }


def _lengths(texts: pa.ChunkedArray, field: str) -> Json:
    """Characters (code points): smallest, mean, median, 95th percentile, largest; quantiles are lengths that occur."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if field == MESSAGES:
        sums = (sum(len(each["content"]) for each in chat) for chunk in texts.chunks for chat in chunk.to_pylist())
        lengths = pa.chunked_array([pa.array(sums, pa.int64())])
    else:
        lengths = pc.utf8_length(texts)
    quantiles = pc.quantile(lengths, q=[0, 0.5, 0.95, 1], interpolation="lower").to_pylist()
    mean = round(pc.mean(lengths).as_py(), 2)
    return {"min": quantiles[0], "mean": mean, "p50": quantiles[1], "p95": quantiles[2], "max": quantiles[3]}


# ----------------------------------------------------------------------------------------------- split


def assign(table: pa.Table, split: Split) -> list[int]:
    """For each row the index in SPLITS: BLAKE2b of the text, keyed by the seed, as a fraction of its range.

    From 0 on that range is cut by the ratios, in the order train, validation, test.
    """
    key = hashlib.blake2b(str(split.seed).encode()).digest()
    used = [(index, ratio) for index, name in enumerate(SPLITS) if (ratio := getattr(split, name)) > 0]
    # The last bound is left out, so that a sum of ratios a hair below 1 leaves no row without a side.
    bounds = [round(bound * 2**64) for bound in accumulate(ratio for _, ratio in used)][:-1]
    return [used[bisect_right(bounds, int.from_bytes(digest[:8], "big"))][0] for digest in row_digests(table, key)]


def _empty_splits(splits: Mapping[str, Json], spec: DatasetSpec) -> Iterator[str]:
    """A warning for each split that should have rows and got none; raises ChecksFailed when that is train."""
    if not splits["train"]["rows"]:
        none = not any(split["rows"] for split in splits.values())
        raise ChecksFailed(
            Diagnostic(
                "no rows are left to train on" if none else "the train split has no rows",
                where=Where(spec.source.files[0]),
                hint="add rows" if none else "add rows, or give train a larger ratio",
            )
        )
    for name in SPLITS:
        if getattr(spec.split, name) > 0 and not splits[name]["rows"]:
            yield f"the {name} split has no rows: there are too few for its ratio of {getattr(spec.split, name):g}"


# ----------------------------------------------------------------------------------------------- write


def _write(folder: Path, table: pa.Table, sides: list[int], spec: DatasetSpec, progress: Progress) -> dict[str, Json]:
    """One file a split, the rows in the order of the source; gives rows, bytes and sha256 of each."""
    shape = _alpaca if spec.output.format == "alpaca" else _messages
    done = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(JsonlWriter(folder / f"{name}.jsonl")) for name in SPLITS]
        for batch in table.to_batches(max_chunksize=BATCH):
            progress("write", done, table.num_rows)
            parts: list[list[Json]] = [[] for _ in SPLITS]
            for side, row in zip(sides[done : done + batch.num_rows], batch.to_pylist(), strict=True):
                parts[side].append(shape(row))
            for writer, part in zip(writers, parts, strict=True):
                writer.write(part)
            done += batch.num_rows
        progress("write", done, table.num_rows)
        return {
            name: {"rows": writer.rows, "bytes": writer.bytes, "sha256": writer.sha256}
            for name, writer in zip(SPLITS, writers, strict=True)
        }


def _alpaca(row: dict[str, Any]) -> Json:
    return {"instruction": row["instruction"], "input": row.get("input", ""), "output": row["output"]}


def _messages(row: dict[str, Any]) -> Json:
    """A chat as it is; an instruction as one exchange, its input on a line of its own, as LLaMA-Factory joins them."""
    if MESSAGES in row:
        return {"messages": row[MESSAGES]}
    question = "\n".join(filter(None, (row["instruction"], row.get("input"))))
    turns = (("system", row.get("system")), ("user", question), ("assistant", row["output"]))
    return {"messages": [{"role": role, "content": content} for role, content in turns if content]}
