"""The documentation does what it says: commands run, outputs match, YAML is valid, links lead somewhere.

A page's console blocks run in order, in a copy of the example. Comments before a block say how:

    <!-- project: trained -->      from here on: `fresh` (the default), `trained`, or `empty store` (fresh, data fetched)
    <!-- file: PATH -->            the block is written to PATH of the project
    <!-- shows: PATH -->           the block is just what stands in PATH of this repository
    <!-- yaml: only read -->       the YAML is validated by itself
    <!-- figures vary -->          only the form of numbers is compared
    <!-- not run: REASON -->

In an output `…` stands for anything, alone on a line for any number of lines. Digests and durations are compared by their
form. Trainings are those of the stand-in engine of `projects.py`: what a real one does is tested elsewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

from ftops.cli import ftops as commands
from ftops.specs import load, models
from ftops.specs.schema import at
from tests.support import projects

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + list((ROOT / "docs").rglob("*.md"))
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
BLOCK = re.compile(r"((?:^<!-- .*? -->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE = ("specs", "logs", "ftops.yaml", "datasets.dvc", "dvc-remote", ".dvc", ".dvcignore", ".gitignore")


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    notes: dict[str, str]


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text())
    return [
        Block(language, text, dict(re.findall(r"<!-- (.*?)(?:: (.*?))? -->", notes))) for notes, language, text in found
    ]


def test_blocks_are_found():
    notes = [block.notes for page in PAGES for block in blocks(page)]
    known = {"project", "file", "shows", "yaml", "figures vary", "not run"}
    assert {key for each in notes for key in each} == known
    assert {each["project"] for each in notes if "project" in each} <= {"trained", "empty store"}


# ------------------------------------------------------------------------------------------------ commands


def example(place: Path) -> Path:
    """A repository that holds the example, as a clone of this one does."""
    place.mkdir(parents=True)
    for name in EXAMPLE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
        else:
            shutil.copy2(source, place / name)
    projects.commit_all(place, "Start")
    return place


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A folder with `ftops`, and an engine beside it that trains in a second."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "ftops").write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{SHIM}" "$@"\n')
    (folder / "ftops").chmod(0o755)
    python = next(projects.stand_in_engine(folder / "engines").glob("*/bin/python"))
    python.unlink()
    python.write_text(MAKES_MODEL.format(python=sys.executable))
    python.chmod(0o755)
    return folder


SHIM = "import sys; sys.argv[0] = 'ftops'; from ftops.cli import main; main()"
MAKES_MODEL = """#!{python}
# Stands for the engine's Python, which apply asks for one thing only: to make a small model.
import json, pathlib, sys
request = json.loads(pathlib.Path(sys.argv[-1]).read_text())
pathlib.Path(request["output"]).mkdir(parents=True)
pathlib.Path(request["output"], "config.json").write_text("{{}}")
"""


def run(command: str, place: Path, programs: Path) -> str:
    """What a command of a page prints, errors too, but not what MLflow has not got yet: that is a matter of time."""
    env = projects.environment(place.parent, FTOPS_ENGINE_HOME=programs / "engines")
    env["PATH"] = os.pathsep.join([str(programs), str(Path(sys.executable).parent), env["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=place, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stdout, done.stdout
    return re.sub(r"^MLflow has not got .*\n", "", done.stdout, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def start(tmp_path_factory, programs):
    """A function that gives a project as a page wants it; what takes long is made once and copied."""
    made: dict[str, Path] = {}

    def make(kind: str, place: Path) -> Path:
        if kind not in made:
            made[kind] = example(tmp_path_factory.mktemp("example") / "project")
            if kind == "trained":
                printed = run("ftops apply --yes", made[kind], programs)
                assert "Applied: 6 done, 0 failed" in printed, printed
        # MLflow's copy is left out: the process that brings it there may still be at work.
        left_out = shutil.ignore_patterns("*mlflow.db*", "mlartifacts", "tracking")
        shutil.copytree(made[kind], place, symlinks=True, ignore=left_out)
        return place

    return make


def timed(name: str):
    """The pages that apply, and so take more than five seconds, are marked."""
    applies = any("ftops apply" in block.text for block in blocks(ROOT / name) if block.language == "console")
    return pytest.param(name, marks=pytest.mark.slow if applies else ())


@pytest.mark.parametrize("name", [timed(name) for name in NAMES])
def test_commands(name, tmp_path, start, programs):
    found = [block for block in blocks(ROOT / name) if {"console", "file"} & {block.language, *block.notes}]
    kind = next((block.notes["project"] for block in found if "project" in block.notes), "fresh")
    found = [block for block in found if "not run" not in block.notes]
    if not found:
        return
    place = start(kind, tmp_path / "project")
    for block in found:
        if "file" in block.notes:
            path = place / block.notes["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        else:
            for command, expected in transcript(block.text):
                printed = run(command, place, programs).splitlines()
                compare(expected, printed, command, figures="figures vary" not in block.notes)


def transcript(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines of its output."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


TIMED = re.compile(r": step \d+/\d+\b|^ +about .* of training, by what .* took$")
"""Lines that are there or not by how long a training takes: the stand-in's takes less than a second."""
DURATION = re.compile(r"\b\d+\.\d s\b|\b\d+ s\b|\b\d+(:\d\d){1,2}\b")
DIGEST = re.compile(r"\b[0-9a-f]{7,64}\b")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def plain(lines: list[str], *, figures: bool) -> list[str]:
    """Lines without what is never twice the same."""
    kept = []
    for line in lines:
        if TIMED.search(line):
            continue
        text = DIGEST.sub("DIGEST", DURATION.sub("DURATION", line.rstrip()))
        kept.append(text if figures else NUMBER.sub("NUMBER", text))
    return kept


