"""Whatever a template does, the child ends within its limits, and the error says which limit it was."""

from __future__ import annotations

import os
import re
import tempfile
import time

import pytest

from ftops.errors import ChecksFailed, FtopsError, SpecError
from ftops.store import sandbox
from ftops.training.axolotl.config import RunValues, render_configs, shipped_templates, template_values

VALUES = template_values(RunValues("full", {}, "model", "train.jsonl", "tokens"))
TARGET = "ftops.training.axolotl.config:render_configs"


def render(text, **limits):
    payload = {
        "templates": {**shipped_templates(), "mine.j2": text},
        "requests": [{"id": "it", "template": "mine.j2", "values": VALUES}],
    }
    return sandbox.call(TARGET, payload, sandbox.Limits(**limits))["results"]["it"]


def stopped(text, **limits):
    with pytest.raises(FtopsError) as caught:
        render(text, **limits)
    return str(caught.value)


def test_what_goes_in_and_out_is_json():
    assert render("a: 1\nb: {{ gpus }}\n") == {"config": {"a": 1, "b": 0}, "text": "a: 1\nb: 0\n"}


def test_the_answer_is_that_of_the_function_called_directly():
    payload = {
        "templates": dict(shipped_templates()),
        "requests": [{"id": "it", "template": "axolotl/full.yaml.j2", "values": VALUES}],
    }
    assert sandbox.call(TARGET, payload) == render_configs(payload)


def test_the_child_sees_no_environment_and_no_current_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jinja2.py").write_text("raise SystemExit('taken from the current folder')")
    assert sandbox.call("os:getenv", "A_TOKEN") is None
    assert render("a: 1")["config"] == {"a": 1}


@pytest.mark.parametrize(
    "bomb", ["{{ 'a' * 500000000 }}", "a: {{ range(99999) | list | string * 9000 }}", "{{ [0] * 10**12 }}"]
)
def test_memory_bombs_name_the_memory(bomb):
    assert "more memory" in render(bomb, memory=256 * sandbox.MIB)["error"]["message"]


def test_memory_taken_outside_of_a_template_names_the_limit():
    with pytest.raises(SpecError, match="more than 256 MiB of memory"):
        sandbox.call("builtins:bytearray", 1 << 40, sandbox.Limits(memory=256 * sandbox.MIB))


@pytest.mark.parametrize(
    "loop",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ],
    ids=["loop", "aliases"],
)
def test_what_doesnt_end_is_ended(loop):
    began = time.monotonic()
    assert "more than 1 s" in stopped(loop, seconds=1)
    assert time.monotonic() - began < 5


def test_recursion_without_end_is_an_error_of_the_template():
    assert "recursion" in render("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}")["error"]["message"]


def test_an_output_bomb_names_the_output():
    assert "output is more than 1 MiB" in stopped("a: {{ 'x' * 3000000 }}", output=sandbox.MIB)


def test_nesting_that_breaks_the_parser_is_named():
    """Newer parsers refuse it themselves, and the template is told so; an older one takes the child down with it."""
    text = "a: " + "[" * 200_000
    try:
        refusal = render(text)["error"]["message"]
    except FtopsError as stop:
        refusal = str(stop)
    assert re.search("nested too deeply|nesting depth", refusal)


def test_a_child_whose_stack_is_broken_is_said_to_be_nested_too_deeply():
    with pytest.raises(SpecError, match="it is nested too deeply"):
        sandbox.call("faulthandler:_sigsegv", False)


def test_jinjas_own_range_limit_is_an_error_of_the_template():
    assert render("{% for i in range(10**9) %}{% endfor %}")["error"] == {
        "message": "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).",
        "template": "mine.j2",
        "line": 1,
    }


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__ }}",
        "{{ hyperparameters.__init__.__globals__ }}",
        "{{ owned.__globals__ }}",
        "{{ rest.__code__ }}",
    ],
)
def test_the_way_out_of_the_template_is_closed(escape):
    assert "unsafe" in render(f"a: 1\nb: {escape}")["error"]["message"]
    assert render(f"a: 1\nb: {escape}")["error"]["line"] == 2


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "nothing.j2"])
def test_only_the_given_templates_can_be_included(path):
    error = render(f"a: 1\n{{% include '{path}' %}}")["error"]
    assert error["message"].startswith(f"no template '{path}'")
    assert error["line"] == 2


def test_a_failing_function_says_its_last_words():
    with pytest.raises(SpecError, match="No module named 'nothing_of_that_name'"):
        sandbox.call("nothing_of_that_name:f", None)


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    stopped("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", seconds=1)
    assert list(tmp_path.iterdir()) == []


def test_a_descriptor_goes_along_and_another_does_not():
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as kept:
        given.write(b"ab")
        given.flush()
        for file, failure in ((given, None), (kept, "Bad file descriptor")):
            child = sandbox.Child("os:fstat", file.fileno(), sandbox.Limits(), ChecksFailed, [given.fileno()])
            with child:
                if failure is None:
                    assert child.result()[6] == 2
                else:
                    with pytest.raises(ChecksFailed, match=failure):
                        child.result()


def test_whoever_leaves_early_leaves_no_process():
    with sandbox.Child("time:sleep", 60, sandbox.Limits(seconds=120), ChecksFailed) as child:
        assert not child.ended(within=0.2)
        number = child._process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_the_caller_says_what_kind_of_error_it_is():
    with (
        sandbox.Child("time:sleep", 60, sandbox.Limits(seconds=0.3), ChecksFailed) as child,
        pytest.raises(ChecksFailed, match=r"it took more than 0\.3 s"),
    ):
        child.result()
