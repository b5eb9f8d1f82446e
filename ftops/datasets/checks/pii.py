"""Personal data: addresses, telephone numbers, numbers of persons, cards and accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple, Self

from pydantic import Field

from ftops.datasets.checks.data_check import DataCheck
from ftops.datasets.checks.rows import CheckResult, Rows
from ftops.datasets.checks.texts import leaves, replaced
from ftops.datasets.finding import Finding
from ftops.datasets.pii import CONTEXT, ENTITIES, SHAPE, Hit, find, masked
from ftops.digests import Json

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Entity = Literal[
    "email", "phone", "kr_rrn", "kr_frn", "kr_brn", "credit_card", "passport", "driver_license", "bank_account"
]
Action = Literal["report", "mask", "drop", "fail"]

_WORDS: Final[Mapping[str, str]] = {
    "email": "e-mail address",
    "phone": "telephone number",
    "kr_rrn": "Korean resident registration number",
    "kr_frn": "Korean foreigner registration number",
    "kr_brn": "Korean business registration number",
    "credit_card": "card number",
    "passport": "passport number",
    "driver_license": "driver's licence number",
    "bank_account": "bank account number",
}
_DONE: Final[Mapping[str, str]] = {"report": "", "mask": ", masked", "drop": ", row dropped", "fail": ", not allowed"}
_UNSURE: Final[Mapping[float, str]] = {CONTEXT: ", by the words beside it", SHAPE: ", by its form alone"}


class Pii(DataCheck):
    name: ClassVar = "pii"
    about: ClassVar = "Personal data."
    # Raised also when `datasets.pii` finds or masks something else than before.
    version: ClassVar = 1

    entities: dict[Entity, Action] = Field(
        default_factory=dict, description="What happens to what is found; entities that are not named: see `others`."
    )
    others: Action | Literal["ignore"] = Field(
        default="report", description="What happens to entities that are not named."
    )

    @classmethod
    def by_default(cls) -> Self:
        return cls()

    @classmethod
    def only_reporting(cls, alike: Mapping[str, Json], against: Sequence[str]) -> Json:
        return {"others": "report"}

    @classmethod
    def masking(cls) -> Self:
        return cls(others="mask")

    def asked(self) -> Callable[[str | None], str]:
        actions = self.actions
        return lambda entity: actions[entity or ""]

    @property
    def actions(self) -> Mapping[str, Action]:
        """What happens to each entity that is looked for."""
        found: dict[str, Action] = {} if self.others == "ignore" else dict.fromkeys(ENTITIES, self.others)
        found.update(self.entities.items())
        return found

    def run(self, rows: Rows) -> CheckResult:
        """What is found in any text of a row. A row that holds something to drop goes, whatever else is to be masked in it."""
        import pyarrow as pa

        search = _Search(self.actions, ("row", *rows.fields))
        found = list(rows.each(search.found_in))
        findings = tuple(finding for each in found for finding in each.findings)
        changed = [each.changed for each in found if each.changed is not None]
        counts = Counter(each.entity for each in findings)
        return CheckResult(
            findings=findings,
            summary={entity: counts[entity] for entity in ENTITIES if counts[entity]},
            dropped=frozenset[int]().union(*(each.dropped for each in found)),
            changed=pa.Table.from_batches(changed) if changed else None,
            failed=any(self.actions[entity] == "fail" for entity in counts if entity is not None),
        )


class _Found(NamedTuple):
    """What is found in a batch: also the numbers of rows to drop, and the rows that are masked."""

    findings: list[Finding]
    dropped: set[int]
    changed: pa.RecordBatch | None


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for entities, and does with each what `actions` says; `columns` are those of a changed row."""

    actions: Mapping[str, Action]
    columns: tuple[str, ...]

    def found_in(self, batch: pa.RecordBatch) -> _Found:
        """Look through every text of `batch`."""
        wanted = frozenset(self.actions)
        masking = frozenset(entity for entity, action in self.actions.items() if action == "mask")
        numbers = batch.column("row")
        new: dict[tuple[str, str], dict[int, str]] = {}
        touched: dict[int, int] = {}
        findings: list[Finding] = []
        dropped: set[int] = set()
        for leaf in leaves(batch):
            for index in candidates(leaf.texts).tolist():
                text = leaf.texts[index].as_py()
                hits = find(text, wanted)
                if not hits:
                    continue
                place = int(leaf.rows[index])
                row = numbers[place].as_py()
                findings += self._findings(hits, row, leaf.path(index))
                if any(self.actions[hit.entity] == "drop" for hit in hits):
                    dropped.add(row)
                if hidden := [hit for hit in hits if hit.entity in masking]:
                    new.setdefault((leaf.field, leaf.part), {})[index] = masked(text, hidden, masking)
                    touched[row] = place
        findings.sort(key=lambda each: each.row)
        places = [place for row, place in sorted(touched.items()) if row not in dropped]
        changed = replaced(batch, new).select(list(self.columns)).take(places) if places else None
        return _Found(findings, dropped, changed)

    def _findings(self, hits: list[Hit], row: int, path: str) -> list[Finding]:
        return [
            Finding(
                Pii.name, row, path, _WORDS[hit.entity] + _UNSURE.get(hit.confidence, "") + _DONE[self.actions[hit.entity]],
                entity=hit.entity, start=hit.start, end=hit.end, masked=hit.masked,
            )
            for hit in hits
        ]  # fmt: skip


