"""A new kind is a folder and two lines: a toy kind in a copy of ftops, as validate, plan, apply, status, the index and gc see it."""

from __future__ import annotations

import ast
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
import yaml

from ftops.plan.steps import STEPS
from ftops.reconcile.apply.doers import DOERS
from ftops.specs.kinds import KINDS
from tests.support import projects
from tests.support.projects import ROOT, dataset

FILES = {
    "__init__.py": '"""Prompts that a team keeps."""\n',
    "spec.py": '''\
"""What YAML says of a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from ftops.digests import digest
from ftops.plan.changes import Action, Change, ChangeClass
from ftops.plan.details import Details
from ftops.plan.steps import CommitRecords, Step
from ftops.resources.fields import Strict
from ftops.resources.resource import Context, Resource, differences, noop


class PromptSpec(Strict):
    text: str = Field(description="What is asked.")


@dataclass(frozen=True, slots=True)
class CountWords(Step):
    """Count the words of `prompt`."""

    prompt: str

    @property
    def words(self) -> str:
        return f"count the words of {self.prompt}"


@dataclass(frozen=True, slots=True)
class PromptDetails(Details):
    letters: int = 0

    @property
    def reasons(self):
        return (f"{self.letters} letters",)

    @property
    def outlook(self):
        return ("takes no time",)

    def as_json(self):
        return {"letters": self.letters}

    @classmethod
    def from_json(cls, tree):
        return cls(letters=tree["letters"]) if "letters" in tree else None


class Prompt(Resource):
    kind_name: ClassVar[str] = "Prompt"
    kind: Literal["Prompt"]
    spec: PromptSpec

    def plan(self, context: Context) -> Change:
        before = context.observed.states["prompts"].get(self.metadata.name)
        inputs = {"text": self.spec.text}
        if before == inputs:
            return noop(self.address, "counted", digest=digest(inputs), details=Details(inputs))
        return Change(
            self.address,
            Action.CREATE if before is None else Action.UPDATE,
            ChangeClass.REGISTER,
            reasons=differences(before or {}, inputs),
            steps=(CountWords(self.metadata.name), CommitRecords(self.address)),
            digest=digest(inputs),
            details=PromptDetails(inputs, len(self.spec.text)),
        )
''',
    "record.py": '''\
"""The record of a prompt."""

from __future__ import annotations

from typing import ClassVar, Literal

from ftops.resources.fields import Strict
from ftops.resources.record import Record


class PromptStatus(Strict):
    phase: Literal["counted"] = "counted"
    text: str
    words: int


class PromptRecord(Record):
    folder: ClassVar = "prompts"

    kind: Literal["PromptRecord"] = "PromptRecord"
    status: PromptStatus

    def input_commits(self) -> tuple[str | None, ...]:
        return ()
''',
    "apply.py": '''\
"""The step that counts words."""

from ftops.prompts.record import PromptRecord, PromptStatus
from ftops.prompts.spec import Prompt
from ftops.resources.record import RecordMetadata


def count_words(work, change, step):
    text = work.specs.get(Prompt, step.prompt).spec.text
    status = PromptStatus(text=text, words=len(text.split()))
    record = PromptRecord(metadata=RecordMetadata(name=step.prompt), status=status)
    work.pending[record.path] = record
    return f"{status.words} words"
''',
    "index_tables.py": '''\
"""The table of prompts."""

import sqlalchemy as sa

from ftops.resources.index_table import OURS, columns, key
from ftops.resources.kind import IndexTables

PROMPTS = sa.Table("prompts", OURS, key("name"), *columns(sa.BigInteger, "words", needed=True))
INDEX = IndexTables(
    (PROMPTS,), lambda record: {"prompts": [{"name": record.metadata.name, "words": record.status.words}]}
)
''',
    "kind.py": '''\
"""The kind Prompt."""

from ftops.plan.standing import Standing
from ftops.prompts.spec import Prompt
from ftops.resources.kind import Kept, Kind, Outcome, Records


def _records():
    from ftops.prompts.record import PromptRecord

    def fold(known, record):
        known[record.metadata.name] = {"text": record.status.text}

    return Records(
        PromptRecord,
        fold,
        merge=lambda tip, mine: mine,
        documents=lambda record: {record.path.replace(".yaml", ".md"): f"# {record.metadata.name}\\n".encode()},
        kept=lambda record: Kept(rows=frozenset({"0123456789ab" * 5})),
    )


def _index():
    from ftops.prompts.index_tables import INDEX

    return INDEX


def _outcome(work, change):
    return Outcome(list(work.pending.values()), "counted")


def _standing(address, surveyed):
    return Standing(address, "counted" if address.name in surveyed.observed.states["prompts"] else "pending")


PROMPT = Kind(Prompt, "prompts", _records, _index, _outcome, _standing)
''',
}
"""The folder of the kind."""

LINES = {
    "specs/kinds.py": (
        "from ftops.prompts.kind import PROMPT\n",
        "    EXPERIMENT,\n]",
        "    EXPERIMENT,\n    PROMPT,\n]",
    ),
    "reconcile/apply/doers.py": (
        "from ftops.prompts.apply import count_words\nfrom ftops.prompts.spec import CountWords\n",
        "    CommitRecords: _commit,\n}",
        "    CommitRecords: _commit,\n    CountWords: count_words,\n}",
    ),
}
"""The two lines, with what they import."""

