"""The SQL index: the same rows of the same records, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import re
import sqlite3
import sys
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from ftops.datasets.record import DatasetRecord
from ftops.errors import ExternalError, SpecError
from ftops.experiments.analysis import analyze
from ftops.experiments.index_tables import LOOKS
from ftops.index import database
from ftops.index.rows import copies
from ftops.models.index_tables import VERSIONS
from ftops.models.record import ModelRecord
from ftops.plan.sweep_choice import MemberResult, choose
from ftops.status.doctor import findings
from ftops.training.index_tables import JOBS
from ftops.training.record import RunRecord
from ftops.training.sweep.record import SweepRecord
from tests.support import projects
from tests.support.looking import experiment, ratings
from tests.support.looking import record as looked

DATA, GOOD, BAD = "d" * 64, "0123456789ab" + "c" * 52, "ba9876543210" + "e" * 52
WEIGHTS = {"model.safetensors": {"sha256": "f" * 64, "size": 2**40}}


def some_records():
    entry = {
        "inputs": {"method": "lora", "dataset": DATA, "baseModel": {"run": "base"}, "한국어": "'; DROP TABLE x; --"},
        "engine": "axolotl==0.19.0",
        "config_digest": "a" * 64,
    }
    died = {
        "phase": "failed",
        "started_at": "2026-01-02T03:00:00Z",
        "ended_at": "2026-01-02T03:04:05Z",
        "step": 4,
        "signal": 9,
        "reason": "killed by signal 9",
        "checkpoints": {
            "10": {"size": 2**40, "metrics": {"loss": 0.1}, "torn": "optimizer.pt is missing"},
            "4": {"size": 5, "metrics": {"eval_loss": 2.0, "loss": 1.5}},
        },
    }
    ended = {
        "phase": "succeeded",
        "started_at": "2026-01-02T04:00:00Z",
        "ended_at": "2026-01-02T04:10:00Z",
        "step": 10,
        "exit_code": 0,
        "resumed_from": "runs/chat/attempt-1/output/checkpoint-4",
        "checkpoints": {
            "8": {"size": 5, "metrics": {"eval_loss": 1.0}},
            "10": {"size": 5, "metrics": {"eval_loss": 1.5}},
        },
    }
    good = {
        **entry,
        "id": "chat-0123456789ab",
        "phase": "succeeded",
        # As text, "10" stands before "9".
        "attempts": {"10": ended, "9": died},
        "steps": 10,
        "max_steps": 10,
        "metrics": {"firstLoss": 5.0, "loss": 0.5},
        "weights": WEIGHTS,
        "output": "runs/chat-0123456789ab/attempt-10/output",
        "input_commit": "1" * 40,
    }
    bad = {**entry, "id": "chat-ba9876543210", "phase": "failed", "attempts": {}, "inputs": None}
    run_status = {"phase": "succeeded", "current": GOOD, "runs": {GOOD: good, BAD: bad}}
    version = {
        "phase": "registered",
        "run": "chat",
        "run_digest": GOOD,
        "run_id": "chat-0123456789ab",
        "method": "lora",
        "base_model": {"run": "base"},
        "size": 2**40,
        "digests": {"data": DATA, "config": "a" * 64, "weights": WEIGHTS},
        "output": "runs/chat-0123456789ab/attempt-10/output",
        "mlflow": "models:/chat/1",
        "aliases": ("production",),
        "tags": ("한국어",),
        "registered_at": "2026-01-02T05:00:00Z",
    }
    dataset = {
        "phase": "prepared",
        "digest": DATA,
        "inputs": {},
        "sources": {"data/chat.csv": {"digest": "sha256:1"}},
        "report": {
            "shape": "instruction",
            "files": [{"path": "data/chat.csv", "sha256": "1" * 64, "bytes": 9000, "rows": 61}],
            "rows": {"read": 61, "invalid": 0, "dropped": 1, "masked": 2, "kept": 60},
            "valid": True,
            "quality": {"score": 0.97, "components": []},
            "splits": {
                side: {"rows": rows, "bytes": 9, "sha256": "2" * 64}
                for side, rows in (("train", 54), ("validation", 6))
            },
        },
        "prepared_at": "2026-01-02T02:00:00Z",
    }
    forgotten = {**version, "run": "gone", "run_digest": BAD}
    made = [
        DatasetRecord.model_validate({"metadata": {"name": "chat"}, "status": dataset}, strict=False),
        RunRecord.model_validate({"metadata": {"name": "chat"}, "status": run_status}, strict=False),
        ModelRecord.model_validate({"metadata": {"name": "chat", "version": "1.0.0"}, "status": version}),
        ModelRecord.model_validate({"metadata": {"name": "old", "version": "0.1.0"}, "status": forgotten}),
    ]
    found = analyze(experiment().spec, ratings(0.5, units=100)).model_copy(update={"taken_at": "2026-01-03T00:00:00Z"})
    made.append(looked(found))
    members = [
        MemberResult("search-r-8", {"lora_r": 8}, BAD, "failed", None, "exit code 1"),
        MemberResult("search-r-16", {"lora_r": 16}, GOOD, "succeeded", 1.5),
    ]
    made.append(SweepRecord.of("search", choose("eval_loss", "min", 1, members), "1" * 40))
    return {record.path: record for record in made}


COUNTS = {
    "training_datasets": 1,
    "finetuning_jobs": 2,
    "training_attempts": 2,
    "training_checkpoints": 4,
    "training_sweeps": 1,
    "model_registry": 2,
    "ab_experiments": 1,
    "ab_test_results": 1,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return database.locate("sqlite:///index.db", tmp_path)
    server = database.locate(request.getfixturevalue("postgres"), tmp_path)
    name = "t" + re.sub(r"\W", "_", tmp_path.name).lower()
    with closing_engine(server, isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@contextmanager
def closing_engine(url, **options):
    engine = sa.create_engine(url, poolclass=sa.NullPool, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def query(url, text):
    """The rows that a statement gives, as plain values; times in UTC whatever the database makes of them."""

    def plain(value):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC) if isinstance(value, datetime) else value

    with closing_engine(url) as engine, engine.begin() as connection:
        found = connection.execute(text if isinstance(text, sa.Executable) else sa.text(text))
        return [tuple(map(plain, row)) for row in found] if found.returns_rows else []


def everything(url):
    return {table.name: sorted(query(url, sa.select(table)), key=repr) for table in copies()}


def test_what_is_in_it(url):
    assert database.rebuild(url, some_records()) == COUNTS
    assert query(url, "SELECT name, digest, train_rows, validation_rows, test_rows FROM training_datasets") == [
        ("chat", DATA, 54, 6, None)
    ]
    assert query(url, "SELECT read_rows, dropped_rows, masked_rows, kept_rows, score FROM training_datasets") == [
        (61, 1, 2, 60, 0.97)
    ]
    assert query(url, "SELECT name, phase, verdict, winner, traffic FROM ab_experiments") == [
        ("v2", "running", "winner", "b", 57.14)
    ]
    assert query(url, "SELECT name, phase, chosen, run_id, metric, mode, may_fail, why FROM training_sweeps") == [
        ("search", "chosen", "search-r-16", f"search-r-16-{GOOD[:12]}", "eval_loss", "min", 1, "lowest eval_loss of 1")
    ]
    looks = LOOKS.c
    columns = (looks.experiment, looks.phase, looks.number, looks.verdict, looks.simulated, looks.taken_at)
    assert query(url, sa.select(*columns)) == [("v2", 1, 1, "winner", False, datetime(2026, 1, 3, tzinfo=UTC))]
    assert (
        query(url, "SELECT id, phase, is_current, method, first_loss, loss FROM finetuning_jobs ORDER BY id")
        == [
            ("chat-0123456789ab", "succeeded", True, "lora", 5.0, 0.5),
            ("chat-ba9876543210", "failed", False, None, None, None),
        ]
        or "sqlite" in url
    )  # which has no Boolean: 1 and 0, equal to True and False
    times = sa.select(JOBS.c.started_at, JOBS.c.ended_at).where(JOBS.c.is_current)
    assert query(url, times) == [
        (datetime(2026, 1, 2, 3, 0, tzinfo=UTC), datetime(2026, 1, 2, 4, 10, tzinfo=UTC)),
    ]
    assert query(url, "SELECT number, phase, signal FROM training_attempts ORDER BY number") == [
        (9, "failed", 9),
        (10, "succeeded", None),
    ]
    labels = sa.select(*(VERSIONS.c[name] for name in ("name", "version", "job", "size", "aliases", "tags")))
    assert sorted(query(url, labels)) == [
        ("chat", "1.0.0", "chat-0123456789ab", 2**40, ["production"], ["한국어"]),
        ("old", "0.1.0", None, 2**40, ["production"], ["한국어"]),
    ]
    assert query(url, "SELECT attempt, step, state, reason, size FROM training_checkpoints ORDER BY attempt, step") == [
        (9, 4, "whole", None, 5),
        (9, 10, "torn", "optimizer.pt is missing", 2**40),
        (10, 8, "whole", None, 5),
        (10, 10, "whole", None, 5),
    ]
    (inputs,) = query(url, sa.select(JOBS.c.inputs).where(JOBS.c.is_current))[0]
    assert inputs["한국어"] == "'; DROP TABLE x; --"
    (base,) = query(url, "SELECT base_model ->> 'run' FROM finetuning_jobs WHERE is_current")[0]
    assert base == "base"


@pytest.mark.parametrize(
    ("said", "step"),
    [
        (None, (10, 8)),
        ({"metric": "loss", "mode": "max", "every": 2}, (9, 4)),
        ({"metric": "accuracy", "mode": "max", "every": 2}, None),
    ],
)
def test_the_best_checkpoint_is_by_the_metric_of_the_spec_else_by_the_loss(tmp_path, said, step):
    url, records = database.locate("sqlite:///index.db", tmp_path), some_records()
    record = records["registry/runs/chat.yaml"]
    good = record.status.runs[GOOD]
    runs = {GOOD: good.model_copy(update={"inputs": {**good.inputs, **({"best": said} if said else {})}})}
    status = record.status.model_copy(update={"runs": runs})
    database.rebuild(url, {record.path: record.model_copy(update={"status": status})})
    found = query(url, "SELECT attempt, step FROM training_checkpoints WHERE is_best")
    assert found == ([] if step is None else [step])


def test_the_queries_of_the_page(url):
    database.rebuild(url, some_records())
    page = (projects.ROOT / "docs/how-to/index-sql.md").read_text()
    shown = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    eval_loss = 1.0 if "sqlite" in url else "1.0"  # PostgreSQL takes a value out of JSON as text
    assert [query(url, text) for text in shown] == [
        [("chat", "1.0.0", 54, 10, 0.5)],
        [("chat-0123456789ab", 9, "killed by signal 9")],
        [("chat-0123456789ab", 8, eval_loss, 5, "runs/chat-0123456789ab/attempt-10/output/checkpoint-8")],
        [("v2", 1, 1, "winner", "b", 0.25)],
    ]


def test_both_databases_hold_the_same(postgres, tmp_path):
    places = [database.locate(each, tmp_path) for each in (postgres, "sqlite:///index.db")]
    for place in places:
        database.rebuild(place, some_records())
    assert everything(places[0]) == everything(places[1])


def test_again_and_in_another_order_gives_the_same_rows(url):
    records = some_records()
    database.rebuild(url, records)
    before = everything(url)
    database.rebuild(url, dict(reversed(records.items())))
    assert everything(url) == before
    assert {name: len(rows) for name, rows in before.items()} == COUNTS


def test_what_left_the_records_leaves_the_index(url):
    records = some_records()
    database.rebuild(url, records)
    del records["registry/runs/chat.yaml"]
    database.rebuild(url, records)
    assert query(url, "SELECT * FROM finetuning_jobs") == query(url, "SELECT * FROM training_attempts") == []
    assert query(url, "SELECT job FROM model_registry") == [(None,), (None,)]
    database.rebuild(url, {})
    assert everything(url) == {name: [] for name in COUNTS}


def test_children_go_with_their_parent(url):
    """As declared; SQLite minds foreign keys for those who ask it to."""
    database.rebuild(url, some_records())
    with closing_engine(url) as engine, engine.begin() as connection:
        if "sqlite" in url:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        connection.exec_driver_sql("DELETE FROM finetuning_jobs")
    assert query(url, "SELECT * FROM training_attempts") == query(url, "SELECT * FROM training_checkpoints") == []
    assert query(url, "SELECT name FROM model_registry") == [("old",)]


def test_tables_of_another_shape_are_made_anew_and_others_are_left(url):
    query(url, "CREATE TABLE mine (x INTEGER)")
    query(url, "INSERT INTO mine VALUES (7)")
    database.rebuild(url, some_records())
    before = everything(url)
    for change in (
        "UPDATE ftops_index SET shape = 'of an earlier ftops'",
        "ALTER TABLE finetuning_jobs DROP COLUMN method",
        "DROP TABLE training_attempts",
    ):
        query(url, change)
        database.rebuild(url, some_records())
        assert everything(url) == before
    assert query(url, "SELECT x FROM mine") == [(7,)]


def test_a_view_on_it_stays(url):
    database.rebuild(url, {})
    query(url, "CREATE VIEW versions AS SELECT name, version FROM model_registry")
    database.rebuild(url, some_records())
    assert sorted(query(url, "SELECT * FROM versions")) == [("chat", "1.0.0"), ("old", "0.1.0")]


def test_a_table_of_somebody_else_is_not_replaced(url):
    query(url, "CREATE TABLE model_registry (precious INTEGER)")
    query(url, "INSERT INTO model_registry VALUES (1)")
    with pytest.raises(ExternalError, match="tables that ftops did not make: model_registry"):
        database.rebuild(url, some_records())
    assert query(url, "SELECT precious FROM model_registry") == [(1,)]


def test_what_fails_half_way_changes_nothing(url):
    database.rebuild(url, some_records())
    before = everything(url)
    records = some_records()
    version = records["registry/models/chat/1.0.0.yaml"]
    for wrong in ({"size": 2**70}, {"registered_at": "yesterday"}):
        status = version.status.model_copy(update=wrong)
        records[version.path] = version.model_copy(update={"status": status})
        with pytest.raises(ExternalError, match="can't rebuild the index"):
            database.rebuild(url, records)
        assert everything(url) == before


def test_rebuilds_at_once(url):
    """Each from nothing: making the tables is part of the race."""
    failed = []

    def rebuild():
        try:
            database.rebuild(url, some_records())
        except ExternalError as error:
            failed.append(error.diagnostics)

    threads = [threading.Thread(target=rebuild) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {name: len(rows) for name, rows in everything(url).items()} == COUNTS


# ---------------------------------------------------------------------------------------------------- errors


def test_no_error_tells_the_password(tmp_path):
    url = database.locate("postgresql://me:hunter2@127.0.0.1:9/db?sslpassword=hunter3", tmp_path)
    for act in (lambda: database.rebuild(url, {}), lambda: database.check(url)):
        with pytest.raises(ExternalError) as error:
            act()
        (told,) = error.value.diagnostics
        assert "postgresql+psycopg://me:***@127.0.0.1:9/db" in told.summary
        assert "refused" in told.detail
        assert "ftops index rebuild" in told.hint
        assert "hunter" not in repr(told)


def test_a_missing_driver_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ExternalError) as error:
        database.rebuild(database.locate("postgresql://host/db", tmp_path), {})
    assert error.value.diagnostics[0].hint == "pip install 'ftops[postgres]'"


@pytest.mark.parametrize("text", ["mysql://me:hunter2@host/db", "sqlite://", "postgresql://host:port/db", "hunter2"])
def test_what_is_no_url_of_a_known_database(text, tmp_path):
    with pytest.raises(SpecError) as error:
        database.locate(text, tmp_path)
    assert "hunter2" not in repr(error.value.diagnostics)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a.db").write_text("something that is no database, and long enough to be told from one" * 20)
    url = database.locate("sqlite:///a.db", tmp_path)
    with pytest.raises(ExternalError, match="can't rebuild the index"):
        database.rebuild(url, {})
    with pytest.raises(ExternalError, match="can't open the index"):
        database.check(url)


def test_check_makes_nothing(tmp_path):
    url = database.locate("sqlite:///deep/index.db", tmp_path)
    assert database.check(url).endswith("index.db is not there yet; apply makes it")
    assert list(tmp_path.iterdir()) == []
    database.rebuild(url, {})
    assert database.check(url).endswith("has a copy of the records")


# --------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def project(tmp_path):
    """A project with an index, and what ftops's environment is."""
    root = projects.write(tmp_path / "project", projects.dataset())
    projects.edit(root, "ftops.yaml", "  specs: [specs]", "  specs: [specs]\n  index: {env: INDEX}")
    projects.commit_all(root)
    return root, projects.environment(tmp_path, INDEX="sqlite:///.ftops/index.db")


