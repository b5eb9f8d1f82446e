"""Merged weights: made by a job, verified, recorded, built upon; with a stand-in for the engine, and with the real one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from ftops.reconcile.observe import open_workspace
from ftops.registry.merge import merge
from ftops.registry.record_files import parse
from ftops.retention import gc
from ftops.training import merged_weights
from ftops.training.checkpoints import Incomplete
from tests.support import projects
from tests.support.attempts import wait
from tests.support.projects import commit_all, dataset, environment, ftops, git, model, records, run

BOTH = {"1.0.0": {"run": "lora", "export": ["adapter", "merged"]}}
ONCE = {"num_epochs": 1, "learning_rate": 0.25}


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


def documents(versions=BOTH, *more):
    return (
        dataset(),
        run("base", hyperparameters=ONCE),
        run("lora", {"run": "base"}, method="lora", hyperparameters=ONCE),
        *([model("chat", versions)] if versions else []),
        *more,
    )


def project(root, *chosen):
    projects.write(root, *(chosen or documents()))
    commit_all(root)
    return root


@pytest.fixture(scope="module")
def applied(tmp_path_factory, env):
    root = project(tmp_path_factory.mktemp("applied") / "project")
    ftops(root, "apply", "--yes", env=env)
    return root


@pytest.fixture
def root(tmp_path, applied):
    # Not MLflow's files, which its mirror may still write.
    return projects.copy(applied, tmp_path / "project")


def version(root, number="1.0.0"):
    return records(root)[f"registry/models/chat/{number}.yaml"]["status"]


def weights(folder):
    (path,) = Path(folder).glob("*model.safetensors")
    return struct.unpack("<2f", path.read_bytes()[-8:])


def folders(root):
    return sorted(path.name for path in (root / ".ftops/runs").iterdir())


def set_mood(root, mood):
    (root / ".ftops").mkdir(exist_ok=True)
    (root / ".ftops/mood").write_text(mood)


def going_on(tmp_path, env):
    """A project, an apply of it that follows a slow merge, and the handle of that job."""
    root = project(tmp_path / "project", *documents(None))
    ftops(root, "apply", "--yes", env=env)
    projects.write(root, *documents())
    commit_all(root)
    set_mood(root, "slow")
    process = subprocess.Popen(
        projects.command("apply", "--yes"), cwd=root, env=env, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    (handle,) = wait(lambda: list(root.glob(".ftops/runs/*.merge/attempt-1/handle.json")))
    return root, process, handle


class TestExport:
    def test_the_version_has_both_and_nothing_is_left_to_do(self, root, env):
        status = version(root)
        store = root / ".ftops"
        adapter, whole = store / status["output"], store / status["merged"]["output"]
        assert (adapter.name, whole.name, adapter.parent) == ("output", "merged", whole.parent)
        assert (adapter / "adapter_config.json").exists()
        assert (whole / "config.json").exists()
        base = store / records(root)["registry/runs/base.yaml"]["status"]["runs"].popitem()[1]["output"]
        assert weights(whole) == tuple(np.add(weights(base), weights(adapter)))
        files = status["merged"]["weights"]
        assert {"model.safetensors", "config.json", "tokenizer_config.json"} <= files.keys()
        assert status["merged"]["size"] == sum(each["size"] for each in files.values())
        assert all(len(each["sha256"]) == 64 for each in files.values())
        assert "adapter_model.safetensors" in status["digests"]["weights"]
        assert not [name for name in folders(root) if name.endswith(".merge")], "the job's folder is gone"
        ftops(root, "plan", "--detailed-exitcode", env=env)

    def test_it_has_the_tokenizer_of_the_run_not_of_the_base(self, tmp_path, env):
        lora = run("lora", {"run": "base"}, method="lora", hyperparameters={**ONCE, "learning_rate": 0.5})
        root = project(tmp_path / "project", dataset(), run("base", hyperparameters=ONCE), lora, model("chat", BOTH))
        ftops(root, "apply", "--yes", env=env)
        found = root / ".ftops" / version(root)["merged"]["output"] / "tokenizer_config.json"
        assert json.loads(found.read_text()) == {"chat_template": 0.5}

    def test_added_to_a_registered_version_nothing_else_changes(self, tmp_path, env):
        root = project(tmp_path / "project", *documents({"1.0.0": {"run": "lora"}}))
        ftops(root, "apply", "--yes", env=env)
        before = version(root)
        assert "merged" not in before
        projects.write(root, *documents())
        commit_all(root)
        plan = ftops(root, "plan", "--detailed-exitcode", env=env, code=2).stdout
        assert 'versions.1.0.0.export: ["adapter"] → ["adapter","merged"]' in plan.replace('", "', '","')
        assert "add its merged weights to chat 1.0.0" in plan
        assert "register chat 1.0.0" not in plan
        ftops(root, "apply", "--yes", env=env)
        after = version(root)
        assert after.pop("merged")
        assert after == before

    def test_taken_out_of_the_spec_they_stay(self, root, env):
        projects.write(root, *documents({"1.0.0": {"run": "lora"}}))
        done = ftops(root, "plan", "--detailed-exitcode", env=env)
        assert "1.0.0 keeps its merged weights: a registered version never changes" in done.stdout

    def test_of_a_version_whose_run_was_trained_anew_it_is_the_old_adapter(self, tmp_path, env):
        root = project(tmp_path / "project", *documents({"1.0.0": {"run": "lora"}}))
        ftops(root, "apply", "--yes", env=env)
        old = weights(root / ".ftops" / version(root)["output"])
        set_mood(root, "other")
        ftops(root, "apply", "--yes", "--rerun", "lora", env=env)
        projects.write(root, *documents())
        ftops(root, "apply", "--yes", env=env)
        status = version(root)
        base = next((root / ".ftops/runs").glob("base-*")) / "output"
        assert weights(root / ".ftops" / status["output"]) == old
        assert weights(root / ".ftops" / status["merged"]["output"]) == tuple(np.add(weights(base), old))
        (run_folder,) = (root / ".ftops/runs").glob("lora-*")
        assert not (run_folder / "merged").exists(), "which would lead to those of its newest result"

    def test_where_the_adapter_is_not(self, tmp_path, env):
        root = project(tmp_path / "project", *documents({"1.0.0": {"run": "lora"}}))
        ftops(root, "apply", "--yes", env=env)
        shutil.rmtree(next((root / ".ftops/runs").glob("lora-*")))
        projects.write(root, *documents())
        done = ftops(root, "apply", "--yes", env=env, code=7)
        assert "is not in the store of this machine: there is nothing to merge" in done.stdout
        assert "ftops apply --rerun lora" in done.stdout


class TestTrouble:
    @pytest.mark.parametrize(
        ("mood", "why"),
        [
            ("fail", "merging the adapter of lora-"),
            ("nothing", "nothing was merged: its weights are those of its base model"),
            ("nan", "w has weights that are no numbers"),
        ],
    )
    def test_a_bad_merge_registers_nothing_and_the_next_apply_merges_again(self, tmp_path, env, mood, why):
        root = project(tmp_path / "project", *documents(None))
        ftops(root, "apply", "--yes", env=env)
        projects.write(root, *documents())
        commit_all(root)
        set_mood(root, mood)
        done = ftops(root, "apply", "--yes", env=env, code=6)
        assert why in done.stdout
        assert "registry/models/chat/1.0.0.yaml" not in records(root)
        assert not list(root.glob(".ftops/runs/*/attempt-*/merged"))
        set_mood(root, "")
        ftops(root, "apply", "--yes", env=env)
        assert version(root)["merged"]

    def test_apply_killed_the_job_goes_on_and_is_collected(self, tmp_path, env):
        root, process, handle = going_on(tmp_path, env)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not list(root.glob(".ftops/runs/*/attempt-*/merged")), "nothing half has the name"
        workspace = open_workspace(root)
        assert handle.parents[1] not in {each.path for each in gc.find(workspace)}, "it goes on"
        wait((handle.parent / "result.json").exists)
        made = (handle.parent / "output/merged").stat().st_ino
        done = ftops(root, "apply", "--yes", env=env)
        assert "Applied: 1 done" in done.stdout
        (found,) = root.glob(".ftops/runs/lora-*/attempt-1/merged")
        assert found.stat().st_ino == made, "not merged again"
        assert version(root)["merged"]
        assert not list(root.glob(".ftops/runs/*.merge"))

    def test_stopped_the_next_apply_merges(self, tmp_path, env):
        root, process, handle = going_on(tmp_path, env)
        said = ftops(root, "stop", "lora", env=env).stdout
        assert f"Merging the adapter of {handle.parents[1].name.removesuffix('.merge')} is stopped" in said
        told, _ = process.communicate(timeout=60)
        assert process.returncode == 6
        assert "was stopped" in told
        assert "the next `ftops apply` merges again" in told
        assert "there is nothing to stop" in ftops(root, "stop", "lora", env=env, code=64).stderr
        ftops(root, "apply", "--yes", env=env)
        assert version(root)["merged"]

    def test_killed_before_it_is_recorded_the_same_weights_are_used(self, tmp_path, env):
        root = project(tmp_path / "project")
        ftops(root, "apply", "--yes", "--target", "TrainingRun/lora", env=env)
        killed = {**env, "FTOPS_FAULT": "RegisterVersion.begin:kill"}
        ftops(root, "apply", "--yes", env=killed, code=-signal.SIGKILL)
        (made,) = root.glob(".ftops/runs/lora-*/attempt-1/merged")
        inode = made.stat().st_ino
        done = ftops(root, "apply", "--yes", env=env)
        assert "merged, which was there" in done.stdout
        assert made.stat().st_ino == inode

    def test_damaged_since_they_are_not_registered(self, tmp_path, env):
        root = project(tmp_path / "project")
        killed = {**env, "FTOPS_FAULT": "RegisterVersion.begin:kill"}
        ftops(root, "apply", "--yes", env=killed, code=-signal.SIGKILL)
        (made,) = root.glob(".ftops/runs/lora-*/attempt-1/merged/model.safetensors")
        made.write_bytes(made.read_bytes()[:-1])
        done = ftops(root, "apply", "--yes", env=env, code=7)
        assert "its merged weights are not whole: model.safetensors is torn" in done.stdout
        assert "apply` again: they are merged anew" in done.stdout


class TestBuiltUpon:
    """`baseModel: {run: …}` of a run that trains an adapter begins from its merged weights."""

    def test_merged_weights_are_made_and_trained_on(self, tmp_path, env):
        more = run("more", {"run": "lora"}, method="lora", hyperparameters=ONCE)
        versions = {"1.0.0": {"run": "more", "export": ["adapter", "merged"]}}
        root = project(tmp_path / "project", *documents(versions, more))
        plan = ftops(root, "plan", env=env).stdout
        assert "merge the adapter of lora-" in plan
        ftops(root, "apply", "--yes", env=env)
        (lora,) = (root / ".ftops/runs").glob("lora-*")
        (folder,) = (root / ".ftops/runs").glob("more-*")
        config = yaml.safe_load((folder / "attempt-1/config.yaml").read_text())
        assert config["base_model"] == f"../../{lora.name}/merged"
        assert (lora / "merged").readlink() == Path("attempt-1/merged")
        whole = root / ".ftops" / version(root)["merged"]["output"]
        assert weights(whole) == tuple(np.add(weights(lora / "merged"), weights(folder / "output")))
        ftops(root, "plan", "--detailed-exitcode", env=env)
        # What a training begins from stays, although no version has it.
        assert lora / "attempt-1/merged" not in {each.path for each in gc.find(open_workspace(root))}

    def test_merged_again_where_they_are_gone(self, tmp_path, env):
        more = run("more", {"run": "lora"}, method="full", hyperparameters=ONCE)
        root = project(tmp_path / "project", *documents(None, more))
        ftops(root, "apply", "--yes", env=env)
        (lora,) = (root / ".ftops/runs").glob("lora-*")
        shutil.rmtree(lora / "attempt-1/merged")
        ftops(root, "apply", "--yes", "--rerun", "more", env=env)
        assert (lora / "merged/config.json").exists()


class TestSpace:
    def test_what_a_version_has_stays_and_the_rest_is_freed(self, root, env):
        (kept,) = root.glob(".ftops/runs/lora-*/attempt-1/merged")
        assert kept not in {each.path for each in gc.find(open_workspace(root))}
        git(root, "rm", "-rq", "registry/models")
        projects.write(root, *documents({"1.0.0": {"run": "lora"}}))
        commit_all(root, "no version any more")
        assert kept not in {each.path for each in gc.find(open_workspace(root), older=3600)}
        found = {each.path: each.what for each in gc.find(open_workspace(root))}
        assert found[kept] == "merged weights of attempt 1 that no version has: merging again makes them"
        ftops(root, "gc", "--yes", env=env)
        assert not kept.exists()
        assert (kept.parent / "output/adapter_model.safetensors").exists()


def test_what_another_machine_merged_first_stays(root):
    """The same adapter merged elsewhere may have other bytes."""
    path = "registry/models/chat/1.0.0.yaml"
    here = parse(path, (root / path).read_bytes())
    other = here.status.merged.model_copy(update={"size": 1})
    tip = here.model_copy(update={"status": here.status.model_copy(update={"merged": other})})
    without = here.model_copy(update={"status": here.status.model_copy(update={"merged": None})})
    assert merge(tip, here).status.merged == other
    assert merge(tip, without).status.merged == other
    assert merge(without, here) == here


# ----------------------------------------------------------------------------------------------- what is verified


def save(path, **tensors):
    """A safetensors file of F32 tensors."""
    header, data = {}, b""
    for name, values in tensors.items():
        array = np.asarray(values, "<f4")
        end = len(data) + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def trio(tmp_path):
    """A base, an adapter that has an embedding beside, and both merged."""
    for name in ("base", "adapter", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    (tmp_path / "model/tokenizer.json").write_text("{}")
    save(tmp_path / "base/model.safetensors", emb=[[1, 2]], w=[1, 2])
    save(tmp_path / "adapter/adapter_model.safetensors", **{
        "base_model.model.w.lora_A.weight": [1], "base_model.model.emb": [[1, 2], [3, 4]],
    })  # fmt: skip
    save(tmp_path / "model/model.safetensors", emb=[[1, 2], [3, 4]], w=[2, 3])
    return tmp_path


def verified(trio, *, base=True):
    found = merged_weights.verify(trio / "model", trio / "adapter", trio / "base" if base else None)
    return found.reason if isinstance(found, Incomplete) else sorted(found)


class TestVerify:
    def test_whole(self, trio):
        assert verified(trio) == ["config.json", "model.safetensors", "tokenizer.json"]
        assert verified(trio, base=False) == ["config.json", "model.safetensors", "tokenizer.json"]

    @pytest.mark.parametrize(
        ("tensors", "why"),
        [
            ({"emb": [[1, 2], [3, 4]]}, "it lacks w of its base model"),
            ({"w": [2, 3]}, "emb, which was trained, is not in it"),
            ({"emb": [[1, 2]], "w": [2, 3]}, "emb has shape (1, 2), and was trained with (2, 2)"),
            ({"emb": [[1, 2], [3, 4]], "w": [2, 3, 4]}, "w has shape (3,), and (2,) in its base model"),
            ({"emb": [[1, 2], [3, 4]], "w": [2, np.inf]}, "w has weights that are no numbers"),
        ],
    )
    def test_not_what_it_should_be(self, trio, tensors, why):
        save(trio / "model/model.safetensors", **tensors)
        assert verified(trio) == why

    def test_a_base_with_another_head(self, trio):
        save(trio / "base/model.safetensors", emb=[[1, 2]], w=[1, 2], lm_head=[9])
        assert verified(trio) == "it lacks lm_head of its base model"

    def test_without_a_tokenizer(self, trio):
        (trio / "model/tokenizer.json").unlink()
        assert verified(trio) == "it has no tokenizer"

    @pytest.mark.parametrize("kind", ["F16", "BF16", "F64"])
    def test_infinite_in_other_types(self, tmp_path, kind):
        """The bits of +infinity, and those of the largest number, of each type (IEEE 754)."""
        bits = {"F16": (2, 0x7C00, 0x7BFF), "BF16": (2, 0x7F80, 0x7F7F), "F64": (8, 0x7FF << 52, (0x7FF << 52) - 1)}
        width, infinite, largest = bits[kind]
        for number, finite in ((infinite, False), (largest, True)):
            header = json.dumps({"w": {"dtype": kind, "shape": [1], "data_offsets": [0, width]}}).encode()
            path = tmp_path / "model.safetensors"
            path.write_bytes(struct.pack("<Q", len(header)) + header + number.to_bytes(width, "little"))
            tensors = merged_weights.tensors_of(tmp_path)
            if finite:
                merged_weights.refuse_infinite(tensors)
            else:
                with pytest.raises(merged_weights.InvalidCheckpoint, match="no numbers"):
                    merged_weights.refuse_infinite(tensors)
