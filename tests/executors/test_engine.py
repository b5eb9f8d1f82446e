"""The engine's environment: found only when whole, built once, never left half done unnoticed."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ftops.errors import ExternalError, SpecError
from ftops.executors import engine


@pytest.fixture
def home(monkeypatch, tmp_path):
    """An empty place for engines."""
    monkeypatch.setenv("FTOPS_ENGINE_HOME", str(tmp_path / "engines"))
    return tmp_path / "engines"


def pretend(folder: Path) -> None:
    """A folder that looks installed: an interpreter and the marker."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "ftops-engine.json").write_text("{}")


def build_by(monkeypatch, build):
    """Replaces the minutes of pip by `build`, and the look at the packages: the real ones are tested with the real engine."""
    monkeypatch.setattr(engine, "_build", build)
    monkeypatch.setattr(engine, "verify", lambda _: ())


def test_where_engines_are(monkeypatch, tmp_path):
    monkeypatch.delenv("FTOPS_ENGINE_HOME", raising=False)
    assert engine.home() == Path.home() / ".cache" / "ftops" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine.home() == tmp_path / "ftops" / "engines"
    monkeypatch.setenv("FTOPS_ENGINE_HOME", str(tmp_path / "own"))
    assert engine.place("axolotl==0.19.0").parent == tmp_path / "own"


def test_a_folder_is_keyed_by_the_lock(home, monkeypatch):
    before = engine.place("axolotl==0.19.0")
    assert before.name == f"axolotl-0.19.0-{engine.lock_digest('axolotl==0.19.0')[:12]}"
    monkeypatch.setattr(engine, "TORCH", "torch==2.14.0")
    assert engine.place("axolotl==0.19.0") != before


def test_an_unknown_engine_names_the_known_ones(home):
    with pytest.raises(SpecError) as caught:
        engine.find("axolotl==0.18.0")
    assert caught.value.diagnostics[0].hint == "did you mean 'axolotl==0.19.0'?"


def test_only_a_folder_with_marker_and_interpreter_is_an_engine(home):
    folder = engine.place(engine.AXOLOTL)
    assert engine.find() is None
    assert not engine.half_installed()
    pretend(folder)
    assert engine.find() == engine.Engine(engine.AXOLOTL, folder)
    assert engine.require_engine().python == folder / "bin" / "python"
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to("/gone/python")
    assert engine.find() is None
    assert engine.half_installed()
    with pytest.raises(ExternalError, match="half installed") as caught:
        engine.require_engine()
    assert caught.value.diagnostics[0].hint == "ftops engine install"


def test_what_an_interrupted_installation_left_is_removed_and_rebuilt(home, monkeypatch):
    folder = engine.place(engine.AXOLOTL)
    (folder / "bin").mkdir(parents=True)
    (folder / "rest").write_text("of before")

    def build(made, held, say):
        assert not made.path.exists()
        (made.path / "bin").mkdir(parents=True)
        (made.path / "bin" / "python").symlink_to(sys.executable)

    build_by(monkeypatch, build)
    said = []
    assert engine.install(engine.AXOLOTL, said.append).path == folder
    assert "interrupted" in said[0]
    assert engine.find() is not None
    assert json.loads((folder / "ftops-engine.json").read_text())["lock"] == engine.lock_digest(engine.AXOLOTL)


def test_a_failed_installation_counts_as_half(home, monkeypatch):
    def build(made, held, say):
        made.path.mkdir(parents=True)
        raise ExternalError("no network")

    build_by(monkeypatch, build)
    with pytest.raises(ExternalError, match="no network"):
        engine.install(engine.AXOLOTL, lambda _: None)
    assert engine.half_installed()


def test_two_installations_at_once_do_the_work_once(home, monkeypatch):
    built = []
    begun, finish = threading.Event(), threading.Event()

    def build(made, held, say):
        built.append(made)
        begun.set()
        assert finish.wait(10)
        (made.path / "bin").mkdir(parents=True)
        (made.path / "bin" / "python").symlink_to(sys.executable)

    build_by(monkeypatch, build)
    said = []
    first = threading.Thread(target=engine.install, args=(engine.AXOLOTL, lambda _: None))
    second = threading.Thread(
        target=engine.install, args=(engine.AXOLOTL, lambda line: (said.append(line), finish.set()))
    )
    first.start()
    assert begun.wait(10)
    second.start()
    first.join(10)
    second.join(10)
    assert len(built) == 1
    assert said == ["another installation of this engine is going on; waiting for it"]


