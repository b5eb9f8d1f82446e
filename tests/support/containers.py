"""A Docker daemon of the tests' own, with an image made from Debian's packages: nothing is pulled from a registry."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from pathlib import Path

from ftops.executors.registry import RUNNER
from ftops.resources.runner import Runner

IMAGE = "ftops-tests:latest"
# Named when this file is read: every test has a HOME of its own, and settings of ftops' are taken away.
CACHE = Path(os.environ.get("FTOPS_TEST_CACHE") or Path.home() / ".cache" / "ftops-tests")
ROOT_FILES = CACHE / "bookworm-2.tar"
PACKAGES = "python3,python3-yaml"


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
            _run("tar", "-C", root, "--exclude=./var/*", "--exclude=./usr/share/*", "-cf", part, ".")  # two thirds
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
    """A dockerd in `folder`, beside a containerd that outlives it as it does where both are services. Its containers
    have no network but none and the host's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 'd.sock'}"
        self.containerd: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises Absent where it does not start."""
        missing = [name for name in ("dockerd", "debootstrap") if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            raise Absent(f"no {' and no '.join(missing)}" if missing else "only root can start dockerd")
        if self.containerd is None:
            (self.folder / "containerd.toml").write_text(
                'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            )
            argv = ["containerd", "--config", self.folder / "containerd.toml", "--address", self.folder / "c.sock"]
            self.containerd = self._begin(*argv, "--root", self.folder / "root", "--state", self.folder / "state")
        argv = ["dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "-H", self.url]
        argv += ["--data-root", self.folder / "data", "--exec-root", self.folder / "exec"]
        argv += ["--containerd", self.folder / "c.sock", "--pidfile", self.folder / "pid"]
        self.process = self._begin(*argv)
        deadline = time.monotonic() + 60
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Absent(f"dockerd does not start: {(self.folder / 'dockerd.log').read_text()[-1000:]}")
            time.sleep(0.1)

    def _begin(self, *argv: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{argv[0]}.log").open("ab") as log:
            return subprocess.Popen([str(each) for each in argv], stdout=log, stderr=log)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(self.url.removeprefix("unix://")):
                return False
        with self.client() as client:
            return client.ping()

    def stop(self, *, kill: bool = False) -> None:
        """End dockerd, as a service is ended or as a crash does."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(90)
            self.process = None

    def close(self) -> None:
        """End everything, and leave no mount behind."""
        self.stop()
        if self.containerd is not None:
            self.containerd.terminate()
            self.containerd.wait(90)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in sorted((each for each in mounts if each.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=True)

    def load(self, tree: Path | None = None, name: str = IMAGE) -> None:
        """Make an image of an archive."""
        with self.client() as client:
            client.import_image_from_file(str(tree or root_files()), *name.split(":"))

    def add_program(self, name: str, text: str, image: str) -> None:
        """Make `image` of the usual one and a program on its PATH."""
        content, archive = text.encode(), io.BytesIO()
        about = tarfile.TarInfo(name)
        about.size, about.mode = len(content), 0o755
        with tarfile.open(fileobj=archive, mode="w") as files:
            files.addfile(about, io.BytesIO(content))
        with self.client() as client:
            made = client.create_container(IMAGE, ["true"])["Id"]
            client.put_archive(made, "/usr/local/bin", archive.getvalue())
            client.commit(made, *image.split(":"))
            client.remove_container(made)

    def client(self):
        """The SDK's client, for a `with` that closes it."""
        from docker import APIClient

        return contextlib.closing(APIClient(self.url, version="auto"))

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
        return RUNNER.model_validate_json(json.dumps(self.settings(**docker)))

    def settings(self, **docker: object) -> dict[str, object]:
        """The same, as ftops.yaml has it."""
        gpus = {"capabilities": {"gpus": 1}} if "gpus" in docker else {}
        options = {"image": IMAGE, "allow": [IMAGE], "host": self.url, **docker}
        return {"executor": "docker", **gpus, "docker": options}
