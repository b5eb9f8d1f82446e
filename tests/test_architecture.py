"""The shape of the house: layers, light starts, small modules, and no trace of any one machine."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import projects
from tests.projects import ROOT, dataset, environment, model, run

MODULES = sorted((ROOT / "ftops").rglob("*.py"))
FORBIDDEN_NAMES = re.compile(
    r"manager|service|handler|engine|processor|helper|utils?|base|common|constants", re.IGNORECASE
)
HEAVY = ("mlflow", "dvc", "pyarrow", "pandas", "numpy", "rich", "sqlalchemy", "requests", "torch", "docker", "scipy")


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_imports_point_down():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert f"{len(contracts)} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for function in functions(ast.parse(text)):
        first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
        assert function.end_lineno - function.lineno + 1 <= 50, f"{function.name} at line {first}"
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        command = any(
            "click" in ast.unparse(each) or "command(" in ast.unparse(each) for each in function.decorator_list
        )
        assert command or len([each for each in named if each.arg not in ("self", "cls")]) <= 6, function.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_say_something(path):
    # The training engine, and the command about it, are the one engine there is.
    if path.stem != "engine":
        assert FORBIDDEN_NAMES.fullmatch(path.stem) is None
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            assert not re.search(r"(Manager|Service|Handler|Processor|Helper|Utils?|Base|Common|Constants)$", node.name)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_assert_and_no_print_in_the_program(path):
    """Both vanish or appear where nobody expects it; only the command line prints, and the wrapper into its log."""
    tree = ast.parse(path.read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    if "cli" not in path.parts and path.name not in ("snapshot.py", "wrapper.py"):
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def shipped():
    """Every text file that a clone has, tests aside: these hold paths to refuse."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [name for name in listed if not name.startswith(("tests/", "dvc-remote/")) and (ROOT / name).is_file()]


def test_no_path_of_a_machine_is_shipped():
    private = re.compile(rb"(?<![\w.])/(work|tmp|root|home/\w+)/[\w.]|/home/\w+|/Users/\w+")
    found = [name for name in shipped() if private.search((ROOT / name).read_bytes())]
    assert found == []


# -------------------------------------------------------------------------------------------------- light starts

SCRIPT = """
import json, sys
from ftops.cli import main
sys.argv = ["ftops", *sys.argv[1:]]
try:
    main()
except SystemExit as error:
    code = error.code
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported(root, env, *arguments):
    """The exit code of an ftops command, and the top-level names of the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=root, env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["validate"], ["status"], ["schema", "Dataset"]], ids=" ".join
)
def test_starts_are_light(tmp_path, arguments):
    (tmp_path / "home").mkdir()
    root = projects.write(tmp_path / "project", dataset(), run(), model())
    code, modules = imported(root, environment(tmp_path / "home"), *arguments)
    assert code == 0
    light = [*HEAVY, "jinja2"] if arguments != ["status"] else list(HEAVY)
    assert not set(light) & set(modules)
    if arguments in (["--version"], ["--help"]):
        assert not {"pydantic", "yaml", "subprocess"} & set(modules)


def test_planning_is_light(tmp_path):
    """Jinja and dvc run in processes of their own, as far as they run."""
    (tmp_path / "home").mkdir()
    root = projects.write(tmp_path / "project", dataset(), run(), model())
    code, modules = imported(root, environment(tmp_path / "home"), "plan")
    assert code == 0
    assert not {*HEAVY, "jinja2"} & set(modules)


def test_heavy_modules_are_heavy_here():
    """The tests above can fail: what they look for is installed and would show."""
    script = "import sys, pyarrow, rich; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {"pyarrow", "rich"} <= set(done.stdout.split())
