"""Laws of rendering: a value is data, whatever it looks like."""

from __future__ import annotations

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ftops.training.axolotl.config import RunValues, render_configs, shipped_templates, template_for, template_values
from ftops.training.axolotl.keys import check_config, check_hyperparameters
from ftops.training.axolotl.templates import block, flow, parse_config

HOSTILE = st.sampled_from(
    [
        "", " ", "a: b", "x\ny: 1", "{{ 7 * 7 }}", "{% raw %}", "- a", "&a", "*a", "!!python/name:os.system", "# no", "'", '"',
        "null", "yes", "on", "1e-5", ".inf", "0x10", "1_000", "2024-01-01", "~", "<<", "?", "|", "%TAG", "---", "...", "a\u2028b: c",
        "a\x85b: c", "tab\there", "end\\", "키: 값", "😀",
    ]
)  # fmt: skip
TEXT = HOSTILE | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
SCALAR = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
TREE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)
RESERVED = set(template_values(RunValues("full", {}, "m", "d", "p"))["ftops"])


@given(TREE)
def test_what_is_written_reads_back_the_same(value):
    assert yaml.safe_load(flow(value)) == value
    assert "\n" not in flow(value)


@given(TEXT, TREE)
def test_a_line_holds_its_key_and_nothing_else(key, value):
    assert parse_config(block(key, value) + "\nafter: 1\n") == ({key: value} | {"after": 1})


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(TEXT.filter(lambda key: key not in RESERVED and key != "after"), TREE, max_size=5))
def test_hyperparameters_arrive_as_they_are_and_bring_no_key(hyperparameters):
    values = template_values(RunValues("full", hyperparameters, "m", "d", "p"))
    requests = [{"id": method, "template": template_for("full"), "values": values} for method in ("first", "again")]
    results = render_configs({"templates": dict(shipped_templates()), "requests": requests})["results"]
    config = results["first"]["config"]
    assert results["again"] == results["first"]
    assert {key: config[key] for key in hyperparameters} == hyperparameters
    plain = render_configs(
        {
            "templates": dict(shipped_templates()),
            "requests": [{**requests[0], "values": {**values, "hyperparameters": {}}}],
        }
    )["results"]["first"]["config"]
    # A spec's own warmup takes the place of the default one; else nothing but the hyperparameters is new.
    assert set(config) == set(plain) | set(hyperparameters)


@given(TREE)
def test_an_expression_in_a_template_of_ones_own_is_data_too(value):
    values = template_values(RunValues("full", {"it": value}, "m", "d", "p"))
    request = {"id": "x", "template": "t", "values": values}
    result = render_configs({"templates": {"t": "a: {{ hyperparameters.it }}\nb: 1\n"}, "requests": [request]})
    assert result["results"]["x"]["config"] == {"a": value, "b": 1}


@given(st.dictionaries(TEXT, TREE, max_size=5))
def test_checking_never_fails_and_finds_what_is_unknown(config):
    unknown = {fault.path for fault in check_config(config)}
    assert unknown == {(key,) for key in config} - {(key,) for key in config if (key,) not in unknown}
    assert all(fault.summary for fault in check_hyperparameters(config))
