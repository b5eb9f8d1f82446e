"""Apply, whole: with real Axolotl from specs to a registered model and through kills; and what it does when things fail.

One real apply of a small project (two trainings) serves many assertions; each kill is made in a copy of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ftops import tracking
from ftops.executors import engine
from ftops.registry.record_files import dump, parse
from tests.support import projects
from tests.support.attempts import SHORT, SMALL, attempts, entry, events, wait
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run, trailers


def is_clean(root):
    return git(root, "status", "--porcelain") == ""


# ------------------------------------------------------------------------------------------------ with Axolotl


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def applied(tmp_path_factory, home):
    """A project after its first apply, with what that printed: a full training from nothing, LoRA on it, a model."""
    assert engine.find() is not None, "make engine"
    root = projects.write(
        tmp_path_factory.mktemp("applied") / "project",
        dataset(),
        run("tiny", {"init": SMALL}, hyperparameters={**SHORT, "num_epochs": 4}, checkpoints={"every": 10}),
        run(
            "lora",
            {"run": "tiny"},
            method="lora",
            hyperparameters={**SHORT, "num_epochs": 2, "lora_r": 4},
            checkpoints={"every": 20},
            tracking={"tags": {"purpose": "test"}},
        ),
        model("chat", {"1.0.0": {"run": "lora", "tags": ["small"]}}, aliases={"staging": "1.0.0"}),
    )
    start = commit_all(root, "start")
    done = ftops(root, "apply", "--yes", env=environment(home), timeout=600)
    return root, start, done.stdout


@pytest.fixture
def copy(applied, tmp_path, home):
    """A copy of the applied project, and the environment that ftops runs in."""
    root = tmp_path / "project"
    projects.copy(applied[0], root)
    return root, environment(home)


@pytest.mark.slow
@pytest.mark.axolotl
class TestApplied:
    def test_nothing_is_left_to_do(self, applied, home):
        root, _, _ = applied
        before = attempts(root), git(root, "rev-parse", "HEAD")
        env = environment(home)
        assert "4 unchanged" in ftops(root, "plan", "--detailed-exitcode", env=env).stdout
        assert ftops(root, "apply", env=env).stdout.strip().endswith("4 unchanged.")
        assert (attempts(root), git(root, "rev-parse", "HEAD")) == before

    def test_git_holds_the_results_and_shows_nothing_else(self, applied):
        root, start, _ = applied
        assert is_clean(root)
        subjects = git(root, "log", "--reverse", "--format=%s", f"{start}..HEAD").splitlines()
        assert subjects == [
            "ftops: Dataset/chat prepared",
            "ftops: TrainingRun/tiny succeeded",
            "ftops: TrainingRun/lora succeeded",
            "ftops: Model/chat registered: 1.0.0",
        ]
        changed = git(root, "diff", "--name-only", start, "HEAD").splitlines()
        assert [path for path in changed if path.endswith(".yaml")] == sorted(records(root))
        assert changed == [
            "registry/datasets/chat.html", "registry/datasets/chat.md", "registry/datasets/chat.yaml",
            "registry/models/chat/1.0.0.yaml", "registry/runs/lora.yaml", "registry/runs/tiny.yaml",
        ]  # fmt: skip

    def test_trailers_say_where_a_commit_comes_from(self, applied):
        root, start, _ = applied
        of_run, of_model = trailers(root, "HEAD~1"), trailers(root, "HEAD")
        assert of_run["Ftops-Input-Commit"] == of_model["Ftops-Input-Commit"] == start
        assert of_run["Ftops-Run"] == entry(root, "lora")["id"]
        assert of_run["Ftops-Plan"] == of_model["Ftops-Plan"]
        assert "Ftops-Input-Dirty" not in of_run
        assert git(root, "log", "-1", "--format=%an <%ae>") == "ftops <ftops@localhost>"

    def test_records_parse_and_hold_no_path_of_this_machine(self, applied, home):
        root, _, _ = applied
        for path in records(root):
            text = (root / path).read_bytes()
            assert dump(parse(path, text)) == text
            assert not [each for each in (str(root), str(home), str(engine.home())) if each.encode() in text]

    def test_what_the_records_say(self, applied):
        root, start, _ = applied
        prepared = records(root)["registry/datasets/chat.yaml"]["status"]
        assert sum(split["rows"] for split in prepared["report"]["splits"].values()) == 60
        tiny, lora = entry(root, "tiny"), entry(root, "lora")
        assert tiny["phase"] == lora["phase"] == "succeeded"
        assert tiny["steps"] == tiny["maxSteps"] > 20
        assert tiny["metrics"]["loss"] < tiny["metrics"]["firstLoss"]
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= tiny["weights"].keys()
        assert "adapter_model.safetensors" in lora["weights"]
        assert lora["inputs"]["baseModel"] == {"run": records(root)["registry/runs/tiny.yaml"]["status"]["current"]}
        assert list(tiny["attempts"]) == ["1"]
        assert tiny["attempts"]["1"]["exitCode"] == 0
        assert tiny["inputCommit"] == start
        version = records(root)["registry/models/chat/1.0.0.yaml"]["status"]
        assert (version["aliases"], version["tags"], version["runId"]) == (["staging"], ["small"], lora["id"])
        assert version["digests"]["weights"] == lora["weights"]
        assert version["size"] == sum(each["size"] for each in lora["weights"].values())

    def test_each_training_was_one_process(self, applied):
        root, _, _ = applied
        assert [path.name for path in attempts(root)] == ["attempt-1", "attempt-1"]
        for folder in attempts(root):
            assert len(events(folder, "begin")) == 1
            assert events(folder)[-1]["event"] == "end"

    def test_progress_is_told(self, applied):
        _, _, said = applied
        for name in ("tiny", "lora"):
            assert re.search(rf"^TrainingRun/{name}: step (\d+)/\1, loss \d", said, re.MULTILINE), said
        assert said.rstrip().endswith("Applied: 4 done, 0 failed, 0 skipped, 0 unchanged.")

    def test_mlflow_holds_the_curves_and_the_version(self, applied, home):
        root, _, _ = applied
        if tracking.pending(root / ".ftops"):  # the mirror may be behind; the next apply with work sees to it
            wait(lambda: not tracking.pending(root / ".ftops"), 120)
        script = """