def compare(expected: list[str], printed: list[str], command: str, *, figures: bool) -> None:
    wanted = plain(expected, figures=figures)
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in wanted)
    shown = "".join(f"{line}\n" for line in plain(printed, figures=figures))
    # A digest or a long value that ftops itself cut ends with `…` too; the pattern takes that for anything.
    if re.fullmatch(pattern, shown) is None:
        pytest.fail("\n".join([f"$ {command}", "--- expected", *wanted, "--- printed", shown]))


def test_a_wrong_output_is_noticed():
    compare(["a", "…", "b 12 s"], ["a", "x", "y", "b 0.3 s"], "true", figures=True)
    with pytest.raises(pytest.fail.Exception):
        compare(["a", "b"], ["a", "c"], "true", figures=True)
    with pytest.raises(pytest.fail.Exception):
        compare(["rows 36"], ["rows 37"], "true", figures=True)
    with pytest.raises(pytest.fail.Exception):
        compare([], ["something"], "true", figures=False)


def test_every_command_and_option_exists():
    """Whatever begins with `ftops` in a console block or between backticks."""
    wrong = []
    for page in PAGES:
        text = re.sub(r"```text\n.*?```", "", page.read_text(), flags=re.DOTALL)
        for line in re.findall(r"`(ftops [a-z-][^`]*)`|^\$ (ftops .+)$", text, flags=re.MULTILINE):
            call = (line[0] or line[1]).replace("\n", " ")
            wrong += [f"{page.name}: {call}: {fault}" for fault in faults_of(call)]
    assert wrong == []


def faults_of(call: str) -> list[str]:
    words = shlex.split(call)[1:]
    command: click.Command = commands
    context = click.Context(commands, info_name="ftops")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(context, words[0])
        if inner is None:
            return [f"no command {words[0]}"]
        command, words = inner, words[1:]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help"}
    return [word for word in words if word.startswith("-") and word not in known]


def test_a_wrong_option_is_noticed():
    assert faults_of("ftops apply --no-commit --results DIR") == []
    assert faults_of("ftops engine install") == []
    assert faults_of("ftops apply --force") == ["--force"]
    assert faults_of("ftops delete") == ["no command delete"]


# ---------------------------------------------------------------------------------------------------- YAML


@pytest.mark.parametrize("name", NAMES)
def test_yaml(name):
    for block in blocks(ROOT / name):
        if "shows" in block.notes:
            assert block.text == (ROOT / block.notes["shows"]).read_text()
        if block.language == "yaml" and block.notes.get("file") != "config.yml":  # that one is Axolotl's, and wrong
            check_yaml(block.text)


def check_yaml(text: str) -> None:
    """A whole document must be valid but for what it refers to; of a part, every field must be one of the Project."""
    if "kind:" in text:
        _, found = load({"ftops.yaml": projects.PROJECT.encode(), "specs/page.yaml": text.encode()})
        faults = [each.summary for each in found if not each.summary.endswith("does not exist")]
        assert faults == []
        return
    for path in leaves(yaml.safe_load(text)):
        assert at("Project", path), f"no field {'.'.join(map(str, path))}"


def leaves(tree, path=()):
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in leaves(value, (*path, key))]


def test_wrong_yaml_is_noticed():
    with pytest.raises(AssertionError):
        check_yaml("apiVersion: ftops/v1\nkind: Dataset\nmetadata: {name: a}\nspec: {sauce: {path: a.csv}}\n")
    with pytest.raises(AssertionError):
        check_yaml("spec: {git: {shove: true}}\n")


# --------------------------------------------------------------------------------------------------- links


