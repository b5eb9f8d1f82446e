"""The tables of the SQL index that hold the records of trainings, and the rows of a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from ftops.plan.run import run_id
from ftops.resources.index_table import JSON, OURS, TIME, columns, job_column, key, member, same, time_of
from ftops.resources.kind import IndexTables, Row
from ftops.training.metrics import Checkpoints, SavedCheckpoint, criterion
from ftops.training.record import Attempt, RunEntry, RunRecord

JOBS: Final = sa.Table(
    "finetuning_jobs",
    OURS,
    key("id"),
    *columns(sa.Text, "name", "digest", "phase", "engine", "config_digest", "record", needed=True),
    *columns(sa.Boolean, "is_current", needed=True),
    *columns(sa.Text, "method", "dataset_digest", "output", "input_commit"),
    *columns(sa.BigInteger, "steps", "max_steps"),
    *columns(sa.Double, "first_loss", "loss", "eval_loss", "tokens_per_second"),
    *columns(TIME, "started_at", "ended_at"),
    *columns(JSON, "base_model", "metrics", "weights", "inputs"),
)
ATTEMPTS: Final = sa.Table(
    "training_attempts",
    OURS,
    job_column(primary_key=True),
    key("number", sa.BigInteger),
    *columns(sa.Text, "phase", needed=True),
    *columns(sa.BigInteger, "step", "exit_code", "signal"),
    *columns(sa.Text, "reason", "resumed_from"),
    *columns(TIME, "started_at", "ended_at"),
)
CHECKPOINTS: Final = sa.Table(
    "training_checkpoints",
    OURS,
    job_column(primary_key=True),
    key("attempt", sa.BigInteger),
    key("step", sa.BigInteger),
    *columns(sa.Text, "path", "state", needed=True),
    *columns(sa.Text, "reason"),
    *columns(sa.BigInteger, "size", needed=True),
    *columns(sa.Boolean, "is_best", needed=True),
    *columns(JSON, "metrics"),
)


def _rows(record: RunRecord) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {table.name: [] for table in (JOBS, ATTEMPTS, CHECKPOINTS)}
    for digest in sorted(record.status.runs):
        job, attempts = _job(record, digest)
        rows[JOBS.name].append(job)
        rows[ATTEMPTS.name] += attempts
        rows[CHECKPOINTS.name] += _checkpoints(record.status.runs[digest])
    return rows


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
        **same(JOBS, entry.model_dump(mode="json")),
        **{column: entry.metrics.get(name) for column, name in figures.items()},
        "id": identity,
        "name": record.metadata.name,
        "digest": key,
        "is_current": key == record.status.current,
        "method": member(entry.inputs, "method"),
        "dataset_digest": member(entry.inputs, "dataset"),
        "base_model": member(entry.inputs, "baseModel"),
        "started_at": attempts[0]["started_at"] if attempts else None,
        "ended_at": attempts[-1]["ended_at"] if attempts else None,
        "record": record.path,
    }
    return job, attempts


def _attempt(job: str, number: int, attempt: Attempt) -> Row:
    times = {"started_at": time_of(attempt.started_at), "ended_at": time_of(attempt.ended_at)}
    return {**same(ATTEMPTS, attempt.model_dump(mode="json")), **times, "job": job, "number": number}


def _checkpoints(entry: RunEntry) -> Iterator[Row]:
    """The rows of the checkpoints that the attempts of a run left, by attempt and step."""
    saved = [
        SavedCheckpoint(
            number, step, "torn" if each.torn else "whole", each.size, reason=each.torn or "", metrics=each.metrics
        )
        for number, attempt in sorted((int(number), attempt) for number, attempt in entry.attempts.items())
        for step, each in sorted((int(step), each) for step, each in (attempt.checkpoints or {}).items())
    ]
    chosen = Checkpoints(entry.id, tuple(saved), *criterion(saved, member(entry.inputs, "best"))).best
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


INDEX: Final[IndexTables[RunRecord]] = IndexTables((JOBS, ATTEMPTS, CHECKPOINTS), _rows)
