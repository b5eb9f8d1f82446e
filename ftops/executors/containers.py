"""The container of a job, as Docker's API wants it: what the runner grants and the job needs, and no more."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ftops.executors import wrapper
from ftops.executors.attempt_folder import Owner
from ftops.files import read_shipped

if TYPE_CHECKING:
    from ftops.digests import Json
    from ftops.executors.docker_options import Docker
    from ftops.executors.protocol import Handle, Job

WRAPPER: Final = "wrapper.py"
SAMPLER: Final = "resource_usage.py"
"""Both in the attempt folder: copies, which the user in the container can read wherever ftops is installed."""
CACHE: Final = "/ftops/cache"
PROCESSES: Final = 8192
"""Far above what a training starts (loaders and threads of every GPU), far below what a machine bears."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a job runs: `folder` is its attempt's, `cache` that of Hugging Face; `programs` are mounted where they are."""

    store: Path
    folder: Path
    cache: Path
    owner: Owner
    programs: tuple[Path, ...] = ()


def wrapper_files() -> dict[str, bytes]:
    """What runs in the container beside the trainer: content by name."""
    beside = Path(wrapper.__file__)
    return {name: read_shipped(beside.with_name(name)) for name in (WRAPPER, SAMPLER)}


def inside(path: Path) -> str:
    """Where `path` of this machine is in a container. All of it moves by the same way, so that relative paths hold, and to
    where no image has anything: no folder of the image is hidden, or closed to others, as /root is."""
    return f"/ftops/host{path}"


def labels(handle: Handle, store: Path) -> dict[str, str]:
    """What proves that a container is that of a job."""
    return {
        "ftops.run": handle.key.run,
        "ftops.attempt": str(handle.key.attempt),
        "ftops.submitted": repr(handle.submitted),
        "ftops.store": str(store),
    }


def container(docker: Docker, handle: Handle, job: Job, scene: Scene) -> dict[str, Json]:
    """The container of a job, as `POST /containers/create` takes it (Docker Engine API 1.41)."""
    return {
        "Image": docker.image,
        # The image's own python3, whichever that is: the wrapper needs no more than the standard library.
        "Entrypoint": ["python3", "-I", inside(scene.folder / WRAPPER), "--container", inside(scene.folder)],
        "Cmd": [],
        # Only what a process needs that has no home and no name. What the job wants stands in its job.json.
        "Env": ["HOME=/tmp", "USER=ftops", "LOGNAME=ftops", f"HF_HOME={CACHE}"],
        "WorkingDir": "/",
        "User": f"{scene.owner.uid}:{scene.owner.gid}",
        "Hostname": socket.gethostname()[:63],
        "Labels": labels(handle, scene.store),
        "Healthcheck": {"Test": ["NONE"]},
        # What a daemon does that ends: the time that a checkpoint takes is granted then too.
        "StopSignal": "SIGTERM",
        "StopTimeout": ceil(job.grace),
        "HostConfig": _isolation(docker) | _limits(docker) | {"Mounts": _mounts(job, scene)},
    }


def _isolation(docker: Docker) -> dict[str, Json]:
    return {
        "NetworkMode": docker.network,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        # Executable: what kernels are compiled to is loaded from here.
        "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108  (the container's own)
        "RestartPolicy": {"Name": "no"},  # an attempt runs once
        "AutoRemove": False,  # what became of it is asked later
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},  # what a job prints goes to its output.log
    }


def _limits(docker: Docker) -> dict[str, Json]:
    limits: dict[str, Json] = {"PidsLimit": PROCESSES, "ShmSize": docker.shared_memory}
    if docker.memory is not None:
        limits |= {"Memory": docker.memory, "MemorySwap": docker.memory}
    if docker.cpus is not None:
        limits["NanoCpus"] = round(docker.cpus * 1e9)
    if docker.gpus is not None:
        chosen = {"Count": -1} if docker.gpus == "all" else {"DeviceIDs": [str(each) for each in docker.gpus]}
        limits["DeviceRequests"] = [{"Driver": "", "Capabilities": [["gpu"]], **chosen}]
    return limits


def _mounts(job: Job, scene: Scene) -> list[Json]:
    mounts: dict[str, Json] = {}
    for target, source, writable in (
        (CACHE, scene.cache, True),
        *((str(path), path, False) for path in scene.programs),
        *((inside(path), path, False) for path in job.reads),
        *((inside(path), path, True) for path in (*job.writes, scene.folder)),
    ):
        # A link that leads out of what is mounted would lead nowhere in there, so what it leads to is mounted.
        mounts[target] = {"Type": "bind", "Source": str(source.resolve()), "Target": target, "ReadOnly": not writable}
    return list(mounts.values())


def is_of(found: Mapping[str, Json], handle: Handle, store: Path) -> bool:
    """Whether an inspected container is that of a job: names are used again, the time of a submission is not."""
    given: Mapping[str, str] = found["Config"].get("Labels") or {}
    return labels(handle, store).items() <= given.items()