def test_the_lock_outlives_a_killed_installer_as_long_as_pip_runs(home, tmp_path):
    made = engine.Engine(engine.AXOLOTL, engine.place(engine.AXOLOTL))
    path = tmp_path / "lock"
    going, stop = tmp_path / "going", tmp_path / "stop"
    child = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.02)\n"
    )
    made.path.parent.mkdir(parents=True)

    def run():
        with engine._alone(path, lambda _: None) as held:
            engine._run([sys.executable, "-c", child, going, stop], made, held)
            held.close()

    thread = threading.Thread(target=run)
    thread.start()
    while not going.exists():
        pass
    with path.open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stop.touch()
    thread.join(10)
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_pip_that_fails_says_its_last_lines_and_where_the_rest_is(home):
    made = engine.Engine(engine.AXOLOTL, engine.place(engine.AXOLOTL))
    made.path.parent.mkdir(parents=True)
    with engine._alone(home / "lock", lambda _: None) as held, pytest.raises(ExternalError) as caught:
        engine._run([sys.executable, "-c", "raise SystemExit('no matching distribution')"], made, held)
    assert caught.value.diagnostics[0].detail == "no matching distribution"
    assert f"{made.path}.log" in caught.value.diagnostics[0].hint


def test_a_full_disk_is_found_before_anything_is_built(home, monkeypatch):
    monkeypatch.setattr(engine, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(ExternalError, match="GiB left"):
        engine.install(engine.AXOLOTL, lambda _: None)
    assert engine.find() is None
    assert not engine.half_installed()
    disk = next(fact for fact in engine.doctor() if fact.name == "disk")
    assert not disk.ok
    assert "FTOPS_ENGINE_HOME" in disk.how


def test_a_home_that_cant_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FTOPS_ENGINE_HOME", str(tmp_path / "file" / "engines"))
    with pytest.raises(ExternalError, match="can't keep engines in"):
        engine.install(engine.AXOLOTL, lambda _: None)


def test_the_doctor_says_how_to_get_what_is_missing(home, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    facts = {fact.name: fact for fact in engine.doctor()}
    assert facts["python"].ok
    assert (facts["engine"].detail, facts["engine"].how) == ("not installed", "ftops engine install")
    assert not facts["git"].ok
    engine.place(engine.AXOLOTL).mkdir(parents=True)
    assert {fact.name: fact.detail for fact in engine.doctor()}["engine"] == "half installed"


def test_the_lock_pins_everything_but_torch_with_hashes():
    pins = dict(engine._pins(engine.AXOLOTL))
    assert pins["axolotl"] == "0.19.0"
    assert "torch" not in pins
    blocks = engine._lock(engine.AXOLOTL).read_text().split("\n")
    starts = [number for number, line in enumerate(blocks) if "==" in line and not line.startswith(("#", " "))]
    assert len(starts) == len(pins)
    assert [blocks[number] for number in starts if "--hash=sha256:" not in blocks[number + 1]] == []


def test_what_would_mix_environments_is_left_out(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    assert not {"PYTHONPATH", "PIP_TARGET"} & set(engine._environment())
    assert engine._environment()["AXOLOTL_DO_NOT_TRACK"] == "1"


def test_the_plugin_stands_alone():
    files = engine.plugin_files()
    assert sorted(files) == [
        "plugin/ftops_axolotl.py",
        "plugin/ftops_rows/__init__.py",
        "plugin/ftops_rows/scored.py",
        "plugin/ftops_samples.py",
    ]
    for content in files.values():
        assert not re.search(rb"^\s*(from|import) ftops\b(?!_)", content, re.MULTILINE)


def test_importing_is_light():
    script = "import sys, ftops.executors.engine, ftops.store.sandbox; print([m for m in ('jinja2', 'yaml', 'click') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.axolotl
@pytest.mark.slow
def test_the_installed_engine_is_what_its_lock_says(tmp_path):
    found = engine.find()
    if found is None:
        pytest.skip("the engine is not installed")
    assert engine.verify(found) == ()
    broken = engine.Engine(found.name, tmp_path / "copy")
    (broken.path / "bin").mkdir(parents=True)
    (broken.path / "bin" / "python").write_text("#!/bin/sh\necho 'no torch here' >&2\nexit 1\n")
    (broken.path / "bin" / "python").chmod(0o755)
    assert "no torch here" in engine.verify(broken)[0].summary
