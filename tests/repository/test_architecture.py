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

from tests.support import projects
from tests.support.projects import ROOT, dataset, environment, model, run

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


PROSE = {"hint", "note", "advice", "reason", "summary"}
"""What variables and fields of sentences for people are called."""
TAKEN_APART = {
    "startswith",
    "endswith",
    "replace",
    "removeprefix",
    "removesuffix",
    "partition",
    "rpartition",
    "split",
    "find",
}


def is_prose(node):
    """Whether an expression is a sentence for people, or the text of one: `hint`, `change.note`, `note.text`."""
    match node:
        case ast.Name(id=name):
            return name in PROSE
        case ast.Attribute(value=value, attr=name):
            return name in PROSE or (name == "text" and is_prose(value))
    return False


def decisions_by_prose(source):
    """The lines that read what is written for people, or change it: by a method of its text, by what it contains or is, by a
    pattern."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re")), args=[_, *arguments]):
                taken = any(map(is_prose, arguments))
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                taken = is_prose(value) and method in TAKEN_APART
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[value]):
                taken = is_prose(value)
            case ast.Compare(left=value, ops=[ast.Eq() | ast.NotEq()], comparators=[ast.Constant(value=str(text))]):
                taken = is_prose(value) and text != ""
            case _:
                taken = False
        if taken:
            yield ast.unparse(node)


def test_nothing_decides_by_words_for_people():
    found = [(name_of(path), each) for path in MODULES for each in decisions_by_prose(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    "planted",
    [
        "note.startswith('waits')",
        "change.hint.replace('NAME', name)",
        "'waits' in each.note",
        "note.text.startswith('it')",
        "'it' in change.note.text",
        "re.search('waits', note.text)",
        "fault.summary == 'missing'",
    ],
)
def test_a_planted_decision_by_words_is_found(planted):
    assert [*decisions_by_prose(f"def f():\n    return {planted}")] == [planted]


# ------------------------------------------------------------------------------- one reader and writer of files

ALONE = {
    "executors/wrapper.py": "runs beside a job, also in a container that has no ftops",
    "executors/resource_usage.py": "is started by the wrapper, which has no ftops",
    "training/axolotl/plugin/ftops_axolotl.py": "runs inside of Axolotl, in the engine's environment",
    "training/axolotl/plugin/ftops_samples.py": "runs inside of Axolotl, in the engine's environment",
    "training/axolotl/init_model.py": "runs in the engine's environment",
    "experiments/logs/client.py": "is imported by applications, with the standard library only",
}
"""Modules that do without the rest of ftops, and why."""
OPENED_ELSEWHERE = {
    (
        "cli/__init__.py",
        "os.open(os.devnull, os.O_WRONLY)",
    ): "no file: what is said goes nowhere after a pipe was closed",
    ("datasets/read/source.py", "store.open(name, 'rb')"): "a file of an object store, which fsspec brings",
    ("experiments/logs/parquet.py", "pq.ParquetFile(source.content.again())"): "reads a descriptor of files.py",
    (
        "experiments/logs/parquet.py",
        "pq.ParquetFile(source.content.again(), metadata=metadata, read_dictionary=texts, buffer_size=1 << 20)",
    ): "reads a descriptor of files.py",
    (
        "experiments/logs/parquet.py",
        "pq.ParquetFile(source.content.again(), metadata=metadata, read_dictionary=coded, buffer_size=1 << 16)",
    ): "reads a descriptor of files.py",
    ("datasets/read/parquet_rows.py", "pq.ParquetFile(pa.BufferReader(raw))"): "reads bytes",
    ("datasets/read/parquet_rows.py", "pq.ParquetFile(pa.BufferReader(raw), read_dictionary=texts)"): "reads bytes",
}
"""Calls outside of files.py that look as if they opened a file by its path, and what they open."""

BY_PATH = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "FileIO", "open_code", "mknod",
    "copyfile", "copy2", "copytree", "move", "memory_map", "from_file", "from_pretrained", "tofile", "FileHandler",
}  # fmt: skip
"""Functions and methods that open what a path names, whatever they belong to."""
BY_PATH_OR_FILE = {
    ("np", "load"), ("np", "save"), ("np", "savez"), ("np", "fromfile"), ("np", "memmap"), ("pa", "OSFile"), ("pa", "input_stream"),
    ("pa", "output_stream"), ("pq", "ParquetFile"), ("pq", "read_table"), ("pq", "write_table"), ("csv", "read_csv"),
    ("zipfile", "ZipFile"), ("sqlite3", "connect"),
}  # fmt: skip
"""Functions of libraries that take a path or an open file: theirs is what a `with … as` of the module has opened."""
MADE_BY_OPEN = ("Journal", "WriteBack")
"""Classes of ftops whose `open` makes one of them."""
OPENERS = {
    "os": {"open"},
    "io": {"open", "FileIO", "open_code"},
    "codecs": {"open"},
    "shutil": {"copy", "copyfile", "copy2"},
}


def opening_by_path(source):
    """The calls in `source` that open a file by its path, and the imports that hide such a call."""
    tree = ast.parse(source)
    given = [each for node in ast.walk(tree) if isinstance(node, ast.With | ast.AsyncWith) for each in node.items]
    opened = {each.optional_vars.id for each in given if isinstance(each.optional_vars, ast.Name)}
    parsers = {
        node.id
        for assigned in ast.walk(tree)
        if isinstance(assigned, ast.Assign) and "configparser." in ast.unparse(assigned.value)
        for target in assigned.targets
        for node in ast.walk(target)
        if isinstance(node, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and {each.name for each in node.names} & OPENERS.get(node.module, set()):
            yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            wrong = node.func.id == "open"
        elif isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            first = node.args[0] if node.args else None
            wrong = (
                (name in BY_PATH and not (name == "open" and owner in MADE_BY_OPEN))
                or ((owner, name) in BY_PATH_OR_FILE and not (isinstance(first, ast.Name) and first.id in opened))
                or (owner, name) == ("shutil", "copy")
                or (name == "read" and (owner in parsers or "ConfigParser" in owner))
            )
        else:
            wrong = False
        if wrong:
            yield ast.unparse(node)


def outside_of_files():
    """Every module but files.py and those that stand alone, by its path in ftops."""
    paths = {path.relative_to(ROOT / "ftops").as_posix(): path for path in MODULES}
    return {name: path for name, path in paths.items() if name not in ("files.py", *ALONE)}


@pytest.mark.parametrize("name", outside_of_files())
def test_files_are_opened_by_files_only(name):
    found = set(opening_by_path(outside_of_files()[name].read_text()))
    assert found - {call for where, call in OPENED_ELSEWHERE if where == name} == set(), (
        "open it by a function of ftops/files.py"
    )


def test_no_exemption_is_left_over():
    for name, call in OPENED_ELSEWHERE:
        assert call in set(opening_by_path((ROOT / "ftops" / name).read_text())), (name, call)


@pytest.mark.parametrize("name", ALONE)
def test_what_opens_its_own_files_stands_alone(name):
    source = (ROOT / "ftops" / name).read_text()
    assert list(opening_by_path(source)) != []
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        each
        for node in imports
        for each in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    ]
    # What a row may be is the standard library's only, too.
    assert {each for each in modules if each.split(".")[0] == "ftops"} <= {"ftops.experiments.logs.row_schema"}


@pytest.mark.parametrize(
    "planted",
    [
        "open(path)",
        "with open(path, 'rb') as file:\n    file.read()",
        "yaml.safe_load(open(path))",
        "path.open()",
        "Path(name).open('w')",
        "Path.open(path)",
        "(folder / 'x').read_text()",
        "path.read_bytes()",
        "path.write_text('x')",
        "path.write_bytes(b'x')",
        "path.touch()",
        "os.open(path, os.O_RDONLY)",
        "io.open(path)",
        "io.FileIO(path)",
        "gzip.open(path)",
        "bz2.open(path)",
        "tarfile.open(path)",
        "zipfile.ZipFile(path)",
        "shutil.copy(a, b)",
        "shutil.copyfile(a, b)",
        "shutil.copy2(a, b)",
        "shutil.copytree(a, b)",
        "sqlite3.connect(path)",
        "np.load(path)",
        "np.save(folder / 'x', array)",
        "np.memmap(tensor.path, np.uint8)",
        "array.tofile(path)",
        "pa.OSFile(str(path))",
        "pa.memory_map(path)",
        "pq.ParquetFile(path)",
        "pq.read_table(path)",
        "Tokenizer.from_file(path)",
        "(files('ftops') / 'x').read_text()",
        "stores, config = [], configparser.RawConfigParser()\nconfig.read(path)",
        "configparser.ConfigParser().read([path])",
        "from os import open",
        "from shutil import copyfile as take",
    ],
)
def test_a_planted_opening_is_found(planted):
    assert list(opening_by_path(f"def planted():\n    {planted.replace(chr(10), chr(10) + '    ')}\n")) != []


@pytest.mark.parametrize(
    "sound",
    [
        "os.fdopen(open_regular(path), 'rb')",
        "read_bytes(path, root=root)",
        "Journal.open(folder)",
        "WriteBack.open(workspace, None, {})",
        "file.read(12)",
        "with os.fdopen(open_regular(path), 'rb') as file:\n    np.load(file)",
        "with by_descriptor(path) as name, pa.OSFile(name) as file:\n    pass",
        "with reading(path) as file:\n    zipfile.ZipFile(file)",
        "config = configparser.RawConfigParser()\nconfig.read_string(read_bytes(path).decode())",
        "shutil.copyfileobj(a, b)",
        "shutil.rmtree(folder)",
        "tempfile.TemporaryFile()",
    ],
)
def test_what_opens_nothing_by_its_path_is_left_alone(sound):
    assert list(opening_by_path(f"def sound():\n    {sound.replace(chr(10), chr(10) + '    ')}\n")) == []


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
