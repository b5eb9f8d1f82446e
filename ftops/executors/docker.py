"""Training in a container of this machine's Docker that outlives ftops.

The attempt folder is mounted into the container and its lock is held in there, so files and lock say how a job stands, as
they do of a process. The daemon is asked only where they don't: what became of a container that left no result. While a
container is made and started the lock is held here; the wrapper in it waits for that.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ftops.errors import Diagnostic, ExternalError
from ftops.executors.attempt_folder import Owner, discard, find_handle, free_bytes, give, read_handle, take, write_stop
from ftops.executors.attempts import observe_attempt
from ftops.executors.containers import Scene, container, is_of, wrapper_files
from ftops.executors.docker_options import Docker
from ftops.executors.engine import require_engine
from ftops.executors.job_state import JobState, Observation, out_of_memory
from ftops.executors.protocol import (
    Capabilities,
    Exists,
    Gone,
    Handle,
    Job,
    JobStatus,
    Key,
    Submission,
    Submitted,
    Unreachable,
    Unsure,
)
from ftops.files import cannot_write
from ftops.resources.runner import Runner
from ftops.store.fault_points import fault
from ftops.store.store import Store

if TYPE_CHECKING:
    from docker import APIClient

    from ftops.digests import Json

Answer = TypeVar("Answer")

ANSWER_SECONDS: Final = 60
"""How long a daemon that is there may take for an answer: starting a container on a busy machine takes seconds."""
ENDING_SECONDS: Final = 10
"""How long a container may take to be seen as ended when its job has."""

NOT_ROOT: Final = Owner(1000, 1000)
SYSTEM: Final = (Path("/usr"), Path("/usr/local"))


class DockerExecutor:
    """Runs jobs in containers of the daemon on this machine, in the attempt folders of `store`."""

    def __init__(self, runner: Runner, store: Store) -> None:
        if not isinstance(runner.options, Docker):
            raise TypeError("a runner with executor docker has no docker")
        self.docker = runner.options
        self.engine = runner.engine
        self.store = store
        self.url = self.docker.host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        # Folders and locks are shared with containers by mounting them, so another machine's daemon is of no use.
        if not self.url.startswith("unix://"):
            hint = "run ftops on that machine, or set `docker.host` of the runner to a socket of this one"
            raise ExternalError(Diagnostic(f"DOCKER_HOST is {self.url}: no daemon of this machine", hint=hint))

    def probe(self) -> Capabilities | Unreachable:
        """What of this machine a container gets. Raises ExternalError where the image is missing."""

        def ask(client: APIClient) -> Capabilities:
            self._require_image(client)
            about: Mapping[str, Any] = client.info()
            ids, here = self.docker.gpus, len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
            return Capabilities(
                cpus=max(1, int(min(about["NCPU"], self.docker.cpus or about["NCPU"]))),
                memory=min(about["MemTotal"], self.docker.memory or about["MemTotal"]),
                disk=free_bytes(self.store.root),
                gpus=here if ids == "all" else len(ids or ()),
            )

        return self._ask(ask)

    def find(self, key: Key) -> tuple[Handle, ...] | Unreachable:
        return find_handle(self._folder(key), key)

    def submit(self, key: Key, job: Job) -> Submission:
        folder = self._folder(key)
        if found := find_handle(folder, key):
            return Exists(found[0])
        scene = self._scene(folder)
        if isinstance(silent := self._ask(self._require_image), Unreachable):
            raise ExternalError(Diagnostic(f"{key.name} was not started: {silent.reason}"))
        self._share(job, scene)
        job = replace(job, files={**job.files, **wrapper_files()})
        if (lock := take(folder, job, scene.owner if os.geteuid() == 0 else None)) is None:
            return Exists(read_handle(folder, key))
        handle = read_handle(folder, key)
        try:
            fault("submit.taken")
            settings = container(self.docker, handle, job, scene)
            done = self._ask(lambda client: self._start(client, settings, handle))
        except ExternalError:
            discard(folder)
            raise
        finally:
            os.close(lock)
        return Unsure(done.reason) if isinstance(done, Unreachable) else done

    def observe(self, handles: Iterable[Handle]) -> Mapping[Handle, JobStatus]:
        return {handle: self._status(handle) for handle in handles}

    def stop(self, handle: Handle, grace: float) -> bool:
        folder = self._folder(handle.key)
        if has_ended(self._status(handle)):
            return False

        def ask(client: APIClient) -> bool:
            found = self._find(client, handle)
            if found is None or not found["State"]["Running"]:
                return False
            # The wrapper is the first process in there: it passes the signal on and enforces `grace`. Before it listens
            # the kernel drops the signal, and it looks for the request.
            write_stop(folder, grace)
            client.kill(found["Id"], "SIGTERM")
            return True

        told = self._ask(ask)
        if told is True:
            return True
        (folder / "stop.json").unlink(missing_ok=True)
        if has_ended(self._status(handle)):
            return False
        reason = told.reason if isinstance(told, Unreachable) else "no container can be proved to be it"
        hint = f"`fuser -v {folder / 'lock'}` tells which processes hold its lock"
        raise ExternalError(Diagnostic(f"{handle.key.name} was not stopped: it lives, but {reason}", hint=hint))

    def collect(self, key: Key) -> Path | Unreachable:
        return self._folder(key)

    def forget(self, handle: Handle) -> None:
        """Removes the container of a job that ended; where the daemon does not answer it stays and harms nobody."""

        def ask(client: APIClient) -> None:
            if (found := self._find(client, handle)) is not None:
                # Its wrapper releases the lock and is gone; the daemon may hear of that a moment later.
                client.wait(found["Id"], timeout=ENDING_SECONDS)
                remove(client, found["Id"])

        self._ask(ask)

    # ------------------------------------------------------------------------------------------- before a start

    def _folder(self, key: Key) -> Path:
        return self.store.attempt(key.run, key.attempt)

    def _scene(self, folder: Path) -> Scene:
        """Raises ExternalError where the engine, or the right to share the store with the container's user, is missing."""
        cache = self.store.cache / "huggingface" if self.docker.cache is None else Path(self.docker.cache)
        programs: tuple[Path, ...] = ()
        if self.docker.engine == "host":
            engine = require_engine(self.engine)
            python = engine.python.resolve().parents[1]
            # A Python of the system is expected in the image, at the same place.
            programs = (engine.path, *(() if python in SYSTEM else (python,)))
        return Scene(self.store.root, folder, cache, self._owner(), programs)

    def _owner(self) -> Owner:
        """Who the processes in a container are, and so whose the files are that they work on."""
        kept = self.store.root.stat()
        owner = NOT_ROOT if kept.st_uid == 0 else Owner(kept.st_uid, kept.st_gid)
        if self.docker.user is not None:
            owner = Owner(*map(int, self.docker.user.split(":")))
        # Without root's rights nothing can be given away; root of a rootless daemon's containers is who runs the daemon.
        if os.geteuid() not in (0, owner.uid) and owner.uid != 0:
            mine = f'"{os.geteuid()}:{os.getegid()}"'
            hint = f"leave out `docker.user` of the runner, or set it to {mine}"
            raise ExternalError(Diagnostic(f"user {owner.uid} of the container can't write the store", hint=hint))
        return owner

    def _share(self, job: Job, scene: Scene) -> None:
        """Make the folders of the store that a job works on those of the user in the container: what root wrote there may be
        for root alone, as weights are."""
        kept = [path for path in job.reads if path.is_relative_to(self.store.root)]
        if not scene.cache.exists():
            kept.append(scene.cache)
        try:
            for folder in (scene.cache, *job.writes):
                folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                for path in (*kept, *job.writes):
                    give(path.resolve(), scene.owner)
        except OSError as error:
            raise cannot_write(self.store.root, error) from error

    def _require_image(self, client: APIClient) -> None:
        from docker.errors import ImageNotFound

        try:
            client.inspect_image(self.docker.image)
        except ImageNotFound:
            hint = f"docker pull {self.docker.image}"
            raise ExternalError(
                Diagnostic(f"the image {self.docker.image} is not on this machine", hint=hint)
            ) from None

    # --------------------------------------------------------------------------------------------------- daemon

    def _ask(self, question: Callable[[APIClient], Answer]) -> Answer | Unreachable:
        """What the daemon answers; an error that the question does not expect says as little as no answer."""
        from docker import APIClient
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException  # the SDK lets it through

        if reason := why_silent(self.url):
            return Unreachable(reason)
        try:
            client = APIClient(self.url, version="auto", timeout=ANSWER_SECONDS)
            try:
                return question(client)
            finally:
                client.close()
        except APIError as error:
            return Unreachable(f"the Docker daemon says: {error.explanation}")
        except (DockerException, RequestException) as error:
            return Unreachable(f"the Docker daemon on {self.url} does not answer: {error}")

    def _find(self, client: APIClient, handle: Handle) -> Mapping[str, Json] | None:
        """The container of a job as it is inspected; None where there is none that is provably its."""
        found = inspect(client, handle.key.name)
        return found if found is not None and is_of(found, handle, self.store.root) else None

    def _start(self, client: APIClient, settings: Mapping[str, Json], handle: Handle) -> Submission:
        """Make the container and start it. Raises ExternalError when it was certainly not started; none is left then."""
        from docker.errors import APIError

        name = handle.key.name
        self._clear_name(client, name, settings["Labels"])
        try:
            made: str = client.create_container_from_config(dict(settings), name)["Id"]
        except APIError as error:
            raise ExternalError(not_started(name, error)) from error
        fault("submit.created")
        try:
            client.start(made)
        except APIError as error:
            if (found := inspect(client, made)) is not None and found["State"]["Running"]:
                return Unsure(f"Docker says: {error.explanation}")
            remove(client, made)
            raise ExternalError(not_started(name, error)) from error
        fault("submit.started")
        return Submitted(handle)

    def _clear_name(self, client: APIClient, name: str, labels: Mapping[str, str]) -> None:
        """Remove what an attempt of the same number left whose folder is gone by now.

        Raises ExternalError when the name is somebody else's: it is the lock on an attempt among all stores.
        """
        if (other := inspect(client, name)) is None:
            return
        store = (other["Config"].get("Labels") or {}).get("ftops.store")
        if store == labels["ftops.store"] and not other["State"]["Running"]:
            remove(client, other["Id"])
            return
        what = f"trains for the store {store}" if store else "is not of ftops"
        hint = f"wait for its end, or remove it: `docker rm --force {name}`"
        raise ExternalError(Diagnostic(f"the name {name} is taken by a container that {what}", hint=hint))

    def _status(self, handle: Handle) -> JobStatus:
        folder = self._folder(handle.key)
        seen = observe_attempt(folder)
        if seen is not None and (seen.state.going_on or (folder / "result.json").exists()):
            return seen

        def ask(client: APIClient) -> Observation | Gone:
            if (found := self._find(client, handle)) is None:
                return Gone() if seen is None else replace(seen, reason="its container was removed")
            said = client.logs(found["Id"], tail=5).decode("utf-8", "replace") if seen is None else ""
            return judge(found, seen, said)

        return self._ask(ask)


