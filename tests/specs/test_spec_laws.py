"""Laws of reading specs."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.errors import Diagnostic
from ftops.plan.address import Address
from ftops.plan.json import diagnostics_json
from ftops.plan.markdown import diagnostics_github
from ftops.plan.text import diagnostics_text
from ftops.specs import load

PROJECT = b"apiVersion: ftops/v1\nkind: Project\nmetadata: {name: demo}\n"
DATASET = {"kind": "Dataset", "spec": {"source": {"path": "a.csv", "columns": {"instruction": "Q", "output": "답"}}}}
RUN = {
    "kind": "TrainingRun",
    "spec": {
        "dataset": "chat",
        "baseModel": {"init": {"layers": 2}},
        "method": "lora",
        "hyperparameters": {"lora_r": 16, "learning_rate": 2e-4, "num_epochs": 1},
        "tracking": {"tags": {"purpose": "demo", "on": "no"}},
    },
}
DOCUMENTS = [
    {"apiVersion": "ftops/v1", "metadata": {"name": name}, **body}
    for name, body in (("chat", DATASET), ("one", RUN), ("two", RUN), ("three", RUN))
]
VALID = """\
apiVersion: ftops/v1
kind: Dataset
metadata: {name: chat, labels: &team {team: 지원}}
spec:
  source:
    path: a.csv   # the raw data
    columns: {instruction: Q, output: "A"}
---
apiVersion: ftops/v1
kind: TrainingRun
metadata: {name: one, labels: *team}
spec:
  dataset: chat
  baseModel: {init: {}}
  method: full
  hyperparameters:
    learning_rate: 1e-4
  timeout: 24h
""".encode()


@st.composite
def shuffled(draw, tree):
    """The same tree with its keys in another order."""
    if not isinstance(tree, dict):
        return tree
    return {key: draw(shuffled(tree[key])) for key in draw(st.permutations(list(tree)))}


@st.composite
def layouts(draw):
    """The documents in any order, with keys in any order, spread over any files."""
    files: dict[str, list[str]] = {}
    for document in draw(st.permutations(DOCUMENTS)):
        name = draw(st.sampled_from(["specs/a.yaml", "specs/b.yaml", "specs/c/d.yml"]))
        files.setdefault(name, []).append(json.dumps(draw(shuffled(document)), ensure_ascii=False))
    return {name: "\n---\n".join(texts).encode() for name, texts in files.items()}


@settings(max_examples=50)
@given(layouts())
def test_order_of_files_documents_and_keys_changes_nothing(files):
    expected, _ = load({"ftops.yaml": PROJECT, "specs/all.yaml": "\n---\n".join(map(json.dumps, DOCUMENTS)).encode()})
    specs, diagnostics = load({**files, "ftops.yaml": PROJECT})
    assert diagnostics == ()
    assert specs.spec_digests == expected.spec_digests
    assert list(specs.resources.items()) == list(expected.resources.items())


mutations = st.lists(
    st.tuples(st.integers(0, len(VALID)), st.integers(0, 6), st.binary(max_size=6) | st.sampled_from(
        [b"\n---\n", b"\t", b": ", b"*team", b"&team ", b"[", b"}", b"'", b'"', b"|\n", b"!!int ", b"<<: ", b"- ", b"\r\n"]
    )), min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=400)
@given(mutations)
def test_no_mutation_of_a_spec_does_more_than_an_error_inside_of_the_file(changes):
    text = VALID
    for start, length, new in changes:
        text = text[:start] + new + text[start + length :]
    specs, diagnostics = load({"ftops.yaml": PROJECT, "specs/a.yaml": text})
    assert (specs is None) == any(each.severity == "error" for each in diagnostics)
    lines = text.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    for each in diagnostics:
        assert isinstance(each, Diagnostic)
        where = each.where
        if where is not None and where.file == "specs/a.yaml" and where.line is not None:
            assert 1 <= where.line <= len(lines)
            assert 1 <= where.column <= len(lines[where.line - 1]) + 1
    assert len(diagnostics_github(diagnostics).splitlines()) == len(diagnostics)
    assert len(json.loads(diagnostics_json(diagnostics))["diagnostics"]) == len(diagnostics)
    assert "\x1b" not in diagnostics_text(diagnostics)


def paths_of(tree, path=()):
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from paths_of(value, (*path, key))


@settings(max_examples=50)
@given(layouts(), st.data())
def test_where_points_at_the_value(files, data):
    specs, _ = load({**files, "ftops.yaml": PROJECT})
    document = data.draw(st.sampled_from(DOCUMENTS))
    path = data.draw(st.sampled_from(list(paths_of(document))))
    where = specs.where(Address(document["kind"], document["metadata"]["name"]), path)
    at = files[where.file].decode().split("\n")[where.line - 1][where.column - 1 :]
    value = document
    for part in path:
        value = value[part]
    expected = value if path and not isinstance(value, dict) else path[-1] if path else None
    assert at.startswith("{" if expected is None else json.dumps(expected, ensure_ascii=False))
