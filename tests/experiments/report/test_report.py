"""Reports on experiments: what a terminal, a program, a pull request and a browser are shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ftops.display.pages import fenced, prose, tight
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.record import Conclusion, ExperimentRecord, Proposal
from ftops.experiments.report.answer import answer
from ftops.experiments.report.figures import arms_table, comparisons_table, data_checks, details_table
from ftops.experiments.report.page import experiment_documents, make_report
from ftops.experiments.report.text import look_json, look_text
from ftops.registry.record_files import dump, parse
from tests.support.experiment_records import RECORDS, inputs, invalid, just_started, three_arms, two_arms, winner
from tests.support.html import EVIL, Page

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[3]


def html(record):
    return next(text.decode() for path, text in experiment_documents(record).items() if path.endswith(".html"))


def markdown(record):
    return next(text.decode() for path, text in experiment_documents(record).items() if path.endswith(".md"))


def with_status(record, **fields):
    return record.model_copy(update={"status": record.status.model_copy(update=fields)})


def with_look(record, **fields):
    phase = record.status.phases["1"]
    look = record.look.model_copy(update=fields)
    return with_status(
        record, phases={"1": phase.model_copy(update={"looks": {**phase.looks, str(look.number): look}})}
    )


# --------------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((f"experiment.{name}.md", lambda make=make: markdown(make())) for name, make in RECORDS.items()),
        ("experiment.just-started.html", lambda: html(just_started())),
        ("look.winner.txt", lambda: look_text("chat-v2", winner().look)),
        ("look.invalid.color.txt", lambda: look_text("lost-users", invalid().look, color=True)),
        ("look.three-arms.txt", lambda: look_text("three-models", three_arms().look)),
        ("look.invalid.json", lambda: look_json("lost-users", invalid().look)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_people_and_programs_read(name, text):
    assert text().rstrip("\n") == (GOLDEN / name).read_text().rstrip("\n")


# --------------------------------------------------------------------------------------------------- a look


def test_json_of_a_look_keeps_its_contract():
    found = json.loads(look_json("chat-v2", winner().look), parse_constant=pytest.fail)
    assert found["formatVersion"] == "1.0"
    assert found["verdict"] == "winner"
    assert found["winner"] == "b"
    assert {"units", "mean", "variance", "ci"} <= found["arms"]["a"].keys()
    for each in found["comparisons"]:
        assert {"arm", "baseline", "metric", "effect", "relativeEffect", "ci", "pValue", "test"} <= each.keys()
    assert found["srm"]["pValue"] == 0.62
    assert found["reasons"][0].startswith("The rating of b")
    assert InterimResult.model_validate_json(json.dumps({key: found[key] for key in found if key not in ("formatVersion", "experiment")})) == winner().look  # fmt: skip


def test_undefined_figures_are_null_in_json_and_a_dash_in_text():
    look = three_arms().look
    blank = {
        "effect": None,
        "ci": None,
        "relative_effect": None,
        "relative_ci": None,
        "p_value": None,
        "standardized": None,
    }
    first = look.comparisons[0].model_copy(update=blank)
    arms = {**look.arms, "a": look.arms["a"].model_copy(update={"mean": None, "ci": None, "variance": None})}
    look = look.model_copy(update={"comparisons": (first, *look.comparisons[1:]), "arms": arms})
    found = json.loads(look_json("x", look))
    assert found["comparisons"][0]["effect"] is None
    assert found["arms"]["a"]["mean"] is None
    assert found["winner"] is None
    row = next(line for line in look_text("x", look).splitlines() if line.startswith("  response_time_ms (primary)"))
    assert row.split()[2:7] == ["b", "–", "–", "–", "–"]
    assert "nan" not in look_text("x", look).lower()


def test_the_verdict_stands_in_the_first_line():
    first = [look_text(name, make().look).splitlines()[0] for name, make in RECORDS.items() if make().look]
    assert first == [
        "winner: winner b (simulated data). Yes: b is better than a.",
        "three-arms: inconclusive. Not yet: nothing is proven either way.",
        "invalid: invalid. No: the data cannot be trusted.",
    ]


def test_colour_changes_no_word():
    look = winner().look
    assert re.sub(r"\x1b\[[0-9;]*m", "", look_text("x", look, color=True)) == look_text("x", look)


def test_columns_stand_under_each_other():
    lines = look_text("x", three_arms().look).splitlines()
    start = lines.index("Comparisons") + 1
    block = lines[start : start + 5]
    assert len({line.index(word) for line, word in zip(block, ["shown", "not shown", "not shown", "within", "guardrail broken"], strict=True)}) == 1  # fmt: skip


def test_a_terminal_is_not_acted_on():
    look = winner().look.model_copy(update={"reasons": ("\x1b[2Jgone",), "notes": ("a\nb",)})
    text = look_text("x\x1b[0m", look)
    assert "\x1b" not in text
    assert "  note: a\\nb" in text


@pytest.mark.parametrize(
    ("fields", "ended", "expected"),
    [
        ({"verdict": "winner", "winner": "b"}, False, "Yes: b is better than a"),
        ({"verdict": "winner", "winner": "a"}, False, "Yes: a is better than b"),
        ({"verdict": "no-difference"}, False, "Yes: there is no difference that matters"),
        ({"verdict": "inconclusive"}, False, "Not yet: nothing is proven either way"),
        ({"verdict": "inconclusive"}, True, "No: the data do not settle it"),
        ({"verdict": "inconclusive", "decided_at": 3}, False, "No: the data do not settle it"),
        ({"verdict": "invalid"}, True, "No: the data cannot be trusted"),
    ],
)
def test_every_verdict_answers_the_question(fields, ended, expected):
    look = winner().look.model_copy(update={"winner": None, "decided_at": None, **fields})
    assert str(answer(look, ended=ended)) == expected


@pytest.mark.parametrize(("p_value", "state", "words"), [(0.5, "good", "as planned"), (0.005, "open", "a little off"), (0.0005, "bad", "mismatch")])  # fmt: skip
def test_a_mismatch_is_called_one(p_value, state, words):
    look = winner().look
    split = data_checks(look.model_copy(update={"srm": look.srm.model_copy(update={"p_value": p_value})}))[0]
    assert split.state == state
    assert words in split.text


def test_chances_are_for_information_and_not_said_of_unsound_data():
    assert "for information only: b is better than a with a chance of over 99.9 %" in look_text("x", winner().look)
    primary = winner().look.comparisons[0]
    unsound = invalid().look.model_copy(update={"comparisons": (primary,)})
    assert "information" not in look_text("x", unsound)


def test_tables_leave_out_what_nobody_knows():
    look = winner().look
    assert "model" not in arms_table(look).headings
    assert "model" in arms_table(look, {"a": "chat@1.0.0"}).headings
    assert {"CUPED", "p by ranks", "p alone"} <= set(details_table(look).headings)
    lean = details_table(invalid().look)
    assert not {"CUPED", "p by ranks", "p alone", "power"} & set(lean.headings)
    assert "CUPED" not in lean.note
    assert "Nothing follows from these figures" in comparisons_table(invalid().look).note


# --------------------------------------------------------------------------------------------------- documents


@pytest.mark.parametrize("name", RECORDS)
def test_the_same_record_gives_the_same_bytes(name):
    record = RECORDS[name]()
    again = parse(record.path, dump(record))
    assert isinstance(again, ExperimentRecord)
    assert experiment_documents(record) == experiment_documents(again)
    assert list(experiment_documents(record)) == [
        record.path.replace(".yaml", ".md"),
        record.path.replace(".yaml", ".html"),
    ]


@pytest.mark.parametrize("name", RECORDS)
def test_a_page_is_one_small_file_without_a_program_or_a_network(name):
    text = html(RECORDS[name]())
    page = Page(text)
    assert len(text.encode()) <= 60_000
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [each for each in page.attributes if each[1] in ("src", "href", "srcset") or each[1].startswith("on")]
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text


@pytest.mark.parametrize("name", RECORDS)
def test_both_forms_say_the_same(name):
    record = RECORDS[name]()
    report, page = make_report(record), Page(html(record)).text
    document = " ".join(MarkdownIt().enable("table").render(markdown(record)).split())
    plain = " ".join(Page(f"<div>{document}</div>").words)
    plain = " ".join(plain.split())
    said = [report.answer.headline, *report.reasons, *report.notes, *(each.text for each in report.checks)]
    said += [each.text for each in report.guardrails] + [value for _, value in report.design]
    said += [each.caption for each in report.effects] + [each.value for each in report.figures]
    tables = (report.arms, report.comparisons, report.details, report.phases, report.looks)
    said += [cell for table in tables if table for row in table.rows for cell in row]
    for sentence in said:
        # Where a span of code stands in Markdown there is an element more, and so maybe a space.
        assert " ".join(sentence.split()) in page
        assert re.sub(r"\s", "", sentence) in re.sub(r"\s", "", plain)


def test_pictures_stand_in_the_page():
    page = html(winner())
    assert page.count("<figure") == 5
    assert page.count("<svg class=") + page.count("<svg role=") == 7
    assert html(three_arms()).count("<figure") == 6
    assert "<svg" not in html(just_started())


def test_simulated_data_is_called_so_before_anything_else():
    page, text = Page(html(winner())).text, markdown(winner())
    assert page.index("Simulated data.") < page.index("Can we decide?")
    assert text.index("Simulated data.") < text.index("rating")
    assert "Simulated" not in Page(html(invalid())).text


def test_without_rows_the_report_says_so():
    page = Page(html(just_started())).text
    assert "Not yet: there are no rows yet" in page
    assert "chat@1.1.0 (b) against chat@1.0.0 (a, the baseline)" in page
    stopped = with_status(just_started(), phase="stopped", conclusion=_ended(None, "Nobody came."))
    assert "No: it ended before there were any rows" in Page(html(stopped)).text
    assert "Stopped on 2026-09-29 without a verdict: Nobody came." in Page(html(stopped)).text


def _ended(verdict, reason, **more):
    return Conclusion(verdict=verdict, baseline="chat@1.0.0", metric="rating", reason=reason, ended_at="2026-09-29T08:00:00Z", **more)  # fmt: skip


def test_a_conclusion_is_shown_with_its_reason():
    ended = _ended("winner", "It is better.", winner="b", model="chat@1.1.0")
    record = with_status(winner(), phase="concluded", conclusion=ended)
    assert (
        "Concluded on 2026-09-29 with the verdict winner: It is better. The winner is chat@1.1.0."
        in Page(html(record)).text
    )
    assert "Concluded on 2026-09-29 with the verdict winner" in markdown(record)


def test_a_final_look_says_no():
    assert "No: the data do not settle it" in Page(html(with_look(three_arms(), decided_at=1))).text
    look = invalid().look
    guard = look.comparisons[0].model_copy(
        update={"role": "guardrail", "guardrail": "broken", "margin": 0.05, "worst": 0.1}
    )
    broken = with_look(invalid(), verdict="inconclusive", decided_at=2, comparisons=(*look.comparisons, guard))
    assert "No: b breaks a guardrail" in Page(html(broken)).text


@pytest.mark.parametrize(("misassigned", "state"), [(0, "info"), (300, "open"), (900, "bad")])
def test_rows_in_the_wrong_arm_are_noticed(misassigned, state):
    rows = winner().look.rows.model_copy(update={"misassigned": misassigned})
    assert data_checks(winner().look.model_copy(update={"rows": rows}))[-1].state == state


def test_how_long_it_may_still_take():
    figure = next(each for each in make_report(three_arms()).figures if each.share is not None)
    look = three_arms().look
    left = (1 - look.fraction) * 800 / 0.3333 * (1795 / sum(each.units for each in look.arms.values())) / 58.3
    assert f"about {int(left) + 1} more days at 58 new a day" in figure.detail
    assert "more day" not in make_report(winner()).figures[1].detail


def test_proposals_are_shown_as_edits():
    text = markdown(winner())
    assert "```diff\n--- a/specs/models.yaml\n" in text
    assert "+  aliases: {production: 1.1.0}\n```" in text
    page = html(winner())
    assert '<span class="plus">+  aliases: {production: 1.1.0}</span>' in page


@pytest.mark.parametrize("lost", [None, {}, {"metric": None}, {"design": {"rule": "new"}, "metric": {"name": "x"}}, [1], {"secondary": None, "guardrails": [3]}])  # fmt: skip
def test_a_record_that_says_little_of_its_spec_renders(lost):
    assert "Yes: b is better than a" in Page(html(with_status(winner(), inputs=lost))).text


def test_phases_before_this_one_are_listed():
    record = winner()
    first = record.status.phases["1"].model_copy(update={"ended_at": "2026-10-01T00:00:00Z"})
    second = first.model_copy(
        update={"looks": {}, "started_at": "2026-10-01T00:00:00Z", "ended_at": None, "arms": two_arms()}
    )
    moved = with_status(record, phases={"1": first, "2": second}, current="2")
    report = make_report(moved)
    assert [row[0] for row in report.phases.rows] == ["1", "2"]
    assert len(report.looks.rows) == 4
    assert report.answer.word == "Not yet"


# --------------------------------------------------------------------------------------------------- hostile text


def hostile():
    record = winner()
    look = record.look
    proposal = Proposal(why=EVIL, file="x", diff=f"+ {EVIL}\n```\n<script>alert(2)</script>\n````\n")
    spec = inputs(hypothesis=EVIL, seed=EVIL, unit=EVIL, covariate=EVIL)
    spec["secondary"][0]["name"] = EVIL
    record = with_look(
        record, reasons=(EVIL, "1. one", "- two"), notes=(EVIL,), software={EVIL: EVIL}, data_digest=EVIL,
        comparisons=tuple(each.model_copy(update={"test": EVIL, "metric": EVIL}) for each in look.comparisons),
    )  # fmt: skip
    arms = {name: arm.model_copy(update={"model": EVIL}) for name, arm in record.status.phases["1"].arms.items()}
    phases = {"1": record.status.phases["1"].model_copy(update={"arms": arms})}
    ended = _ended("winner", f"{EVIL}\n# heading\x1b[2J\u202e", winner="b", model=EVIL)
    return with_status(record, inputs=spec, proposals=(proposal,), phases=phases, conclusion=ended, phase="concluded")


def test_nothing_in_a_page_is_markup_of_others():
    text = html(hostile())
    page, sound = Page(text), Page(html(winner()))
    assert set(page.tags) <= {*sound.tags, "span"}
    assert not {"script", "img"} & set(page.tags)
    assert {name for _, name, _ in page.attributes} <= {name for _, name, _ in sound.attributes}
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_nothing_in_markdown_is_markup_of_others():
    text = markdown(hostile())
    tokens = MarkdownIt().enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in (*tokens, *inline) if token.type in ("html_block", "html_inline", "image")]
    links = [token.attrs["href"] for token in inline if token.type == "link_open"]
    assert links == ["chat-v2.html"]
    fences = [token for token in tokens if token.type == "fence"]
    assert len(fences) == 1
    assert "<script>alert(2)</script>" in fences[0].content
    assert not [token for token in tokens if token.type in ("ordered_list_open", "code_block")]
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == [
        "What to do next",
        "Arms",
        "Comparisons",
        "Guardrails",
        "Data",
        "Design",
        "Phases and looks",
        "Made from",
    ]
    plain = [token.content for token in inline if token.type == "text"]
    assert not [each for each in plain if "@" in each or "://" in each]
    assert len([token for token in tokens if token.type == "tr_open"]) > 20
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+0.12 (3 %)", "+0.12 (3 %)"), ("- x", r"\- x"), ("1. x", r"1\. x"), ("3.600", "3.600"), ("---", r"\---"), ("a\n# b", r"a \# b"),
        ("chat@1.0.0, then", "`chat@1.0.0`, then"), ("see www.evil.example", "see `www.evil.example`"), ("a|b", r"a\|b"), ("$x$", r"\$x\$"),
    ],
)  # fmt: skip
def test_prose_is_only_prose(text, expected):
    assert prose(text) == expected


def test_a_block_of_code_ends_where_it_should():
    assert fenced("a\n````\nb\n", "diff") == "`````diff\na\n````\nb\n`````"


def test_lines_do_not_break_within_a_figure():
    assert tight("5 % (p < 0.001)") == "5\N{NO-BREAK SPACE}% (p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.001)"


# --------------------------------------------------------------------------------------------------- colours


def palettes():
    """The colours of light and of dark, by name."""
    css = (ROOT / "templates/reports/page.css.j2").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {
        name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block)) for name, block in (("light", light), ("dark", dark))
    }


def contrast(one, other):
    """The contrast ratio of WCAG 2.1, from 1 to 21."""

    def luminance(colour):
        parts = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_and_lines_stand_out(mode):
    colours = palettes()[mode]
    for name in ("ink", "quiet", "good", "even", "open", "bad", "c0", "c1", "c2", "c3", "c4"):
        for ground in ("paper", "soft"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for name in ("zero", "boundary"):
        assert contrast(colours[name], colours["paper"]) >= 3, name


def test_both_palettes_have_the_same_colours():
    light, dark = palettes().values()
    assert light.keys() == dark.keys()
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_every_class_has_its_rule():
    css = (ROOT / "templates/reports/page.css.j2").read_text()
    used = set()
    for make in RECORDS.values():
        used |= {name for _, kind, value in Page(html(make())).attributes if kind == "class" for name in value.split()}
    assert {name for name in used if f".{name}" not in css} == {"whole", "info"}
