"""The page of a data set, as Markdown and as one HTML file: both say what its report holds, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ftops.datasets.checks import told
from ftops.datasets.checks.format import CHECK as FORMAT
from ftops.datasets.checks.told import Score, Told, score_text
from ftops.datasets.record import (
    CheckReport,
    DatasetRecord,
    DatasetReport,
    Distribution,
    FindingReport,
    TokenReport,
)
from ftops.datasets.report.histogram import cluster_picture, histogram_picture
from ftops.datasets.report.verdict import reasons_against, verdict, warned
from ftops.digests import canonical
from ftops.display.answer import Answer
from ftops.display.figure import Figure, Table
from ftops.display.numbers import NONE, counted, listed, percent, shortened, trimmed
from ftops.display.pages import harmless, render_page
from ftops.display.svg import Picture

ROW: Final = "row"
"""What the lengths of whole rows are called beside those of fields."""
MOST: Final = 50
"""Findings that a page shows."""
SAMPLE: Final = 2000
"""Characters of a field that a page shows of a row."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A share in words, as a number, and as a bar from 0 to 1."""

    name: str
    value: str
    share: float
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A check: what it counted, and in a sentence what became of the rows."""

    name: str
    sentence: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """What both templates show."""

    name: str
    over: str
    answer: Answer
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    groups: tuple[Group, ...]
    components: tuple[Bar, ...]
    score: str
    histograms: tuple[Picture, ...]
    fields: tuple[Picture, ...]
    measured: Table
    scripts: str
    clusters: tuple[Picture, ...]
    alike: str
    splits: Table | None
    findings: Table | None
    files: Table
    samples: tuple[tuple[tuple[str, str], ...], ...]
    origin: tuple[tuple[str, str], ...]


def dataset_documents(record: DatasetRecord) -> dict[str, bytes]:
    """The pages beside the record, by path; the same record, the same bytes."""
    status = record.status
    when = f"{status.phase} on {status.prepared_at[:10]}"
    page = make_page(record.metadata.name, status.report, over=when)
    origin = [("data set", status.digest)]
    if status.input_commit:
        origin.append(("commit of the specs", status.input_commit))
    page = replace(page, origin=(*origin, *page.origin))
    stem = record.path.removesuffix(".yaml")
    return {f"{stem}.{form}": render_page(f"dataset.{form}.j2", page=page) for form in ("md", "html")}


def dataset_page(name: str, report: DatasetReport, samples: Sequence[Mapping[str, str]] = ()) -> bytes:
    """One HTML file about rows that nobody prepared, with `samples` of them, which must be masked already."""
    return render_page("dataset.html.j2", page=make_page(name, report, samples, over="checked"))


def make_page(name: str, report: DatasetReport, samples: Sequence[Mapping[str, str]] = (), *, over: str = "") -> Page:
    """What is said and shown of a data set."""
    report = DatasetReport.model_validate_json(canonical(harmless(report.model_dump(mode="json", by_alias=True))))
    reasons = tuple(reasons_against(report))
    checks = told(report)
    score = next((each.score for _, each in checks if each.score is not None), None)
    return Page(
        name=harmless(name),
        over=over,
        answer=verdict(report),
        reasons=reasons or tuple(warned(report)),
        notes=tuple(warned(report)) if reasons else (),
        figures=tuple(_figures(report, checks)),
        groups=tuple(_groups(report, checks)),
        components=tuple(_bars(score)) if score else (),
        score=score.sentence if score else "",
        histograms=tuple(_lengths(report)),
        fields=tuple(_field_lengths(report)),
        measured=_measured(report),
        scripts=_scripts(report),
        clusters=(cluster_picture(report.clusters),) if report.clusters.sizes else (),
        alike=" ".join(each.remark for _, each in checks if each.remark),
        splits=_splits(report) if report.splits else None,
        findings=findings_table(report) if report.findings else None,
        files=_files(report),
        samples=tuple(
            tuple((harmless(key), shortened(harmless(value), SAMPLE)) for key, value in row.items()) for row in samples
        ),
        origin=(
            *((f"sha256 of {each.path}", each.sha256) for each in report.files),
            *((f"check {each.name}", canonical(each.parameters).decode()) for each in report.checks),
        ),
    )


# ---------------------------------------------------------------------------------------------- the figures


_Checks = Sequence[tuple[CheckReport, Told]]


def _figures(report: DatasetReport, checks: _Checks) -> Iterator[Figure]:
    rows = report.rows
    gone = [
        f"{count:,} {words}"
        for count, words in ((rows.invalid, "left out"), (rows.dropped, "dropped"), (rows.masked, "masked"))
        if count
    ]
    kept = rows.kept / rows.read if rows.read else 0.0
    yield Figure(
        "Rows to train on", f"{rows.kept:,}", f"of {rows.read:,} read" + "".join(f", {each}" for each in gone), kept
    )
    for check, each in checks:
        if (score := each.score) is not None:
            least = "" if score.least is None else f"at least {trimmed(score.least)} is asked for"
            yield Figure(check.name.capitalize(), score_text(score.value), least, score.value)
    found = sum(report.found.values())
    by_check = (
        listed(f"{count:,} by {name}" for name, count in _largest(report.found.items())) if found else "by any check"
    )
    yield Figure("Findings", f"{found:,}" if found else "none", by_check)
    if (tokens := report.statistics.tokens) is not None:
        yield Figure("Tokens", _about(tokens), f"{trimmed(tokens.mean)} a row, by {tokens.tokenizer}{_margin(tokens)}")
    elif (whole := report.statistics.characters.get(ROW)) is not None:
        yield Figure("Characters", f"{whole.total:,}", f"{trimmed(whole.mean)} a row, {whole.max:,} at most")


def _about(tokens: TokenReport) -> str:
    """The total; of a sample to three digits, for more are not known."""
    if tokens.total_interval[0] == tokens.total_interval[1]:
        return f"{tokens.total:,}"
    return f"≈ {round(tokens.total, 3 - len(str(tokens.total))):,}"


def _margin(tokens: TokenReport) -> str:
    low, high = tokens.mean_interval
    if low == high:
        return ""
    return f"; {trimmed(low)} to {trimmed(high)} with 95 % confidence, from {counted(tokens.sampled, 'row')}"


# ------------------------------------------------------------------------------------- what checks counted


def _largest(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The largest count first."""
    return sorted(counts, key=lambda each: (-each[1], each[0]))


