"""The `docker` of a runner: what is refused with its place, and what a container is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ftops.executors.attempt_folder import Owner
from ftops.executors.containers import Scene, container, is_of
from ftops.executors.docker_options import Docker
from ftops.executors.protocol import Handle, Job, Key
from ftops.executors.registry import RUNNER
from ftops.specs import load
from tests.support import projects

DIGEST = "sha256:" + "0123456789abcdef" * 4
PAGE = projects.ROOT / "docs/how-to/docker.md"
IMAGE = f"axolotlai/axolotl@{DIGEST}"


def faults(**runner):
    """What is wrong with a runner: summaries by the line of the field that they are said of."""
    tree = yaml.safe_load(projects.PROJECT)
    tree["spec"]["runners"] = {"local": {"executor": "local"}, "gpu": runner}
    text = yaml.safe_dump(tree, sort_keys=False)
    _, found = load({"ftops.yaml": text.encode()})
    lines = text.splitlines()
    told = [each for each in found if each.where and each.where.line]
    assert all(each.where.column for each in told)
    return [(lines[each.where.line - 1].split(":")[0].strip(" -"), each.summary) for each in told]


def refused(field, words, gpus=0, **docker):
    """`gpus` are those that the runner says it has."""
    (fault,) = faults(executor="docker", capabilities={"gpus": gpus}, docker={"image": IMAGE, **docker})
    assert fault[0] == field
    assert words in fault[1]


@pytest.mark.parametrize(
    "image", [IMAGE, DIGEST, f"registry.example:5000/team/axolotl:0.19@{DIGEST}", f"a.b/c_d/e.f@{DIGEST}"]
)
def test_an_image_by_its_digest_is_taken(image):
    assert faults(executor="docker", docker={"image": image}) == []


def test_an_image_by_a_tag_must_be_allowed():
    tag = "registry.example:5000/axolotl:main"
    refused(
        "image",
        "by its digest, registry.example:5000/axolotl@sha256:…, found 'registry.example:5000/axolotl:main'",
        image=tag,
    )
    refused("image", "a tag can move", image=tag, allow=["registry.example:5000/axolotl"])
    assert faults(executor="docker", docker={"image": tag, "allow": [tag]}) == []


@pytest.mark.parametrize(
    "image", ["", "Axolotl", "a b", "a@sha256:12", "-v", f"a@md5:{'0' * 32}", "a/../b", f"{IMAGE}\n"]
)
def test_what_is_no_image_is_refused(image):
    refused("image", "sha256:", image=image)


@pytest.mark.parametrize("gpus", ["all", "0", "0,1", "1, 0", [0], [1, 0]])
def test_gpus_are_all_or_ids(gpus):
    assert faults(executor="docker", capabilities={"gpus": 2}, docker={"image": IMAGE, "gpus": gpus}) == []


@pytest.mark.parametrize("gpus", ["", "0-1", "0,", "GPU-1", "-1", [-1], [0.5], [True], ["0"], [], 2, True, {}])
def test_other_forms_of_gpus_are_refused(gpus):
    (fault,) = faults(executor="docker", capabilities={"gpus": 2}, docker={"image": IMAGE, "gpus": gpus})
    assert fault == ("gpus", "spec.runners.gpu.docker.gpus: expected all, or ids of GPUs such as [0, 1] or '0,1'")


@pytest.mark.parametrize(
    ("count", "gpus", "words"),
    [
        (2, [0, 2], "GPU 2 is out of range: capabilities.gpus is 2, so ids are 0 to 1"),
        (2, "5", "GPU 5 is out of range"),
        (4, [3, 1, 3], "GPU 3 is named twice"),
        (0, "all", "capabilities.gpus, which says that there are none"),
        (0, [0], "capabilities.gpus, which says that there are none"),
        (2, None, "capabilities.gpus is 2, but the container gets none"),
    ],
)
def test_gpus_are_those_that_the_runner_has(count, gpus, words):
    (fault,) = faults(executor="docker", capabilities={"gpus": count}, docker={"image": IMAGE, "gpus": gpus})
    assert words in fault[1]
    assert fault[1].startswith("spec.runners.gpu.docker")


@pytest.mark.parametrize(
    ("field", "value"),
    [("user", "root"), ("user", "1000"), ("network", "a b"), ("network", "container:x"), ("memory", "1MiB"), ("cpus", 0),
     ("memory", 4), ("sharedMemory", "1"), ("host", "tcp://127.0.0.1:2375"), ("cache", "relative"), ("engine", "none")],
)  # fmt: skip
def test_other_fields_are_strict(field, value):
    refused(field, f"spec.runners.gpu.docker.{field}: ", **{field: value})


def test_docker_goes_with_its_executor():
    ((_, missing),) = faults(executor="docker")
    assert missing == "spec.runners.gpu: executor docker needs to know the image: `docker: {image: NAME@sha256:…}`"
    ((_, other),) = faults(executor="local", docker={"image": IMAGE})
    assert other == "spec.runners.gpu: docker goes with executor docker only"


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_runners_on_the_page_about_docker_are_valid(text):
    for runner in yaml.safe_load(text.replace("sha256:…", DIGEST))["spec"]["runners"].values():
        assert faults(**runner) == []


# ---------------------------------------------------------------------------------------------- the container

HANDLE = Handle(Key("lora-0123456789ab", 2), "ftops-lora-0123456789ab-2", 1.5)
STORE = Path("/project/.ftops")
SCENE = Scene(STORE, STORE / "runs/lora-0123456789ab/attempt-2", STORE / "cache/huggingface", Owner(1001, 1002))


def made(job=None, **docker):
    options = Docker.model_validate_json(json.dumps({"image": IMAGE, **docker}))
    return container(options, HANDLE, job or Job(("true",)), SCENE)


def test_a_container_gets_nothing_that_is_not_asked_for():
    settings = made()
    host = settings["HostConfig"]
    assert settings["User"] == "1001:1002"
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["RestartPolicy"], host["AutoRemove"]) == ({"Name": "no"}, False)
    assert not {"Privileged", "Memory", "NanoCpus", "DeviceRequests", "CapAdd", "Devices", "PidMode"} & host.keys()
    assert [mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]] == [
        "/ftops/cache", "/ftops/host/project/.ftops/runs/lora-0123456789ab/attempt-2",
    ]  # fmt: skip


def test_limits_and_devices_are_handed_on():
    host = made(memory="96GiB", cpus=1.5, sharedMemory="16GiB", gpus=[1, 3], network="lan")["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 96 << 30
    assert (host["NanoCpus"], host["ShmSize"], host["NetworkMode"]) == (1_500_000_000, 16 << 30, "lan")
    assert host["DeviceRequests"] == [{"Driver": "", "Capabilities": [["gpu"]], "DeviceIDs": ["1", "3"]}]
    assert made(gpus="all")["HostConfig"]["DeviceRequests"][0]["Count"] == -1


def test_what_a_job_reads_and_writes_is_mounted_where_relative_paths_find_it(tmp_path):
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "output").symlink_to("attempt-1")
    mounts = made(Job(("true",), reads=(tmp_path / "output",), writes=(tmp_path / "cache",)))["HostConfig"]["Mounts"]
    by_target = {mount["Target"]: (mount["Source"], mount["ReadOnly"]) for mount in mounts}
    assert by_target[f"/ftops/host{tmp_path}/output"] == (str(tmp_path / "attempt-1"), True)
    assert by_target[f"/ftops/host{tmp_path}/cache"] == (str(tmp_path / "cache"), False)


def test_no_variable_of_a_job_is_kept_by_docker():
    assert "secret" not in str(made(Job(("true", "secret"), env={"NAME": "secret"})))


def test_a_container_is_proved_by_all_of_its_labels():
    found = {"Config": {"Labels": made()["Labels"]}}
    assert is_of(found, HANDLE, STORE)
    assert not is_of(found, HANDLE, Path("/other/.ftops"))
    assert not is_of(found, Handle(HANDLE.key, HANDLE.id, 1.25), STORE)
    assert not is_of({"Config": {"Labels": None}}, HANDLE, STORE)


def test_a_training_gets_the_gpus_of_its_container():
    def gpus(**docker):
        tree = {"executor": "docker", "capabilities": {"gpus": 4}, "docker": {"image": IMAGE, **docker}}
        return RUNNER.model_validate_json(json.dumps(tree)).gpus

    assert (gpus(gpus="all"), gpus(gpus="2,3")) == (4, 2)
    assert RUNNER(executor="local").gpus == 0