@pytest.mark.parametrize("name", NAMES)
def test_links(name):
    page = ROOT / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(place), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"({page})" not in index] == []


# ----------------------------------------------------------------------------------------------- reference


def test_what_is_generated_is_up_to_date(tmp_path):
    # In a process of its own: click remembers how a command was called, and other tests call them in other ways.
    argv = [sys.executable, str(ROOT / "docs/generate.py"), str(tmp_path)]
    subprocess.run(argv, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md"))
    assert names == GENERATED
    for name in names:
        assert (ROOT / "docs" / name).read_text() == (tmp_path / name).read_text(), "python docs/generate.py"
    parts = re.findall(r"^<!-- made: (.+) -->$", "".join((tmp_path / name).read_text() for name in names), re.MULTILINE)
    assert sorted(parts) == ["inner rooms", "layers", "rooms", "steps"]


GENERATED = ["explanation/architecture.md", "explanation/plan-and-apply.md", "reference/cli.md", "reference/specs.md"]


def test_counts():
    """What is counted in the code is counted right on the pages."""
    from ftops.datasets.checks.quality import WEIGHTS
    from ftops.datasets.pii import ENTITIES
    from ftops.store.process_pool import MOST
    from ftops.training.axolotl.config import PREFERENCES
    from ftops.training.axolotl.failure_classes import Fault
    from ftops.training.spec.base_model import BaseModelSpec

    workflows = len(list((ROOT / ".github/workflows").glob("*.yml")))
    counted = {
        "CHANGELOG.md": [("a quality score of {} components", len(WEIGHTS)), ("as one of {} classes", len(Fault))],
        "benchmarks/README.md": [("personal data of all {} kinds", len(ENTITIES))],
        "docs/explanation/data.md": [("a process for each processor, at most {}.", MOST)],
        "docs/how-to/base-model.md": [("takes one of {}.", len(set(BaseModelSpec.model_fields) - {"revision"}))],
        "docs/how-to/ci.md": [("comes with {} workflows", workflows), ("Copy {} of them", workflows - 1)],
        "docs/how-to/preferences.md": [("{} methods learn which of two answers", len(PREFERENCES))],
    }
    numbers = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ]
    for page, phrases in counted.items():
        text = " ".join((ROOT / page).read_text().split()).lower()
        for phrase, number in phrases:
            assert phrase.format(numbers[number]).lower() in text, page


def test_files_that_are_named_exist():
    """Each Python file that stands between backticks, on a page or in the code, by its path or the end of it."""
    modules = [path for folder in ("ftops", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    known = {"/".join(path.relative_to(ROOT).parts[-n:]) for path in modules for n in range(1, 9)}
    texts = [*PAGES, ROOT / "benchmarks/README.md", *(ROOT / "ftops").rglob("*.py")]
    named = {(path.name, name) for path in texts for name in re.findall(r"`([\w/]+\.py)`", path.read_text())}
    assert sorted((place, name) for place, name in named if name not in known) == []


def test_exit_codes():
    from ftops import errors

    classes = [errors.FtopsError, *errors.FtopsError.__subclasses__()]
    text = (ROOT / "docs/reference/exit-codes.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE)}
    assert listed == {0, 2, 130} | {each.exit_code for each in classes}


def test_records():
    """Every field of every record stands on the page about records."""
    from ftops.datasets.record import DatasetStatus
    from ftops.experiments.analysis.interim_result import ArmFigures, Comparison, InterimResult, Response, Split
    from ftops.experiments.record import Conclusion, ExperimentStatus, Phase, PhaseArm, Proposal
    from ftops.models.record import ModelStatus
    from ftops.training.record import RunEntry, RunStatus

    text = (ROOT / "docs/reference/records.md").read_text()
    models = (
        *(DatasetStatus, RunStatus, RunEntry, ModelStatus),
        *(ExperimentStatus, Phase, PhaseArm, Proposal, Conclusion),
        *(InterimResult, Comparison, ArmFigures, Split, Response),
    )
    fields = {field.alias for model in models for field in model.model_fields.values()}
    assert [name for name in sorted(fields) if f"`{name}`" not in text] == []


def test_every_kind_has_its_section():
    text = (ROOT / "docs/reference/specs.md").read_text()
    assert [kind for kind in models() if f"\n## {kind}\n" not in text] == []


def test_the_schema_of_the_shipped_specs_is_where_they_say():
    for path in [ROOT / "ftops.yaml", *(ROOT / "specs").glob("*.yaml")]:
        schema = re.search(r"\$schema=(\S+)", path.read_text())
        assert schema is not None
        assert (path.parent / schema[1]).is_file(), f"{path.name}: {schema[1]}"
