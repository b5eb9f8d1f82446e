"""Pictures of experiments: what is drawn, what is said about it, and that both are the same."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftops.display.numbers import chance_text, day_text, fixed, listed, number, p_text, percent, places_for, trimmed
from ftops.display.svg import spread, ticks
from ftops.experiments.analysis.interim_result import Day, Distribution
from ftops.experiments.report.chart_data import Declared
from ftops.experiments.report.distributions import distribution_pictures
from ftops.experiments.report.effects import courses, effect_pictures
from ftops.experiments.report.enrolment_chart import unit_pictures
from ftops.experiments.report.forest import forest_picture
from tests.support.experiment_records import RECORDS, compared, invalid, made_look, three_arms, winner

LETTER = {"small": 5.2, "value": 7.0, "strong": 6.6}


def parsed(svg):
    """A picture as a tree, without the prefix that HTML does not need."""
    return ET.fromstring(svg)


def having(tree, style):
    """The elements that have all classes of `style`."""
    wanted = set(style.split())
    return [each for each in tree.iter() if wanted <= set((each.get("class") or "").split())]


def points(element):
    """The points of a path."""
    numbers = [float(each) for each in re.findall(r"-?[0-9.]+", element.get("d"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def declared(record):
    return Declared.of(record.status.inputs)


def looks_of(record):
    return list(record.status.phases["1"].looks.values())


def effects(record):
    return effect_pictures(record.look, looks_of(record), declared(record))


def pictures(record):
    """Every picture of a record, the one for phones too."""
    found = [*effects(record), forest_picture(record.look, declared(record))]
    found += [*unit_pictures(record.look, declared(record)), *distribution_pictures(record.look)]
    return [(each, svg) for each in found if each for svg in (each.wide, each.narrow) if svg]


def drawn_records():
    return [pytest.param(make(), id=name) for name, make in RECORDS.items() if make().look]


# --------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (number(None), "–"), (number(0.0), "0"), (number(3.6), "3.600"), (number(12345.6), "12,346"), (trimmed(0.2), "0.2"),
        (number(-0.001234), "−0.001234"), (trimmed(1420.0, 3), "1,420"), (fixed(-0.004, 2, sign=True), "0.00"), (fixed(0.12, 2, sign=True), "+0.12"),
        (fixed(-1234.5, 1), "−1,234.5"), (percent(0.0341, sign=True), "+3.4 %"), (percent(None), "–"), (p_text(0.0009), "< 0.001"),
        (p_text(0.0131), "0.013"), (p_text(None), "–"), (chance_text(0.99999), "over 99.9 %"), (chance_text(0.0), "below 0.1 %"),
        (chance_text(0.75), "75.0 %"), (day_text("2026-10-04T22:00:00Z"), "4 Oct"), (listed("abc"), "a, b and c"), (listed([]), "–"),
    ],
)  # fmt: skip
def test_figures_read_well(text, expected):
    assert text == expected


@pytest.mark.parametrize(("width", "places"), [(0.1, 2), (0.02, 3), (3.0, 1), (40.0, 0), (0.0, 2), (1e-9, 6)])
def test_decimals_show_two_digits_of_what_is_uncertain(width, places):
    assert places_for(width) == places


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_round_even_and_inside(low, width, most):
    found = ticks(low, low + width, most)
    assert 1 <= len(found) <= most + 1 or not found
    slack = width * 1e-6 + 1e-9
    assert all(low - slack <= each <= low + width + slack for each in found)
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-3, abs_tol=1e-9) for gap in gaps)


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_are_moved_apart_in_their_order(places):
    moved = spread(places, 15, 0, 200)
    order = sorted(range(len(places)), key=lambda index: places[index])
    heights = [moved[index] for index in order]
    assert all(after - before >= 15 - 1e-9 for before, after in itertools.pairwise(heights))
    assert -1e-9 <= heights[0] <= heights[-1] <= 200 + 1e-9


# --------------------------------------------------------------------------------------------------- all pictures


@pytest.mark.parametrize("record", drawn_records())
def test_every_picture_says_in_words_what_it_shows(record):
    for picture, svg in pictures(record):
        tree = parsed(svg)
        assert tree.find("title").text == picture.title
        assert tree.find("desc").text == picture.caption
        assert tree.get("role") == "img"


def long_names():
    """Three arms with names as long as they may be."""
    record = three_arms()
    names = {arm: arm * 2 + "-name-of-an-arm-that-is-as-long-as-one-may-ever-be-in-a-specs" for arm in "abc"}
    text = record.model_dump_json(by_alias=True)
    for arm, name in names.items():
        text = text.replace(f'"{arm}"', f'"{name}"')
    return type(record).model_validate_json(text)


@pytest.mark.parametrize("record", [*drawn_records(), pytest.param(long_names(), id="long-names")])
def test_labels_stay_inside_and_do_not_overlap(record):
    for picture, svg in pictures(record):
        tree = parsed(svg)
        _, _, width, height = map(float, tree.get("viewBox").split())
        boxes = []
        for each in tree.iter("text"):
            size = len(each.text) * next((LETTER[name] for name in LETTER if name in (each.get("class") or "")), 6.0)
            x, y = float(each.get("x")), float(each.get("y"))
            left = x - size * {"middle": 0.5, "end": 1.0}.get(each.get("text-anchor"), 0.0)
            assert left >= -1, (picture.title, each.text)
            assert left + size <= width + 8, (picture.title, each.text)
            assert 8 <= y <= height, (picture.title, each.text)
            boxes.append((left, left + size, y - 9, y + 1, each.text))
        for index, one in enumerate(boxes):
            for other in boxes[:index]:
                apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
                assert apart, (picture.title, one, other)


def test_nothing_in_a_name_is_markup():
    evil = '"><script>alert(1)</script>]]>'
    record = winner()
    look = record.look
    renamed = look.model_copy(
        update={
            "arms": {"a": look.arms["a"], evil: look.arms["b"]},
            "comparisons": tuple(each.model_copy(update={"arm": evil, "metric": evil}) for each in look.comparisons),
            "days": tuple(Day(day=each.day, exposed={"a": 5, evil: 6}, effects={evil: each.effects["b"]}) for each in look.days),
            "distributions": (Distribution(metric=evil, labels=(evil, "2"), shares={"a": (0.5, 0.5), evil: (0.1, 0.9)}),),
        }
    )  # fmt: skip
    hostile = record.model_copy(
        update={"status": record.status.model_copy(update={"phases": {"1": record.status.phases["1"].model_copy(update={"looks": {"1": renamed}})}})}
    )  # fmt: skip
    found = pictures(hostile)
    assert len(found) >= 6
    for _, svg in found:
        assert not [each for each in parsed(svg).iter() if each.tag == "script"]
        assert "<script" not in svg


# --------------------------------------------------------------------------------------------------- effects


def value_scale(tree):
    """Height in the picture → value, read off the labels at the left."""
    marks = {}
    for each in tree.iter("text"):
        if (
            each.get("text-anchor") == "end"
            and re.fullmatch(r"[+−]?[0-9.]+( %)?", each.text)
            and float(each.get("x")) < 60
        ):
            value = float(each.text.replace("−", "-").removesuffix(" %"))
            marks[float(each.get("y")) - 4] = math.log1p(value / 100) if each.text.endswith("%") else value
    zero = next(height for height, value in marks.items() if value == 0)
    logs = any("%" in each.text for each in tree.iter("text"))
    other = max((height for height in marks if height != zero), key=lambda height: abs(height - zero))
    per_pixel = marks[other] / (other - zero)
    return (lambda height: (height - zero) * per_pixel), logs, zero


@pytest.mark.parametrize("make", [winner, three_arms, invalid])
def test_an_effect_is_drawn_as_it_is_said(make):
    record = make()
    found = courses(record.look, looks_of(record), declared(record))
    for course, picture in zip(found, effects(record), strict=True):
        for svg in filter(None, (picture.wide, picture.narrow)):
            tree = parsed(svg)
            value, logs, zero = value_scale(tree)
            assert logs == course.logs
            effect, boundary = record.look.days[-1].effects[course.arm]
            last = having(tree, "last dot")[0]
            step = abs(value(zero + 1)) * 1.5
            assert value(float(last.get("cy"))) == pytest.approx(effect, abs=step)
            line = points(having(tree, "line")[0])
            assert line[-1] == (float(last.get("cx")), float(last.get("cy")))
            assert len(line) == len(record.look.days)
            band = points(having(tree, "band")[0])
            half = len(band) // 2
            assert value(band[half - 1][1]) == pytest.approx(effect + boundary, abs=step)
            assert value(band[half][1]) == pytest.approx(effect - boundary, abs=step)
            above, below = (points(each)[-1][1] for each in having(tree, "boundary"))
            assert (value(above), value(below)) == pytest.approx((boundary, -boundary), abs=step)
            said = having(tree, "value")[0].text
            assert f"stood at {said} against {course.baseline}" in picture.caption
            outside = not band[half - 1][1] < zero < band[half][1]
            assert ("outside of the stopping boundary" in picture.caption) is outside
            assert ("leaves out 0" in picture.caption) is outside
            dots = [each for each in tree.iter("circle") if "dot" in each.get("class")]
            assert ("The dot is" if len(dots) == 1 else f"The {len(dots)} dots are") in picture.caption


def test_an_effect_of_unsound_data_says_that_nothing_follows():
    assert "Nothing follows from it" in effects(invalid())[0].caption
    assert "Nothing follows" not in effects(winner())[0].caption


def test_what_is_cut_off_is_said():
    record = winner()
    course = courses(record.look, looks_of(record), declared(record))[0]
    beyond = [day for day in record.look.days if sum(map(abs, day.effects["b"])) > course.limit]
    assert beyond
    assert (
        f"On {len(beyond)} of the 28 days drawn the interval or the boundary reaches beyond the picture."
        in effects(record)[0].caption
    )


def test_a_boundary_far_away_is_still_drawn_dashed():
    """Chromium draws a dashed line that is millions of pixels long as a solid one."""
    record = winner()
    days = [
        each.model_copy(update={"effects": {"b": (0.2, 1e9 / 10**n)}}) for n, each in enumerate(record.look.days[:11])
    ]
    look = changed(record, days=tuple(days))
    for each in having(parsed(effect_pictures(look, [look], declared(record))[0].wide), "boundary"):
        assert all(abs(y) < 10_000 for _, y in points(each))


def test_less_is_better_where_the_spec_says_so():
    words = [each.text for each in parsed(effects(three_arms())[0].wide).iter("text")]
    assert "↑ worse  ↓ better" in words


def changed(record, **fields):
    """The last look of a record with other fields, and the record around it."""
    return record.look.model_copy(update=fields)


def test_a_day_without_a_figure_breaks_the_line_and_keeps_its_place():
    record = winner()
    days = [*record.look.days]
    days[20] = days[20].model_copy(update={"effects": {"b": None}})
    look = changed(record, days=tuple(days))
    tree = parsed(effect_pictures(look, [look], declared(record))[0].wide)
    line = having(tree, "line")[0]
    assert line.get("d").count("M") == 2
    whole = points(having(parsed(effects(record)[0].wide), "line")[0])
    assert [each[0] for each in points(line)] == [each[0] for index, each in enumerate(whole) if index != 20]


def test_one_day_is_a_dot():
    record = winner()
    look = changed(record, days=record.look.days[:1])
    picture = effect_pictures(look, [], declared(record))[0]
    assert len(having(parsed(picture.wide), "dot")) == 1
    assert "The dot is the look." in picture.caption
    assert len(unit_pictures(look, declared(record))) == 2


def test_looks_are_marked_on_the_line_also_between_its_points():
    record = winner()
    look = changed(record, days=record.look.days[::-3][::-1])
    tree = parsed(effect_pictures(look, looks_of(record), declared(record))[0].wide)
    dots = having(tree, "dot")
    assert len(dots) == 4
    line = points(having(tree, "line")[0])
    for dot in dots:
        px, py = float(dot.get("cx")), float(dot.get("cy"))
        before, after = max(each for each in line if each[0] <= px), min(each for each in line if each[0] >= px)
        ends = sorted((before[1], after[1]))
        assert ends[0] - 0.2 <= py <= ends[1] + 0.2


def test_a_covariate_is_said_to_be_left_out_of_the_picture():
    assert "the covariate explains" in effects(winner())[0].caption
    assert "the covariate explains" not in effects(invalid())[0].caption


@pytest.mark.parametrize(
    "fields",
    [{"days": ()}, {"comparisons": (), "days": (), "distributions": ()}, {"arms": {}, "comparisons": (), "days": ()}],
)
def test_where_there_is_nothing_no_picture_is_made(fields):
    record = winner()
    look = changed(record, **fields)
    assert effect_pictures(look, [look], declared(record)) == ()
    assert unit_pictures(look, declared(record)) == ()
    if not fields.get("comparisons", True):
        assert forest_picture(look, declared(record)) is None


@pytest.mark.parametrize("make", [winner, three_arms])
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1e3))),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_any_days_can_be_drawn(make, rows):
    days = tuple(
        Day(day=f"2026-{1 + n // 28:02}-{1 + n % 28:02}", exposed={"a": a, "b": b}, effects={"b": pair}) for n, (a, b, pair) in enumerate(rows)
    )  # fmt: skip
    record = make()
    look = changed(record, days=days)
    made = [*effect_pictures(look, [look], declared(record)), *unit_pictures(look, declared(record))]
    assert len(made) == 2 + any(pair for *_, pair in rows)
    for each in made:
        parsed(each.wide)
        assert "nan" not in each.wide
        assert "inf" not in each.wide.replace("information", "")


# --------------------------------------------------------------------------------------------------- the others


@pytest.mark.parametrize("make", [winner, three_arms])
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_a_forest_has_each_comparison_in_its_place(make, width):
    record = make()
    picture = forest_picture(record.look, declared(record))
    tree = parsed(getattr(picture, width))
    zero = points(having(tree, "zero")[0])[0][0]
    dots = [float(each.get("cx")) for each in tree.iter("circle")]
    whiskers = [points(each) for each in having(tree, "whisker")]
    drawn = record.look.comparisons
    assert len(dots) == len(whiskers) == len(drawn)
    scale = max(((dot - zero) / each.relative_effect for dot, each in zip(dots, drawn, strict=True)), key=abs)
    for dot, ends, each in zip(dots, whiskers, drawn, strict=True):
        assert dot == pytest.approx(zero + scale * each.relative_effect, abs=1.5)
        low, high = each.relative_ci
        if each.role == "guardrail":  # held against its margin by the one-sided interval
            low, high = (low, each.worst) if make is winner else (-each.worst, high)
        assert [end[0] for end in ends] == pytest.approx([zero + scale * low, zero + scale * high], abs=1.5)
    assert picture.caption.startswith(f"{len(drawn)} comparisons")
    margins = [points(each)[0][0] for each in having(tree, "margin")]
    sign = 1 if make is winner else -1
    assert margins == pytest.approx([zero + sign * scale * 0.05] * len(margins), abs=1.5)
    assert len(margins) == sum(each.margin is not None for each in drawn)


def test_a_forest_says_what_was_shown_and_what_is_missing():
    record = three_arms()
    caption = forest_picture(record.look, declared(record)).caption
    assert "c in rating (guardrail): guardrail broken" in caption
    assert "response_time_ms" not in caption
    wide = compared("b", "solved", "secondary", 0.5, 9.0, 1.0)
    blank = wide.model_copy(update={"metric": "blank", "relative_effect": None, "relative_ci": None})
    look = changed(record, comparisons=(*record.look.comparisons, wide, blank))
    picture = forest_picture(look, declared(record))
    assert "1 interval with an arrow reaches beyond the picture" in picture.caption
    assert "1 comparison without a relative effect is not drawn" in picture.caption
    assert len([each for each in having(parsed(picture.wide), "fill") if each.tag == "path"]) == 2


def test_bars_are_as_high_as_their_shares():
    record = winner()
    picture = distribution_pictures(record.look)[0]
    found = record.look.distributions[0]
    tree = parsed(picture.wide)
    bars = [each for each in having(tree, "bar") if float(each.get("height")) != 10]
    shares = [share for pair in zip(found.shares["a"], found.shares["b"], strict=True) for share in pair]
    heights = [float(each.get("height")) for each in bars]
    assert heights == pytest.approx([share * heights[0] / shares[0] for share in shares], rel=0.01)
    assert "The share of 1 is 8.1 % in a and 5.2 % in b; that of 5 is 28.1 % in a and 32.3 % in b" in picture.caption


def test_quantiles_are_marked_where_the_bins_say():
    record = three_arms()
    found = record.look.distributions[0]
    picture = distribution_pictures(record.look)[0]
    tree = parsed(picture.wide)
    dots = [float(each.get("cx")) for each in tree.iter("circle")]
    assert len(dots) == 9
    edges = {each.text: float(each.get("x")) for each in tree.iter("text") if each.get("text-anchor") == "middle"}
    left, right = edges["500"], edges["1,100"]  # two bins: 500 to 740 to 1,100
    expected = left + (right - left) / 2 * math.log(590 / 500) / math.log(740 / 500)
    assert dots[0] == pytest.approx(expected, abs=0.2)
    for arm, values in found.quantiles.items():
        assert f"{arm} {values['p50'][0]:.0f} (p50)" in picture.caption


def test_a_histogram_is_as_high_as_its_shares():
    record = three_arms()
    tree = parsed(distribution_pictures(record.look)[0].wide)
    for line, shares in zip(having(tree, "line"), record.look.distributions[0].shares.values(), strict=True):
        steps = points(line)
        bottom = steps[0][1]
        heights = [bottom - y for _, y in steps[1:-1:2]]
        assert heights == pytest.approx([share * max(heights) / max(shares) for share in shares], abs=0.2)


def test_units_and_shares_are_drawn_as_they_are_said():
    record = invalid()
    counts, shares = unit_pictures(record.look, declared(record))
    last = record.look.days[-1].exposed
    assert f"{sum(last.values()):,} users had been seen: {last['a']:,} in a and {last['b']:,} in b" in counts.caption
    tree = parsed(counts.wide)
    zero = points(having(tree, "zero")[0])[0][1]
    heights = [zero - points(each)[-1][1] for each in having(tree, "line")]
    assert heights[0] / heights[1] == pytest.approx(last["a"] / last["b"], rel=0.01)
    labels = [each.text for each in having(parsed(shares.wide), "value")]
    total = sum(last.values())
    assert labels == [f"{arm} {last[arm] / total:.1%}".replace("%", " %") for arm in ("a", "b")]
    for label in labels:
        assert f"{label[2:]} in {label[0]} (50.0 % expected)" in shares.caption
    band = points(having(parsed(shares.wide), "chance")[0])
    lines = [points(each)[-1][1] for each in having(parsed(shares.wide), "line")]
    half = len(band) // 2
    assert not band[half - 1][1] <= lines[0] <= band[half][1]
    assert "p < 0.001" in shares.caption


def test_a_split_within_chance_stays_in_the_band():
    record = winner()
    tree = parsed(unit_pictures(record.look, declared(record))[1].wide)
    band = points(having(tree, "chance")[0])
    half = len(band) // 2
    for each in having(tree, "line"):
        assert band[half - 1][1] <= points(each)[-1][1] <= band[half][1]


def test_a_record_that_declares_nothing_can_still_be_drawn():
    look = made_look(winner().look.days, winner().look.comparisons, {"a": 3.6, "b": 3.8})
    nothing = Declared.of(None)
    assert effect_pictures(look, [look], nothing)[0].title == "Effect of b on rating"
    assert not having(parsed(forest_picture(look, nothing).wide), "margin")
    assert unit_pictures(look, nothing)[0].title == "Units in each arm, so far"
