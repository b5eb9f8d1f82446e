"""The tables of the SQL index that hold the records of experiments, and the rows of a record."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ftops.experiments.record import ExperimentRecord
from ftops.resources.index_table import JSON, OURS, TIME, columns, key, same, time_of
from ftops.resources.kind import IndexTables, Row

EXPERIMENTS: Final = sa.Table(
    "ab_experiments",
    OURS,
    key("name"),
    *columns(sa.Text, "digest", "phase", "current", "record", needed=True),
    *columns(sa.Text, "verdict", "winner", "model", "reason", "input_commit"),
    *columns(sa.Double, "traffic"),
    *columns(JSON, "inputs", "conclusion"),
    *columns(TIME, "ended_at"),
)
LOOKS: Final = sa.Table(
    "ab_test_results",
    OURS,
    sa.Column(
        "experiment",
        sa.Text,
        sa.ForeignKey("ab_experiments.name", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    key("phase", sa.BigInteger),
    key("number", sa.BigInteger),
    *columns(sa.Text, "data_digest", "verdict", needed=True),
    *columns(sa.Text, "winner"),
    *columns(sa.BigInteger, "decided_at"),
    *columns(sa.Boolean, "simulated", needed=True),
    *columns(sa.Double, "fraction", needed=True),
    *columns(JSON, "arms", "comparisons", "rows", "srm", "response", "reasons"),
    *columns(TIME, "taken_at", "first", "last"),
)


def _rows_of(record: ExperimentRecord) -> tuple[Row, list[Row]]:
    """The row of an experiment, and those of its looks in the order in which they were taken."""
    status = record.status
    tree = status.model_dump(mode="json")
    ended = tree["conclusion"] or {}
    experiment = {
        **same(EXPERIMENTS, tree),
        **{name: ended.get(name) for name in ("model", "reason")},
        "name": record.metadata.name,
        "verdict": record.look.verdict if record.look else None,
        "winner": record.look.winner if record.look else None,
        "ended_at": time_of(ended.get("ended_at")),
        "record": record.path,
    }
    looks = [
        {
            **same(LOOKS, look.model_dump(mode="json")),
            **{name: time_of(getattr(look, name)) for name in ("taken_at", "first", "last")},
            "experiment": record.metadata.name,
            "phase": int(number),
        }
        for number, phase in sorted(status.phases.items(), key=lambda each: int(each[0]))
        for look in sorted(phase.looks.values(), key=lambda each: each.number)
    ]
    return experiment, looks


def _rows(record: ExperimentRecord) -> dict[str, list[Row]]:
    experiment, looks = _rows_of(record)
    return {EXPERIMENTS.name: [experiment], LOOKS.name: looks}


INDEX: Final[IndexTables[ExperimentRecord]] = IndexTables((EXPERIMENTS, LOOKS), _rows)
