"""What every type of metric promises: those of `METRIC_TYPES` pass the same suite."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from ftops.experiments.logs.row_schema import number
from ftops.experiments.metric_types import METRIC_TYPES
from ftops.experiments.metric_types.figures import Figures
from tests.support.projects import ROOT

NUMBERS = [*range(-2, 8), 0.5, -0.5, 4.5, 1e-9, -1e-9, 2.0**53, 1e308, -1e308, 5e-324, math.inf, -math.inf]

every_type = pytest.mark.parametrize("kind", METRIC_TYPES.values(), ids=METRIC_TYPES)


def figures(kind, seed, units=60, shift=0.0):
    """The figures of one arm, drawn as the simulator draws them, with denominators where the type is of parts."""
    draw = np.random.default_rng(seed)
    fields = ("above", "below") if kind.of_parts else ("one",)
    columns = {}
    for each in kind.simulated(fields, 1):
        columns[each.name] = each.draw(draw.standard_normal(units) + shift, columns, draw.random(units))
    y = kind.analysed(columns[fields[0]])
    return Figures(y, next(iter(kind.aggregates), ""), columns.get("below"))


@every_type
def test_one_number_and_a_column_are_judged_alike(kind):
    many = kind.values.fit(np.array(NUMBERS, np.float64))
    assert many.tolist() == [kind.values.fits(float(each)) for each in NUMBERS]


@every_type
def test_what_is_drawn_may_be_logged(kind):
    draw = np.random.default_rng(1)
    columns = {}
    for sign in (1, -1):
        for each in kind.simulated(("above", "below") if kind.of_parts else ("one",), sign):
            columns[each.name] = each.draw(6 * draw.standard_normal(500), columns, draw.random(500))
            for value in each.plain(columns[each.name]):
                assert number(json.loads(json.dumps(value)), kind.values) is not None


@every_type
def test_swapping_the_arms_negates_the_effect(kind):
    one, other = figures(kind, 1, shift=0.5), figures(kind, 2)
    found, swapped = kind.measure(one, other), kind.measure(other, one)
    assert found.effect.estimate == pytest.approx(-swapped.effect.estimate)
    assert found.effect.p_value == pytest.approx(swapped.effect.p_value)
    assert (found.arm, found.baseline) == (swapped.baseline, swapped.arm)


@every_type
def test_more_content_units_have_more(kind):
    found = kind.measure(figures(kind, 1, 2000, shift=0.5), figures(kind, 2, 2000))
    assert found.effect.estimate > 0
    assert found.effect.p_value < 0.001


@every_type
def test_an_effect_is_shown_with_its_sign_and_interval(kind):
    found = kind.measure(figures(kind, 1, 2000, shift=0.5), figures(kind, 2, 2000))
    interval = kind.reportable(found.effect.interval(0.05))
    shown = kind.difference(found, interval, 0.05)
    assert shown.ci[0] < shown.effect < shown.ci[1]
    assert 0 < shown.relative_ci[0] < shown.relative_effect < shown.relative_ci[1]
    assert kind.share(found.effect.estimate, found.baseline) == pytest.approx(shown.relative_effect)
    assert kind.size("it", shown).startswith("it is +")


@every_type
def test_the_numbers_by_unit_have_the_mean_of_the_arm(kind):
    one = figures(kind, 1)
    assert kind.linear(one).mean() == pytest.approx(kind.sample(one).mean)


@every_type
def test_the_power_of_what_can_be_detected_is_the_one_asked_for(kind):
    found = kind.detectable(400, 0.05, 0.8, None)
    power = None if found is None else kind.power(found, (400, 400), 0.05, None)
    assert power is None or power == pytest.approx(0.8, abs=1e-6)


@every_type
def test_a_type_holds_no_state(kind):
    assert METRIC_TYPES[kind.name] is kind
    assert not hasattr(kind, "__dict__")


def test_types_are_imported_without_any_package():
    """Web applications write log rows; with -S no installed package is in reach."""
    script = "import json, sys, ftops.experiments.metric_types; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert modules - {"__main__"} <= {*sys.stdlib_module_names, "ftops"}