def has_ended(status: JobStatus) -> bool:
    """Whether it is known that nothing of a job goes on."""
    return isinstance(status, Gone) or (isinstance(status, Observation) and not status.state.going_on)


def inspect(client: APIClient, name: str) -> Mapping[str, Json] | None:
    """What the daemon knows of a container, None where it knows none."""
    from docker.errors import NotFound

    try:
        found: Mapping[str, Json] = client.inspect_container(name)
    except NotFound:
        return None
    return found


def remove(client: APIClient, container_id: str) -> None:
    """Remove a container that does not run."""
    from docker.errors import APIError

    try:
        client.remove_container(container_id, v=True)
    except APIError as error:
        if error.status_code not in (404, 409):  # it is gone, or somebody else removes it
            raise


def judge(found: Mapping[str, Json], seen: Observation | None, said: str) -> Observation | Gone:
    """What became of a job without a result, by its container; `seen` is what its files say, None where it never began.

    `said` is what its wrapper said then.
    """
    state = found["State"]
    if state["Running"]:
        return Observation(JobState.STARTING if seen is None else JobState.RUNNING)
    if state["Status"] == "created":
        return Gone()
    if seen is not None and seen.state is JobState.CANCELLED:
        return seen
    code = state["ExitCode"]
    if state["OOMKilled"]:
        return Observation(JobState.OUT_OF_MEMORY, out_of_memory(found["HostConfig"].get("Memory") or None), None, 9)
    if seen is None:
        return Observation(JobState.FAILED, f"it ended with {code} before the training began: {said.strip()}", code)
    number = code - 128 if code > 128 else None
    return replace(seen, reason=f"its container ended with {code} and left no result", signal=number)


