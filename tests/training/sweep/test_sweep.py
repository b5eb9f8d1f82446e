"""A sweep from its spec to a model version: what is trained, what fails, what is chosen, and what is said of it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from ftops.plan.sweep_choice import MemberResult, choose
from ftops.registry.merge import merge
from ftops.registry.record_files import dump, parse
from ftops.training.record import RunEntry
from ftops.training.sweep.record import SweepRecord
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, git, model, records, run

# Two steps are evaluated once; eight are best at step 4, and with a learning rate over 1 they fail at step 5.
PARAMETERS = {"learning_rate": [0.1, 2.0], "num_epochs": [0.2, 0.8]}
GOOD, BAD = "search-lr-1e-1-epochs-8e-1", "search-lr-2-epochs-8e-1"
OTHERS = ("search-lr-1e-1-epochs-2e-1", "search-lr-2-epochs-2e-1")
RECORD = "registry/sweeps/search.yaml"


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


def write(root, **sweep):
    projects.write(
        root,
        dataset(split={"train": 0.8, "validation": 0.2, "test": 0}),
        run(
            "search",
            hyperparameters={},
            checkpoints={"every": 2, "best": {"metric": "eval_loss"}},
            sweep={"parameters": PARAMETERS, "mayFail": 0, **sweep},
        ),
        model("chat", {"1.0.0": {"run": "search"}}),
    )
    commit_all(root)
    return root


@pytest.fixture(scope="module")
def failed(tmp_path_factory, env):
    """A project whose sweep chose nothing: one of its four members failed, and none may."""
    root = write(tmp_path_factory.mktemp("failed") / "project")
    (root / "told").write_text(ftops(root, "apply", "--yes", env=env, code=6).stdout)
    return root


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, env, failed):
    """The same once a member may fail."""
    root = projects.copy(failed, tmp_path_factory.mktemp("chosen") / "project")
    edit(root, "specs/all.yaml", "mayFail: 0", "mayFail: 1")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env, code=6)
    return root


@pytest.fixture
def root(tmp_path, chosen):
    return projects.copy(chosen, tmp_path / "project")


def status(root, path=RECORD):
    return records(root)[path]["status"]


def attempts(root):
    """How many attempts each member has."""
    found = {path.split("/")[-1][:-5]: each["status"] for path, each in records(root).items() if "/runs/" in path}
    return {name: len(each["runs"][each["current"]]["attempts"]) for name, each in found.items()}


def test_one_failed_and_none_may(failed, env):
    told = (failed / "told").read_text()
    assert f"{BAD}-" in told
    assert "search chose nothing: 1 of its 4 members failed, and 0 may (mayFail)" in told
    assert "raise sweep.mayFail to 1" in told
    found = status(failed)
    assert (found["phase"], found.get("chosen")) == ("failed", None)
    first, *rest = found["members"]
    assert (first["name"], first["phase"], first["reason"]) == (BAD, "failed", "exit code 1")
    assert first["values"] == {"learning_rate": 2.0, "num_epochs": 0.8}
    assert [each["name"] for each in rest] == [OTHERS[0], GOOD, OTHERS[1]]
    assert "registry/models/chat/1.0.0.yaml" not in records(failed)
    shown = ftops(failed, "run", "show", "search", env=env).stdout.splitlines()
    assert shown[0].startswith("search has chosen nothing: 1 of its 4")
    assert shown[2].split()[0] == BAD
    assert "TrainingRun/search chose nothing" in git(failed, "log", "--format=%s")
    told = ftops(failed, "run", "checkpoints", "search", env=env, code=64).stderr
    assert "the sweep search has chosen nothing" in told
    # It is tried again, as anything that failed.
    plan = json.loads(ftops(failed, "plan", "--format", "json", env=env).stdout)
    again = {each["address"] for each in plan["changes"] if each["action"] != "noop"}
    assert again == {f"TrainingRun/{BAD}", "TrainingRun/search", "Model/chat"}


def test_the_best_of_the_others_stands_for_the_sweep(chosen, env):
    found = status(chosen)
    assert (found["phase"], found["chosen"], found["why"]) == ("chosen", GOOD, "lowest eval_loss of 3")
    assert [(each["name"], each.get("metric")) for each in found["members"]] == [
        (BAD, None), (OTHERS[0], 1.2), (GOOD, 1.0), (OTHERS[1], 1.2),
    ]  # fmt: skip
    version = status(chosen, "registry/models/chat/1.0.0.yaml")
    assert (version["run"], version["runId"]) == (GOOD, found["runId"])
    assert attempts(chosen) == {GOOD: 1, BAD: 2, **dict.fromkeys(OTHERS, 1)}
    assert (
        projects.trailers(chosen, git(chosen, "log", "-1", "--format=%H", "--", RECORD))["Ftops-Run"] == found["runId"]
    )
    about = json.loads((chosen / ".ftops/runs" / found["runId"] / "attempt-1/tracking.json").read_text())
    assert about["tags"]["sweep"] == "search"


def test_then_there_is_nothing_to_do_and_the_failure_is_not_hidden(chosen, env):
    told = ftops(chosen, "apply", "--yes", env=env).stdout
    assert "No changes" in told
    assert f"warning: TrainingRun/search: {BAD} failed; {GOOD} was chosen among the others" in told
    assert json.loads(ftops(chosen, "gc", "--format", "json", env=env).stdout)["unneeded"] == []


def test_the_name_of_the_sweep_leads_to_the_chosen_one(chosen, env):
    shown = ftops(chosen, "run", "show", "search", env=env).stdout
    table, rest = shown.split("\n\n", 1)
    assert table.splitlines()[0] == f"search chose {GOOD}: lowest eval_loss of 3"
    assert [line.split()[0] for line in table.splitlines()[2:]] == [BAD, OTHERS[0], GOOD, OTHERS[1]]
    assert rest.startswith(f"{GOOD}-")
    tree = json.loads(ftops(chosen, "run", "show", "search", "--format", "json", env=env).stdout)
    assert (tree["name"], tree["sweep"]["chosen"], tree["sweep"]["members"][0]["name"]) == (GOOD, GOOD, BAD)
    found = json.loads(ftops(chosen, "run", "checkpoints", "search", "--format", "json", env=env).stdout)
    assert found["run"] == status(chosen)["runId"]
    assert "training for 8 steps" in ftops(chosen, "logs", "search", env=env).stdout
    rows = {each["address"]: each for each in json.loads(ftops(chosen, "status", "--format", "json", env=env).stdout)}
    assert rows["TrainingRun/search"] == {"address": "TrainingRun/search", "phase": "chosen", "run": found["run"]}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["stop", "search"], 64),
        (["run", "render", "search"], 64),
        (["apply", "--yes", "--rerun", "search"], 4),
        (["apply", "--yes", "--resume", "search"], 4),
    ],
)
def test_what_only_members_can_do_is_refused_with_their_names(chosen, env, command, code):
    told = ftops(chosen, *command, env=env, code=code).stderr
    assert "trains nothing itself" in told
    assert GOOD in told


def test_a_value_added_trains_only_what_is_new(root, env):
    version, before = status(root, "registry/models/chat/1.0.0.yaml"), attempts(root)
    edit(root, "specs/all.yaml", "      - 0.1\n", "      - 0.1\n      - 0.2\n")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    new = {"search-lr-2e-1-epochs-2e-1": 1, "search-lr-2e-1-epochs-8e-1": 1}
    assert attempts(root) == before | new
    found = status(root)
    assert found["chosen"] == GOOD
    assert found["why"] == "lowest eval_loss of 5; first of its equals (search-lr-2e-1-epochs-8e-1)"
    assert status(root, "registry/models/chat/1.0.0.yaml") == version
    assert "No changes" in ftops(root, "plan", env=env).stdout


def test_a_registered_version_stays_when_another_is_chosen(root, env):
    version = status(root, "registry/models/chat/1.0.0.yaml")
    edit(root, "specs/all.yaml", "mayFail: 1", "mayFail: 1\n    best: {metric: eval_loss, mode: max}")
    edit(root, "specs/all.yaml", "  versions:\n", "  versions:\n    1.1.0: {run: search}\n")
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    assert status(root)["chosen"] == OTHERS[0]
    assert status(root, "registry/models/chat/1.0.0.yaml") == version
    assert status(root, "registry/models/chat/1.1.0.yaml")["run"] == OTHERS[0]
    assert "No changes" in ftops(root, "plan", env=env).stdout


def test_what_is_made_from_the_sweep_is_planned_when_it_has_chosen(root, env):
    """By the same apply, with all that waited; what failed is not tried again by it."""
    values = {"learning_rate": 0.1, "num_epochs": 0.2}
    more = [
        run("lora", {"run": "search"}, method="lora", hyperparameters=values),
        model("talk", {"1.0.0": {"run": "lora"}}),
        run("bad", hyperparameters={"learning_rate": 9.0, "num_epochs": 1}),
    ]
    (root / "specs/lora.yaml").write_text("---\n".join(json.dumps(each) + "\n" for each in more))
    edit(root, "specs/all.yaml", "      - 0.1\n", "      - 0.1\n      - 0.2\n")
    commit_all(root)
    told = ftops(root, "apply", "--yes", env=env, code=6).stdout
    assert "TrainingRun/lora: waits for what TrainingRun/search chooses, and is planned then" in told
    first, then = [line for line in told.splitlines() if line.startswith("Applied: ")]
    assert " 1 failed, 0 skipped" in first
    assert then == "Applied: 2 done, 0 failed, 0 skipped, 8 unchanged."
    assert told.count("TrainingRun/bad: train bad-") == 1
    lora = status(root, "registry/runs/lora.yaml")
    assert lora["runs"][lora["current"]]["inputs"]["baseModel"] == {"run": status(root)["runDigest"]}
    config = (root / ".ftops/runs" / lora["runs"][lora["current"]]["id"] / "attempt-1/config.yaml").read_text()
    assert f"../../{status(root)['runId']}/output" in config
    assert status(root, "registry/models/talk/1.0.0.yaml")["run"] == "lora"


def test_also_where_the_results_are_committed_elsewhere(root, env, tmp_path):
    (root / "specs/more.yaml").write_text(
        json.dumps(run("more", {"run": "search"}, hyperparameters={"num_epochs": 0.2, "learning_rate": 0.1}))
    )
    edit(root, "specs/all.yaml", "      - 0.1\n", "      - 0.1\n      - 0.2\n")
    commit_all(root)
    told = ftops(root, "apply", "--yes", "--no-commit", "--results", tmp_path / "results", env=env).stdout
    assert told.count("Applied: ") == 2
    assert "TrainingRun/more: done" in told
    assert "registry/runs/more.yaml" not in records(root)
    ftops(root, "commit", tmp_path / "results", env=env)
    assert status(root, "registry/runs/more.yaml")["phase"] == "succeeded"
    assert "No changes" in ftops(root, "plan", env=env).stdout


def test_a_person_is_asked_again_for_what_waited(root, env):
    (root / "specs/more.yaml").write_text(json.dumps(run("more", {"run": "search"})))
    edit(root, "specs/all.yaml", "      - 0.1\n", "      - 0.1\n      - 0.2\n")
    commit_all(root)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        projects.command("apply"), cwd=root, env=env, text=True, stdin=theirs, stdout=subprocess.PIPE
    )
    os.write(ours, b"yes\nno\n")
    told, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, told
    assert told.count("Only 'yes' is taken") == 2
    assert told.index("Applied: ") < told.index("+ TrainingRun/more: create")
    assert not list(root.glob(".ftops/runs/more-*"))


def test_members_train_at_once_and_the_sweep_chooses_after_them(tmp_path, env):
    root = write(tmp_path / "project", mayFail=1)
    edit(root, "ftops.yaml", "{executor: local}", "{executor: local, concurrency: 4}")
    commit_all(root)
    told = ftops(root, "apply", "--yes", env=env, code=6).stdout
    assert "Applied: 6 done, 1 failed, 0 skipped" in told
    assert status(root)["chosen"] == GOOD
    assert status(root, "registry/models/chat/1.0.0.yaml")["run"] == GOOD


def test_nothing_is_chosen_and_nothing_recorded_before_members_have_ended(tmp_path, env):
    root = write(tmp_path / "project")
    told = ftops(root, "run", "show", "search", env=env).stdout
    assert told.splitlines()[0] == "search has chosen nothing: 4 of its 4 members not trained yet"


@pytest.mark.slow
@pytest.mark.axolotl
def test_the_real_engine_trains_two_members(tmp_path):
    made = {"family": "llama", "hiddenSize": 16, "layers": 1, "heads": 2, "vocabSize": 512}
    plain = {"max_steps": 4, "micro_batch_size": 4, "sequence_len": 512}
    root = projects.write(
        tmp_path / "project",
        dataset(split={"train": 0.8, "validation": 0.2, "test": 0}),
        run(
            "search",
            {"init": made},
            hyperparameters=plain,
            checkpoints={"every": 2},
            sweep={"parameters": {"learning_rate": [1e-5, 1e-2]}},
        ),
        model("chat", {"1.0.0": {"run": "search"}}),
    )
    commit_all(root)
    ftops(root, "apply", "--yes", env=environment(tmp_path / "home"), timeout=600)
    found = status(root)
    values = {each["name"]: each["metric"] for each in found["members"]}
    assert found["chosen"] == min(values, key=values.get) == "search-lr-1e-2"
    assert status(root, "registry/models/chat/1.0.0.yaml")["run"] == "search-lr-1e-2"


# ------------------------------------------------------------------------------------------------- without a project


def member(name, value=None, phase="succeeded", **more):
    return MemberResult(name, {"lora_r": 8}, "d" * 64, phase, value, **more)


def test_no_number_is_told_and_never_chosen():
    found = choose("eval_loss", "min", 0, [member("a", float("nan")), member("b", 2.0), member("c")])
    assert found.chosen == "b"
    assert [(each.name, each.value) for each in found.members] == [("a", None), ("c", None), ("b", 2.0)]
    assert choose("eval_loss", "min", 0, [member("a")]).why == "none of its 1 members has the metric eval_loss"


def test_a_record_reads_as_it_was_written_and_the_newest_account_stands():
    members = [member("a", 1.5), member("b", phase="failed", reason="exit code 1")]
    mine = SweepRecord.of("search", choose("eval_loss", "min", 1, members), "1" * 40)
    assert parse(mine.path, dump(mine)) == mine
    assert mine.choice == choose("eval_loss", "min", 1, members)
    same = SweepRecord.of("search", choose("eval_loss", "min", 1, members), "2" * 40)
    assert merge(mine, same) == mine
    other = SweepRecord.of("search", choose("eval_loss", "min", 1, [*members, member("c", 0.5)]), "2" * 40)
    assert merge(mine, other) == other


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (None, {"eval_loss": 1.4, "loss": 0.6}),
        ({"metric": "eval_loss", "mode": "min"}, {"eval_loss": 1.0, "loss": 1.25}),
        ({"metric": "eval_loss", "mode": "max"}, {"eval_loss": 1.4, "loss": 0.7}),
    ],
)
def test_what_counts_is_what_the_run_ends_with(best, expected):
    """The last evaluation, or that of the best checkpoint where the run ends with that."""
    saved = {
        "4": {"size": 1, "metrics": {"eval_loss": 1.0, "loss": 1.25}},
        "8": {"size": 1, "metrics": {"eval_loss": 1.4, "loss": 0.7}},
    }
    entry = RunEntry.model_validate(
        {
            "id": "a", "phase": "succeeded", "inputs": {"best": best} if best else {}, "engine": "e", "config_digest": "d",
            "attempts": {"1": {"phase": "succeeded", "checkpoints": saved}}, "metrics": {"loss": 0.6, "evalLoss": 1.4},
            "output": "runs/a/attempt-1/output",
        },
        strict=False,
    )  # fmt: skip
    assert entry.measured == expected
    assert entry.model_copy(update={"output": None}).measured == {}
