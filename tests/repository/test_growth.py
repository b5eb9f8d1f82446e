"""One file grows one thing: a toy of each, in a copy of ftops that has the toy's file and the one line that names it.

What else a thing of that kind is known by, wherever it is shown, must follow from these. Other tests count where names stand.
"""

from __future__ import annotations

import ast
import json
import shutil
import sqlite3
import subprocess
import sys

import pytest
import yaml

from ftops.datasets.checks import CHECKS
from ftops.executors.registry import EXECUTORS
from tests.support import projects
from tests.support.projects import ROOT, dataset, run


@pytest.fixture(scope="module")
def grow(tmp_path_factory):
    """Makes a copy of ftops with one new file and one line more in a registry; gives its folder."""

    def made(file, text, registry, after):
        place = tmp_path_factory.mktemp("grown")
        shutil.copytree(ROOT / "ftops", place / "ftops")
        (place / "templates").symlink_to(ROOT / "templates")
        (place / "ftops" / file).write_text(text)
        line, new = after
        projects.edit(place / "ftops", registry, line, line + new)
        return place

    return made


def ftops(grown, root, *arguments, code=0, **env):
    """What the grown ftops prints in `root`."""
    started = projects.environment(root.parent, PYTHONPATH=grown, **env)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ftops", *arguments],
        cwd=root, env=started, text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done.stdout + done.stderr


# ---------------------------------------------------------------------------------------------------- a data check

TOY_CHECK = '''\
"""Rows that speak of a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from ftops.datasets.checks.data_check import Action, DataCheck
from ftops.datasets.checks.rows import CheckResult, Rows
from ftops.datasets.finding import Finding


class Numbers(DataCheck):
    name: ClassVar = "numbers"
    about: ClassVar = "Rows with a number that nobody likes."
    labels: ClassVar[Mapping[str, str]] = {"disliked": "rows with a disliked number"}

    disliked: int = Field(ge=0, description="The number.")
    action: Action = Field(default="report", description="What happens to such a row.")

    def run(self, rows: Rows) -> CheckResult:
        found = [
            Finding(self.name, row["row"], "instruction", f"speaks of {self.disliked}", entity="disliked")
            for batch in rows.batches()
            for row in batch.to_pylist()
            if f" {self.disliked} " in row["instruction"]
        ]
        gone = frozenset(each.row for each in found if self.action == "drop")
        return CheckResult(tuple(found), {"disliked": len(found)}, gone, failed=self.action == "fail" and bool(found))
'''


@pytest.fixture(scope="module")
def with_check(grow):
    line = '    "lengths": "Lengths",\n'
    return grow(
        "datasets/checks/numbers.py", TOY_CHECK, "datasets/checks/__init__.py", (line, '    "numbers": "Numbers",\n')
    )


def checked(root, **check):
    """A project whose data set is checked by the toy; it has an index."""
    root = projects.write(root, dataset(checks=[{"numbers": check}, {"quality": {}}]))
    projects.edit(root, "ftops.yaml", "  runners:\n", "  index: sqlite:///index.db\n  runners:\n")
    projects.commit_all(root)
    return root


def test_a_new_check_is_known_to_specs(with_check, tmp_path):
    root = checked(tmp_path / "project", disliked=7)
    schema = json.loads(ftops(with_check, root, "schema", "Dataset"))["$defs"]
    assert schema["Check"]["properties"]["numbers"]["description"] == "Rows with a number that nobody likes."
    assert list(schema["Numbers"]["properties"]) == ["disliked", "action"]
    assert schema["Numbers"]["required"] == ["disliked"]
    ftops(with_check, root, "validate")
    projects.edit(root, "specs/all.yaml", "disliked: 7", "disliked: -7")
    said = ftops(with_check, root, "validate", code=3)
    assert "spec.checks[0].numbers.disliked: expected at least 0, found -7" in said
    assert "specs/all.yaml:" in said


def test_a_new_check_runs_and_is_told_everywhere(with_check, tmp_path):
    root = checked(tmp_path / "project", disliked=7, action="drop")
    text = ftops(with_check, root, "dataset", "check", "chat", "--report", "page.html")
    assert "numbers       disliked 1" in text
    assert "row 8: instruction speaks of 7 [numbers disliked, dropped]" in text
    page = (root / "page.html").read_text()
    assert "rows with a disliked number" in page
    assert "1 by numbers" in page
    tree = json.loads(ftops(with_check, root, "dataset", "check", "chat", "--format", "json"))
    assert tree["summary"]["numbers"] == {"disliked": 1}
    assert [each["check"] for each in tree["findings"]][:1] == ["numbers"]


def test_what_a_new_check_found_is_recorded_and_indexed(with_check, tmp_path):
    root = checked(tmp_path / "project", disliked=7)
    ftops(with_check, root, "apply", "--yes")
    record = yaml.safe_load((root / "registry/datasets/chat.yaml").read_text())
    report = record["status"]["report"]
    assert report["checks"][0]["name"] == "numbers"
    assert report["checks"][0]["summary"] == {"disliked": 1}
    assert report["found"]["numbers"] == 1
    assert report["warnings"] == ["numbers found and kept: row 8"]
    assert (
        "**numbers**: 1 row has findings, and all stay as they are." in (root / "registry/datasets/chat.md").read_text()
    )
    with sqlite3.connect(root / "index.db") as connection:
        ((checks,),) = connection.execute("SELECT checks FROM training_datasets").fetchall()
    connection.close()
    assert json.loads(checks)[0]["name"] == "numbers"


