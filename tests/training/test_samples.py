"""What a model answers before and after a training: read, masked, recorded where that is asked for, shown."""

from __future__ import annotations

import json
import re

import pytest

from ftops.registry.record_files import parse
from ftops.store.store import Store
from ftops.training.generations import masked, read_samples
from ftops.training.record import Sample, Samples
from ftops.training.report.documents import answers_lines, run_documents
from tests.support import projects
from tests.support.attempts import entry
from tests.support.projects import commit_all, dataset, environment, ftops, records, run

SAMPLES = {"prompts": 1, "maxNewTokens": 7}
SAID = {"prompt": "<b>Hi</b> ![x](y) ```", "reference": "call 010-1234-5678", "before": "untaught", "after": "step 10"}


@pytest.fixture
def env(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return environment(home, FTOPS_ENGINE_HOME=projects.stand_in_engine(home / "engines"))


def applied(root, env, **spec):
    projects.write(root, dataset(), run(**{"samples": SAMPLES, **spec}))
    commit_all(root)
    ftops(root, "apply", "--yes", env=env)
    return root


def test_they_stay_in_the_store_where_a_spec_does_not_say_otherwise(tmp_path, env):
    root = applied(tmp_path / "project", env)
    assert "samples" not in entry(root, "base")
    assert not (root / "registry/runs/base.md").exists()
    shown = ftops(root, "run", "show", "base", env=env).stdout
    assert "1 row of the train split, answered with the likeliest token each time" in shown
    assert "before:          untaught" in shown
    found = json.loads(ftops(root, "run", "show", "base", "--format", "json", env=env).stdout)["samples"]
    assert found == {"split": "train", "rows": [SAID]}


def test_recorded_they_are_masked_and_harmless(tmp_path, env):
    root = applied(tmp_path / "project", env, samples={**SAMPLES, "record": True})
    (said,) = entry(root, "base")["samples"]["rows"]
    assert "010-1234-5678" not in json.dumps(records(root))
    assert said | {"reference": ""} == SAID | {"reference": ""}
    text = (root / "registry/runs/base.md").read_text()
    assert "010-1234-5678" not in text
    assert "````\n<b>Hi</b> ![x](y) ```\n````" in text, "in a block of code that nothing in it ends"
    ftops(root, "run", "show", "base", "--html", root / "page.html", env=env)
    page = (root / "page.html").read_text()
    assert "&lt;b&gt;Hi&lt;/b&gt;" in page
    assert "<b>Hi" not in page
    ftops(root, "plan", "--detailed-exitcode", env=env)


def test_after_another_attempt_the_first_one_says_what_was_before(tmp_path, env):
    """Its first attempt is killed after its checkpoint: of what it answered nothing is left but the file."""
    spec = {"hyperparameters": {"num_epochs": 1, "seed": 9}, "checkpoints": {"every": 2}}
    root = applied(tmp_path / "project", env, **spec)
    store = Store(root / ".ftops")
    (folder,) = (root / ".ftops/runs").glob("base-*")
    assert [path.name for path in sorted(folder.glob("attempt-*"))] == ["attempt-1", "attempt-2"]
    first = {"split": "train", "rows": [{**SAID, "before": "of the first"}]}
    (folder / "attempt-1/samples.json").write_text(json.dumps(first))
    (row,) = read_samples(store, folder.name, 2).rows
    assert (row.before, row.after) == ("of the first", "step 10")
    # Of another prompt it is not taken.
    first["rows"][0]["prompt"] = "another"
    (folder / "attempt-1/samples.json").write_text(json.dumps(first))
    (row,) = read_samples(store, folder.name, 2).rows
    assert row.before is None


def test_switched_off_none_are_made(tmp_path, env):
    root = applied(tmp_path / "project", env, samples={"prompts": 0})
    (job,) = root.glob(".ftops/runs/*/attempt-1/job.json")
    assert "FTOPS_SAMPLES" not in json.loads(job.read_text())["env"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"split": "test", "rows": []}', '{"split": "train", "rows": [{"prompt": 1}]}', "\x00" * 99]
)
def test_what_is_no_file_of_samples_is_none(tmp_path, text):
    folder = Store(tmp_path).attempt("base-1", 1)
    folder.mkdir(parents=True)
    assert read_samples(Store(tmp_path), "base-1", 1) is None
    (folder / "samples.json").write_text(text)
    assert read_samples(Store(tmp_path), "base-1", 1) is None


def test_a_link_in_its_place_is_not_followed(tmp_path):
    folder = Store(tmp_path).attempt("base-1", 1)
    folder.mkdir(parents=True)
    (tmp_path / "other").write_text(json.dumps({"split": "train", "rows": [SAID]}))
    (folder / "samples.json").symlink_to(tmp_path / "other")
    assert read_samples(Store(tmp_path), "base-1", 1) is None


def test_long_texts_are_cut_here_too(tmp_path):
    folder = Store(tmp_path).attempt("base-1", 1)
    folder.mkdir(parents=True)
    (folder / "samples.json").write_text(json.dumps({"split": "train", "rows": [{**SAID, "after": "x" * 9000}]}))
    assert len(read_samples(Store(tmp_path), "base-1", 1).rows[0].after) == 2000


def test_masking_leaves_the_rest_as_it_was():
    rows = (
        Sample(prompt="mail me: kim@example.com", reference="ok", before=None, after=""),
        Sample(prompt="nothing", reference="here"),
    )
    found = masked(Samples(split="validation", rows=rows)).rows
    assert re.fullmatch(r"mail me: \S+", found[0].prompt)
    assert "kim@" not in found[0].prompt
    assert (found[0].reference, found[0].before, found[0].after) == ("ok", None, "")
    assert found[1] == rows[1]


def test_a_terminal_sees_one_line_a_text():
    rows = (Sample(prompt="a\nb\x1b[31m", reference="r", before="", after=None),)
    lines = list(answers_lines(Samples(split="validation", rows=rows)))
    assert lines[2:] == [r"  prompt:          a\nb\u001b[31m", "  the data answer: r", "  before:          nothing"]


def test_a_record_without_samples_has_no_page(tmp_path, env):
    root = applied(tmp_path / "project", env)
    text = (root / "registry/runs/base.yaml").read_bytes()
    assert run_documents(parse("registry/runs/base.yaml", text)) == {}