def datasets(root):
    with closing(sqlite3.connect(root / ".ftops/index.db")) as database:
        return database.execute("SELECT name, train_rows > 0 FROM training_datasets").fetchall()


def test_apply_keeps_it(project):
    root, env = project
    done = projects.ftops(root, "apply", "--yes", env={**env, "INDEX": "sqlite:////proc/none/index.db"})
    assert "the SQL index lacks the newest records: can't rebuild the index at sqlite:////proc/none" in done.stderr
    projects.ftops(root, "apply", "--yes", env=env)  # there is nothing else to do
    assert datasets(root) == [("chat", 1)]
    (root / ".ftops/index.db").unlink()
    done = projects.ftops(root, "index", "rebuild", env=env)
    counts = {name: int(name == "training_datasets") for name in COUNTS}
    assert done.stdout == "".join(f"{name}: {count}\n" for name, count in counts.items())
    assert datasets(root) == [("chat", 1)]


def test_commit_keeps_it(project):
    root, env = project
    projects.ftops(root, "apply", "--yes", "--no-commit", "--results", "results", env=env)
    assert not (root / ".ftops/index.db").exists()  # it holds what git holds
    projects.ftops(root, "commit", "results", env=env)
    assert datasets(root) == [("chat", 1)]


def test_doctor_says_how_it_is(project, monkeypatch):
    root, _ = project
    assert "the environment variable INDEX is not set" in [each.summary for each in findings(root)[0]]
    monkeypatch.setenv("INDEX", "sqlite:///.ftops/index.db")
    assert [each for each in findings(root)[1] if each.startswith("index: ") and "apply makes it" in each]
    monkeypatch.setenv("INDEX", "sqlite:///data/chat.csv")
    assert [each for each in findings(root)[0] if each.summary.startswith("can't open the index")]


def test_without_an_index(tmp_path):
    root = projects.write(tmp_path, projects.dataset())
    assert "index: sqlite:///.ftops/index.db" in projects.ftops(root, "index", "rebuild", code=64).stderr
    projects.edit(root, "ftops.yaml", "  specs: [specs]", "  specs: [specs]\n  index: {env: NOT_SET}")
    done = projects.ftops(root, "index", "rebuild", code=64)
    assert "the environment variable NOT_SET is not set" in done.stderr
    projects.ftops(root, "plan")  # needs no index
