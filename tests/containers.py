"""A Docker daemon of the tests' own, with an image made from Debian's packages: nothing is pulled from a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from ftops.kinds.project import Runner

IMAGE = "ftops-tests:latest"
# Named when this file is read: every test has a HOME of its own, and settings of ftops' are taken away.
CACHE = Path(os.environ.get("FTOPS_TEST_CACHE") or Path.home() / ".cache" / "ftops-tests")
ROOT_FILES = CACHE / "bookworm-1.tar"
PACKAGES = "python3,python3-yaml,ca-certificates"


class Absent(Exception):
    """Why there can be no Docker here."""


def root_files() -> Path:
    """An archive of a small Debian with Python, made once on a machine. Raises Absent where it can't be made."""
    if not ROOT_FILES.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        root, part = CACHE / f"root-{os.getpid()}", ROOT_FILES.with_suffix(f".{os.getpid()}")
        try:
            _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", root)
            # The interpreter of a mounted engine may lie in root's home; users of containers must get there.
            (root / "root").chmod(0o755)
            _run("tar", "-C", root, "--exclude=./var/cache", "--exclude=./var/lib/apt", "-cf", part, ".")
            part.rename(ROOT_FILES)
        finally:
            shutil.rmtree(root, ignore_errors=True)
            part.unlink(missing_ok=True)
    return ROOT_FILES


def _run(*argv: object) -> None:
    done = subprocess.run([str(each) for each in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Absent(f"{argv[0]} failed: {(done.stdout + done.stderr)[-500:]}")


class Daemon:
    """A dockerd in `folder`, whose containers have no network but none and the host's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "d.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises Absent where it does not start."""
        missing = [name for name in ("dockerd", "debootstrap") if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            raise Absent(f"no {' and no '.join(missing)}" if missing else "only root can start dockerd")
        argv = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "-H", self.url]
        argv += ["--data-root", self.folder / "data", "--exec-root", self.folder / "exec"]
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen([*argv, "--pidfile", self.folder / "pid"], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Absent(f"dockerd does not start: {(self.folder / 'dockerd.log').read_text()[-1000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        from docker import APIClient
        from docker.errors import DockerException

        try:
            client = APIClient(self.url, timeout=10)
        except DockerException:
            return False
        client.close()
        return True

    def stop(self, *, kill: bool = False) -> None:
        """End it, as a service is ended or as a crash does."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(90)
            self.process = None

    def load(self, tree: Path | None = None, name: str = IMAGE) -> None:
        """Make an image of an archive."""
        with self.client() as client:
            client.import_image_from_file(str(tree or root_files()), *name.split(":"))

    def client(self):
        """The SDK's client, to be closed by `with`."""
        from docker import APIClient

        return Closing(APIClient(self.url, version="auto"))

    def names(self) -> list[str]:
        """The names of all containers."""
        with self.client() as client:
            return sorted(name.removeprefix("/") for each in client.containers(all=True) for name in each["Names"])

    def clear(self) -> None:
        """Remove all containers."""
        with self.client() as client:
            for each in client.containers(all=True):
                client.remove_container(each["Id"], force=True)

    def runner(self, **docker: object) -> Runner:
        """A runner on this daemon; `docker` are further options of its container."""
        return Runner.model_validate_json(json.dumps(self.settings(**docker)))

    def settings(self, **docker: object) -> dict[str, object]:
        """The same, as ftops.yaml has it."""
        gpus = {"capabilities": {"gpus": 1}} if "gpus" in docker else {}
        options = {"image": IMAGE, "allow": [IMAGE], "host": self.url, **docker}
        return {"executor": "docker", **gpus, "docker": options}


class Closing:
    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self.client

    def __exit__(self, *_: object) -> None:
        self.client.close()
