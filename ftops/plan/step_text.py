"""How values read: what is shown of a text, a digest, a step; nothing that is shown can act on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from ftops.display.numbers import gib, percent
from ftops.plan.changes import (
    Action,
    AddMerged,
    Analyze,
    Change,
    CommitRecords,
    FetchData,
    Json,
    LabelVersion,
    MakeBaseModel,
    MergeWeights,
    MixData,
    Plan,
    PrepareData,
    RegisterVersion,
    RowChanges,
    Step,
    Train,
)
from ftops.plan.estimates import Cost, Estimate
from ftops.plan.sweep_choice import Choose

LONGEST: Final = 100
"""A longer value is cut in text that people read."""

SYMBOLS: Final = {
    Action.NOOP: "=",
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.REPLACE: "-/+",
    Action.DELETE: "-",
}
WORDS: Final = {
    Action.NOOP: "unchanged",
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.REPLACE: "to replace",
    Action.DELETE: "to delete",
}
COUNTED: Final = (Action.CREATE, Action.UPDATE, Action.REPLACE, Action.DELETE, Action.NOOP)

# Control characters start escape sequences; the marks of direction make a line read other than it is; half a surrogate
# pair cannot be written at all.
_ACTIVE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_USER_INFO: Final = re.compile(r"(?<=://)[^\s/?#'\"]*@")
_DIGEST: Final = re.compile(r"\b((?:sha256:|md5:)?[0-9a-f]{12})[0-9a-f]{20,}\b")


def clean(text: str, *, lines: bool = False) -> str:
    """`text` with what could act on a terminal written as an escape, and user and password of a URI masked; line ends
    stay where `lines`."""
    masked = mask(text)
    return _ACTIVE.sub(lambda match: match[0] if lines and match[0] == "\n" else escape(match[0]), masked)


def escape(character: str) -> str:
    r"""A character as JSON writes it: `\n`, `\u001b`."""
    return json.dumps(character)[1:-1] if character < " " else f"\\u{ord(character):04x}"


def mask(text: str) -> str:
    """`text` without the user and password of its URIs."""
    return _USER_INFO.sub("***@", text)


def masked(value: Json) -> Json:
    """`mask` for every text of a tree."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {mask(key): masked(each) for key, each in value.items()}
        case list() | tuple():
            return [masked(each) for each in value]
        case _:
            return value


def shown(value: Json) -> str:
    """A value as a reason shows it: short, in one line, digests by their first twelve digits."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = _DIGEST.sub(r"\1…", clean(text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def step_text(step: Step) -> str:  # noqa: C901, PLR0912  (a case for each kind of step)
    """A step in words."""
    text: str
    match step:
        case FetchData(paths=paths):
            text = f"fetch {', '.join(paths)} from the DVC remote"
        case PrepareData(dataset=dataset):
            text = f"prepare {dataset}: read, check, split, write"
        case MixData(run=run):
            text = f"put the data sets of {run} together"
        case MakeBaseModel(run=run):
            text = f"make the base model of {run} and its tokenizer"
        case Train(run_id=run_id, resume_run=None, rerun_after=after):
            text = f"train {run_id}{' again' if after else ''}"
        case Train(run_id=run_id, resume_run=resume_run):
            text = f"train {run_id}, from the last checkpoint of {resume_run}"
        case MergeWeights(run_id=run_id):
            text = f"merge the adapter of {run_id} into its base model"
        case RegisterVersion(model=model, version=version, run_id=run_id):
            text = f"register {model} {version} from {run_id}"
        case AddMerged(model=model, version=version):
            text = f"add its merged weights to {model} {version}"
        case LabelVersion(model=model, version=version, aliases=aliases, tags=tags):
            text = f"label {model} {version}: aliases {_listed(aliases)}, tags {_listed(tags)}"
        case Analyze(experiment=experiment, phase=phase, opens=opens):
            text = f"look at the data of {experiment}{f', phase {phase}, which begins' if opens else ''}"
        case Choose(sweep=sweep, metric=metric, mode=mode):
            text = f"choose the best of {sweep}: the {'lowest' if mode == 'min' else 'highest'} {metric}"
        case CommitRecords(address=address):
            text = f"commit the record of {address}"
    return clean(text)


def clock(seconds: float) -> str:
    """A duration as people say it: `0.4 s`, `12 s`, `3:05`, `1:02:09`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def estimate_text(estimate: Estimate) -> str:
    """`about 2:05 of training, as tiny-base-0123456789ab took`."""
    return clean(f"about {clock(estimate.seconds)} of training, by what {estimate.like} took")


def cost_lines(cost: Cost) -> Iterator[str]:
    """What a training would take, a line for each thing: what is trained, memory, steps and disk."""
    share = cost.trainable / cost.parameters
    part = "all" if cost.trainable == cost.parameters else f"{cost.trainable:,} ({percent(share, 2)}) of"
    steps = "" if cost.steps is None else f", {cost.steps:,} steps"
    yield f"trains {part} {cost.parameters:,} parameters{steps}, leaves {gib(cost.disk)} on the disk"
    where = "of each GPU" if cost.gpus else "of the machine"
    memory = cost.memory
    measured = "" if cost.measured is None else f"; {cost.like} took {gib(cost.measured)}"
    yield clean(f"memory {where}: about {gib(memory.expected)} ({gib(memory.low)} to {gib(memory.high)}){measured}")


def rows_text(rows: RowChanges | str) -> str:
    """Rows that are added (+), removed, changed (~), removed, changed; or why they were not compared."""
    if isinstance(rows, str):
        return clean(f"rows: not compared ({rows})")
    if not (rows.added or rows.removed or rows.changed):
        return "rows: the same"
    return f"rows: +{rows.added:,} \N{MINUS SIGN}{rows.removed:,} ~{rows.changed:,}"


def noteworthy(plan: Plan) -> list[Change]:
    """What changes, and what stays as it is although something that it needs changes: nobody expects that unsaid."""
    moved = {each.address for each in plan.changes if not each.is_noop}
    return [each for each in plan.changes if not each.is_noop or not moved.isdisjoint(each.needs)]


def counts(plan: Plan) -> dict[str, int]:
    """How many changes there are of each action."""
    return {action.value: sum(each.action is action for each in plan.changes) for action in COUNTED}


def nothing_to_do(plan: Plan) -> str:
    """What is said of a plan without changes."""
    waits = any(change.held for change in plan.changes)
    return f"No changes: {'what is left waits' if waits else 'everything is as specified'}."


def summary(plan: Plan) -> str:
    """`1 to create, 0 to update, 0 to replace, 0 to delete, 3 unchanged`."""
    numbers = counts(plan)
    return ", ".join(f"{numbers[action.value]} {WORDS[action]}" for action in COUNTED)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
