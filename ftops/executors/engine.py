"""The training engine's virtual environment: built once a machine, shared by all clones.

Axolotl pins most of what it uses exactly, so it never shares an environment with ftops. A folder is keyed by the version and
the digest of its lock; it counts only with the marker, which is written last. It is built where it stays, as virtual
environments can't be moved.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from ftops.display.numbers import gib
from ftops.errors import Diagnostic, ExternalError, SpecError, did_you_mean
from ftops.files import open_append, open_lock, read_bytes, read_shipped, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AXOLOTL: Final = "axolotl==0.19.0"
"""The engine that specs mean when they name none, as ftops.yaml writes it."""

TORCH: Final = "torch==2.13.0"
"""Asked for by itself, not by the lock: pip's own configuration decides which build of it (CPU or CUDA) a machine gets."""

NEEDED_BYTES: Final = 6 << 30
"""The environment takes 4.3 GiB with a CPU build of torch; pip unpacks beside it."""

_MARKER: Final = "ftops-engine.json"
_TRAINER: Final = Path(__file__).parents[1] / "training" / "axolotl"


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine: how ftops.yaml names it (`axolotl==0.19.0`), and the folder of its environment."""

    name: str
    path: Path

    @property
    def bin(self) -> Path:
        return self.path / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a training on this machine needs: is it there, and how to get it."""

    name: str
    ok: bool
    detail: str
    how: str = ""


def home() -> Path:
    """Where engines are kept: $FTOPS_ENGINE_HOME, or ftops/engines in the user's cache."""
    if chosen := os.environ.get("FTOPS_ENGINE_HOME"):
        return Path(chosen).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "ftops" / "engines"


def known() -> tuple[str, ...]:
    """The engines that this ftops can install."""
    return tuple(
        sorted(path.name.removesuffix(".lock").replace("-", "==", 1) for path in _TRAINER.glob("axolotl-*.lock"))
    )


def lock_digest(name: str) -> str:
    """What identifies an environment of engine `name`: sha256 (64 hex digits) of its lock and of the torch beside it."""
    return hashlib.sha256(read_shipped(_lock(name)) + TORCH.encode()).hexdigest()


def place(name: str) -> Path:
    """Where the environment of engine `name` is, or would be. Raises SpecError for an engine that ftops doesn't know."""
    return home() / f"{_lock(name).name.removesuffix('.lock')}-{lock_digest(name)[:12]}"


def find(name: str = AXOLOTL) -> Engine | None:
    """The complete engine `name`, or None."""
    engine = Engine(name, place(name))
    # The interpreter is a link to the one that built it, which may be gone by now.
    complete = (engine.path / _MARKER).is_file() and os.access(engine.python, os.X_OK)
    return engine if complete else None


def half_installed(name: str = AXOLOTL) -> bool:
    """Is there a folder that an interrupted installation left, or whose Python is gone?"""
    return find(name) is None and place(name).exists()


def require_engine(name: str = AXOLOTL) -> Engine:
    """The complete engine `name`. Raises ExternalError, saying how to get it."""
    if (engine := find(name)) is not None:
        return engine
    how = "half installed" if half_installed(name) else "not installed"
    raise ExternalError(
        Diagnostic(f"the engine {name} is {how}", detail=f"looked in {home()}", hint="ftops engine install")
    )


def install(name: str, say: Callable[[str], None]) -> Engine:
    """The engine `name`, built if need be; `say` gets what is going on, line by line.

    Two installations at once do the work once. Raises ExternalError when something is missing or pip fails.
    """
    engine = Engine(name, place(name))
    with _alone(engine.path.with_name(f"{engine.path.name}.lock"), say) as held:
        if find(name) is not None:
            return engine
        if engine.path.exists():
            say(f"removing what an interrupted installation left in {engine.path}")
            shutil.rmtree(engine.path)
        _refuse_if_impossible()
        _build(engine, held, say)
        if problems := verify(engine):
            raise ExternalError(*problems)
        _write_marker(engine)
        return engine