import json, sys, mlflow
client = mlflow.MlflowClient("sqlite:///" + sys.argv[1])
found = {}
for run in client.search_runs([each.experiment_id for each in client.search_experiments()]):
    found[run.data.tags["ftops.run"]] = {
        "losses": [[each.step, each.value] for each in client.get_metric_history(run.info.run_id, "loss")],
        "metrics": sorted(run.data.metrics), "parameters": run.data.params, "tags": run.data.tags,
        "status": run.info.status,
    }
version = client.get_model_version_by_alias("chat", "1-0-0")
print(json.dumps({"runs": found, "version": {"tags": version.tags, "source": version.source,
                  "aliases": list(version.aliases)}}))
"""
        done = subprocess.run(
            [projects.sys.executable, "-W", "ignore", "-c", script, str(root / ".ftops/mlflow.db")],
            env=environment(home, MLFLOW_DISABLE_TELEMETRY="true"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        for name in ("tiny", "lora"):
            recorded = entry(root, name)
            mirrored = found["runs"][recorded["id"]]
            assert mirrored["status"] == "FINISHED"
            logged = [[each["step"], each["loss"]] for each in events(self.attempt(root, recorded), "log")
                      if "loss" in each]  # fmt: skip
            assert mirrored["losses"] == logged, mirrored["metrics"]
            assert mirrored["parameters"]["learning_rate"] == "0.005"
        assert found["runs"][entry(root, "lora")["id"]]["tags"]["purpose"] == "test"
        assert "staging" in found["version"]["aliases"]

    @staticmethod
    def attempt(root, recorded):
        return root / ".ftops/runs" / recorded["id"] / "attempt-1"

    def test_another_machine_has_nothing_to_do_and_says_what_it_lacks(self, applied, home, tmp_path):
        """A fresh clone without the store: all no-op; a run that needs the weights fails naming where they are."""
        root, _, _ = applied
        git(tmp_path, "clone", "-q", root, "clone")
        clone, env = tmp_path / "clone", environment(home)
        ftops(clone, "plan", "--detailed-exitcode", env=env)
        assert not (clone / ".ftops").exists()
        edit(clone, "specs/all.yaml", "lora_r: 4", "lora_r: 8")
        done = ftops(clone, "apply", "--yes", env=env, code=7)
        base = entry(clone, "tiny")["id"]
        assert f"the weights of {base} are not in the store of this machine" in done.stdout
        assert f".ftops/runs/{base}/output" in done.stdout


@pytest.mark.slow
@pytest.mark.axolotl
class TestKilled:
    @staticmethod
    def start(root, env):
        """An apply that goes on in the background, and the folder of the attempt that it starts."""
        known = set(attempts(root))
        with (root.parent / "apply.log").open("w") as log:
            process = subprocess.Popen(
                projects.command("apply", "--yes"), cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        (folder,) = wait(lambda: set(attempts(root)) - known)
        return process, folder

    def test_apply_killed_the_training_goes_on_and_is_recorded_once(self, copy):
        """Also: one changed hyperparameter retrains that run alone, and the version stays what it is."""
        root, env = copy
        edit(root, "specs/all.yaml", "lora_r: 4", "lora_r: 8")
        commit_all(root, "a larger adapter")
        before = entry(root, "lora")["id"]
        process, folder = self.start(root, env)
        wait(lambda: events(folder, "begin"))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait(lambda: len(events(folder)) > 1)  # the training goes on, alone
        plan = ftops(root, "plan", env=env).stdout
        assert "lora_r: 4 → 8" in plan
        assert "apply follows it to its end" in plan or "apply collects it" in plan
        said = ftops(root, "apply", "--yes", env=env).stdout
        assert f"{folder.parent.name} attempt 1" in said
        assert "chat: 1.0.0 stays what" in said
        assert "register the new training as 1.1.0" in said
        assert len(events(folder, "begin")) == 1
        status = records(root)["registry/runs/lora.yaml"]["status"]
        assert len(status["runs"]) == 2
        assert entry(root, "lora")["id"] == folder.parent.name != before
        assert list(entry(root, "lora")["attempts"]) == ["1"]
        assert git(root, "log", "--format=%s").splitlines().count("ftops: TrainingRun/lora succeeded") == 2
        assert [path for path in attempts(root) if path.parent.name.startswith("tiny")] == attempts_of(root, "tiny", 1)
        assert records(root)["registry/models/chat/1.0.0.yaml"]["status"]["runId"] == before
        assert is_clean(root)
        ftops(root, "plan", "--detailed-exitcode", env=env)

    def test_training_killed_the_same_apply_resumes(self, copy):
        root, env = copy
        edit(root, "specs/all.yaml", "num_epochs: 2", "num_epochs: 40")
        commit_all(root, "longer")
        process, folder = self.start(root, env)
        wait(lambda: len(events(folder, "save")) >= 2)
        trainer = json.loads((folder / "handle.json").read_text())["trainer"]["pid"]
        os.kill(trainer, signal.SIGKILL)
        assert process.wait(120) == 0, (root.parent / "apply.log").read_text()
        said = (root.parent / "apply.log").read_text()
        assert "attempt 1 failed (killed): it was killed by signal 9; it goes on from its checkpoint-" in said
        second = folder.with_name("attempt-2")
        (begin,) = events(second, "begin")
        resumed = entry(root, "lora")
        assert begin["step"] >= 20
        assert resumed["phase"] == "succeeded"
        assert resumed["attempts"]["1"]["signal"] == 9
        assert {number: each["phase"] for number, each in resumed["attempts"].items()} == {
            "1": "failed",
            "2": "succeeded",
        }
        assert resumed["attempts"]["2"]["resumedFrom"].startswith(f"runs/{resumed['id']}/attempt-1/output/checkpoint-")
        assert resumed["output"] == f"runs/{resumed['id']}/attempt-2/output"
        ftops(root, "plan", "--detailed-exitcode", env=env)

    @pytest.mark.parametrize(
        "fault",
        [
            "submit.taken:kill",
            "submit.started:kill",
            "submit.started:raise",
            "Train.end:enospc",
            "Train.ended:kill",
            "CommitRecords.begun:kill",
            "git.moved:kill",
        ],
    )
    def test_after_a_fault_the_next_apply_converges(self, copy, fault):
        """Some of the places and faults that test_crashes.py goes through with a stand-in."""
        root, env = copy
        edit(root, "specs/all.yaml", "lora_r: 4", "lora_r: 8")
        commit_all(root, "a larger adapter")
        code = -signal.SIGKILL if fault.endswith("kill") else 7
        ftops(root, "apply", "--yes", env={**env, "FTOPS_FAULT": fault}, code=code)
        ftops(root, "apply", "--yes", env=env)
        lora = root / ".ftops/runs" / entry(root, "lora")["id"]
        logged = [event["step"] for folder in lora.glob("attempt-*") for event in events(folder, "log")]
        (end,) = [event for folder in lora.glob("attempt-*") for event in events(folder, "end")]
        assert sorted(logged) == [*range(1, end["maxSteps"] + 1)], "one training's worth of steps"
        assert entry(root, "lora")["phase"] == "succeeded"
        assert git(root, "log", "--format=%s").splitlines().count("ftops: TrainingRun/lora succeeded") == 2
        assert is_clean(root)
        ftops(root, "plan", "--detailed-exitcode", env=env)


def attempts_of(root, name, count):
    return sorted(path for path in attempts(root) if path.parent.name.startswith(f"{name}-"))[:count]


# -------------------------------------------------------------------------------------------- with a stand-in


@pytest.fixture
def stand_in(tmp_path):
    """The environment with an engine whose training is a script."""
    (tmp_path / "home").mkdir()
    return environment(tmp_path / "home", FTOPS_ENGINE_HOME=projects.stand_in_engine(tmp_path / "engines"))


DIVERGES = {"learning_rate": 1000.0}


class TestFailures:
    @pytest.mark.slow
    def test_what_needs_a_failed_run_is_skipped_and_the_rest_is_done(self, tmp_path, stand_in):
        root = projects.write(
            tmp_path / "project",
            dataset(),
            run("bad", hyperparameters=DIVERGES),
            run("on-bad", {"run": "bad"}, method="lora"),
            run("good"),
            model("of-bad", {"1.0.0": {"run": "on-bad"}}),
            model("of-good", {"1.0.0": {"run": "good"}}),
        )
        commit_all(root)
        done = ftops(root, "apply", "--yes", env=stand_in, code=6)
        assert "attempt 1 failed (unknown): exit code 1" in done.stdout
        assert "loss is nan" in done.stdout  # the end of its log
        assert "TrainingRun/on-bad: skipped, because TrainingRun/bad failed" in done.stdout
        assert "Model/of-bad: skipped, because TrainingRun/on-bad failed" in done.stdout
        assert "Applied: 3 done, 1 failed, 2 skipped, 0 unchanged." in done.stdout
        assert sorted(records(root)) == [
            "registry/datasets/chat.yaml", "registry/models/of-good/1.0.0.yaml", "registry/runs/bad.yaml",
            "registry/runs/good.yaml",
        ]  # fmt: skip
        assert entry(root, "bad")["attempts"]["1"]["exitCode"] == 1
        assert is_clean(root)

        # The fault is mended: only what is missing is done, and the failed run of the other digest stays recorded.
        edit(root, "specs/all.yaml", "learning_rate: 1000.0", "learning_rate: 0.1")
        commit_all(root, "mended")
        done = ftops(root, "apply", "--yes", env=stand_in)
        assert "Applied: 3 done, 0 failed, 0 skipped, 3 unchanged." in done.stdout
        phases = [each["phase"] for each in records(root)["registry/runs/bad.yaml"]["status"]["runs"].values()]
        assert sorted(phases) == ["failed", "succeeded"]

        # Turned back to what is recorded as failed: it is tried again, as its second attempt.
        edit(root, "specs/all.yaml", "learning_rate: 0.1", "learning_rate: 1000.0")
        ftops(root, "apply", "--yes", "--target", "TrainingRun/bad", env=stand_in, code=6)
        assert list(entry(root, "bad")["attempts"]) == ["1", "2"]
        assert trailers(root)["Ftops-Input-Dirty"] == "true"

        # And back to what succeeded: the earlier run is used again, nothing is trained.
        edit(root, "specs/all.yaml", "learning_rate: 1000.0", "learning_rate: 0.1")
        known = attempts(root)
        done = ftops(root, "apply", "--yes", env=stand_in)
        assert "is used again" in done.stdout
        assert attempts(root) == known
        assert entry(root, "bad")["phase"] == "succeeded"

    def test_without_an_engine(self, tmp_path):
        (tmp_path / "home").mkdir()
        env = environment(tmp_path / "home", FTOPS_ENGINE_HOME=tmp_path / "none")
        root = projects.write(tmp_path / "project", dataset(), run())
        commit_all(root)
        done = ftops(root, "apply", "--yes", env=env, code=7)
        assert f"the engine {engine.AXOLOTL} is not installed" in done.stdout
        assert "hint: ftops engine install" in done.stdout
        assert list(records(root)) == ["registry/datasets/chat.yaml"]
        assert attempts(root) == []

    def test_with_half_an_engine(self, tmp_path, stand_in):
        (engine_folder,) = Path(stand_in["FTOPS_ENGINE_HOME"]).iterdir()
        (engine_folder / "ftops-engine.json").unlink()
        root = projects.write(tmp_path / "project", dataset(), run())
        commit_all(root)
        done = ftops(root, "apply", "--yes", env=stand_in, code=7)
        assert f"the engine {engine.AXOLOTL} is half installed" in done.stdout
        assert "hint: ftops engine install" in done.stdout
        assert "engine: half installed" in ftops(root, "doctor", env=stand_in, code=7).stdout

    def test_only_one_apply_works_in_a_store(self, tmp_path, stand_in):
        root = projects.write(tmp_path / "project", dataset(), run(hyperparameters={"num_epochs": 30}))
        commit_all(root)
        first = subprocess.Popen(projects.command("apply", "--yes"), cwd=root, env=stand_in, stdout=subprocess.PIPE)
        wait(lambda: attempts(root))
        done = ftops(root, "apply", "--yes", env=stand_in, code=7)
        assert f"process {first.pid} on" in done.stderr
        assert "works in the store" in done.stderr
        first.communicate(timeout=60)
        assert first.returncode == 0
        assert list(entry(root, "base")["attempts"]) == ["1"]

    def test_what_is_going_on_is_collected_whatever_is_gone_by_then(self, tmp_path, stand_in):
        root = projects.write(tmp_path / "project", dataset(), run(hyperparameters={"num_epochs": 20}))
        commit_all(root)
        process = subprocess.Popen(
            projects.command("apply", "--yes"), cwd=root, env=stand_in, stdout=subprocess.DEVNULL
        )
        (folder,) = wait(lambda: attempts(root))
        wait(lambda: events(folder, "log"))
        process.kill()
        process.wait()
        for name in ("data", "models"):
            shutil.rmtree(root / ".ftops" / name)
        ftops(root, "apply", "--yes", env={**stand_in, "FTOPS_ENGINE_HOME": str(tmp_path / "no-engine")})
        assert list(entry(root, "base")["attempts"]) == ["1"]
        assert entry(root, "base")["phase"] == "succeeded"

    def test_damaged_data_is_not_trained_on(self, tmp_path, stand_in):
        root = projects.write(tmp_path / "project", dataset(), run())
        commit_all(root)
        ftops(root, "apply", "--yes", "--target", "Dataset/chat", env=stand_in)
        (prepared,) = (root / ".ftops/data").glob("*/train.jsonl")
        prepared.write_text("{}\n")
        done = ftops(root, "apply", "--yes", env=stand_in, code=7)
        assert "not what was prepared" in done.stdout
        assert "it is prepared anew" in done.stdout
        assert not attempts(root)
        shutil.rmtree(prepared.parent)
        ftops(root, "apply", "--yes", env=stand_in)

    def test_ended_by_control_c_the_training_goes_on(self, tmp_path, stand_in):
        root = projects.write(tmp_path / "project", dataset(), run(hyperparameters={"num_epochs": 20}))
        commit_all(root)
        process = subprocess.Popen(
            projects.command("apply", "--yes"), cwd=root, env=stand_in, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        (folder,) = wait(lambda: attempts(root))
        wait(lambda: events(folder, "log"))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "a training that was started goes on" in said
        assert "Traceback" not in said
        ftops(root, "apply", "--yes", env=stand_in)
        assert (len(events(folder, "begin")), list(entry(root, "base")["attempts"])) == (1, ["1"])
