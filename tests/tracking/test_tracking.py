"""MLflow's mirror: the pure parts, then real SQLite stores and a real server that is up, down, slow or half way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from ftops.errors import SpecError
from ftops.tracking import (
    ModelTracking,
    RunTracking,
    flush,
    mask,
    model_uri,
    pending,
    request_version,
    start_mirror,
    tracking_uri,
    version_alias,
    write_tracking,
)
from ftops.tracking.metric_points import BATCH, batches
from ftops.tracking.mlflow_names import flatten, key, value
from tests.support import projects

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow.*")

# ----------------------------------------------------------------------------------------------- a store to mirror


class Training:
    """One run in a store, written as wrapper and plugin write it."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root
        self.name = name or f"run-{secrets.token_hex(4)}"
        self.run_id = f"{self.name}-0123456789ab"
        self.number = 0
        self.begun = 1_700_000_000.0

    @property
    def folder(self) -> Path:
        return self.root / "runs" / self.run_id / f"attempt-{self.number}"

    def attempt(self, *, anew: bool = False, **parameters) -> None:
        self.number += 1
        (self.folder / "output").mkdir(parents=True)
        (self.folder / "output" / "adapter.safetensors").write_bytes(b"weights")
        (self.folder / "config.yaml").write_text("learning_rate: 0.0002\n")
        known = {"learning_rate": 2e-4, "datasets": [{"path": "../train.jsonl"}], **parameters}
        about = RunTracking(self.name, "tiny-base", "demo", "lora", "chat", "d" * 64, known, {"purpose": "demo"}, anew)
        write_tracking(self.folder, about)
        (self.folder / "handle.json").write_text("{}")
        self.lock = (self.folder / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.event("begin", 0)

    def event(self, kind: str, step: int, max_steps: int = 100, **figures: float) -> None:
        # Steps of the second attempt are seconds later, as they are in a real one.
        now = self.begun + step + 1000 * self.number
        line = {"event": kind, "step": step, "maxSteps": max_steps, "time": now, **figures}
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def log(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            self.event("log", step, loss=10 / step, grad_norm=1.0)

    def die(self) -> None:
        self.lock.close()

    def end(self, *, code: int = 0, last: int = 100) -> None:
        self.event("end", last)
        result = {
            "exitCode": code,
            "signal": None,
            "timedOut": False,
            "startedAt": self.begun,
            "endedAt": self.begun + 9,
        }
        (self.folder / "result.json").write_text(json.dumps(result))
        self.lock.close()


@pytest.fixture
def root(tmp_path):
    """A store root; what mirrors it has ended when the test has."""
    store = tmp_path / "store"
    (store / "runs").mkdir(parents=True)
    yield store
    flush(store, 0)
    with contextlib.suppress(FileNotFoundError):
        wait_for_mirror(store)


def mirror_pid(root: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((root / "tracking" / "lock").read_text())
        time.sleep(0.05)
    raise TimeoutError("no mirror")


def wait_for_mirror(root: Path, seconds: float = 90) -> None:
    """Until no mirror lives; kills one that lives on, and fails."""
    deadline = time.monotonic() + seconds
    with (root / "tracking" / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.kill(mirror_pid(root), signal.SIGKILL)
                    raise TimeoutError((root / "tracking" / "mirror.log").read_text()) from None
                time.sleep(0.05)
            else:
                return


def until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)


def sqlite(root: Path) -> str:
    return tracking_uri("sqlite:///mlflow.db", root, {})


def client(uri: str):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs_of(mlflow, training: Training):
    experiment = mlflow.get_experiment_by_name("finetuning_tiny-base")
    return mlflow.search_runs([experiment.experiment_id], f"tags.`ftops.run` = '{training.run_id}'")


def the_run(mlflow, training: Training):
    (run,) = runs_of(mlflow, training)
    return run


def steps_of(mlflow, run, metric: str) -> list[int]:
    return [point.step for point in mlflow.get_metric_history(run.info.run_id, metric)]


# ---------------------------------------------------------------------------------------------------- pure parts


def test_importing_tracking_imports_no_mlflow():
    code = "import sys, ftops.tracking; sys.exit('mlflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_parameters_are_flattened_by_path():
    tree = {
        "lora": {"r": 16, "modules": ["q", "v"]},
        "datasets": [{"path": "a"}, {"path": "b", "type": None}],
        "empty": {},
        "bf16": False,
        "한국어 키!": "값",
    }
    assert flatten(tree) == {
        "lora.r": "16",
        "lora.modules": '["q", "v"]',
        "datasets.0.path": "a",
        "datasets.1.path": "b",
        "datasets.1.type": "null",
        "empty": "{}",
        "bf16": "false",
        "한국어 키_": "값",
    }


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("../../x", "x"),
        ("/etc", "etc"),
        ("a//b", "a/b"),
        ("a\nb", "a_b"),
        ("", "_"),
        ("..", "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_keys_are_such_that_mlflow_takes_them(text, plain):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    assert key(text) == plain
    _validate_metric_name(key(text))
    _validate_param_name(key(text))


def test_a_long_value_is_cut():
    assert value("x" * 5000, 100) == "x" * 99 + "…"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://ann:s3cret@host:5000/x", "http://***@host:5000/x"),
        ("failed: https://tok/en@host and http://host/a", "failed: https://tok/en@host and http://host/a"),
        ("https://a:p@ss@host/x", "https://***@host/x"),
        ("postgresql://h/db?user=u&password=s3cret&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("mail ann@example.com about http://host", "mail ann@example.com about http://host"),
        ("sqlite:////home/x/mlflow.db", "sqlite:////home/x/mlflow.db"),
    ],
)
def test_secrets_of_urls_are_masked(text, masked):
    assert mask(text) == masked


def test_a_secret_in_the_config_reaches_neither_request_nor_mlflow(root):
    training = Training(root)
    training.attempt(url="s3://key:s3cret@bucket/x")
    training.die()
    assert "s3cret" not in (training.folder / "tracking.json").read_text()


def test_the_uri_is_the_environments_else_the_projects(tmp_path):
    assert tracking_uri("sqlite:///.ftops/mlflow.db", tmp_path, {}) == f"sqlite:///{tmp_path}/.ftops/mlflow.db"
    assert tracking_uri("sqlite:////srv/mlflow.db", tmp_path, {}) == "sqlite:////srv/mlflow.db"
    assert tracking_uri("sqlite:///x.db", tmp_path, {"MLFLOW_TRACKING_URI": "https://h/"}) == "https://h"


@pytest.mark.parametrize("uri", ["", "mlruns", "file:///x", "sqlite:///", "http://", "postgresql://u:s3cret@h/db"])
def test_an_unknown_kind_of_mlflow_is_refused_without_its_secret(tmp_path, uri):
    with pytest.raises(SpecError) as raised:
        tracking_uri(uri, tmp_path, {})
    assert "s3cret" not in str(raised.value)


def test_each_version_has_its_own_alias():
    versions = ["1.0.0", "1.0.0-rc.1", "1.0.0-rc-1", "1.0.0+rc.1", "1.0.0-rc+1", "1.0.0--rc.1", "1.0.0-1+b-2", "10.0"]
    assert model_uri("chat", "1.0.0") == "models:/chat@1-0-0"
    assert len({version_alias(each) for each in versions}) == len(versions)


def events_file(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(lines))
    return path


def test_a_curve_has_one_point_for_each_metric_and_step(tmp_path):
    log = '{"event": "log", "step": 1, "time": 5.5, "loss": 2, "tokens": null, "note": "x", "ok": true}\n'
    evaluation = '{"event": "evaluate", "step": 2, "time": 6, "eval_loss": 1.5}\n'
    again = '{"event": "log", "step": 2, "time": 6.1, "eval_loss": 1.5}\n'
    path = events_file(tmp_path, ['{"event": "begin"}\n', log, "broken\n", evaluation, again, '{"event": "log", "ste'])
    ((points, offset),) = batches(path, 0, {})
    assert [tuple(point) for point in points] == [("loss", 2.0, 5500, 1), ("eval_loss", 1.5, 6000, 2)]
    assert offset == path.stat().st_size - len('{"event": "log", "ste')


def test_a_curve_read_in_parts_is_the_curve_read_at_once(tmp_path):
    lines = [
        json.dumps({"event": "log", "step": 1 + n // 2, "time": n, "loss": n, "lr": n}) + "\n" for n in range(3000)
    ]
    path = events_file(tmp_path, lines)
    whole = [point for points, _ in batches(path, 0, {}) for point in points]
    assert len(whole) == 2 * 1500
    assert all(len(points) <= BATCH for points, _ in batches(path, 0, {}))
    parts, offset, steps = [], 0, {}
    for end in range(0, len(lines) + 1, 7):
        path.write_text("".join(lines[:end]))
        for points, after in batches(path, offset, steps):
            parts += points
            offset = after
    path.write_text("".join(lines))
    parts += [point for points, _ in batches(path, offset, steps) for point in points]
    assert parts == whole


def test_100_000_events_are_folded_in_seconds(tmp_path):
    figures = {"loss": 1.5, "grad_norm": 0.3, "learning_rate": 2e-4, "epoch": 0.1, "tokens_per_second": 812.5}
    path = events_file(
        tmp_path, [json.dumps({"event": "log", "step": n, "time": n, **figures}) + "\n" for n in range(100_000)]
    )
    start = time.process_time()
    assert sum(len(points) for points, _ in batches(path, 0, {})) == 500_000
    assert time.process_time() - start < 8


def test_pending_counts_what_is_asked_for_and_needs_no_mlflow(root):
    assert not pending(root)
    training = Training(root)
    training.attempt()
    training.die()
    request_version(root, ModelTracking("chat", "1.0.0", training.run_id, "runs/x/attempt-1/output"))
    left = pending(root)
    assert (left.runs, left.models, left.error) == (1, 1, "")
    assert str(left) == "MLflow has not got 1 run and 1 model version yet; the next apply brings it there"


def test_flush_without_a_mirror_does_not_wait(root):
    training = Training(root)
    training.attempt()
    training.die()
    start = time.monotonic()
    assert flush(root, 30).runs == 1
    assert time.monotonic() - start < 1


def test_a_mirror_that_cannot_start_is_told_and_raises_nothing(root, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(root / "no-python"))
    start_mirror(root, sqlite(root))
    assert "did not start" in pending(root).error


# -------------------------------------------------------------------------------------------------------- SQLite


@pytest.mark.slow
def test_a_run_and_its_version_are_in_mlflow_when_apply_ends(root, monkeypatch):
    monkeypatch.chdir(root)
    training = Training(root, "chat-lora")
    start_mirror(root, sqlite(root))
    training.attempt(lora_r=16)
    training.log(1, 100)
    training.event("evaluate", 100, eval_loss=0.5)
    training.end()
    weights = training.folder / "output"
    asked = ModelTracking(
        "chat", "1.0.0", training.run_id, str(weights.relative_to(root)), ("production",), ("korean",)
    )
    request_version(root, asked)
    assert not flush(root, 60)
    wait_for_mirror(root)

    mlflow = client(sqlite(root))
    run = the_run(mlflow, training)
    assert (run.info.run_name, run.info.status, run.info.end_time) == ("chat-lora", "FINISHED", 1_700_000_009_000)
    assert run.data.params == {"learning_rate": "0.0002", "datasets.0.path": "../train.jsonl", "lora_r": "16"}
    wanted = {
        "job_name": "chat-lora", "dataset_id": "d" * 64, "dataset_name": "chat", "method": "lora", "project": "demo",
        "base_model": "tiny-base", "ftops.run": training.run_id, "ftops.attempt": "1", "purpose": "demo",
    }  # fmt: skip
    assert wanted.items() <= run.data.tags.items()
    experiment = mlflow.get_experiment_by_name("finetuning_tiny-base")
    assert {"project": "demo", "base_model": "tiny-base", "method": "lora"}.items() <= experiment.tags.items()
    assert steps_of(mlflow, run, "loss") == list(range(1, 101))
    assert steps_of(mlflow, run, "eval_loss") == [100]
    files = {each.path for folder in ("attempt-1", "model") for each in mlflow.list_artifacts(run.info.run_id, folder)}
    assert files == {"attempt-1/config.yaml", "attempt-1/events.jsonl", "attempt-1/result.json", "model/model.json"}
    assert not list(root.glob("**/mlruns/*"))

    version = mlflow.get_model_version_by_alias("chat", version_alias("1.0.0"))
    assert version.run_id == run.info.run_id
    assert version.source == weights.as_uri()
    assert version.tags == {
        "version": "1.0.0", "ftops.run": training.run_id, "ftops.tags": "korean", "korean": "true",
        "ftops.weights": str(weights.relative_to(root)),
    }  # fmt: skip


@pytest.mark.slow
def test_aliases_move_and_labels_are_exactly_what_is_asked(root):
    training = Training(root)
    training.attempt()
    training.end()
    weights = f"runs/{training.run_id}/attempt-1/output"

    def ask(version: str, **labels) -> None:
        request_version(root, ModelTracking("chat", version, training.run_id, weights, **labels))

    ask("1.0.0", aliases=("production", "staging"), tags=("a", "b"))
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    wait_for_mirror(root)
    mlflow = client(sqlite(root))
    mlflow.set_model_version_tag("chat", "1", "by-hand", "kept")

    ask("1.1.0", aliases=("production",))
    source = mlflow.get_model_version("chat", "1").source
    ask("1.0.0", tags=("b",), archived=True, merged="runs/x/attempt-1/merged")
    ask("2.0.0-rc.1+build")
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    wait_for_mirror(root)

    aliases = {alias: str(number) for alias, number in mlflow.get_registered_model("chat").aliases.items()}
    held = {mlflow.get_model_version("chat", number).tags["version"]: set() for number in aliases.values()}
    for alias, number in aliases.items():
        held[mlflow.get_model_version("chat", number).tags["version"]].add(alias)
    assert held == {
        "1.0.0": {"1-0-0"},
        "1.1.0": {"1-1-0", "production"},
        "2.0.0-rc.1+build": {version_alias("2.0.0-rc.1+build")},
    }
    tags = mlflow.get_model_version("chat", "1").tags
    known = {"version", "ftops.run", "ftops.tags", "ftops.weights", "ftops.training.merged_weights"}
    assert tags.keys() == known | {"b", "archived", "by-hand"}
    assert (tags["ftops.weights"], tags["ftops.training.merged_weights"]) == (weights, "runs/x/attempt-1/merged")
    assert mlflow.get_model_version("chat", "1").source == source, "what a version was made from stays"
    assert len(mlflow.search_model_versions("name = 'chat'")) == 3


@pytest.mark.slow
def test_attempts_of_a_run_are_one_curve_in_one_mlflow_run(root):
    training = Training(root)
    start_mirror(root, sqlite(root))
    training.attempt()
    training.log(1, 73)
    until(lambda: not pending(root))
    training.die()
    training.attempt(resume_from_checkpoint="../attempt-1/output/checkpoint-50", learning_rate=0.5)
    training.log(51, 100)
    training.end()
    assert not flush(root, 60)
    wait_for_mirror(root)

    mlflow = client(sqlite(root))
    run = the_run(mlflow, training)
    assert steps_of(mlflow, run, "loss") == list(range(1, 101))
    assert run.info.status == "FINISHED"
    assert run.data.tags["ftops.attempt"] == "2"
    assert run.data.params["learning_rate"] == "0.0002"
    assert run.data.params["resume_from_checkpoint"].endswith("checkpoint-50")


@pytest.mark.slow
def test_a_training_again_has_its_own_points_in_the_curve_of_the_run(root):
    """Steps that were passed again after a kill are left out; those of a new result are not."""
    training = Training(root)
    training.attempt()
    training.log(1, 3)
    training.end()
    training.attempt(anew=True)
    training.log(1, 3)
    training.end()
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    mlflow = client(sqlite(root))
    run = the_run(mlflow, training)
    points = mlflow.get_metric_history(run.info.run_id, "loss")
    assert sorted((point.step, point.timestamp) for point in points) == [
        (step, int((training.begun + step + 1000 * attempt) * 1000)) for step in (1, 2, 3) for attempt in (1, 2)
    ]
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_figures_of_the_machine_and_where_checkpoints_are_reach_mlflow(root):
    training = Training(root)
    training.attempt()
    start = time.time()
    lines = [{"time": start + 5 * number, "cpu_percent": 90.0 + number, "gpu_0_percent": 50.0} for number in (1, 2, 3)]
    (training.folder / "system.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    saved = training.folder / "output/checkpoint-50"
    saved.mkdir()
    (saved / "model.safetensors").write_bytes(b"12345")
    training.log(1, 3)
    start_mirror(root, sqlite(root))
    training.end()
    assert not flush(root, 60)
    wait_for_mirror(root)
    mlflow = client(sqlite(root))
    run = the_run(mlflow, training)
    assert [
        step - steps_of(mlflow, run, "system/cpu_percent")[0] for step in steps_of(mlflow, run, "system/cpu_percent")
    ] == [0, 5, 10]
    assert run.data.metrics["system/cpu_percent"] == 93.0
    path = mlflow.download_artifacts(run.info.run_id, "attempt-1/checkpoints.json", str(root))
    found = json.loads(Path(path).read_text())
    assert found == {"50": {"path": f"runs/{training.run_id}/attempt-1/output/checkpoint-50", "size": 5}}


@pytest.mark.slow
def test_a_training_that_failed_says_so(root):
    failed, cut, lost = Training(root), Training(root), Training(root)
    for training in (failed, cut, lost):
        training.attempt()
    failed.end(code=1)
    cut.end(last=60)
    lost.log(1, 3)
    lost.die()
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    wait_for_mirror(root)
    mlflow = client(sqlite(root))
    assert {the_run(mlflow, training).info.status for training in (failed, cut, lost)} == {"FAILED"}
    assert not mlflow.list_artifacts(the_run(mlflow, failed).info.run_id, "model")


@pytest.mark.slow
def test_a_lost_database_gets_all_of_the_run_again(root):
    training = Training(root)
    training.attempt()
    training.log(1, 5)
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    wait_for_mirror(root)
    (root / "mlflow.db").unlink()
    training.log(6, 100)
    training.end()
    start_mirror(root, sqlite(root))
    assert not flush(root, 60)
    wait_for_mirror(root)
    mlflow = client(sqlite(root))
    assert steps_of(mlflow, the_run(mlflow, training), "loss") == list(range(1, 101))


@pytest.mark.slow
def test_killed_mirrors_leave_no_double_and_no_gap(root):
    training = Training(root)
    training.attempt()
    training.log(1, 12_000)
    training.end(last=12_000)
    log, sent = root / "tracking" / "mirror.log", root / "tracking" / "sent" / f"{training.run_id}.json"

    def offset() -> int:
        return json.loads(sent.read_text())["attempts"].get("1", {"offset": 0})["offset"] if sent.exists() else 0

    def kill() -> None:
        os.kill(mirror_pid(root), signal.SIGKILL)
        wait_for_mirror(root)

    start_mirror(root, sqlite(root))
    until(lambda: log.exists() and "Updating database" in log.read_text())
    kill()
    for delay in (0.0, 0.02, 0.05):
        before = offset()
        start_mirror(root, sqlite(root))
        until(lambda before=before: offset() > before)
        earlier = sent.read_text()
        time.sleep(delay)
        kill()
        sent.write_text(earlier)  # as if it had been killed before it wrote down what it had sent since
    assert pending(root).runs == 1
    start_mirror(root, sqlite(root))
    assert not flush(root, 120)
    wait_for_mirror(root)
    mlflow = client(sqlite(root))
    run = the_run(mlflow, training)
    assert steps_of(mlflow, run, "loss") == list(range(1, 12_001))
    assert steps_of(mlflow, run, "grad_norm") == list(range(1, 12_001))


@pytest.mark.slow
def test_a_mirror_ends_when_apply_was_killed(root):
    code = f"""
import time, pathlib
from ftops.tracking import start_mirror
start_mirror(pathlib.Path({str(root)!r}), {sqlite(root)!r})
print("started", flush=True)
time.sleep(600)
"""
    training = Training(root)
    training.attempt()
    training.log(1, 5)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as apply:
        assert apply.stdout.readline() == b"started\n"
        apply.kill()
    mirror_pid(root)
    wait_for_mirror(root)
    assert not pending(root)
    training.die()


# -------------------------------------------------------------------------------------------------------- server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The port of a real MLflow server on loopback."""
    port = free_port()
    with serving(tmp_path_factory.mktemp("server"), port):
        yield port


@contextlib.contextmanager
def serving(folder, port):
    """A real MLflow server on loopback that keeps what it gets in `folder`; its process, which leads a group of its own."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until_healthy(port, folder / "log")
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_until_healthy(port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return
        time.sleep(0.2)
    raise TimeoutError(log.read_text())


class Wire:
    """What stands between the mirror and the server: down until `up`, each answer `delay` seconds late."""

    def __init__(self, server: int, delay: float = 0.0) -> None:
        self.server, self.delay, self.port = server, delay, free_port()
        self.listener: socket.socket | None = None
        self.ends: list[socket.socket] = []

    def up(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def down(self) -> None:
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.server))
                self.ends += near, far
                threading.Thread(target=self.relay, args=(near, far, 0.0), daemon=True).start()
                threading.Thread(target=self.relay, args=(far, near, self.delay), daemon=True).start()

    def relay(self, source: socket.socket, target: socket.socket, delay: float) -> None:
        with contextlib.suppress(OSError), source:
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(server):
    made = Wire(server)
    yield made
    made.down()


@pytest.mark.slow
def test_a_server_that_was_down_gets_everything_once(root, wire, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken-of-the-server")
    uri = f"http://ann:s3cret@127.0.0.1:{wire.port}"
    training = Training(root)
    start_mirror(root, uri)
    training.attempt()
    training.log(1, 50)
    until(lambda: pending(root).error)
    training.log(51, 100)
    training.end()
    weights = f"runs/{training.run_id}/attempt-1/output"
    name = f"chat-{training.name}"
    request_version(root, ModelTracking(name, "1.0.0", training.run_id, weights, ("production",)))
    start = time.monotonic()
    left = flush(root)
    assert time.monotonic() - start < 1
    assert (left.runs, left.models) == (1, 1)
    assert "Connection refused" in left.error
    os.kill(mirror_pid(root), signal.SIGKILL)
    wait_for_mirror(root)

    wire.up()
    start_mirror(root, uri)
    assert not flush(root, 60)
    wait_for_mirror(root)
    mlflow = client(f"http://127.0.0.1:{server}")
    run = the_run(mlflow, training)
    assert steps_of(mlflow, run, "loss") == list(range(1, 101))
    assert run.info.status == "FINISHED"
    version = mlflow.get_model_version_by_alias(name, "1-0-0")
    assert (version.source, version.run_id) == (f"runs:/{run.info.run_id}/model", run.info.run_id)
    reference = mlflow.download_artifacts(run.info.run_id, "model/model.json", str(root))
    assert json.loads(Path(reference).read_text()) == {
        "run": training.run_id, "path": weights, "files": {"adapter.safetensors": 7},
    }  # fmt: skip
    written = "".join(path.read_text() for path in (root / "tracking").rglob("*") if path.is_file())
    assert "s3cret" not in written
    assert "t0ken" not in written


@pytest.mark.slow
def test_a_server_killed_while_a_training_goes_on_gets_the_rest_later(tmp_path):
    home, port = tmp_path / "home", free_port()
    uri = f"http://127.0.0.1:{port}"
    for name in ("home", "server"):
        (tmp_path / name).mkdir()
    env = projects.environment(
        home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"), MLFLOW_TRACKING_URI=uri
    )
    root = projects.write(
        tmp_path / "project", projects.dataset(), projects.run(hyperparameters={"num_epochs": 5, "seed": 7})
    )
    projects.commit_all(root)
    with serving(tmp_path / "server", port) as server:
        apply = subprocess.Popen(
            projects.command("apply", "--yes"), cwd=root, env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        until(lambda: client(uri).search_experiments(filter_string="name LIKE 'finetuning%'"))
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        said, _ = apply.communicate(timeout=120)
    assert apply.returncode == 0, said
    assert "1 done" in said or "2 done" in said
    assert "MLflow has not got 1 run" in said
    with serving(tmp_path / "server", port):
        until(lambda: "MLflow has not got" not in projects.ftops(root, "apply", "--yes", env=env).stderr)
        mlflow = client(uri)
        (experiment,) = mlflow.search_experiments(filter_string="name LIKE 'finetuning%'")
        (run,) = mlflow.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert steps_of(mlflow, run, "loss") == list(range(1, 51))


@pytest.mark.slow
def test_a_server_that_comes_back_while_apply_lives_catches_up(root, wire, server):
    training = Training(root)
    wire.up()
    start_mirror(root, f"http://127.0.0.1:{wire.port}")
    training.attempt()
    training.log(1, 20)
    until(lambda: not pending(root))
    wire.down()
    training.log(21, 60)
    until(lambda: pending(root).error)
    wire.up()
    training.log(61, 100)
    training.end()
    until(lambda: not pending(root))
    flush(root)
    wait_for_mirror(root)
    mlflow = client(f"http://127.0.0.1:{server}")
    assert steps_of(mlflow, the_run(mlflow, training), "loss") == list(range(1, 101))


@pytest.mark.slow
def test_a_slow_server_delays_nobody_but_the_mirror(root, wire, server):
    wire.delay = 0.7
    wire.up()
    training = Training(root)
    start = time.monotonic()
    start_mirror(root, f"http://127.0.0.1:{wire.port}")
    assert time.monotonic() - start < 2
    training.attempt()
    training.log(1, 100)
    training.end()
    start = time.monotonic()
    left = flush(root, 2)
    assert left.runs == 1
    assert time.monotonic() - start < 3
    wait_for_mirror(root)
    assert not pending(root)
    mlflow = client(f"http://127.0.0.1:{server}")
    assert steps_of(mlflow, the_run(mlflow, training), "loss") == list(range(1, 101))


@pytest.mark.slow
def test_another_clone_adds_nothing_twice_to_the_run_of_the_same_id(root, tmp_path, server):
    uri = f"http://127.0.0.1:{server}"
    here = Training(root)
    here.attempt()
    here.log(1, 60)
    start_mirror(root, uri)
    assert not flush(root, 60)
    wait_for_mirror(root)
    here.die()
    clone = tmp_path / "clone"
    there = Training(clone, here.name)
    there.attempt()
    there.log(1, 100)
    there.end()
    start_mirror(clone, uri)
    assert not flush(clone, 60)
    wait_for_mirror(clone)
    mlflow = client(uri)
    assert steps_of(mlflow, the_run(mlflow, here), "loss") == list(range(1, 101))


@pytest.mark.slow
def test_what_mlflow_refuses_holds_up_nothing_else(root, server):
    good, bad = Training(root), Training(root)
    for training in (good, bad):
        training.attempt()
        training.end()
    weights = f"runs/{good.run_id}/attempt-1/output"
    request_version(root, ModelTracking(f"bad-{good.name}", "1.0.0", good.run_id, weights, ("latest",)))
    request_version(root, ModelTracking(f"chat-{good.name}", "1.0.0", good.run_id, weights))
    start_mirror(root, f"http://127.0.0.1:{server}")
    left = flush(root, 60)
    assert (left.runs, left.models) == (0, 1)
    assert "latest" in left.error
    assert (
        str(client(f"http://127.0.0.1:{server}").get_model_version_by_alias(f"chat-{good.name}", "1-0-0").version)
        == "1"
    )
    os.kill(mirror_pid(root), signal.SIGKILL)