def verify(engine: Engine) -> tuple[Diagnostic, ...]:
    """What is wrong with the packages of an engine: those that are not what the lock says, or can't be imported."""
    script = (
        "import json, importlib.metadata as m\n"
        "print(json.dumps({d.metadata['Name'].lower().replace('_', '-').replace('.', '-'): d.version"
        " for d in m.distributions()}))\n"
        "import torch, transformers, axolotl\n"
    )
    run = subprocess.run(
        [engine.python, "-I", "-c", script], env=_environment(), capture_output=True, text=True, check=False
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
        return (_broken(engine, last),)
    installed: dict[str, str] = json.loads(run.stdout.splitlines()[0])
    wanted = dict(_pins(engine.name)) | {"torch": TORCH.partition("==")[2]}
    wrong = [
        f"{name} is {installed[name]}, not {version}"
        for name, version in sorted(wanted.items())
        if name in installed and installed[name].partition("+")[0] != version.partition("+")[0]
    ]
    missing = [f"{name} is missing" for name in ("axolotl", "torch") if name not in installed]
    return tuple(_broken(engine, each) for each in (*missing, *wrong))


def plugin_files() -> dict[str, bytes]:
    """What an attempt's folder needs so that Axolotl writes events and reads pairs: content by path (PYTHONPATH is `plugin`)."""
    paths = sorted((_TRAINER / "plugin").rglob("*.py"))
    return {str(path.relative_to(_TRAINER)): read_shipped(path) for path in paths}


def doctor(name: str = AXOLOTL) -> tuple[Fact, ...]:
    """What trainings on this machine need, each with how to get it."""
    free = _free_bytes()
    venv = importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None
    engine = find(name)
    absent = "half installed" if half_installed(name) else "not installed"
    return (
        Fact("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer"),
        Fact("venv", venv, "present" if venv else "missing", "apt install python3-venv, or your system's like of it"),
        Fact("engine", engine is not None, f"{name} in {engine.path}" if engine else absent, "ftops engine install"),
        Fact(
            "disk",
            engine is not None or free >= NEEDED_BYTES,
            f"{gib(free)} free for engines in {home()}",
            f"free {NEEDED_BYTES >> 30} GiB, or set FTOPS_ENGINE_HOME to a folder on another disk",
        ),
        _program("git", "apt install git, or your system's like of it"),
        _program("dvc", "pip install dvc"),
    )


def _program(name: str, how: str) -> Fact:
    # What is installed beside this interpreter counts, also when its folder is not on the path.
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return Fact(name, found is not None, found or "missing", how)


def _lock(name: str) -> Path:
    if name not in known():
        raise SpecError(Diagnostic(f"ftops knows no engine {name!r}", hint=did_you_mean(name, known())))
    return _TRAINER / f"{name.replace('==', '-')}.lock"


def _pins(name: str) -> Iterator[tuple[str, str]]:
    for line in read_shipped(_lock(name)).decode().splitlines():
        package, equals, rest = line.partition("==")
        if equals and not line.startswith((" ", "#")):
            yield package, rest.split()[0]


@contextmanager
def _alone(path: Path, say: Callable[[str], None]) -> Iterator[IO[str]]:
    """Holds the installation's lock; yields the open file, so that whoever inherits it holds the lock too."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(open_lock(path), "w")
    except OSError as wrong:
        hint = "set FTOPS_ENGINE_HOME to a folder that can be written"
        raise ExternalError(Diagnostic(f"can't keep engines in {path.parent}: {wrong.strerror}", hint=hint)) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation of this engine is going on; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _refuse_if_impossible() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise ExternalError(Diagnostic("this Python can't make virtual environments", hint="apt install python3-venv"))
    if (free := _free_bytes()) < NEEDED_BYTES:
        raise ExternalError(
            Diagnostic(
                f"an engine needs {NEEDED_BYTES >> 30} GiB, and {home()} has {gib(free)} left",
                hint="free some space, or set FTOPS_ENGINE_HOME to a folder on another disk",
            )
        )


def _free_bytes() -> int:
    existing = next(path for path in (home(), *home().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _build(engine: Engine, held: IO[str], say: Callable[[str], None]) -> None:
    pip: tuple[str | Path, ...] = (engine.python, "-m", "pip", "install", "--quiet")
    count = sum(1 for _ in _pins(engine.name))
    say(f"making the environment {engine.path}")
    _run([sys.executable, "-m", "venv", engine.path], engine, held)
    say(f"installing {engine.name} and what it needs ({count} packages; a few minutes)")
    _run([*pip, "--no-deps", "--require-hashes", "--requirement", _lock(engine.name)], engine, held)
    say(f"installing {TORCH}")
    _run([*pip, TORCH], engine, held)


def _run(argv: Sequence[str | Path], engine: Engine, held: IO[str]) -> None:
    log = engine.path.with_name(f"{engine.path.name}.log")
    with os.fdopen(open_append(log), "ab") as output:
        # The child inherits the lock: killed ftops or not, nobody else builds here until pip is gone too.
        done = subprocess.run(
            argv, env=_environment(), stdout=output, stderr=output, check=False, pass_fds=(held.fileno(),)
        )
    if done.returncode:
        lines = [
            line for line in read_bytes(log).decode(errors="replace").splitlines() if not line.startswith("WARNING")
        ]
        raise ExternalError(
            Diagnostic(
                "the engine could not be installed",
                detail="\n".join(lines[-5:]),
                hint=f"the whole output is in {log}; `ftops engine install` starts again",
            )
        )


def _environment() -> dict[str, str]:
    """This process's environment, without what would mix another environment into the engine's."""
    left_out = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV"}
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return kept | {"PIP_USER": "0", "PIP_NO_INPUT": "1", "AXOLOTL_DO_NOT_TRACK": "1"}


def _write_marker(engine: Engine) -> None:
    facts = {"engine": engine.name, "torch": TORCH, "lock": lock_digest(engine.name)}
    replace_file(engine.path / _MARKER, json.dumps(facts, indent=1, sort_keys=True).encode())


def _broken(engine: Engine, what: str) -> Diagnostic:
    return Diagnostic(f"the engine is broken: {what}", hint=f"remove {engine.path} and run `ftops engine install`")
