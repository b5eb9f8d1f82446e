"""What the records say, as rows of the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ftops.datasets.record import DatasetRecord
from ftops.digests import Json
from ftops.experiments.record import ExperimentRecord
from ftops.index.tables import ATTEMPTS, CHECKPOINTS, COPIES, DATASETS, EXPERIMENTS, JOBS, LOOKS, SWEEPS, VERSIONS
from ftops.models.record import ModelRecord
from ftops.plan.run import run_id
from ftops.resources.record import Record
from ftops.training.metrics import Checkpoints, SavedCheckpoint, criterion
from ftops.training.record import Attempt, RunEntry, RunRecord
from ftops.training.sweep.record import SweepRecord

Row = dict[str, Any]
Rows = dict[sa.Table, list[Row]]


def rows_of(records: Mapping[str, Record]) -> Rows:
    """What the tables hold: the same records, the same rows in the same order. Raises ValueError for what is no time."""
    rows: Rows = {table: [] for table in COPIES}
    for _, record in sorted(records.items()):
        match record:
            case DatasetRecord():
                rows[DATASETS].append(_dataset(record))
            case RunRecord():
                for key in sorted(record.status.runs):
                    job, attempts = _job(record, key)
                    rows[JOBS].append(job)
                    rows[ATTEMPTS] += attempts
                    rows[CHECKPOINTS] += _checkpoints(record.status.runs[key])
            case SweepRecord():
                tree = _same(SWEEPS, record.status.model_dump(mode="json"))
                rows[SWEEPS].append({**tree, "name": record.metadata.name, "record": record.path})
            case ModelRecord():
                rows[VERSIONS].append(_version(record))
            case ExperimentRecord():
                experiment, looks = _experiment(record)
                rows[EXPERIMENTS].append(experiment)
                rows[LOOKS] += looks
            case _:
                raise TypeError(f"{record.path} has no rows")
    known = {job["id"] for job in rows[JOBS]}
    for version in rows[VERSIONS]:
        if version["job"] not in known:
            version["job"] = None
    return rows


def _same(table: sa.Table, tree: Row) -> Row:
    """Of a record's tree, what its table has under the same name."""
    return {name: value for name, value in tree.items() if name in table.columns}


def _dataset(record: DatasetRecord) -> Row:
    status, report = record.status, record.status.report
    written = {f"{side}_rows": split.rows for side, split in report.splits.items()}
    counted = {f"{what}_rows": count for what, count in report.rows.model_dump().items()}
    return {
        **_same(DATASETS, report.model_dump(mode="json")),
        **_same(DATASETS, status.model_dump(mode="json", exclude={"report"})),
        **written,
        **counted,
        "score": None if report.quality is None else report.quality.score,
        "name": record.metadata.name,
        "prepared_at": _time(status.prepared_at),
        "record": record.path,
    }


def _job(record: RunRecord, key: str) -> tuple[Row, list[Row]]:
    """The row of a run, and those of its attempts in their order."""
    entry, identity = record.status.runs[key], run_id(record.metadata.name, key)
    numbered = sorted((int(number), attempt) for number, attempt in entry.attempts.items())
    attempts = [_attempt(identity, number, attempt) for number, attempt in numbered]
    figures = {
        "first_loss": "firstLoss",
        "loss": "loss",
        "eval_loss": "evalLoss",
        "tokens_per_second": "tokensPerSecond",
    }
    job = {
        **_same(JOBS, entry.model_dump(mode="json")),
        **{column: entry.metrics.get(name) for column, name in figures.items()},
        "id": identity,
        "name": record.metadata.name,
        "digest": key,
        "is_current": key == record.status.current,
        "method": _field(entry.inputs, "method"),
        "dataset_digest": _field(entry.inputs, "dataset"),
        "base_model": _field(entry.inputs, "baseModel"),
        "started_at": attempts[0]["started_at"] if attempts else None,
        "ended_at": attempts[-1]["ended_at"] if attempts else None,
        "record": record.path,
    }
    return job, attempts


def _attempt(job: str, number: int, attempt: Attempt) -> Row:
    times = {"started_at": _time(attempt.started_at), "ended_at": _time(attempt.ended_at)}
    return {**_same(ATTEMPTS, attempt.model_dump(mode="json")), **times, "job": job, "number": number}


def _checkpoints(entry: RunEntry) -> Iterator[Row]:
    """The rows of the checkpoints that the attempts of a run left, by attempt and step."""
    saved = [
        SavedCheckpoint(
            number, step, "torn" if each.torn else "whole", each.size, reason=each.torn or "", metrics=each.metrics
        )
        for number, attempt in sorted((int(number), attempt) for number, attempt in entry.attempts.items())
        for step, each in sorted((int(step), each) for step, each in (attempt.checkpoints or {}).items())
    ]
    chosen = Checkpoints(entry.id, tuple(saved), *criterion(saved, _field(entry.inputs, "best"))).best
    for each in saved:
        yield {
            "job": entry.id,
            "attempt": each.attempt,
            "step": each.step,
            "path": f"runs/{entry.id}/{each.path}",
            "state": each.state,
            "reason": each.reason or None,
            "size": each.size,
            "is_best": each is chosen,
            "metrics": dict(each.metrics),
        }


def _version(record: ModelRecord) -> Row:
    status = record.status
    tree = status.model_dump(mode="json")
    return {
        **_same(VERSIONS, tree),
        "name": record.metadata.name,
        "version": record.metadata.version,
        "job": run_id(status.run, status.run_digest),
        "data_digest": status.digests.data,
        "config_digest": status.digests.config,
        "weights": tree["digests"]["weights"],
        **{f"merged_{name}": each for name, each in (tree["merged"] or {}).items()},
        "registered_at": _time(status.registered_at),
        "record": record.path,
    }


def _experiment(record: ExperimentRecord) -> tuple[Row, list[Row]]:
    """The row of an experiment, and those of its looks in the order in which they were taken."""
    status = record.status
    tree = status.model_dump(mode="json")
    ended = tree["conclusion"] or {}
    experiment = {
        **_same(EXPERIMENTS, tree),
        **{name: ended.get(name) for name in ("model", "reason")},
        "name": record.metadata.name,
        "verdict": record.look.verdict if record.look else None,
        "winner": record.look.winner if record.look else None,
        "ended_at": _time(ended.get("ended_at")),
        "record": record.path,
    }
    looks = [
        {
            **_same(LOOKS, look.model_dump(mode="json")),
            **{name: _time(getattr(look, name)) for name in ("taken_at", "first", "last")},
            "experiment": record.metadata.name,
            "phase": int(number),
        }
        for number, phase in sorted(status.phases.items(), key=lambda each: int(each[0]))
        for look in sorted(phase.looks.values(), key=lambda each: each.number)
    ]
    return experiment, looks


def _field(tree: Json, name: str) -> Json:
    return tree.get(name) if isinstance(tree, Mapping) else None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