PROMPT = projects.document("Prompt", "greeting", {"text": "say hello to them"})


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """The folder of a copy of ftops that knows prompts."""
    place = tmp_path_factory.mktemp("grown")
    shutil.copytree(ROOT / "ftops", place / "ftops")
    (place / "templates").symlink_to(ROOT / "templates")
    (place / "ftops/prompts").mkdir()
    for name, text in FILES.items():
        (place / "ftops/prompts" / name).write_text(text)
    for name, (imports, before, after) in LINES.items():
        path = place / "ftops" / name
        text = path.read_text()
        assert text.count(before) == 1
        text = text.replace(before, after)
        first = text.index("\nfrom ftops.")
        path.write_text(text[:first] + "\n" + imports.rstrip("\n") + text[first:])
    return place


@pytest.fixture
def project(tmp_path):
    """A project with a prompt beside a data set, and an index."""
    (tmp_path / "home").mkdir()
    root = projects.write(tmp_path / "project", dataset(), PROMPT)
    tree = yaml.safe_load((root / "ftops.yaml").read_text())
    tree["spec"]["index"] = "sqlite:///.ftops/index.db"
    (root / "ftops.yaml").write_text(yaml.safe_dump(tree))
    projects.commit_all(root)
    return root


def ftops(grown, root, *arguments, code=0):
    """What the grown ftops prints in `root`."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ftops", *arguments],
        cwd=root, env=projects.environment(root.parent / "home", PYTHONPATH=grown), text=True, capture_output=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done.stdout


def test_validate_and_the_schema_know_it(grown, project):
    assert "Prompt" in ftops(grown, project, "schema", "--list").split()
    assert json.loads(ftops(grown, project, "schema", "Prompt"))["title"] == "Prompt"
    ftops(grown, project, "validate")
    (project / "specs/wrong.yaml").write_text(yaml.safe_dump(projects.document("Prompt", "other", {"txet": ""})))
    told = json.loads(ftops(grown, project, "validate", "--format", "json", code=3))["diagnostics"]
    assert [each["hint"] for each in told if "txet" in each["summary"]] == ["did you mean 'text'?"]


def test_it_is_planned_applied_recorded_indexed_and_kept(grown, project):
    plan = json.loads(ftops(grown, project, "plan", "--format", "json"))
    assert [each["steps"][0]["step"] for each in plan["changes"]] == ["PrepareData", "CountWords"]
    assert plan["changes"][1]["letters"] == 17
    for form in ("text", "markdown"):
        text = ftops(grown, project, "plan", "--format", form)
        assert all(each in text for each in ("count the words of greeting", "17 letters", "takes no time")), text
    kept = project / ".ftops/data" / ("0123456789ab" * 5)
    kept.mkdir(parents=True)
    stray = project / ".ftops/data" / ("ab" * 30)
    stray.mkdir()

    ftops(grown, project, "apply", "--yes", "--target", "Prompt/greeting")
    record = yaml.safe_load(projects.git(project, "show", "HEAD:registry/prompts/greeting.yaml"))
    assert (record["kind"], record["status"]["words"]) == ("PromptRecord", 4)
    assert projects.git(project, "show", "HEAD:registry/prompts/greeting.md").strip() == "# greeting"
    assert projects.git(project, "log", "-1", "--format=%s").strip() == "ftops: Prompt/greeting counted"

    standing = {
        each["address"]: each["phase"] for each in json.loads(ftops(grown, project, "status", "--format", "json"))
    }
    assert standing == {"Dataset/chat": "pending", "Prompt/greeting": "counted"}
    assert "prompts" in ftops(grown, project, "index", "rebuild")
    with closing(sqlite3.connect(project / ".ftops/index.db")) as database:
        assert database.execute("select name, words from prompts").fetchall() == [("greeting", 4)]
    ftops(grown, project, "gc", "--yes")
    assert kept.is_dir()
    assert not stray.exists()

    again = json.loads(ftops(grown, project, "plan", "--format", "json"))["summary"]
    assert again == {"create": 1, "update": 0, "replace": 0, "delete": 0, "noop": 1}
    projects.edit(project, "specs/all.yaml", "say hello", "say hello again")
    assert "~ text: " in ftops(grown, project, "plan")


# ------------------------------------------------------------------------------------------------ one list, one table


def test_every_step_has_its_words_and_its_doer():
    assert STEPS.keys() == {each.__name__ for each in DOERS}
    assert all("words" in vars(each) for each in STEPS.values())


def kinds_asked(path, names):
    """The lines of a module on which it asks of which kind a resource or a record is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            classes = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
        elif isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name):
            classes = {node.cls.id}
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "kind":
            classes = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)} & {"kind_name"}
            classes |= {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
        else:
            continue
        if classes & (names | {"kind_name"}):
            yield f"{path.relative_to(ROOT)}:{node.lineno if hasattr(node, 'lineno') else 0}"


def test_few_places_outside_of_the_nouns_ask_of_which_kind_something_is():
    names = {each.resource.__name__ for each in KINDS} | {each.records().model.__name__ for each in KINDS}
    nouns = ("datasets", "training", "models", "experiments")
    paths = [
        path
        for path in sorted((ROOT / "ftops").rglob("*.py"))
        if path.relative_to(ROOT / "ftops").parts[0] not in nouns
    ]
    found = [place for path in paths for place in kinds_asked(path, names)]
    assert len(found) <= 8, found
