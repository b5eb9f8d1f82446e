"""Planning and applying without the command line: what a service or an agent calls."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import textwrap

import pytest

from ftops.errors import PlanError, StalePlan, UsageError
from ftops.plan.address import Address
from ftops.plan.apply_events import Notice, RoundEnded, StepBegan
from ftops.plan.json import plan_json
from ftops.reconcile import session
from ftops.reconcile.session import Request, open_workspace
from tests.support import projects
from tests.support.projects import ROOT, commit_all, dataset, edit, git, model, records, run

CHOSEN, OTHER = "search-lr-1e-1", "search-lr-2e-1"
QUICK = {"num_epochs": 0.2, "learning_rate": 0.1}


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """What is trained here is trained by the stand-in."""
    monkeypatch.setenv("FTOPS_ENGINE_HOME", str(projects.stand_in_engine(tmp_path / "engines")))


@pytest.fixture
def root(tmp_path):
    """A sweep of two, and one training that begins from what it chooses."""
    values = {"hyperparameters": {"num_epochs": 0.2}, "checkpoints": {"every": 2, "best": {"metric": "eval_loss"}}}
    place = projects.write(
        tmp_path / "project",
        dataset(split={"train": 0.8, "validation": 0.2, "test": 0}),
        run("search", sweep={"parameters": {"learning_rate": [0.1, 0.2]}}, **values),
        run("lora", {"run": "search"}, method="lora", hyperparameters=QUICK),
        model("chat", {"1.0.0": {"run": "lora"}}),
    )
    commit_all(place)
    return place


def phases(root):
    return {
        path.split("/")[-1][:-5]: each["status"]["phase"] for path, each in records(root).items() if "/runs/" in path
    }


def actions(planned):
    return {str(each.address): each.action.value for each in planned.plan.changes}


def test_the_second_round_of_a_sweep_is_planned_asked_for_and_done(root, engine):
    heard, asked = [], []

    def agree(more):
        asked.append(more)
        return True

    planned = session.plan(open_workspace(root))
    assert planned.plan.seal is not None
    assert not heard
    assert not (root / ".ftops/runs").exists()
    applied = session.apply(planned, heard.append, agree)

    (more,) = asked
    assert {each for each, action in actions(more).items() if action != "noop"} == {"TrainingRun/lora", "Model/chat"}
    assert more.plan.seal.records != planned.plan.seal.records
    rounds = [each for each in heard if isinstance(each, RoundEnded)]
    assert [each.plan for each in rounds] == [planned.plan, more.plan]
    assert applied.changes == tuple(each for one in rounds for each in one.applied.changes)
    assert [str(each.address) for each in applied.changes[-2:]] == ["TrainingRun/lora", "Model/chat"]
    assert all(each.ok for each in applied.changes)
    assert phases(root) == dict.fromkeys([CHOSEN, OTHER, "lora"], "succeeded")
    assert git(root, "status", "--porcelain") == ""
    assert not session.plan(open_workspace(root)).plan.has_changes


def test_a_sweep_on_a_sweep_takes_a_round_more(root, engine):
    sweep = {"parameters": {"learning_rate": [0.1, 9.0]}, "mayFail": 1}
    more = {"hyperparameters": {"num_epochs": 0.8}, "checkpoints": {"every": 2, "best": {"metric": "eval_loss"}}}
    edit(root, "specs/all.yaml", "run: search", "run: again")
    (root / "specs/again.yaml").write_text(json.dumps(run("again", {"run": "search"}, sweep=sweep, **more)))
    commit_all(root)
    heard = []
    session.apply(session.plan(open_workspace(root)), heard.append, lambda _: True)
    done = [[str(each.address) for each in one.applied.changes] for one in heard if isinstance(one, RoundEnded)]
    assert done[0][-1] == "TrainingRun/search"
    # What failed in a round is not tried again by the next one.
    assert done[1] == ["TrainingRun/again-lr-1e-1", "TrainingRun/again-lr-9", "TrainingRun/again"]
    assert done[2:] == [["TrainingRun/lora", "Model/chat"]]
    assert phases(root)["again-lr-9"] == "failed"
    assert phases(root)["lora"] == "succeeded"


@pytest.mark.parametrize("agree", [None, lambda _: False], ids=["not asked", "said no"])
def test_what_waited_is_left_where_nobody_agrees(root, engine, agree):
    heard = []
    applied = session.apply(session.plan(open_workspace(root)), heard.append, agree)
    assert all(each.ok for each in applied.changes)
    assert sum(isinstance(each, RoundEnded) for each in heard) == 1
    assert phases(root) == dict.fromkeys([CHOSEN, OTHER], "succeeded")
    assert actions(session.plan(open_workspace(root)))["TrainingRun/lora"] == "create"


def test_the_second_round_counts_records_that_are_written_elsewhere(root, engine, tmp_path):
    planned = session.plan(open_workspace(root))
    applied = session.apply(planned, lambda _: None, lambda _: True, tmp_path / "results")
    assert records(root) == {}
    assert {"registry/runs/lora.yaml", f"registry/runs/{CHOSEN}.yaml"} <= applied.written.keys()
    for path, text in applied.written.items():
        assert (tmp_path / "results" / path).read_bytes() == text


def test_where_nothing_is_to_do_only_what_an_earlier_apply_left_is_done(tmp_path):
    root = projects.write(tmp_path / "project", dataset())
    commit_all(root)
    assert session.apply(session.plan(open_workspace(root)), lambda _: None).changes != ()
    planned = session.plan(open_workspace(root))
    assert not planned.plan.has_changes
    assert session.apply(planned, pytest.fail).changes == ()
    edit(root, "ftops.yaml", "  runners:", "  index: sqlite:///.gitignore/index.db\n  runners:")
    heard = []
    planned = session.plan(open_workspace(root))
    assert session.apply(planned, heard.append).changes == ()
    (notice,) = heard
    assert isinstance(notice, Notice)
    assert "index" in notice.text
    assert session.apply(planned, pytest.fail, results=root / "results").changes == ()


def test_a_saved_plan_is_made_again_while_nothing_has_moved(root):
    request = Request(targets=("Dataset/chat",))
    planned = session.plan(open_workspace(root), request)
    again = session.plan_again(open_workspace(root), plan_json(planned.plan))
    assert (again.plan, again.request) == (planned.plan, request)


def test_a_saved_plan_is_refused_when_what_it_was_made_from_has_moved(root):
    saved = plan_json(session.plan(open_workspace(root)).plan)
    edit(root, "specs/all.yaml", "learning_rate: 0.1", "learning_rate: 0.3")
    with pytest.raises(StalePlan) as caught:
        session.plan_again(open_workspace(root), saved)
    (said,) = caught.value.diagnostics
    assert said.summary == "the saved plan is stale: what it was made from has moved"
    assert "spec of TrainingRun/lora: " in said.detail
    assert "commit" not in said.detail
    assert "ftops plan" not in said.hint  # who asked may have no terminal
    commit_all(root)
    with pytest.raises(StalePlan) as caught:
        session.plan_again(open_workspace(root), saved)
    assert caught.value.diagnostics[0].detail.startswith("commit: ")
    assert caught.value.exit_code == PlanError.exit_code
    with pytest.raises(PlanError, match="not a plan that ftops has saved"):
        session.plan_again(open_workspace(root), b"{}")


def test_a_training_goes_on_where_it_is_said(tmp_path, engine):
    root = projects.write(tmp_path / "project", dataset(), run(checkpoints={"every": 2}))
    commit_all(root)
    (root / ".ftops").mkdir()
    (root / ".ftops/mood").write_text("fail")
    planned = session.plan(open_workspace(root))
    assert planned.begins == {}
    assert not all(each.ok for each in session.apply(planned, lambda _: None).changes)
    (root / ".ftops/mood").unlink()
    base = Address("TrainingRun", "base")
    begins = session.plan(open_workspace(root), Request(resumes={"base": "2"})).begins
    assert begins[base].checkpoint.name == "checkpoint-2"
    planned = session.plan(open_workspace(root), Request(resumes={"base": "none"}))
    assert planned.begins[base].checkpoint is None
    heard = []
    assert all(each.ok for each in session.apply(planned, heard.append).changes)
    assert next(each.address for each in heard if isinstance(each, StepBegan)) == base
    (entry,) = records(root)["registry/runs/base.yaml"]["status"]["runs"].values()
    assert "resumedFrom" not in entry["attempts"]["2"]


def test_what_can_not_be_meant_is_refused(root):
    with pytest.raises(UsageError, match="lora: --rerun begins at the start"):
        Request(reruns=("TrainingRun/lora",), resumes={"lora": ""})
    with pytest.raises(UsageError, match="the plan does not train 'lore'"):
        session.plan(open_workspace(root), Request(resumes={"lore": "best"}))


def test_a_config_is_rendered_as_the_first_attempt_gets_it(root, engine):
    workspace = open_workspace(root)
    config = session.render_config(workspace, Address("TrainingRun", CHOSEN))
    session.apply(session.plan(workspace, Request(targets=(f"TrainingRun/{CHOSEN}",))), lambda _: None)
    (made,) = root.glob(f".ftops/runs/{CHOSEN}-*/attempt-1/config.yaml")
    assert made.read_text() == config.text


def test_the_example_of_the_module_runs_and_needs_no_command_line(root):
    text = inspect.getdoc(session)
    example = textwrap.dedent(
        "".join(line for line in text.splitlines(True) if line.startswith("    ") or line == "\n")
    )
    script = (
        f'{example}\nimport json, sys\nprint(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))'
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    change, ok, modules = done.stdout.splitlines()
    assert (change, ok) == ("Dataset/chat create", "True")
    assert not {"click", "rich"} & set(json.loads(modules))
    assert "registry/datasets/chat.yaml" in records(root)
