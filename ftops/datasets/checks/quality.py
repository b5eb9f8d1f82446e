"""How good a data set is as it came, as one score of several components that each can be looked into."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from ftops.datasets.checks.answers import (
    BEGINNING,
    LANGUAGES,
    SHARE,
    foreign_writing,
    may_repeat,
    missing_answer,
    repeated,
    unexpected_writing,
)
from ftops.datasets.checks.data_check import DataCheck
from ftops.datasets.checks.rows import MESSAGES, STRATUM, CheckResult, Rows, text_fields
from ftops.datasets.checks.scripts import OPTIONAL, SCRIPTS, characters, letters, main_script
from ftops.datasets.checks.told import Part, Score, Told, score_text
from ftops.datasets.finding import Finding
from ftops.datasets.record import CheckReport, ComponentReport, DatasetReport, QualityReport
from ftops.digests import Json
from ftops.display.numbers import listed, trimmed
from ftops.errors import Diagnostic, SpecError
from ftops.resources.fields import Strict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Component = Literal["pii", "duplicates", "format", "length", "language", "repetition", "answers"]
WEIGHTS: Final[Mapping[Component, float]] = {
    "pii": 0.2, "duplicates": 0.2, "answers": 0.15, "format": 0.15, "length": 0.1, "language": 0.1, "repetition": 0.1,
}  # fmt: skip
"""What a model cannot unlearn weighs most: people in its weights (Carlini et al. 2021) and what it saw twice (Lee et al.
2022). Then what it would say itself: no answer; and rows that nobody can read. They add up to 1."""
OTHERS: Final[Mapping[str, str]] = {"pii": "pii", "duplicates": "duplicates", "format": "format", "lengths": "length"}
"""Components that other checks find: their names, and the component."""
_FINE: Final[Mapping[str, str]] = {
    "pii": "free of personal data", "duplicates": "said once", "format": "in shape", "length": "neither blank nor endless",
    "language": "answered in its language", "repetition": "without repetition", "answers": "answered",
}  # fmt: skip
"""What a row is that a component finds nothing in."""
LONGEST: Final = 100_000
"""Characters of a field; what is longer is no row but a file."""


class Quality(DataCheck):
    name: ClassVar = "quality"
    about: ClassVar = "One score for the whole."
    judges: ClassVar = True

    min_score: float = Field(default=0.8, ge=0, le=1, description="The least score that is good enough.")
    action: Literal["warn", "fail"] = Field(default="warn", description="What follows from a lower score.")
    weights: dict[Component, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Of components; others have their own."
    )

    @classmethod
    def by_default(cls) -> Self:
        return cls()

    @classmethod
    def only_reporting(cls, alike: Mapping[str, Json], against: Sequence[str]) -> Json:
        return {"action": "warn"}

    def warning(self, result: CheckResult) -> str:
        return "" if result.failed or result.summary["score"] >= self.min_score else self._too_low(result)

    def refusal(self, result: CheckResult) -> Diagnostic:
        parts = result.summary["components"].items()
        low = sorted(parts, key=lambda part: (part[1]["value"] - 1) * part[1]["weight"])
        worst = ", ".join(f"{name} {part['value']:.3f} ({part['rows']:,} rows)" for name, part in low[:3])
        hint = "mend the rows, or set another minScore in the data set's checks"
        return Diagnostic(self._too_low(result), f"the worst: {worst}", hint)

    def _too_low(self, result: CheckResult) -> str:
        return f"the quality score is {result.summary['score']:.3f}, less than {self.min_score:g}"

    def recorded(self, result: CheckResult) -> Mapping[str, Strict]:
        components = result.summary["components"].items()
        report = QualityReport(
            score=result.summary["score"],
            min_score=self.min_score,
            action=self.action,
            components=tuple(ComponentReport(name=name, **each) for name, each in components),
        )
        return {"quality": report}

    @classmethod
    def told(cls, check: CheckReport, report: DatasetReport) -> Told:
        quality = report.quality
        if quality is None:
            return Told(super().told(check, report).forbids)
        score = score_text(quality.score)
        least = "" if quality.min_score is None else f", and {trimmed(quality.min_score)} is the least"
        parts = tuple(
            Part(each.name, each.value, each.rows, each.weight, _FINE.get(each.name, each.name))
            for each in quality.components
        )
        sentence = (
            f"The score {score} is the weighted mean of the components below, of the rows as they were read: "
            f"each is the share of rows in which nothing is found.{_without({each.name for each in parts})}"
        )
        return Told(
            f"The quality score is {score}{least}.", score=Score(quality.score, quality.min_score, parts, sentence)
        )

    def run(self, rows: Rows) -> CheckResult:
        """The score: the mean of the components, weighted, each the share of the rows read that it finds nothing in.

        Rows that an earlier check dropped count as it found them, and are not looked at again. Components whose check did
        not run, and those that rows of this shape can't have, are left out. Raises SpecError when none has a weight.
        """
        affected: dict[Component, set[int]] = {name: set() for name in WEIGHTS}
        for finding in rows.found:
            if finding.check in OTHERS:
                affected[OTHERS[finding.check]].add(finding.row)  # type: ignore[index]
        found = tuple(chain.from_iterable(rows.each(_findings)))
        for finding in found:
            affected[finding.entity].add(finding.row)  # type: ignore[index]
        left_out = _left_out(rows)
        weights = {name: self.weights.get(name, WEIGHTS[name]) for name in WEIGHTS if name not in left_out}
        weights = {name: weight for name, weight in weights.items() if weight}
        if not weights:
            raise SpecError(Diagnostic("checks.quality: no component has a weight", hint="give one a weight above 0"))
        parts = {
            name: {
                "weight": weight,
                "value": 1 - len(affected[name]) / max(rows.read, 1),
                "rows": len(affected[name]),
            }
            for name, weight in weights.items()
        }
        score = round(sum(each["weight"] * each["value"] for each in parts.values()) / sum(weights.values()), 6)
        return CheckResult(
            findings=found,
            summary={"score": score, "components": parts, "leftOut": left_out},
            failed=self.action == "fail" and score < self.min_score,
        )


def _without(counted: Collection[str]) -> str:
    """Which components do not count, where some don't."""
    missing = [name for name in _FINE if name not in counted]
    do = "do" if len(missing) > 1 else "does"
    return f" {listed(missing).capitalize()} {do} not count: not checked, or not of this shape." if missing else ""


