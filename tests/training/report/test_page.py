"""What is told of a training: in a terminal, to programs, and on its page."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ftops.plan.run import RunState
from ftops.training.metrics import Series
from ftops.training.report.curve_text import FINE, HEIGHT, PLAIN, curve_lines
from ftops.training.report.curves_chart import loss_picture
from ftops.training.report.page import answer, run_page
from ftops.training.report.text import checkpoints_json, checkpoints_text, run_json, run_text, system_title
from tests.support.html import EVIL, Page
from tests.support.run_views import ID, curve, overfitted, recorded, running

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.running.txt", lambda: run_text(running(), width=80)),
        ("run.running.color.txt", lambda: run_text(running(), width=60, color=True, glyphs=PLAIN)),
        ("run.recorded.txt", lambda: run_text(recorded())),
        ("run.running.json", lambda: run_json(dataclasses.replace(running(), curves={"loss": curve(range(1, 5), 7.5, 3.9)}))),
        ("run.running.html", lambda: run_page(running()).decode()),
        ("checkpoints.txt", lambda: checkpoints_text(running().checkpoints)),
        ("checkpoints.json", lambda: checkpoints_json(running().checkpoints)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_people_and_programs_read(name, text):
    # The golden files show escape sequences as ␛, so that looking at them is harmless.
    assert text().replace("\x1b", "␛").rstrip("\n") == (GOLDEN / name).read_text(encoding="utf-8").rstrip("\n")


# ----------------------------------------------------------------------------------------------- in a terminal


@pytest.mark.parametrize("look", [FINE, PLAIN])
@pytest.mark.parametrize("width", [20, 60, 133])
@pytest.mark.parametrize("count", [1, 2, 7, 5000])
def test_a_curve_fits_its_terminal(look, width, count):
    lines = list(curve_lines(curve(range(1, count + 1), 7.5, 3.9, 0.1), Series([1], [4.0]), width, look))
    assert len(lines) == HEIGHT + 2
    assert max(map(len, lines)) <= max(width, 20)
    assert look.mark in "".join(lines)


def test_a_falling_line_falls():
    lines = list(curve_lines(Series([0, 1, 2, 3], [3.0, 2.0, 1.0, 0.0]), None, 40, PLAIN))[:HEIGHT]
    columns = [line.index("*") for line in lines if "*" in line]
    assert columns == sorted(columns)
    assert len(columns) == HEIGHT
    assert lines[0].startswith("3 +*")


def test_a_level_line_is_drawn():
    assert any("*" in line for line in curve_lines(Series([0, 9], [2.0, 2.0]), None, 40, PLAIN))


def test_nothing_in_a_record_acts_on_a_terminal():
    view = dataclasses.replace(recorded(), phase=RunState.FAILED, detail="\x1b[2J\nhttps://me:secret@host")
    text = run_text(view)
    assert "\x1b" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("cpu_percent", ("CPU", "%")), ("memory_gib", ("memory", "GiB")), ("gpu_0_memory_gib", ("GPU 0 memory", "GiB")),
        ("gpu_11_percent", ("GPU 11", "%")), ("something", ("something", "")),
    ],
)  # fmt: skip
def test_figures_of_the_machine_have_names(name, title):
    assert system_title(name) == title


def test_json_has_no_more_points_than_it_says():
    series = curve(range(1, 10_001), 7.5, 3.9)
    found = json.loads(run_json(dataclasses.replace(running(), curves={"loss": series})))["metrics"]["loss"]
    assert (found["points"], len(found["curve"])) == (10_000, 500)
    assert found["curve"][-1][0] == found["last"]["step"] == 10_000


# ------------------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (overfitted(), ("Yes, but", "it was best at step 100: the loss on the validation split fell from 7.4 to 4.6, and has risen to 5.3 since")),
        (overfitted(inputs={"best": {}}), ("Yes", "the loss on the validation split fell from 7.4 to 4.6; it was best at step 100, whose weights it ended with")),
        (overfitted(curves={"eval_loss": Series([0, 1, 2], [3.0, 2.0, 1.0])}), ("Yes", "the loss on the validation split fell from 3 to 1, and was best at the end")),
        (overfitted(curves={"eval_loss": Series([0, 1, 2], [3.0, 3.1, 3.2])}), ("No", "the loss on the validation split never fell below 3; it began at 3")),
        (overfitted(curves={"loss": Series([1, 2], [3.0, 1.0])}), ("Yes", "the loss fell from 3 to 1; how it does on other text was not followed")),
        (overfitted(curves={"loss": Series([1, 2], [3.0, 3.0])}), ("No", "its loss went from 3 to 3")),
        (overfitted(curves={}), ("Unknown", "there is no loss of it here")),
        (recorded(), ("Yes", "the loss fell from 7.5 to 2; on the validation split it is 4.6")),
        (running(), ("Not over", "it is at step 120 of 200")),
        (dataclasses.replace(running(), phase=RunState.FAILED, detail="exit code 1"), ("It failed", "at step 120 of 200: exit code 1")),
        (dataclasses.replace(running(), phase=RunState.CANCELLED, step=None), ("It was stopped", "before its first step")),
        (dataclasses.replace(running(), phase=RunState.PENDING), ("Not yet", "it has not begun")),
    ],
)  # fmt: skip
def test_the_answer(view, said):
    found = answer(view)
    assert (found.word, found.headline) == said


# --------------------------------------------------------------------------------------------------- the page


def test_a_page_is_complete_and_what_others_wrote_stays_text():
    view = dataclasses.replace(
        running(), name=EVIL, phase=RunState.FAILED, detail=EVIL, inputs={EVIL: EVIL, "tree": {EVIL: [EVIL]}}
    )
    page = Page(run_page(view).decode())
    assert page.tags.count("script") == page.tags.count("img") == 0
    assert {name for _, name, value in page.attributes if "evil" in value} <= {"content"}
    assert "<script>alert(1)</script>" in page.text


def test_the_best_evaluation_stands_in_picture_and_caption():
    view = overfitted()
    picture = loss_picture(view.curves["loss"], view.curves["eval_loss"], ())
    assert "lowest at step 100, 4.6; the last was 5.3" in picture.caption
    for drawn in (picture.wide, picture.narrow):
        tree = ET.fromstring(drawn)
        texts = [each.text for each in tree.iter("text")]
        assert "best 4.60" in texts
        assert "validation 5.30" in texts
        width = float(tree.get("viewBox").split()[2])
        for each in tree.iter("text"):
            if each.get("text-anchor") is None:
                assert float(each.get("x")) + 7.0 * len(each.text) <= width


def test_a_spike_is_cut_off_and_said():
    values = [4.0] * 200
    values[100] = 900.0
    picture = loss_picture(Series(range(1, 201), values), None, ())
    assert "1 step with a loss of up to 900 lies above the picture" in picture.caption


def test_a_hundred_thousand_steps_stay_a_small_page():
    view = dataclasses.replace(running(), curves={"loss": curve(range(1, 100_001), 7.5, 3.9, 0.2)})
    page = run_page(view).decode()
    assert len(page) < 150_000
    assert "the 100,000 logged steps" in page


def test_where_attempts_began_is_drawn():
    assert len(re.findall('class="boundary"', loss_picture(curve(range(1, 99), 3, 2), None, (20, 50)).wide)) == 2
    assert ID in run_page(running()).decode()
