"""A type of metric is one file: a toy type, registered in one line, works everywhere."""

from __future__ import annotations

import ast
import csv
import importlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from ftops.cli import ftops
from ftops.errors import SpecError
from ftops.experiments.analysis import InterimResult
from ftops.experiments.metric_types import METRIC_TYPES
from ftops.experiments.report.page import experiment_documents
from ftops.experiments.spec.design import outlook
from ftops.experiments.spec.experiment import Experiment
from ftops.specs import json_schema, read_one
from tests.support.looking import record
from tests.support.projects import ROOT, document

# ------------------------------------------------------------------------------------------- a type of metric

PERCENTAGE = '''
"""Shares of a hundred, such as how much of an answer people read."""

from __future__ import annotations

from ftops.display.numbers import trimmed
from ftops.experiments.metric_types import MetricType
from ftops.experiments.metric_types.spread import Histogram
from ftops.experiments.metric_types.values import Values


class Percentage(MetricType):
    """A number from 0 to 100, said in points of a hundred."""

    __slots__ = ()

    name = "percentage"
    values = Values("percentage", "a number from 0 to 100", lambda one: 0 <= one <= 100, lambda all: (all >= 0) & (all <= 100))
    spread = Histogram(quantiles=True)
    in_deviations = False
    symbol = "p = "
    unit = " points"

    def amount(self, effect):
        return f"{trimmed(effect)} points"

    def draw(self, lean):
        import numpy as np

        return 100 / (1 + np.exp(-lean))
'''
READ = {"name": "read", "type": "percentage"}
TIME = {"name": "response_time_ms", "type": "duration", "direction": "decrease"}


def trial(**spec):
    """The document of an experiment whose metric is of the toy type."""
    arms = {
        "a": {"model": "chat@1.0.0", "weight": 0.5, "baseline": True},
        "b": {"model": "chat@1.1.0", "weight": 0.5},
    }
    design = {"targetSamples": 300, "minimumDetectableEffect": 2.0}
    return document(
        "Experiment",
        "trial",
        {"arms": arms, "metric": READ, "design": design, "logs": {"path": "rows.jsonl"}, **spec},
    )


@pytest.fixture
def percentage(tmp_path, monkeypatch):
    """The toy type, from a package of its own; the registration is the last line."""
    package = tmp_path / "own_metric_types"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "percentage.py").write_text(PERCENTAGE)
    monkeypatch.syspath_prepend(tmp_path)
    # What offers the types keeps what it offered before.
    json_schema.cache_clear()
    module = importlib.import_module("own_metric_types.percentage")
    monkeypatch.setitem(METRIC_TYPES, "percentage", module.Percentage())
    yield METRIC_TYPES["percentage"]
    json_schema.cache_clear()
    for name in ("own_metric_types", "own_metric_types.percentage"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, monkeypatch, percentage):
    """A folder with the spec of `trial` and 700 units of simulated rows."""
    monkeypatch.chdir(tmp_path)
    write(trial(guardrails=[{**READ, "margin": 0.05}, {**TIME, "margin": 0.05}]))
    said("simulate", "trial.yaml", "--out", "rows.jsonl", "--units", 700, "--effect", 0.5)
    return tmp_path


def write(spec):
    Path("trial.yaml").write_text(yaml.safe_dump(spec))