# ------------------------------------------------------------------------------- which texts are worth reading

_BLOCK: Final = 1 << 18
"""Bytes that are looked at together: what is computed of them stays small, whatever they are."""
_ENOUGH: Final = 7
"""Nothing that is looked for has fewer digits."""
_WIDTH: Final = 18
"""So many bytes at most lie from the first to the last of seven digits in a row, in any number that people write."""
_BETWEEN: Final = b" ().-" + "‐‑‒–—―−".encode() + ascii_letters.encode() + digits.encode()
"""The bytes of what may stand between them: separators, dashes, the letter of a passport."""
_LEADS: Final = (0xC2, 0xE2, 0xE3, 0xEF, 0xF0)
_UNUSUAL: Final = (
    (0xC2AD00, 0xC2ADFF),  # soft hyphen
    (0xC2B200, 0xC2B3FF), (0xC2B900, 0xC2B9FF), (0xC2BC00, 0xC2BEFF),  # superscripts, fractions
    (0xE2808B, 0xE2808D), (0xE281A0, 0xE281A0),  # no width
    (0xE281B0, 0xE281BF), (0xE28280, 0xE28289),  # superscripts, subscripts
    (0xE28590, 0xE2859F), (0xE28689, 0xE28689),  # fractions
    (0xE29180, 0xE293BF),  # in circles and parentheses
    (0xE38880, 0xE38BBF), (0xE38D80, 0xE38DBF), (0xE38F80, 0xE38FBF),  # in circles, months, hours, days
    (0xEFB9AB, 0xEFB9AB), (0xEFBBBF, 0xEFBBBF),  # small @, no width
    (0xEFBC90, 0xEFBCA0),  # full-width digits and @
    (0xF09CB3, 0xF09CB3), (0xF09D9F, 0xF09D9F),  # outlined (since Unicode 16), mathematical
    (0xF09F84, 0xF09F84), (0xF09FAF, 0xF09FAF),  # with a comma, segmented
)  # fmt: skip
"""The first three bytes of characters whose NFKC form has a digit or an @, and of those that nobody sees, rising."""


def candidates(texts: pa.LargeStringArray) -> NDArray[np.intp]:
    """The indices of all texts in which `identifiers.find` could find something, and of few others, rising.

    Looks at the bytes of the whole column at once, and at few of them twice: Python then reads only these texts.
    """
    import numpy as np

    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    found = [np.empty(0, np.intp)]
    if values is not None:
        data = np.frombuffer(values, np.uint8)[bounds[0] : bounds[-1]]
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK + _WIDTH]
            places = np.concatenate([np.flatnonzero(block == ord("@")), _numbers(block), _unusual(block)])
            found.append(np.unique(np.searchsorted(bounds - bounds[0], places + start, "right") - 1))
    return np.unique(np.concatenate(found))


def _numbers(data: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where seven digits stand close together. They may stand in two texts: what reads them sees that."""
    import numpy as np

    places = np.flatnonzero((data - np.uint8(ord("0"))) < 10)
    first, last = places[: 1 - _ENOUGH], places[_ENOUGH - 1 :]
    close = last - first <= _WIDTH
    first, last = first[close], last[close]
    allowed = np.isin(np.arange(256), np.frombuffer(_BETWEEN, np.uint8))
    span = np.minimum(first[:, None] + np.arange(1, _WIDTH), last[:, None])
    numbers: NDArray[np.intp] = first[allowed[data[span]].all(axis=1)]
    return numbers


def _unusual(data: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where a character stands that `_numbers` doesn't see through."""
    import numpy as np

    lead = np.zeros(len(data), bool)
    for each in _LEADS:
        lead |= data == each
    places = np.flatnonzero(lead)
    second, third = (data[np.minimum(places + more, len(data) - 1)].astype(np.int32) for more in (1, 2))
    code = data[places].astype(np.int32) << 16 | second << 8 | third
    low, high = np.array(_UNUSUAL, np.int32).T
    unusual: NDArray[np.intp] = places[code <= high[np.searchsorted(low, code, "right") - 1]]
    return unusual