def _groups(report: DatasetReport, checks: _Checks) -> Iterator[Group]:
    read = max(report.rows.read, 1)
    if report.format:
        bars = tuple(Bar(fault, f"{count:,}", count / read) for fault, count in _largest(report.format.items()))
        yield Group(
            FORMAT,
            f"{counted(report.rows.invalid, 'row')} {_are(report.rows.invalid)} not of the shape {report.shape}.",
            bars,
        )
    for check, each in checks:
        if each.counts is not None:
            counts = sorted(each.counts, key=lambda count: (-count.number, count.name))
            rows = tuple(
                Bar(each.words, f"{each.number:,}", each.number / read) for each in counts if each.number and each.words
            )
            yield Group(check.name, _became(check), rows)


def _became(check: CheckReport) -> str:
    """`14 rows have findings: 2 dropped, 10 masked, and that is not allowed.`"""
    if not check.rows:
        return "Nothing was found."
    parts = [f"{count:,} {words}" for count, words in ((check.dropped, "dropped"), (check.masked, "masked")) if count]
    fate = f": {listed(parts)}" if parts else ", and all stay as they are"
    failed = "; the spec does not allow it" if check.failed else ""
    return f"{counted(check.rows, 'row')} {'have' if check.rows > 1 else 'has'} findings{fate}{failed}."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


# --------------------------------------------------------------------------------------------------- score


