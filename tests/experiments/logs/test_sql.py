"""Log rows in a SQL table: the same in SQLite and in a real PostgreSQL, read without writing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ftops.errors import ChecksFailed, ExternalError, SpecError
from ftops.experiments.analysis.observations import Wanted
from ftops.experiments.assignment import Allocation, assign, ranges_by_weight
from ftops.experiments.logs.sql import read_sql
from ftops.experiments.metric_types import METRIC_TYPES

ALLOCATION = Allocation("chat", ranges_by_weight({"a": 5000, "b": 5000}))
RATINGS, DURATIONS = METRIC_TYPES["rating"].values, METRIC_TYPES["duration"].values
WANTED = Wanted("chat", ALLOCATION, {"rating": RATINGS, "response_time_ms": DURATIONS})
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
SECRET = "kim@example.com"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'logs.db'}"
    return request.getfixturevalue("postgres")


def fill(url, rows, name="log rows", **types):
    """A table of `rows`; its time is one with a zone where there is such a type."""
    kinds = {"id": sa.Text, "experiment": sa.Text, "unit": sa.Text, "arm": sa.Text, "time": sa.Text, "rating": sa.Integer,
             "response_time_ms": sa.Double, "query": sa.Text} | types  # fmt: skip
    table = sa.Table(name, sa.MetaData(), *(sa.Column(column, kind) for column, kind in kinds.items()))
    database = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with database.begin() as connection:
        table.drop(connection, checkfirst=True)
        table.create(connection)
        if rows:
            connection.execute(table.insert(), [{column: row.get(column) for column in kinds} for row in rows])
    return name


def row(number, **changes):
    unit = f"user-{number % 7}"
    time = (BEGIN + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
    return {
        "id": f"row-{number:04d}", "experiment": "chat", "unit": unit, "arm": assign(ALLOCATION, unit), "time": time,
        "rating": None if number % 3 == 0 else number % 5 + 1, "response_time_ms": 100.5 + number, "query": SECRET, **changes,
    }  # fmt: skip


def said(found):
    values = {name: sorted(map(str, column.tolist())) for name, column in found.values.items()}
    return found.rows, found.units, sorted(found.day.tolist()), values, found.first, found.last


def test_rows_become_columns(url):
    rows = [row(number) for number in range(20)]
    rows += [
        row(20, experiment="other"),
        row(21, experiment=None),
        row(22, rating=6),
        row(23, arm="c"),
        row(3),
        row(24, unit=""),
    ]
    found = read_sql(url, fill(url, rows), WANTED)
    assert (found.rows.read, found.rows.kept, found.rows.foreign) == (26, 20, 1)
    assert (found.rows.faulty, found.rows.duplicates) == (4, 1)
    assert {(each.field) for each in found.faults} == {"experiment", "rating", "arm", "unit"}
    assert found.first == BEGIN.timestamp()
    assert SECRET not in repr(found.faults)
    turned = read_sql(url, fill(url, rows[::-1], "turned"), WANTED)
    assert turned.digest == found.digest
    assert said(turned) == said(found)
    assert read_sql(url, fill(url, rows[1:], "fewer"), WANTED).digest != found.digest


def test_other_types_say_the_same(url):
    rows = [row(number) for number in range(20)]
    expected = said(read_sql(url, fill(url, rows), WANTED))
    timed = [{**each, "time": datetime.fromisoformat(each["time"])} for each in rows]
    assert said(read_sql(url, fill(url, timed, "zoned", time=sa.DateTime(timezone=True)), WANTED)) == expected
    naive = [{**each, "time": each["time"].replace(tzinfo=None)} for each in timed]
    found = read_sql(url, fill(url, naive, "naive", time=sa.DateTime()), WANTED)
    assert said(found) == expected
    assert any("taken as UTC" in note for note in found.notes)
    exact = read_sql(url, fill(url, rows, "exact", rating=sa.Numeric, response_time_ms=sa.Numeric), WANTED)
    assert said(exact) == expected
    numbered = [{**each, "id": number} for number, each in enumerate(rows)]
    assert said(read_sql(url, fill(url, numbered, "numbered", id=sa.BigInteger), WANTED)) == expected
    flagged = [{**each, "simulated": True} for each in rows]
    assert read_sql(url, fill(url, flagged, "flagged", simulated=sa.Boolean), WANTED).simulated


def test_an_empty_table_has_no_rows(url):
    assert read_sql(url, fill(url, []), WANTED).rows.read == 0


def test_what_is_missing_is_named(url):
    fill(url, [row(1)], "rows")
    with pytest.raises(ChecksFailed, match="no table 'row'") as error:
        read_sql(url, "row", WANTED)
    assert error.value.diagnostics[0].hint == "did you mean 'rows'?"
    with pytest.raises(ChecksFailed, match="has no column 'ratings'"):
        read_sql(url, "rows", Wanted("chat", ALLOCATION, {"ratings": RATINGS}))
    with pytest.raises(ChecksFailed, match="no row is of the experiment 'other'") as error:
        read_sql(url, "rows", Wanted("other", ALLOCATION, {"rating": RATINGS}))
    assert "'chat'" in error.value.diagnostics[0].detail


def test_a_name_is_only_a_name(url):
    name = 'x"; DROP TABLE victim; --'
    fill(url, [row(1)], "victim")
    fill(url, [row(1)], name)
    assert read_sql(url, name, WANTED).rows.kept == 1
    assert read_sql(url, "victim", WANTED).rows.kept == 1


def test_a_schema_may_be_named(postgres):
    fill(postgres, [row(1), row(2)], "rows")
    assert read_sql(postgres, "public.rows", WANTED).rows.kept == 2


def test_a_password_is_not_told(postgres):
    closed = "postgresql://someone:hunter2@127.0.0.1:1/none"
    with pytest.raises(ExternalError) as error:
        read_sql(closed, "rows", WANTED)
    assert "hunter2" not in repr(error.value.diagnostics)
    with pytest.raises(SpecError) as wrong:
        read_sql("mysql://someone:hunter2@host/none", "rows", WANTED)
    assert "hunter2" not in repr(wrong.value.diagnostics)


def test_a_missing_file_is_not_made(tmp_path):
    with pytest.raises(ExternalError, match="no such file"):
        read_sql(f"sqlite:///{tmp_path / 'none.db'}", "rows", WANTED)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with pytest.raises(ExternalError, match="can't read the logs"):
        read_sql(f"sqlite:///{tmp_path / 'text.db'}", "rows", WANTED)