def _left_out(rows: Rows) -> list[Component]:
    unasked: list[Component] = ["language", "answers"] if "text" in rows.fields else []
    others: tuple[Component, ...] = ("pii", "duplicates")
    unchecked = [name for name in others if name not in rows.checked]
    return unchecked + unasked


def _findings(batch: pa.RecordBatch) -> list[Finding]:
    """What is found in the rows of `batch` itself, by row; at most one of a component in a row."""
    said = _Said(batch)
    found = [*_lengths(said), *_answers(said), *_repetitions(said), *_languages(said)]
    order = {name: position for position, name in enumerate(WEIGHTS)}
    first = {(each.row, str(each.entity)): each for each in reversed(found)}
    return [first[key] for key in sorted(first, key=lambda key: (key[0], order[key[1]]))]  # type: ignore[index]


@dataclass(frozen=True)
class _Texts:
    """Texts of one kind: the row of the batch that each is in, rising, and where it stands in it."""

    texts: pa.LargeStringArray
    rows: NDArray[np.int64]
    path: Callable[[int], str]

    @cached_property
    def letters(self) -> NDArray[np.uint8]:
        return letters(self.texts)


class _Said:
    """Who says what in the rows of a batch: questions, and answers."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.numbers: list[int] = batch.column("row").to_pylist()
        names = text_fields(batch.schema.names)
        columns = {name: _column(batch, name) for name in names if name != MESSAGES}
        self.required = [columns[name] for name in columns if name not in OPTIONAL]
        self.questions = [columns[name] for name in ("instruction", "input") if name in columns]
        self.answers = [columns[name] for name in ("output", "chosen", "text") if name in columns]
        self.has_questions = "text" not in columns
        if MESSAGES in names:
            self.questions = [_spoken(batch, "user")]
            spoken = _spoken(batch, "assistant")
            self.required += [*self.questions, spoken]
            self.answers = self.answers or [spoken]

    def finding(self, texts: _Texts, index: int, component: Component, words: str) -> Finding:
        return Finding(Quality.name, self.numbers[int(texts.rows[index])], texts.path(index), words, entity=component)

    def writing(self, kinds: list[_Texts]) -> NDArray[np.int64]:
        """The main writing of each row in texts of `kinds`."""
        import numpy as np

        counts = np.zeros((len(SCRIPTS), self.batch.num_rows), np.int64)
        for each in kinds:
            for index, column in enumerate(each.letters.T):
                counts[index] += np.bincount(each.rows, column, self.batch.num_rows).astype(np.int64)
        return main_script(counts)

    def joined(self, kinds: list[_Texts], row: int) -> str:
        """All texts of `kinds` in a row of the batch."""
        import numpy as np

        parts = []
        for each in kinds:
            first, last = np.searchsorted(each.rows, (row, row + 1))
            parts += each.texts[first:last].to_pylist()
        return "\n".join(parts)


def _column(batch: pa.RecordBatch, name: str) -> _Texts:
    import numpy as np

    return _Texts(batch.column(name), np.arange(batch.num_rows), lambda _: name)


def _spoken(batch: pa.RecordBatch, role: str) -> _Texts:
    """What `role` says in the chats of `batch`; what only calls a function says nothing."""
    import numpy as np
    import pyarrow.compute as pc

    chats = batch.column(MESSAGES)
    messages = chats.flatten()
    counts = pc.list_value_length(chats).to_numpy(zero_copy_only=False)
    parents = np.repeat(np.arange(batch.num_rows), counts)
    first = np.cumsum(counts) - counts
    content = messages.field("content")
    silent = pc.and_(messages.field("tool_calls").is_valid(), pc.equal(content.fill_null(""), ""))
    spoken = pc.and_(pc.equal(messages.field("role"), role), pc.and_not(content.is_valid(), silent))
    at = spoken.to_numpy(zero_copy_only=False).nonzero()[0]
    rows = parents[at]
    return _Texts(content.take(at), rows, lambda index: f"{MESSAGES}[{at[index] - first[rows[index]]}].content")


def _lengths(said: _Said) -> Iterator[Finding]:
    """Required texts without a letter or digit (`.`), and endless ones."""
    for each in said.required:
        for index in (main_script(each.letters.T) < 0).nonzero()[0].tolist():
            if not any(character.isalnum() for character in each.texts[index].as_py()):
                yield said.finding(each, index, "length", "has no letter and no digit")
        for index in (characters(each.texts) > LONGEST).nonzero()[0].tolist():
            yield said.finding(each, index, "length", f"has over {LONGEST:,} characters")


def _answers(said: _Said) -> Iterator[Finding]:
    import pyarrow.compute as pc

    for each in said.answers if said.has_questions else ():
        starts = pc.utf8_slice_codeunits(each.texts, 0, BEGINNING).to_pylist()
        for index, why in enumerate(map(missing_answer, starts)):
            if why is not None:
                yield said.finding(each, index, "answers", why)


def _repetitions(said: _Said) -> Iterator[Finding]:
    for each in said.answers:
        texts = each.texts.cast("large_binary").to_pylist()
        for index in [index for index, may in enumerate(map(may_repeat, texts)) if may]:
            if (share := repeated(texts[index].decode())) > SHARE:
                yield said.finding(each, index, "repetition", f"says the same again and again ({share:.0%} of it)")


def _languages(said: _Said) -> Iterator[Finding]:
    """Answers in another writing than their question, or than the language that their row is tagged with."""
    if not said.has_questions:
        return
    asked, answered = said.writing(said.questions), said.writing(said.answers)
    tags = said.batch.column(STRATUM).to_pylist() if STRATUM in said.batch.schema.names else []
    expected = [LANGUAGES.get((tag or "").partition("-")[0].lower()) for tag in tags]
    differ = ((asked != answered) & (asked >= 0) & (answered >= 0)).nonzero()[0].tolist()
    untrue = [
        row
        for row, known in enumerate(expected)
        if known and answered[row] >= 0 and SCRIPTS[answered[row]] not in known
    ]
    for row in sorted({*differ, *untrue}):
        question, answer = said.joined(said.questions, row), said.joined(said.answers, row)
        known = expected[row] if expected else None
        writing = unexpected_writing(question, answer, known) if known else foreign_writing(question, answer)
        if writing is not None:
            against = "the language of the row" if known else "the question"
            where = said.answers[0].path(int((said.answers[0].rows == row).nonzero()[0][0]))
            words = f"is written in {writing}, unlike {against}"
            yield Finding(Quality.name, said.numbers[row], where, words, entity="language")
