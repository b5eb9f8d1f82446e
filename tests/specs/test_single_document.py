"""A document by itself: in a file without a project, or by name without what it refers to."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ftops.errors import SpecError, UsageError
from ftops.experiments.spec.experiment import Experiment
from ftops.specs import find_one, read_one
from tests.support.projects import document

PROJECT = {"apiVersion": "ftops/v1", "kind": "Project", "metadata": {"name": "demo"}, "spec": {}}


def experiment(name="trial", **spec):
    arms = {"a": {"model": "gone@1.0.0", "weight": 0.5}, "b": {"model": "gone@1.1.0", "weight": 0.5}}
    usual = {"arms": arms, "metric": {"name": "rating", "type": "rating"}, "design": {"targetSamples": 400},
             "logs": {"path": "logs/*.jsonl"}}  # fmt: skip
    return document("Experiment", name, usual | spec)


def write(path, *documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return path


def places(error):
    return [(str(each.where), each.summary) for each in error.value.diagnostics]


@pytest.fixture
def project(tmp_path):
    """Two experiments whose models are missing, beside a document that is wrong."""
    write(tmp_path / "ftops.yaml", PROJECT | {"spec": {"defaults": {"Experiment": {"hypothesis": "usual"}}}})
    write(tmp_path / "specs/one.yaml", experiment("one"), document("TrainingRun", "broken", {}))
    write(tmp_path / "specs/deep/two.yaml", experiment("two", hypothesis="own"))
    return tmp_path


# --------------------------------------------------------------------------------------------------- a file


def test_a_file_stands_alone(tmp_path):
    found = read_one(write(tmp_path / "trial.yaml", experiment()), Experiment)
    assert isinstance(found, Experiment)
    assert (found.metadata.name, found.spec.coverage) == ("trial", 1.0)


def test_defaults_of_the_project_that_the_file_lies_in_count(project):
    assert read_one(project / "specs/one.yaml", Experiment).spec.hypothesis == "usual"
    assert read_one(project / "specs/deep/two.yaml", Experiment).spec.hypothesis == "own"


def test_a_fault_has_its_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = experiment()
    wrong["spec"]["metric"]["type"] = "ratings"
    wrong["spec"]["design"]["targetSamples"] = 10
    write(tmp_path / "trial.yaml", wrong)
    with pytest.raises(SpecError) as error:
        read_one(Path("trial.yaml"), Experiment)
    lines = (tmp_path / "trial.yaml").read_text().splitlines()
    metric = next(n for n, line in enumerate(lines, 1) if "type: ratings" in line)
    samples = next(n for n, line in enumerate(lines, 1) if "targetSamples" in line)
    assert [place for place, _ in places(error)] == [f"trial.yaml:{metric}:11", f"trial.yaml:{samples}:20"]
    assert "found 'ratings'" in places(error)[0][1]
    assert error.value.diagnostics[0].address == "Experiment/trial"


def test_what_is_wrong_with_another_document_of_the_file_does_not_matter(project):
    assert read_one(project / "specs/one.yaml", Experiment).metadata.name == "one"


def test_of_several_one_is_chosen_by_name(tmp_path):
    file = write(tmp_path / "both.yaml", experiment("one"), experiment("two"))
    assert read_one(file, Experiment, "two").metadata.name == "two"
    with pytest.raises(UsageError, match="holds 2 of kind Experiment: one, two"):
        read_one(file, Experiment)
    with pytest.raises(UsageError, match=r"no Experiment in .* is called 'tow'") as error:
        read_one(file, Experiment, "tow")
    assert error.value.diagnostics[0].hint == "did you mean 'two'?"


def test_a_file_without_one(tmp_path):
    file = write(tmp_path / "data.yaml", document("Dataset", "d", {"source": {"path": "a.csv"}}))
    with pytest.raises(SpecError, match="the file holds no Experiment") as error:
        read_one(file, Experiment)
    assert str(error.value.diagnostics[0].where) == str(file)


@pytest.mark.parametrize("text", ["", "kind: [", "a: 1\n---\nb: 2\n", "kind: Experimnt\n"])
def test_a_file_with_something_else_says_what_is_wrong(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(SpecError) as error:
        read_one(tmp_path / "x.yaml", Experiment)
    assert all(each.where is not None for each in error.value.diagnostics)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_one(tmp_path / "gone.yaml", Experiment)
    with pytest.raises(UsageError, match="directory"):
        read_one(tmp_path, Experiment)


def test_a_file_that_is_far_too_long(tmp_path):
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(SpecError, match="52,428,800 bytes"):
        read_one(tmp_path / "x.yaml", Experiment)


# ------------------------------------------------------------------------------------------------- a project


def test_a_name_is_found_though_its_models_are_missing(project):
    found = find_one(project, Experiment, "one")
    assert (found.metadata.name, found.spec.hypothesis) == ("one", "usual")


def test_an_unknown_name_has_a_hint(project):
    (project / "specs/one.yaml").unlink()
    with pytest.raises(UsageError, match="no Experiment is called 'towo'") as error:
        find_one(project, Experiment, "towo")
    assert error.value.diagnostics[0].hint == "did you mean 'two'?"


def test_a_name_that_may_stand_in_what_cannot_be_read(project):
    (project / "specs/one.yaml").write_text("kind: [")
    with pytest.raises(SpecError) as error:
        find_one(project, Experiment, "one")
    assert places(error)[0] == ("None", "no Experiment is called 'one'")
    assert any(place.startswith("specs/one.yaml:1") for place, _ in places(error))


def test_a_fault_of_the_named_one_and_of_the_project_count(project):
    write(project / "specs/one.yaml", experiment("one", coverage=2))
    with pytest.raises(SpecError, match="coverage"):
        find_one(project, Experiment, "one")
    write(project / "ftops.yaml", PROJECT | {"spec": {"stor": "x"}})
    with pytest.raises(SpecError, match="unknown key 'stor'"):
        find_one(project, Experiment, "two")


def test_a_name_that_is_declared_twice_is_refused(project):
    write(project / "specs/again.yaml", experiment("two"))
    with pytest.raises(SpecError, match="declared twice"):
        find_one(project, Experiment, "two")