def test_a_new_check_can_stop_everything(with_check, tmp_path):
    root = checked(tmp_path / "project", disliked=7, action="fail")
    said = ftops(with_check, root, "apply", "--yes", code=5)
    assert "row 8: 'instruction' speaks of 7" in said
    assert "The check numbers forbids what it found in 1 row." in ftops(
        with_check, root, "dataset", "check", "chat", code=5
    )


# ------------------------------------------------------------------------------------------------------ an executor

TOY_EXECUTOR = '''\
"""Training as a process of this machine, with a greeting."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ftops.executors.local import LocalExecutor
from ftops.executors.protocol import Job, Key, Submission
from ftops.files import write_new
from ftops.resources.runner import Runner, RunnerOptions
from ftops.store.store import Store


class Greeting(RunnerOptions):
    """What is said before a training."""

    needed: ClassVar = "executor greeting needs to know whom to greet: `greeting: {whom: NAME}`"

    whom: str = Field(pattern="^[a-z]+$", description="Who is greeted.")


class GreetingExecutor(LocalExecutor):  # to be short: an executor of ftops imports no other
    def __init__(self, runner: Runner, store: Store) -> None:
        super().__init__(runner, store)
        self.options = runner.options

    def submit(self, key: Key, job: Job) -> Submission:
        write_new(self.store.root / "greeted", self.options.whom.encode())
        return super().submit(key, job)
'''


@pytest.fixture(scope="module")
def with_executor(grow):
    line = '    "local": Place("local.LocalExecutor"),\n'
    new = '    "greeting": Place("greeting.GreetingExecutor", "greeting.Greeting"),\n'
    return grow("executors/greeting.py", TOY_EXECUTOR, "executors/registry.py", (line, new))


def greeted(root, runner):
    root = projects.write(
        root, dataset(split={"train": 1, "validation": 0, "test": 0}), run(), files={".gitignore": "/.ftops/\n"}
    )
    projects.edit(root, "ftops.yaml", "local: {executor: local}", f"local: {runner}")
    projects.commit_all(root)
    return root


@pytest.mark.parametrize(
    ("runner", "said"),
    [
        ("{executor: greeting}", "spec.runners.local: executor greeting needs to know whom to greet"),
        ("{executor: local, greeting: {whom: you}}", "spec.runners.local: greeting goes with executor greeting only"),
        ("{executor: greeting, greeting: {who: you}}", "unknown key 'who' in spec.runners.local.greeting"),
        ("{executor: greeting, greeting: {whom: YOU}}", "spec.runners.local.greeting.whom: "),
        ("{executor: shouting}", "spec.runners.local.executor: "),
    ],
    ids=["without", "of another", "unknown", "wrong", "no executor"],
)
def test_the_options_of_a_new_executor_are_checked_with_their_place(with_executor, tmp_path, runner, said):
    found = ftops(with_executor, greeted(tmp_path / "project", runner), "validate", code=3)
    assert said in found
    assert "ftops.yaml:7:" in found


@pytest.mark.slow
def test_a_training_runs_by_a_new_executor(with_executor, tmp_path):
    root = greeted(tmp_path / "project", "{executor: greeting, greeting: {whom: you}}")
    engines = projects.stand_in_engine(tmp_path / "engines")
    ftops(with_executor, root, "apply", "--yes", FTOPS_ENGINE_HOME=engines)
    assert (root / ".ftops/greeted").read_text() == "you"
    (entry,) = yaml.safe_load((root / "registry/runs/base.yaml").read_text())["status"]["runs"].values()
    assert entry["phase"] == "succeeded"
    schema = json.loads(ftops(with_executor, root, "schema", "Project"))["$defs"]
    assert schema["Runner"]["properties"]["executor"]["enum"] == ["local", "greeting", "docker"]
    assert schema["Greeting"]["required"] == ["whom"]


# ------------------------------------------------------------------------------------------------ where names stand


def named(names, room, paths):
    """`path:line` of each text, attribute and argument in the files `paths` that is one of `names`, and of each import of
    what is called so in `room`; by path."""
    modules = {f"ftops.{room}.{name}" for name in names}
    found = {}
    for path in paths:
        lines = []
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(text)) | ast.Attribute(attr=text) | ast.keyword(arg=str(text)):
                    here = text in names
                case ast.ImportFrom(module=str(module)):
                    here = not {f"{module}.{each.name}" for each in node.names}.isdisjoint(modules) or module in modules
                case _:
                    here = False
            if here:
                lines.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', '?')}")
        if lines:
            found[path] = lines
    return found


def outside(*rooms):
    """The modules of ftops outside of `rooms`."""
    return [
        path
        for path in sorted((ROOT / "ftops").rglob("*.py"))
        if not any((ROOT / "ftops" / each) in [path, *path.parents] for each in rooms)
    ]


def about_data(path):
    """Whether a module can mean a data check: it is about data sets, or imports what is."""
    return (ROOT / "ftops/datasets") in path.parents or "ftops.datasets" in path.read_text()


def test_the_names_of_checks_stand_outside_of_their_folder_in_one_file_at_most():
    modules = [path for path in outside("datasets/checks") if about_data(path)]
    found = named(CHECKS, "datasets.checks", modules)
    assert len(found) <= 1, found


def test_the_options_of_an_executor_are_known_to_its_own_files_only():
    names = [name for name in EXECUTORS if name != "local"]  # what an unnamed runner is called, too
    found = named(names, "executors", outside("executors"))
    assert found == {}
