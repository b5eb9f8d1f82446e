"""What a look at an experiment asks a person to do, as the edits of specs that would do it. Proposed, never made."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from ftops.errors import ExternalError, Where
from ftops.experiments.analysis.interim_result import InterimResult
from ftops.experiments.record import Proposal
from ftops.experiments.spec.experiment import Experiment
from ftops.files import read_bytes
from ftops.models.spec import PRODUCTION, Model
from ftops.plan.address import Address
from ftops.resources.specs import Specs

_ENDS: Final = {
    "winner": ("concluded", "{winner} won at look {number}"),
    "no-difference": ("concluded", "no difference that matters, at look {number}"),
    "inconclusive": ("concluded", "the planned data decides nothing (look {number})"),
    "invalid": ("stopped", "the data can't be used (look {number})"),
}


def propose(
    root: Path, specs: Specs, experiment: Experiment, look: InterimResult, models: Mapping[str, str]
) -> tuple[Proposal, ...]:
    """What follows from `look`: to end the experiment, and to promote the winner. `models` has the version of each arm.

    Nothing while the stopping rule lets the experiment go on.
    """
    if look.decided_at is None and look.verdict != "invalid":
        return ()
    state, reason = _ENDS[look.verdict]
    proposals = [_ending(root, specs, experiment, state, reason.format(winner=look.winner, number=look.number))]
    if look.winner is not None and look.winner != experiment.spec.baseline:
        proposals += _promotion(root, specs, models[look.winner], look)
    return tuple(proposals)


def _ending(root: Path, specs: Specs, experiment: Experiment, state: str, reason: str) -> Proposal:
    place = specs.where(experiment.address, ("spec", "state"))
    why = f"{reason}: end the experiment with state: {state}, and say why in reason ({place})"
    text = _read(root, place)
    written = f"state: {state}"
    edited = _with_value(text, place, state, f"reason: {json.dumps(reason, ensure_ascii=False)}")
    if edited is None and text is not None:
        first = specs.where(experiment.address, ("spec", "design"))
        edited = _with_line(text, first, "design", [written, f"reason: {json.dumps(reason, ensure_ascii=False)}"])
    wanted = {"state": state, "reason": reason}
    return Proposal(why=why, file=place.file, diff=_diff(text, edited, place, experiment.address, wanted))


def _promotion(root: Path, specs: Specs, winner: str, look: InterimResult) -> list[Proposal]:
    name, _, version = winner.partition("@")
    address = Address(Model.kind_name, name)
    model = specs.resources.get(address)
    if not isinstance(model, Model) or model.spec.aliases.get(PRODUCTION) == version:
        return []
    place = specs.where(address, ("spec", "aliases", PRODUCTION))
    simulated = " The data is simulated: this shows the way, and promotes nothing real." if look.simulated else ""
    why = f"{look.winner} won: promote {winner} with aliases.{PRODUCTION}: {version} ({place}).{simulated}"
    text = _read(root, place)
    edited = _with_value(text, place, version) if PRODUCTION in model.spec.aliases else None
    wanted = {"aliases": {**model.spec.aliases, PRODUCTION: version}}
    return [Proposal(why=why, file=place.file, diff=_diff(text, edited, place, address, wanted))]


def _read(root: Path, place: Where) -> str | None:
    """The text of a spec, as it was read a moment ago for this apply; None where it is gone by now."""
    try:
        return read_bytes(root / place.file, root=root).decode()
    except (OSError, ExternalError, UnicodeDecodeError):
        return None


def _with_value(text: str | None, place: Where, value: str, more: str = "") -> str | None:
    """`text` with the plain scalar at `place` replaced, and the line `more` after it; None where no scalar stands there."""
    if text is None or place.line is None or place.column is None:
        return None
    lines = text.splitlines(keepends=True)
    line = lines[place.line - 1]
    before, rest = line[: place.column - 1], line[place.column - 1 :]
    length = next((index for index, character in enumerate(rest) if character in ",}#\r\n \t"), len(rest))
    if not length or not before.rstrip().endswith(":"):
        return None
    lines[place.line - 1] = before + value + rest[length:]
    if more:
        indent = line[: len(line) - len(line.lstrip())]
        lines.insert(place.line, f"{indent}{more}\n")
    return "".join(lines)


def _with_line(text: str, place: Where, key: str, added: list[str]) -> str | None:
    """`text` with lines before the one that has `key`, of the same depth; None where it does not begin a line."""
    if place.line is None:
        return None
    lines = text.splitlines(keepends=True)
    for index in range(min(place.line, len(lines)) - 1, -1, -1):
        if lines[index].lstrip().startswith(f"{key}:"):
            indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
            return "".join([*lines[:index], *(f"{indent}{each}\n" for each in added), *lines[index:]])
    return None


def _diff(text: str | None, edited: str | None, place: Where, address: Address, wanted: Mapping[str, object]) -> str:
    """The unified diff of an edit; empty where it would not make the document say what is wanted, and nothing else."""
    if text is None or edited is None or not _says(text, edited, address, wanted):
        return ""
    lines = difflib.unified_diff(
        text.splitlines(keepends=True), edited.splitlines(keepends=True), f"a/{place.file}", f"b/{place.file}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _says(text: str, edited: str, address: Address, wanted: Mapping[str, object]) -> bool:
    """Whether `edited` is `text` with the fields `wanted` in the spec at `address`."""
    try:
        before, after = (list(yaml.load_all(each, Loader=yaml.CSafeLoader)) for each in (text, edited))
    except yaml.YAMLError:
        return False
    for document in before:
        if isinstance(document, dict) and (document.get("kind"), document["metadata"]["name"]) == address:
            document["spec"].update(wanted)
    return before == after