def said(command, *arguments, code=0):
    """What `ftops experiment` prints, in this process, where the toy type is known."""
    done = CliRunner().invoke(ftops, ["experiment", command, *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout


def analyzed(*arguments):
    return InterimResult.model_validate_json(
        json.dumps(underscored(json.loads(said("analyze", *arguments, "--format", "json"))))
    )


def underscored(found):
    """A document as `Look` reads it: what is said of the experiment itself is left out."""
    return {key: value for key, value in found.items() if key not in ("formatVersion", "experiment")}


def test_a_toy_type_is_offered(percentage):
    spec = Experiment.model_validate(trial(), by_alias=True, by_name=False).spec
    assert spec.metric.metric_type is percentage
    assert json_schema("Experiment")["$defs"]["Metric"]["properties"]["type"]["enum"][-1] == "percentage"


def test_a_toy_type_is_validated(folder):
    assert read_one(folder / "trial.yaml", Experiment).spec.metric.type == "percentage"
    write(trial(metric={**READ, "aggregate": "sum"}))
    with pytest.raises(SpecError, match="aggregate sum does not go with a metric of type percentage: expected mean"):
        read_one(folder / "trial.yaml", Experiment)
    write(trial(secondary=[{**READ, "type": "rating"}, {"name": "other", "type": "percentag"}]))
    with pytest.raises(SpecError, match=r"expected .*ratio or percentage, found 'percentag'"):
        read_one(folder / "trial.yaml", Experiment)
    write(trial(secondary=[{"name": "share", "type": "ratio", "numerator": "read", "denominator": "shown"}]))
    with pytest.raises(SpecError, match="the field read is read as percentage and as continuous"):
        read_one(folder / "trial.yaml", Experiment)


def test_without_its_line_a_toy_type_is_unknown(folder, monkeypatch):
    monkeypatch.delitem(METRIC_TYPES, "percentage")
    json_schema.cache_clear()
    with pytest.raises(SpecError, match=r"expected rating, binary, .* or ratio, found 'percentage'"):
        read_one(folder / "trial.yaml", Experiment)


def test_a_toy_type_is_simulated(folder):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    values = [row["read"] for row in rows]
    assert len(rows) > 700
    assert min(values) >= 0
    assert 50 < max(values) <= 100
    assert len(set(values)) > 100


def test_a_toy_type_is_read_from_every_format(folder):
    """Beside the rows there are two that hold no percentage: they are faulty, in its own words."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows += [{**rows[0], "id": "more", "read": 100.5}, {**rows[0], "id": "less", "read": -0.5}]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({name: "" if value is None else value for name, value in row.items()} for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    looks = [analyzed("trial.yaml", "--logs", f"rows.{form}") for form in ("jsonl", "csv", "parquet")]
    assert [(each.rows.kept, each.rows.faulty) for each in looks] == [(len(rows) - 2, 2)] * 3
    assert looks[0].arms == looks[1].arms == looks[2].arms
    done = CliRunner().invoke(ftops, ["experiment", "analyze", "trial.yaml", "--logs", "rows.csv"])
    assert "expected a number from 0 to 100, or null" in done.stderr


def test_a_toy_type_has_an_effect_and_a_verdict(folder):
    look = analyzed("trial.yaml")
    first, guard, _ = look.comparisons
    assert (look.verdict, look.winner, first.outcome) == ("winner", "b", "better")
    assert first.test == "welch-t"
    assert first.ci[0] > 0
    assert first.standardized is None, "its effects are no standard deviations"
    assert (guard.metric, guard.guardrail) == ("read", "kept")
    (spread, _) = look.distributions
    assert spread.metric == "read"
    assert sum(spread.shares["a"]) == pytest.approx(1, abs=1e-4)


def test_a_toy_type_is_shown_in_its_own_words(folder):
    text = said("analyze", "trial.yaml")
    assert text.startswith("trial: winner b (simulated data)")
    assert " points, that is +" in text
    write(trial(design={"targetSamples": 300, "minimumDetectableEffect": 50, "rule": "fixed"}))
    said("simulate", "trial.yaml", "--out", "same.jsonl", "--units", 700, "--effect", 0)
    assert "all of the interval lies within ±50 points." in said("analyze", "trial.yaml", "--logs", "same.jsonl")
    found = read_one(folder / "trial.yaml", Experiment).spec
    assert "300 units an arm find p = 0.229" in outlook(found.metric, found.design, 2, None)


def test_a_toy_type_is_in_the_report(folder):
    found = record(analyzed("trial.yaml"), name="trial")
    spec = read_one(folder / "trial.yaml", Experiment).spec
    status = found.status.model_copy(update={"inputs": spec.model_dump(mode="json", by_alias=True)})
    pages = {
        path.rpartition(".")[2]: page.decode()
        for path, page in experiment_documents(found.model_copy(update={"status": status})).items()
    }
    for page in pages.values():
        assert "read (percentage, more is better)" in page
        assert " points, that is +" in page
    assert "How read is distributed" in pages["html"]
    assert "p50" in pages["html"]


PACKAGE = ROOT / "ftops" / "experiments" / "metric_types"
SHARED = ("", ".figures", ".metric_type", ".simulated_field", ".spread", ".values")


def named(node):
    """The names of types that stand in an expression as literals."""
    return {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)} & set(METRIC_TYPES)


def listed(nodes):
    """Those that stand in a list of expressions themselves."""
    return {each.value for each in nodes if isinstance(each, ast.Constant)} & set(METRIC_TYPES)


def compared(node):
    """Whether a type is told by its name; a call or a subscript beside it is no literal."""
    plain = ast.Constant | ast.Tuple | ast.List | ast.Set
    match node:
        case ast.Compare(left=left, comparators=others):
            return any(named(each) for each in (left, *others) if isinstance(each, plain))
        case ast.MatchValue(value=value):
            return bool(named(value))
    return False


def told_apart(node):
    """Whether types are listed by name, or one of them is fetched."""
    match node:
        case ast.Dict(keys=nodes) | ast.Tuple(elts=nodes) | ast.List(elts=nodes) | ast.Set(elts=nodes):
            return len(listed(nodes)) > 1
        case ast.Subscript(value=ast.Name("METRIC_TYPES"), slice=key):
            return bool(named(key))
        case ast.Call(func=ast.Attribute(value=ast.Name("METRIC_TYPES")), args=arguments):
            return any(map(named, arguments))
        case ast.ImportFrom(module=str(module)) if module.startswith("ftops.experiments.metric_types"):
            return module.removeprefix("ftops.experiments.metric_types") not in SHARED
    return False


def literals(text, *, of_experiments):
    """The expressions of a module that name a type; see the test below."""
    nodes = list(ast.walk(ast.parse(text)))
    return [ast.unparse(node) for node in nodes if told_apart(node) or (of_experiments and compared(node))]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "ftops").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_no_type_of_metric_is_named_outside_of_its_file(path):
    """Counted is, in every module but those of the types, and never allowed:

    1. in a module of experiments, or one that imports from there: a name of `METRIC_TYPES` as a side of a comparison, alone
       or in a tuple, list or set, and as the value of a `case`;
    2. anywhere: two or more of the names as the keys of one dict, or in one tuple, list, set or `Literal`;
    3. anywhere: `METRIC_TYPES["…"]`, `METRIC_TYPES.get("…")`, and an import from a type's own file.

    So `rating` as a field of a log row, and a `count` of something else, may stand wherever nothing is chosen by them.
    """
    if path.parent != PACKAGE:
        text = path.read_text()
        mine = "experiments" in path.parts or "ftops.experiments" in text
        assert literals(text, of_experiments=mine) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('a = metric.type == "ratio"', True),
        ('a = kind not in ("binary", "other")', True),
        ('a = {"binary": 1, "rating": 2}', True),
        ('a = Literal["binary", "rating"]', True),
        ('a = METRIC_TYPES["duration"]', True),
        ('a = METRIC_TYPES.get("duration")', True),
        ('match kind:\n    case "other" | "count":\n        pass', True),
        ("from ftops.experiments.metric_types.rating import Rating", True),
        ('a = {"rating": 1, "feedback": 2}', False),
        ('a = row["rating"]', False),
        ('a = ("query", "rating")', False),
        ("from ftops.experiments.metric_types.values import Values", False),
    ],
)
def test_what_counts_as_naming_a_type(line, found):
    assert bool(literals(line, of_experiments=True)) is found
