"""What is told of a data set: on its page, in a terminal, to programs, and to spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ftops.datasets.checks.told import score_text
from ftops.datasets.record import ClusterReport, Counts, Distribution, SourceFile, Statistics
from ftops.datasets.report.check import check_json, check_text, findings_csv
from ftops.datasets.report.histogram import cluster_picture, has_tail, histogram_picture
from ftops.datasets.report.page import dataset_documents, dataset_page, make_page
from ftops.datasets.report.verdict import verdict
from ftops.plan.json import as_json
from ftops.registry.record_files import dump, parse
from tests.support.dataset_reports import LENGTHS, QUALITY, TOKENS, clean_report, finding, full_report, record
from tests.support.html import EVIL, Page

GOLDEN = Path(__file__).parent / "golden"
DOCUMENTS = "registry/datasets/korean-chat"


def html(report):
    return dataset_documents(record(report))[f"{DOCUMENTS}.html"].decode()


def markdown(report):
    return dataset_documents(record(report))[f"{DOCUMENTS}.md"].decode()


def failed(report, *names, **fields):
    checks = tuple(each.model_copy(update={"failed": each.name in names}) for each in report.checks)
    return report.model_copy(update={"checks": checks, "valid": False, **fields})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("dataset.full.md", lambda: markdown(full_report())),
        ("dataset.clean.html", lambda: html(clean_report())),
        ("check.full.txt", lambda: check_text(full_report())),
        ("check.failed.color.txt", lambda: check_text(failed(full_report(), "pii"), True, 2)),
        ("check.full.json", lambda: as_json(check_json(full_report(), full_report().findings))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_people_and_programs_read(name, text):
    assert text().rstrip("\n") == (GOLDEN / name).read_text().rstrip("\n")


# ------------------------------------------------------------------------------------------------ the answer


@pytest.mark.parametrize(
    ("report", "said", "reasons"),
    [
        (clean_report(), "Yes: nothing speaks against it", []),
        (full_report(), "Yes, but: look at 1 point first", ["duplicates found and kept: rows 91, 92 and 618 more."]),
        (failed(full_report(), "pii"), "No: it did not pass", ["The check pii forbids what it found in 300 rows."]),
        (
            failed(full_report(), "quality", quality=QUALITY.model_copy(update={"min_score": 0.95, "action": "fail"})),
            "No: it did not pass",
            ["The quality score is 0.941, and 0.95 is the least."],
        ),
        (
            clean_report(valid=False, rows=Counts(read=10, invalid=1, kept=9)),
            "No: it did not pass",
            ["1 row of 10 breaks the shape instruction."],
        ),
        (clean_report(valid=False, rows=Counts(read=0, kept=0)), "No: no row is left", ["Of 0 rows none is left."]),
    ],
    ids=["clean", "warned", "pii", "quality", "format", "empty"],
)
def test_may_i_train_on_this(report, said, reasons):
    assert str(verdict(report)) == said
    assert list(make_page("x", report).reasons) == reasons
    for text in (Page(html(report)).text, markdown(report), check_text(report)):
        assert said in text
    assert check_json(report, ())["valid"] is report.valid


def test_a_score_reads_as_no_more_than_it_is():
    assert [score_text(each) for each in (1.0, 0.999999, 0.93, 0.29, 0.7999, 0.0)] == [
        "1.000",
        "0.999",
        "0.930",
        "0.290",
        "0.799",
        "0.000",
    ]


# --------------------------------------------------------------------------------------------------- the page


def test_the_page_says_what_the_report_says():
    text = Page(html(full_report())).text
    for expected in (
        "Data set korean-chat , prepared on 2026-11-22", "of 10,000 read, 200 left out, 100 dropped, 280 masked", "≈ 857,000",
        "86.1 to 90.52 with 95 % confidence, from 2,000 rows", "200 rows are not of the shape instruction.", "300 rows have findings: 20 dropped and 280 masked.",
        "Half of the rows have at most 280 characters, 95 % at most 760; the longest has 41,200, the mean is 350.5. The last bar holds all from 1,000 to 41,200: 60 rows, 0.6 %.",
        "Hangul 51.5 % (5,000), Latin 47.9 % (4,650) and no letters 0.5 % (50)", "1,200 rows lie in 500 groups of rows that are alike; the largest has 40.",
        "The first 4 of 4,310 findings", "Not used: id and label.", "CP949 and separated by semicolons", "a" * 64, "1" * 40,
    ):  # fmt: skip
        assert expected in text, expected


def test_a_page_needs_nothing_from_elsewhere():
    page = Page(html(full_report()))
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not [value for _, name, value in page.attributes if name in ("href", "src")]
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_same_record_gives_the_same_bytes_after_it_was_read_again():
    assert dataset_documents(parse(f"{DOCUMENTS}.yaml", dump(record(full_report())))) == dataset_documents(
        record(full_report())
    )


def test_what_did_not_run_is_not_said_to_be_fine():
    bare = clean_report(checks=(), quality=None)
    text = Page(html(bare)).text
    assert "alike" not in text
    assert "Quality" not in text
    assert "Repetition" not in make_page("x", full_report()).score
    partly = full_report(quality=QUALITY.model_copy(update={"components": QUALITY.components[2:]}))
    assert "Pii and duplicates do not count" in Page(html(partly)).text


def test_rows_are_shown_only_where_they_were_given():
    samples = [{"instruction": "first\nsecond", "output": "x" * 5000}]
    page = Page(dataset_page("rows.csv", clean_report(), samples).decode())
    assert "first second" in page.text
    assert "x" * 1999 + "…" in page.text
    assert "x" * 2001 not in page.text
    assert "Some rows" not in Page(dataset_page("rows.csv", clean_report()).decode()).text


def hostile():
    report = full_report()
    shown = (finding("pii", 1, field=EVIL, detail=EVIL, masked=EVIL, entity=EVIL, file=f"{EVIL}\x1b[2J\u202e"),)
    return report.model_copy(
        update={
            "files": (SourceFile(path=EVIL, sha256="a" * 64, bytes=1, rows=1, notes=(EVIL,)),), "unused_columns": (EVIL, "a\x1b[0m"), "warnings": (EVIL,),
            "findings": shown, "format": {EVIL: 3}, "checks": tuple(each.model_copy(update={"summary": {EVIL: 3}, "parameters": {EVIL: EVIL}}) for each in report.checks),
            "statistics": Statistics(characters={EVIL: LENGTHS, "b": LENGTHS, "row": LENGTHS}, tokens=TOKENS.model_copy(update={"tokenizer": EVIL})),
        }
    )  # fmt: skip


def test_nothing_in_a_page_is_markup_of_others():
    text = dataset_page(EVIL, hostile(), [{EVIL: EVIL}]).decode()
    page, sound = Page(text), Page(dataset_page("x", full_report(), [{"a": "b"}]).decode())
    assert set(page.tags) <= set(sound.tags)
    assert {name for _, name, _ in page.attributes} <= {name for _, name, _ in sound.attributes}
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert not {"\x1b", "\u202e"} & set(text)


def test_nothing_in_markdown_is_markup_of_others():
    text = markdown(hostile())
    tokens = MarkdownIt().enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [
        token
        for token in (*tokens, *inline)
        if token.type in ("html_block", "html_inline", "image", "fence", "code_block")
    ]
    assert [token.attrs["href"] for token in inline if token.type == "link_open"] == ["korean-chat.html"]
    assert not {"\x1b", "\u202e"} & set(text)


def test_a_terminal_is_not_acted_on():
    text = check_text(hostile())
    assert not {"\x1b", "\u202e"} & set(text)
    assert "\x1b" not in check_text(full_report())
    assert re.sub(r"\x1b\[[0-9;]*m", "", check_text(full_report(), True)) == check_text(full_report())
    assert not {"\x1b", "\u202e"} & set(as_json(check_json(hostile(), hostile().findings)))


# --------------------------------------------------------------------------------------------------- pictures


def test_bars_are_as_many_and_as_high_as_the_counts():
    picture = histogram_picture("Characters", LENGTHS, "characters")
    heights = [float(each) for each in re.findall(r'<rect[^>]*height="([0-9.]+)"', picture.wide)]
    assert len(heights) == len(LENGTHS.counts)
    assert [each / max(heights) for each in heights] == pytest.approx(
        [each / max(LENGTHS.counts) for each in LENGTHS.counts], abs=0.002
    )
    assert has_tail(LENGTHS)
    assert "median 280" in picture.wide
    assert ">1,000<" in picture.wide
    assert ">…<" in picture.wide


@pytest.mark.parametrize("values", [(7, 8), (0, 1, 2), (0, 10**6, 2 * 10**6)])
def test_few_bars_are_drawn_within_the_picture(values):
    one = Distribution(
        rows=9,
        total=9,
        min=values[0],
        mean=1,
        p50=values[0],
        p95=values[-1],
        max=values[-1],
        edges=values,
        counts=(3,) * (len(values) - 1),
    )
    drawn = histogram_picture("x", one, "tokens").wide
    for x, width in re.findall(r'<rect[^>]*x="([-0-9.]+)"[^>]*width="([-0-9.]+)"', drawn):
        assert 0 <= float(x) <= float(x) + float(width) <= 360
    for x in re.findall(r'<text[^>]*x="([-0-9.]+)"', drawn):
        assert 0 <= float(x) <= 360


def test_large_groups_are_drawn_together():
    sizes = {str(size): 1 for size in range(2, 30)}
    picture = cluster_picture(ClusterReport(clusters=28, rows=434, largest=29, sizes=sizes))
    assert picture.caption.endswith("1 group of 7 rows and 22 groups of 8–29 rows.")
    assert picture.wide.count("<rect") == 7


# -------------------------------------------------------------------------------------- programs, spreadsheets


def test_json_keeps_its_contract():
    many = [
        finding("pii", row, field="output", entity="email", start=0, end=5, masked="<EMAIL>", line=row + 1)
        for row in range(1, 40)
    ]
    report = full_report(files=full_report().files[:1])
    found = json.loads(as_json(check_json(report, many)))
    assert found.keys() == {"formatVersion", "rows", "valid", "summary", "score", "findings"}
    assert found["rows"] == 10_000
    assert found["summary"].keys() == {"format", "pii", "duplicates", "contamination"}
    assert found["summary"]["duplicates"].keys() == {"exactRows", "nearRows", "clusters"}
    assert found["findings"][0] == {
        "check": "pii", "entity": "email", "row": 1, "field": "output", "start": 0, "end": 5, "masked": "<EMAIL>", "detail": "is there", "line": 2,
    }  # fmt: skip
    assert len(found["findings"]) == 20
    assert len(check_json(report, many, everything=True)["findings"]) == 39
    assert check_json(clean_report(quality=None), ())["score"] is None


def test_text_says_how_much_more_there_is():
    assert check_text(full_report(), shown=1).endswith("and 4,309 more findings")
    assert "row 7" not in check_text(full_report(), shown=0)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start):
    evil = f"{start}cmd|' /C calc'!A0"
    text = findings_csv([finding("pii", 1, field=evil, masked=evil, detail='say "x", y', file=evil)])
    header, row = csv.reader(io.StringIO(text, newline=""))
    cells = dict(zip(header, row, strict=True))
    assert cells["field"] == cells["masked"] == cells["file"] == f"'{evil}"
    assert cells["detail"] == 'say "x", y'
    assert cells["entity"] == ""
    assert not [each for each in (*header, *row) if each.startswith(("=", "+", "-", "@", "\t", "\r"))]
