"""YAML specs → resources: golden cases of what is refused, and what good specs mean."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from ftops.cli.schema import schema
from ftops.cli.validate import validate
from ftops.digests import digest
from ftops.documents.yaml_positions import MAX_BYTES, plain, read_documents
from ftops.errors import SpecError, UsageError
from ftops.plan.address import Address
from ftops.plan.text import diagnostics_text
from ftops.specs import find_root, json_schema, load, models, read_project

CASES = sorted((Path(__file__).parent / "cases").glob("*.yaml"))
TEMPLATES = ("axolotl/full.yaml.j2", "axolotl/lora.yaml.j2")
REPOSITORY = Path(__file__).parents[2]

BASE = {
    "ftops.yaml": b"apiVersion: ftops/v1\nkind: Project\nmetadata: {name: demo}\n",
    "specs/base.yaml": b"""\
apiVersion: ftops/v1
kind: Dataset
metadata: {name: chat}
spec: {source: {path: datasets/chat.csv}}
---
apiVersion: ftops/v1
kind: TrainingRun
metadata: {name: base}
spec: {dataset: chat, baseModel: {init: {}}, method: full}
""",
}


def texts_of(files):
    """The files of a golden case over those of a project that is sound."""
    encoded = {name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}
    return BASE | encoded


def write(root, files):
    for name, text in texts_of(files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_golden_errors(path):
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    specs, diagnostics = load(texts_of(case["files"]), known_templates=TEMPLATES)
    assert diagnostics_text(diagnostics) == case["expected"].strip("\n")
    assert (specs is None) == any(each.severity == "error" for each in diagnostics)


def test_a_spec_of_fifty_megabytes_is_refused_unread(tmp_path):
    write(tmp_path, {})
    with (tmp_path / "specs/big.yaml").open("wb") as file:
        file.truncate(50 * 2**20)
    with pytest.raises(SpecError) as error:
        read_project(tmp_path)
    assert [str(each.where) for each in error.value.diagnostics] == ["specs/big.yaml"]
    assert "52,428,800 bytes" in error.value.diagnostics[0].summary
    specs, diagnostics = load(texts_of({"specs/big.yaml": b"a" * (MAX_BYTES + 1)}))
    assert specs is None
    assert "more than" in diagnostics[0].summary


def test_what_a_sound_project_holds(tmp_path):
    write(tmp_path, {"specs/deep/model.yml": "apiVersion: ftops/v1\nkind: Model\nmetadata: {name: m}\n"
                     "spec: {versions: {1.0.0: {run: base}}}\n"})  # fmt: skip
    specs = read_project(tmp_path, known_templates=TEMPLATES)
    assert [str(each) for each in specs.resources] == ["Dataset/chat", "TrainingRun/base", "Model/m"]
    assert specs.project.metadata.name == "demo"
    assert specs.files == ("ftops.yaml", "specs/base.yaml", "specs/deep/model.yml")
    assert specs.warnings == ()
    assert set(specs.spec_digests) == {"Project/demo", "Dataset/chat", "TrainingRun/base", "Model/m"}
    tree = yaml.safe_load(BASE["specs/base.yaml"].decode().partition("---")[0])
    assert specs.spec_digests["Dataset/chat"] == digest(tree)
    run = Address("TrainingRun", "base")
    assert str(specs.where(run, ("spec", "method"))) == "specs/base.yaml:9:54"
    assert str(specs.where(run, ("spec", "timeout"))) == "specs/base.yaml:9:1"
    assert str(specs.where(specs.project.address)) == "ftops.yaml:1:1"


def test_plain_scalars_follow_the_core_schema():
    meanings = {
        "": None, "~": None, "null": None, "true": True, "FALSE": False, "yes": "yes", "on": "on", "No": "No",
        "1e-4": 1e-4, "2.0e-4": 2e-4, "1e4": 1e4, ".5": 0.5, "-3": -3, "+7": 7, "010": 10, "0o17": 15, "0x1F": 31,
        "1_000": "1_000", "12:30": "12:30", "2024-01-01": "2024-01-01", "1.0.0": "1.0.0", "-": "-", "0b1": "0b1",
    }  # fmt: skip
    for text, meaning in meanings.items():
        assert plain(text) == meaning, text
        assert type(plain(text)) is type(meaning), text
    for text in (".nan", "-.inf", "1e999", "9" * 5000):
        with pytest.raises(ValueError, match=r"number|too large"):
            plain(text)


def test_documents_of_a_file():
    documents, faults = read_documents("f.yaml", b"%YAML 1.2\n---\na: 1\n...\n# between\n---\nb: 2\n--- {c: 3}\n")
    assert faults == []
    assert [each.tree for each in documents] == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert [str(each.where(("b",))) for each in documents] == ["f.yaml:3:1", "f.yaml:7:4", "f.yaml:8:5"]


def test_defaults_are_merged_and_located(tmp_path):
    project = "apiVersion: ftops/v1\nkind: Project\nmetadata: {name: demo}\nspec:\n  defaults:\n    TrainingRun:\n"
    project += "      timeout: 2h\n      checkpoints: {every: 7, keep: 3}\n"
    run = "apiVersion: ftops/v1\nkind: TrainingRun\nmetadata: {name: a}\n"
    run += "spec: {dataset: chat, baseModel: {init: {}}, method: full, checkpoints: {keep: 5}}\n"
    specs, diagnostics = load(texts_of({"ftops.yaml": project, "specs/a.yaml": run}))
    plain_specs, _ = load(texts_of({"specs/a.yaml": run}))
    assert diagnostics == ()
    address = Address("TrainingRun", "a")
    spec = specs.resources[address].spec
    assert (spec.timeout, spec.checkpoints.every, spec.checkpoints.keep) == (7200, 7, 5)
    assert specs.spec_digests[str(address)] != plain_specs.spec_digests[str(address)]
    assert str(specs.where(address, ("spec", "timeout"))) == "ftops.yaml:7:16"
    assert str(specs.where(address, ("spec", "checkpoints", "every"))) == "ftops.yaml:8:28"


def test_a_project_is_found_from_below_and_its_absence_says_how_to_begin(tmp_path):
    with pytest.raises(SpecError) as error:
        find_root(tmp_path)
    assert "kind: Project" in error.value.diagnostics[0].hint
    write(tmp_path, {})
    assert find_root(tmp_path / "specs") == tmp_path
    (tmp_path / "ftops.yaml").unlink()
    with pytest.raises(SpecError, match=r"ftops\.yaml is missing"):
        read_project(tmp_path)


def test_what_is_read_and_what_is_not(tmp_path):
    broken = "not: [closed"
    write(tmp_path, {"specs/.hidden.yaml": broken, "specs/.git/x.yaml": broken, "specs/notes.txt": broken,
                     "outside/x.yaml": broken})  # fmt: skip
    (tmp_path / "specs/link.yaml").symlink_to(tmp_path / "outside/x.yaml")
    (tmp_path / "specs/linked").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "specs/pipe.yaml")
    with pytest.raises(SpecError) as error:
        read_project(tmp_path)
    assert diagnostics_text(error.value.diagnostics) == (
        "specs/link.yaml: warning: links are not followed\n  hint: put the file itself here\n"
        "specs/pipe.yaml: error: this is no regular file"
    )


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("specs", {"a/b/z.yaml", "a/x.yaml", "base.yaml", "y.yml"}),
        ("specs/a", {"a/b/z.yaml", "a/x.yaml"}),
        ("specs/*.yaml", {"base.yaml"}),
        ("specs/**/*.yaml", {"a/b/z.yaml", "a/x.yaml", "base.yaml"}),
        ("specs/a/**", {"a/b/z.yaml", "a/x.yaml"}),
        ("specs/[xy].y?l", {"y.yml"}),
        ("specs/a/x.yaml", {"a/x.yaml"}),
    ],
)
def test_folders_and_globs(tmp_path, entry, read):
    names = ("a/x.yaml", "a/b/z.yaml", "y.yml")
    write(tmp_path, {f"specs/{name}": f"apiVersion: ftops/v1\nkind: Dataset\nmetadata: {{name: d{number}}}\n"
                     "spec: {source: {path: a.csv}}\n" for number, name in enumerate(names)})  # fmt: skip
    (tmp_path / "ftops.yaml").write_bytes(BASE["ftops.yaml"] + f"spec: {{specs: ['{entry}']}}\n".encode())
    assert {each.removeprefix("specs/") for each in read_project(tmp_path).files[1:]} == read


def test_a_named_folder_that_is_not_there_is_an_error_and_a_project_without_specs_a_warning(tmp_path):
    (tmp_path / "ftops.yaml").write_bytes(BASE["ftops.yaml"] + b"spec:\n  specs: [specs, other]\n")
    with pytest.raises(SpecError) as error:
        read_project(tmp_path)
    assert [str(each.where) for each in error.value.diagnostics] == ["ftops.yaml:5:11", "ftops.yaml:5:18"]
    (tmp_path / "specs").mkdir()
    (tmp_path / "ftops.yaml").write_bytes(BASE["ftops.yaml"])
    assert [each.summary for each in read_project(tmp_path).warnings] == ["the project has no specs"]


def test_a_path_outside_of_the_project_is_wrong_usage(tmp_path):
    write(tmp_path / "project", {})
    with pytest.raises(UsageError, match="not in the project"):
        read_project(tmp_path / "project", [tmp_path / "elsewhere.yaml"])


def test_a_long_chain_and_many_wrong_documents_are_no_trouble():
    chain = [
        f"---\napiVersion: ftops/v1\nkind: TrainingRun\nmetadata: {{name: r{n}}}\n"
        f"spec: {{dataset: chat, baseModel: {{run: r{n + 1}}}, method: full}}\n"
        for n in range(3000)
    ]
    specs, diagnostics = load(texts_of({"specs/chain.yaml": "".join(chain)}))
    assert specs is None
    assert [each.summary for each in diagnostics] == ["TrainingRun/r3000 does not exist"]


# ------------------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("kind", models())
def test_schemas_are_valid_and_written_down(kind):
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))
    written = REPOSITORY / "docs/reference/schema" / f"{kind.lower()}.json"
    assert json.loads(written.read_text(encoding="utf-8")) == json_schema(kind), (
        "run: ftops schema --write docs/reference/schema"
    )


def check(tree):
    jsonschema.Draft202012Validator(json_schema(tree["kind"])).validate(tree)


def test_schemas_accept_the_shipped_specs_and_refuse_what_is_refused():
    shipped = [REPOSITORY / "ftops.yaml", *sorted((REPOSITORY / "specs").rglob("*.yaml"))]
    for path in (each for each in shipped if each.exists()):
        for document in read_documents(path.name, path.read_bytes())[0]:
            check(document.tree)
    for text in BASE.values():
        for document in read_documents("base", text)[0]:
            check(document.tree)
    good = yaml.safe_load(BASE["specs/base.yaml"].decode().partition("---")[2])
    for key, value in (("metod", "full"), ("timeout", 5), ("method", "lorra"), ("hyperparameters", {"lora_rr": 1})):
        with pytest.raises(jsonschema.ValidationError):
            check({**good, "spec": {**good["spec"], key: value}})


def test_schemas_say_defaults_as_they_are_written():
    timeout = json_schema("TrainingRun")["$defs"]["TrainingRunSpec"]["properties"]["timeout"]
    assert timeout["default"] == "24h"
    hyperparameters = json_schema("TrainingRun")["$defs"]["TrainingRunSpec"]["properties"]["hyperparameters"]
    assert hyperparameters["properties"]["learning_rate"] == {"type": "number"}
    assert "output_dir" not in hyperparameters["properties"]


# ------------------------------------------------------------------------------------------------ commands


def run(command, *arguments, root=None):
    return CliRunner().invoke(command, [str(each) for each in arguments], obj=root)


def test_validate_prints_every_format(tmp_path):
    write(tmp_path, {})
    result = run(validate, root=tmp_path)
    assert (result.exit_code, result.output) == (0, "Valid: 2 resources.\n")
    write(tmp_path, {"specs/a.yaml": "a: b: c\n", "specs/b.yaml": "- 1\n"})
    result = run(validate, root=tmp_path)
    assert result.exit_code == 3
    assert result.output.endswith("found a list\n2 errors.\n")
    result = run(validate, tmp_path / "specs/b.yaml", "--format", "json", root=tmp_path)
    tree = json.loads(result.output)
    assert result.exit_code == 3
    assert tree["valid"] is False
    (found,) = tree["diagnostics"]
    assert (found["file"], found["line"], found["column"], found["severity"]) == ("specs/b.yaml", 1, 1, "error")
    assert run(validate, tmp_path / "specs/base.yaml", root=tmp_path).exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.yaml").write_text("- 1\n")
    assert "elsewhere" not in run(validate, tmp_path, root=tmp_path).output
    assert "elsewhere/x.yaml:1:1: error" in run(validate, tmp_path / "elsewhere", root=tmp_path).output
    result = run(validate, "--format", "github", root=tmp_path)
    assert result.output.splitlines()[0].startswith("::error file=specs/a.yaml,line=1,col=5::a ")
    (tmp_path / ".git").mkdir()  # GitHub names files from the top of the repository, wherever the project is in it
    write(tmp_path / "project", {"specs/a.yaml": "a: b: c\n"})
    result = run(validate, "--format", "github", root=tmp_path / "project")
    assert result.output.startswith("::error file=project/specs/a.yaml,line=1,col=5::a ")


def test_schema_prints_lists_and_writes(tmp_path):
    assert json.loads(run(schema, "TrainingRun").output) == json_schema("TrainingRun")
    assert run(schema, "--list").output.split() == list(models())
    assert run(schema, "--write", tmp_path / "new").exit_code == 0
    assert {each.name for each in (tmp_path / "new").iterdir()} == {f"{kind.lower()}.json" for kind in models()}
    assert isinstance(run(schema).exception, UsageError)


def test_a_spec_as_it_counts_says_which_line_says_each_field():
    texts = {
        "ftops.yaml": b"""apiVersion: ftops/v1
kind: Project
metadata: {name: p}
spec:
  defaultRunner: box
  runners: {box: {executor: local}}
  defaults:
    TrainingRun:
      timeout: 2h
      hyperparameters: {learning_rate: 1.0e-4, num_epochs: 2}
""",
        "specs/a.yaml": b"""apiVersion: ftops/v1
kind: Dataset
metadata: {name: d}
spec: {source: {path: a.csv}}
---
apiVersion: ftops/v1
kind: TrainingRun
metadata: {name: r}
spec:
  dataset: d
  baseModel: {init: {}}
  method: full
  hyperparameters: {num_epochs: 1}
""",
    }
    specs, _ = load(texts)
    said = {each.field: (each.value, str(each.where)) for each in specs.resolved(Address("TrainingRun", "r"))}
    assert said["hyperparameters.learning_rate"] == (0.0001, "ftops.yaml:10:40")
    assert said["hyperparameters.num_epochs"] == (1, "specs/a.yaml:13:33")
    assert said["timeout"] == (7200, "ftops.yaml:9:16")
    assert said["runner"] == ("box", "ftops.yaml:5:18")
    assert said["template"] == ("axolotl/full.yaml.j2", "None")
    assert said["checkpoints.every"] == (50, "None")
