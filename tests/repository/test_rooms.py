"""The house as one map: how many rooms and layers it has, how many arrows lead from room to room, and no circle."""

from __future__ import annotations

import ast
import tomllib
from graphlib import CycleError, TopologicalSorter

import pytest

from ftops.cli import _COMMANDS as COMMANDS
from ftops.datasets.checks import CHECKS
from ftops.executors.registry import EXECUTORS
from ftops.experiments.metric_types import METRIC_TYPES
from tests.support.projects import ROOT

MOST_ENTRIES = 32
"""Of `ftops/`, each a folder or a module: those there are, and the five that are planned."""
ARROWS, ARROWS_A_ROOM = 8, 6
"""An arrow is a pair of entries of which one imports the other, however often: at most 8, and 6 for each entry."""


def modules():
    """Each module's name, and its syntax tree."""
    for path in sorted((ROOT / "ftops").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), ast.parse(path.read_text())


def imports(trees):
    """Each module, and the modules of ftops that it imports: at the top or inside of a function, also for types only."""
    return {name: {known(each, trees) for each in named(tree)} - {None, name} for name, tree in trees.items()}


def named(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def known(name, trees):
    """The module that `name` is, or is in: of `ftops.files.sync` the module `ftops.files`. None for others' modules."""
    while name and name not in trees:
        name = name.rpartition(".")[0]
    return name or None


def room(module):
    return module.split(".")[1] if "." in module else "__init__"


def arrows(graph):
    return {(room(start), room(end)) for start, ends in graph.items() for end in ends if room(start) != room(end)}


def circle(pairs):
    """A circle among them, or none."""
    graph = {}
    for start, end in pairs:
        graph.setdefault(start, set()).add(end)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def contracts():
    """Each contract of import-linter by its id."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {each["id"]: each for each in settings["contracts"]}


def test_the_house_is_small_enough_to_know():
    graph = imports(dict(modules()))
    layers = contracts()["layers"]["layers"]
    entries = {room(name) for name in graph} - {"__init__"}
    pairs = arrows(graph)
    print(f"\n{len(entries)} entries, {len(layers)} layers, {len(pairs)} arrows between rooms")
    assert entries == {name for layer in layers for name in layer.split(" | ")}
    assert len(entries) <= MOST_ENTRIES
    assert len(pairs) <= ARROWS + ARROWS_A_ROOM * len(entries)
    assert circle(pairs) is None
    assert circle((start, end) for start, ends in graph.items() for end in ends) is None


@pytest.mark.parametrize(
    "text", ["import ftops.git.push", "from ftops.git import push", "from ftops.git.push import x"]
)
def test_an_arrow_and_a_circle_are_noticed(text):
    trees = {"ftops": ast.parse(""), "ftops.git.push": ast.parse("def late():\n    from ftops.plan import run")}
    trees |= {"ftops.plan.run": ast.parse("import os"), "ftops.plan": ast.parse(text)}
    pairs = arrows(imports(trees))
    assert pairs == {("git", "plan"), ("plan", "git")}
    assert set(circle(pairs)) == {"git", "plan"}


def test_contracts_name_every_apply():
    """Where import-linter takes no pattern: what somebody adds is not left out."""
    names = {name for name, _ in modules()}
    applies = {name for name in names if name.endswith(".apply")} - {"ftops.cli.apply", "ftops.reconcile.apply"}
    assert applies <= set(contracts()["effects"]["protected_modules"])


@pytest.mark.parametrize(
    ("contract", "names"),
    [
        ("commands", {f"ftops.cli.{each.module}" for each in COMMANDS.values()}),
        ("checks", {f"ftops.datasets.checks.{name}" for name in CHECKS}),
        ("executors", {f"ftops.executors.{each.executor.partition('.')[0]}" for each in EXECUTORS.values()}),
        ("metric-types", {each.__module__ for each in METRIC_TYPES.values()}),
    ],
)
def test_contracts_name_all_of_what_is_independent(contract, names):
    assert set(contracts()[contract]["modules"]) == names