def _bars(score: Score) -> Iterator[Bar]:
    for each in score.parts:
        rows = f"{counted(each.rows, 'row')} {_are(each.rows)} not" if each.rows else "all rows are"
        yield Bar(
            each.words, score_text(each.value), each.value, f"{rows}; weight {trimmed(each.weight)}",
            "bad" if each.value < 0.8 else "open" if each.value < 0.95 else "good",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------- lengths


def _lengths(report: DatasetReport) -> Iterator[Picture]:
    statistics = report.statistics
    if (whole := statistics.characters.get(ROW)) is not None and whole.edges:
        yield histogram_picture("Characters of whole rows", whole, "characters")
    if statistics.tokens is not None and statistics.tokens.distribution.edges:
        tokens = statistics.tokens
        sampled = tokens.sampled < report.rows.kept
        rows = "sampled rows" if sampled else "rows"
        yield histogram_picture("Tokens of whole rows", tokens.distribution, "tokens", rows=rows)
    if statistics.turns is not None and statistics.turns.edges:
        yield histogram_picture("Messages of chats", statistics.turns, "messages", rows="chats")


def _field_lengths(report: DatasetReport) -> Iterator[Picture]:
    """Of each field, where a row has several."""
    fields = [(name, each) for name, each in _fields(report) if name != ROW and each.edges]
    if len(fields) > 1:
        yield from (histogram_picture(f"Characters of {name}", each, "characters") for name, each in fields)


def _fields(report: DatasetReport) -> list[tuple[str, Distribution]]:
    """The lengths of fields by name, those of whole rows last."""
    return sorted(report.statistics.characters.items(), key=lambda each: (each[0] == ROW, each[0]))


def _measured(report: DatasetReport) -> Table:
    statistics = report.statistics
    rows = [_line(f"characters of {'whole rows' if name == ROW else name}", each) for name, each in _fields(report)]
    if statistics.turns is not None:
        rows.append(_line("messages of chats", statistics.turns))
    if statistics.tokens is not None:
        rows.append(_line("tokens of whole rows", statistics.tokens.distribution))
    return Table(("", "rows", "least", "median", "mean", "95 %", "most"), tuple(rows), frozenset(range(1, 7)))


def _line(name: str, each: Distribution) -> tuple[str, ...]:
    return (
        name,
        f"{each.rows:,}",
        f"{each.min:,}",
        f"{each.p50:,}",
        trimmed(each.mean),
        f"{each.p95:,}",
        f"{each.max:,}",
    )


def _scripts(report: DatasetReport) -> str:
    scripts = report.statistics.scripts
    total = sum(scripts.values())
    if not total:
        return ""
    words = {"none": "no letters", "other": "other writings"}
    each = listed(
        f"{words.get(name, name)} {percent(count / total)} ({count:,})" for name, count in _largest(scripts.items())
    )
    return f"Rows by the writing that most of their letters are of, at the beginning of each text: {each}."


# -------------------------------------------------------------------------------------------------- tables


_SPLITS: Final = ("train", "validation", "test")


def _splits(report: DatasetReport) -> Table:
    total = sum(each.rows for each in report.splits.values())
    rows = []
    for name in sorted(report.splits, key=_SPLITS.index):
        each = report.splits[name]
        mean = NONE if each.characters is None else trimmed(each.characters.mean)
        tokens = NONE if each.tokens is None else _about(each.tokens)
        share = percent(each.rows / total if total else None)
        rows.append((name, f"{each.rows:,}", share, mean, tokens, f"{each.bytes:,}", each.sha256[:12]))
    headings = ("split", "rows", "share", "characters a row", "tokens", "bytes", "sha256")
    return Table(headings, tuple(rows), frozenset(range(1, 6)))


def findings_table(report: DatasetReport) -> Table:
    """The first findings, and how many there are in all."""
    shown = report.findings[:MOST]
    total = sum(report.found.values())
    note = f"The first {len(shown):,} of {total:,} findings, some of each check." if total > len(shown) else ""
    rows = tuple(
        (f"{each.row:,}", place(each), each.check, each.entity or NONE, each.field or NONE, each.detail, each.masked or NONE, each.action)
        for each in shown
    )  # fmt: skip
    return Table(("row", "place", "check", "what", "field", "why", "looks like", "done"), rows, frozenset({0}), note)


def place(finding: FindingReport) -> str:
    """`file:line` where it is known."""
    return NONE if finding.file is None else f"{finding.file}:{finding.line}" if finding.line else finding.file


def _files(report: DatasetReport) -> Table:
    rows = tuple(
        (each.path, f"{each.rows:,}", f"{each.bytes:,}", listed(each.notes) if each.notes else NONE)
        for each in report.files
    )
    unused = f"Not used: {listed(report.unused_columns)}." if report.unused_columns else ""
    return Table(("file", "rows", "bytes", "recognised"), rows, frozenset({1, 2}), unused)
