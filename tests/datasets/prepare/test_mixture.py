"""Several data sets with weights: what is taken of each, and a training on them from plan to record."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftops.datasets.prepare.mixture import mix
from ftops.training.spec.mixture import data_inputs, portions_of
from tests.support import projects
from tests.support.projects import commit_all, dataset, edit, environment, ftops, records, rows, run

PAIRS = st.lists(st.tuples(st.text("ab", min_size=1), st.floats(0.1, 5)), min_size=1, unique_by=lambda each: each[0])


@given(PAIRS, st.randoms())
def test_the_order_of_data_sets_never_matters(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    assert data_inputs(pairs) == data_inputs(shuffled)
    assert sorted(portions_of(data_inputs(pairs))) == sorted(pairs)


def test_one_data_set_with_weight_one_is_that_data_set():
    assert data_inputs([("a", 1.0)]) == {"dataset": "a"}
    assert data_inputs([("a", 2.0)])["dataset"] != "a"
    assert data_inputs([("a", 1.0), ("b", 1.0)])["dataset"] != data_inputs([("a", 1.0), ("b", 2.0)])["dataset"]


def folder(path, name, count, validation=0):
    place = path / name
    place.mkdir(exist_ok=True)
    (place / "train.jsonl").write_text("".join(f"{name}{number}\n" for number in range(count)))
    if validation:
        (place / "validation.jsonl").write_text("".join(f"{name}v{number}\n" for number in range(validation)))
    return place


@pytest.mark.parametrize(
    ("weight", "times"),
    [(1, {1: 40}), (2, {2: 40}), (0.25, {1: 10}), (2.5, {2: 20, 3: 20}), (0.3, {1: 12}), (0.001, {1: 1})],
)
def test_a_weight_is_how_often_each_row_is_taken(tmp_path, weight, times):
    mix([(folder(tmp_path, "a", 40), weight)], tmp_path / "out")
    taken = Counter((tmp_path / "out/train.jsonl").read_text().split())
    assert Counter(taken.values()) == times


def test_the_same_rows_are_taken_whatever_else_is_mixed_in(tmp_path):
    mix([(folder(tmp_path, "a", 40), 0.5)], tmp_path / "alone")
    mix([(folder(tmp_path, "b", 9, 3), 1), (folder(tmp_path, "a", 40, 2), 0.5)], tmp_path / "both")
    alone, both = ((tmp_path / each / "train.jsonl").read_text().split() for each in ("alone", "both"))
    assert [each for each in both if each.startswith("a")] == alone
    assert sum(each.startswith("b") for each in both) == 9
    assert len((tmp_path / "both/validation.jsonl").read_text().split()) == 5
    assert not (tmp_path / "alone/validation.jsonl").exists()


def test_more_rows_leave_most_of_the_chosen_ones(tmp_path):
    mix([(folder(tmp_path, "a", 1000), 0.5)], tmp_path / "before")
    mix([(folder(tmp_path, "a", 1100), 0.5)], tmp_path / "after")
    before, after = (set((tmp_path / each / "train.jsonl").read_text().split()) for each in ("before", "after"))
    assert len(before & after) > 450


# -------------------------------------------------------------------------------------------------- a project


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


SPLIT = {"split": {"train": 0.8, "validation": 0.2, "test": 0}}
BOTH = [{"name": "chat"}, {"name": "more", "weight": 0.5}]


def project(place, datasets=BOTH, **more):
    spec = run("mixed", datasets=datasets)
    del spec["spec"]["dataset"]
    other = dataset("more", "data/more.csv", **SPLIT, **more)
    text = rows(40).replace("What is", "How much is")
    root = projects.write(place, dataset(**SPLIT), other, spec, files={"data/more.csv": text}.items())
    commit_all(root)
    return root


def counts(root):
    (mixed,) = [each for each in root.glob(".ftops/data/*") if not (each / "manifest.json").exists()]
    return {path.stem: len(path.read_text().splitlines()) for path in mixed.iterdir()}


def test_a_training_on_two_data_sets_from_plan_to_record(tmp_path, env):
    root = project(tmp_path)
    plan = ftops(root, "plan", env=env).stdout
    assert "put the data sets of mixed together" in plan
    assert "3 done, 0 failed" in ftops(root, "apply", "--yes", env=env).stdout
    (entry,) = records(root)["registry/runs/mixed.yaml"]["status"]["runs"].values()
    splits = {
        name: records(root)[f"registry/datasets/{name}.yaml"]["status"]["report"]["splits"] for name in ("chat", "more")
    }
    wanted = splits["chat"]["train"]["rows"] + -(-splits["more"]["train"]["rows"] // 2)
    assert counts(root) == {"train": wanted, "validation": sum(each["validation"]["rows"] for each in splits.values())}
    digests = {records(root)[f"registry/datasets/{name}.yaml"]["status"]["digest"] for name in ("chat", "more")}
    assert {each["digest"] for each in entry["inputs"]["mixture"]} == digests
    assert "No changes" in ftops(root, "plan", env=env).stdout

    # A weight is part of what a run is made from, the order is not.
    edit(root, "specs/all.yaml", "weight: 0.5", "weight: 1.5")
    changed = ftops(root, "plan", env=env).stdout
    assert "mixture" in changed
    assert "0 to create, 0 to update, 1 to replace" in changed
    ftops(root, "apply", "--yes", env=env)

    # A damaged data set is told, and prepared anew.
    edit(root, "specs/all.yaml", "weight: 1.5", "weight: 3")
    (damaged,) = [
        each
        for each in root.glob(".ftops/data/*/manifest.json")
        if '"How much' in (each.parent / "train.jsonl").read_text()
    ]
    (damaged.parent / "train.jsonl").write_text("{}\n")
    assert "train.jsonl" in ftops(root, "apply", "--yes", env=env, code=7).stdout


def test_what_was_put_together_is_freed_and_its_data_sets_stay(tmp_path, env):
    root = project(tmp_path)
    ftops(root, "apply", "--yes", env=env)
    before = set(root.glob(".ftops/data/*"))
    said = ftops(root, "dataset", "prune", "--yes", env=env).stdout
    (freed,) = before - set(root.glob(".ftops/data/*"))
    assert not (freed / "manifest.json").exists()
    assert "data sets put together" in said
    assert "Nothing to free." in ftops(root, "dataset", "prune", "--yes", env=env).stdout
    edit(root, "specs/all.yaml", "num_epochs: 1", "num_epochs: 2")
    ftops(root, "apply", "--yes", env=env)  # put together again
    assert freed.exists()


REFUSED = {
    "both": (
        {"dataset": "chat", "datasets": BOTH},
        "expected exactly one of dataset, datasets; found both",
    ),
    "none": ({"dataset": None}, "expected exactly one of dataset, datasets; found none"),
    "twice": ({"dataset": None, "datasets": [{"name": "chat"}, {"name": "chat", "weight": 2}]}, "chat is named twice"),
    "unknown": ({"dataset": None, "datasets": [{"name": "chat"}, {"name": "chart"}]}, "did you mean 'chat'?"),
    "weight": ({"dataset": None, "datasets": [{"name": "chat", "weight": 0}]}, "weight"),
    "empty": ({"dataset": None, "datasets": []}, "datasets"),
}


@pytest.mark.parametrize(("fields", "told"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_mixed_is_refused_with_its_place(tmp_path, env, fields, told):
    spec = run(**{key: value for key, value in fields.items() if value is not None})
    if "dataset" in fields and fields["dataset"] is None:
        del spec["spec"]["dataset"]
    root = projects.write(tmp_path, dataset(), spec)
    said = ftops(root, "validate", env=env, code=3)
    assert told in said.stdout + said.stderr
    assert "specs/all.yaml:" in said.stdout + said.stderr


def test_data_sets_of_two_forms_are_refused(tmp_path, env):
    root = project(tmp_path, output={"format": "messages"})
    said = ftops(root, "validate", env=env, code=3)
    assert "Dataset/more is written as messages, and Dataset/chat as alpaca" in said.stdout + said.stderr