def not_started(name: str, error: Any) -> Diagnostic:
    """Why Docker did not start a container, with what to do about it."""
    said = str(error.explanation)
    if "could not select device driver" in said:
        return Diagnostic(
            f"{name} was not started: this Docker has no NVIDIA runtime, so no GPU can be given to a container",
            detail=said,
            hint="install the NVIDIA driver and nvidia-container-toolkit, then "
            "`nvidia-ctk runtime configure --runtime=docker`, and restart Docker",
        )
    if '"python3"' in said:
        hint = "ftops' wrapper needs Python 3.8 or newer as `python3` on the image's PATH"
        return Diagnostic(f"{name} was not started: its image has no python3", said, hint)
    return Diagnostic(f"{name} was not started", detail=said, hint="see what Docker says, and `docker` of the runner")


def why_silent(url: str) -> str:
    """Why nobody listens on a local socket, and what to do; empty where somebody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        number = probe.connect_ex(url.removeprefix("unix://"))
    if number == 0:
        return ""
    if number == errno.EACCES:
        return f"no right to use Docker's socket {url}: `sudo usermod -aG docker $USER`, and log in again"
    if number in (errno.ENOENT, errno.ECONNREFUSED):
        return f"no Docker daemon listens on {url}: `sudo systemctl start docker`, or set `docker.host` of the runner"
    return f"the Docker daemon on {url} does not answer: {os.strerror(number)}"
