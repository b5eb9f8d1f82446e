"""Plans and diagnostics as JSON for programs, and a saved plan read back."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NoReturn, TypeVar

import orjson
from pydantic.alias_generators import to_camel

from ftops.digests import Json
from ftops.display.text import escape, masked
from ftops.errors import Diagnostic, PlanError, Severity
from ftops.plan.address import FORMAT_VERSION, Address
from ftops.plan.changes import RERUN, Action, Change, ChangeClass, Note, NoteKind, Plan, Reason, Seal
from ftops.plan.details import DETAILS, Details
from ftops.plan.step_text import counts
from ftops.plan.steps import STEPS, Step

# JSON itself leaves these as they are; they could act on a terminal, or could not be written at all.
_ACTIVE: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

# orjson and Python write the same numbers, and only those with an exponent otherwise (1e-5 and 1e-05). A line that ends in a
# number holds no text but its key.
_EXPONENT: Final = re.compile(r"e[-+][0-9]{2}")
_FLOAT: Final = re.compile(r" (-?[0-9]+[.e][-.0-9e]*)(?=,?$)", re.MULTILINE)

_camel: Final = functools.cache(to_camel)  # there are few fields, and many steps

Enumeration = TypeVar("Enumeration", bound=StrEnum)


def as_json(value: Json) -> str:
    """`value` as indented JSON, readable in any language and harmless on a terminal."""
    text = _indented(value)
    return text if text.isascii() and "\x7f" not in text else _ACTIVE.sub(lambda match: escape(match[0]), text)


def _indented(value: Json) -> str:
    """What `json.dumps` gives with an indent of 2, to the byte, in a fraction of the time: with an indent it is Python's own loop.

    Raises what `json.dumps` raises for what is no JSON.
    """
    compact = json.dumps(value, ensure_ascii=False, allow_nan=False)  # orjson would write null for NaN
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # numbers beyond 64 bits, keys that are no texts, half of a surrogate pair
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if _EXPONENT.search(compact) is None:
        return text
    return _FLOAT.sub(lambda match: f" {float(match[1])!r}", f" {text}")[1:]


def diagnostics_json(diagnostics: Iterable[Diagnostic]) -> str:
    """The result of a validation; valid is what has no error."""
    found = list(diagnostics)
    return as_json(
        {
            "formatVersion": FORMAT_VERSION,
            "valid": all(each.severity is not Severity.ERROR for each in found),
            "diagnostics": [_diagnostic(each) for each in found],
        }
    )


def plan_json(plan: Plan) -> str:
    """A plan with its seal. Its reasons are for people, with the passwords of URIs masked; its steps are whole."""
    return as_json(
        {
            "formatVersion": FORMAT_VERSION,
            "changes": [_change(each) for each in plan.changes],
            "summary": counts(plan),
            "warnings": masked(plan.warnings),
            "seal": None if plan.seal is None else _seal(plan.seal),
        }
    )


def plan_from_json(text: str | bytes) -> Plan:
    """The plan that `plan_json` wrote, without the `inputs` of its changes. Raises PlanError where `text` is none: nothing
    in it is trusted to have the right shape."""
    try:
        tree = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        _wrong(f"it is not JSON: {error}")
    version = _typed(tree, dict, "it").get("formatVersion")
    if version != FORMAT_VERSION:
        _wrong(f"formatVersion is {version!r}, and this ftops reads {FORMAT_VERSION!r}")
    changes = tuple(_change_from(each, f"changes[{n}]") for n, each in enumerate(_member(tree, "changes", list, "")))
    seal = _member(tree, "seal", (dict, type(None)), "")
    return Plan(
        changes=changes,
        seal=None if seal is None else _seal_from(seal),
        warnings=_texts(tree.get("warnings", []), "warnings"),
    )


def saved_seal(text: str | bytes) -> tuple[Seal, tuple[str, ...], tuple[str, ...]]:
    """The seal of a saved plan, the addresses that it is about, and those of them that it trains again because that was asked for.

    Raises PlanError where it is no plan, or has no seal.
    """
    plan = plan_from_json(text)
    reruns = tuple(str(each.address) for each in plan.changes if RERUN in each.reasons)
    return plan.seal or _wrong("it has no seal"), tuple(str(each.address) for each in plan.changes), reruns


def _diagnostic(diagnostic: Diagnostic) -> Json:
    where = diagnostic.where
    tree = {
        "severity": diagnostic.severity.value,
        "summary": diagnostic.summary,
        "detail": diagnostic.detail,
        "address": diagnostic.address,
        "file": None if where is None else where.file,
        "line": None if where is None else where.line,
        "column": None if where is None else where.column,
        "hint": diagnostic.hint,
    }
    return masked(tree)


def _change(change: Change) -> Json:
    # Every change says what it would take, also where that is nothing.
    tree = {
        "address": str(change.address),
        "action": change.action.value,
        "class": change.change_class.value,
        "reasons": [
            {"field": each.field, "before": masked(each.before), "after": masked(each.after)} for each in change.reasons
        ],
        "steps": [_step(each) for each in change.steps],
        "needs": [str(each) for each in change.needs],
        "note": masked(change.note),
        "estimate": None,
        "cost": None,
        "digest": change.digest,
    }
    return tree | masked(change.details_of(Details).as_json())


def _seal(seal: Seal) -> Json:
    """Its fields as they are: `asdict` would copy ten thousands of digests one by one."""
    return {each.name: getattr(seal, each.name) for each in dataclasses.fields(seal)}


def _step(step: Step) -> Json:
    values = {_camel(each.name): getattr(step, each.name) for each in dataclasses.fields(step)}  # type: ignore[arg-type]  # every class of step is a dataclass
    return {"step": type(step).__name__} | {
        name: str(value) if isinstance(value, Address) else value for name, value in values.items()
    }


# ------------------------------------------------------------------------------------------------ read back


def _change_from(tree: Json, place: str) -> Change:
    _typed(tree, dict, place)
    reasons = _member(tree, "reasons", list, place)
    steps = _member(tree, "steps", list, place)
    return Change(
        address=_address(_member(tree, "address", str, place), f"{place}.address"),
        action=_choice(Action, _member(tree, "action", str, place), f"{place}.action"),
        change_class=_choice(ChangeClass, _member(tree, "class", str, place), f"{place}.class"),
        reasons=tuple(_reason_from(each, f"{place}.reasons[{n}]") for n, each in enumerate(reasons)),
        steps=tuple(_step_from(each, f"{place}.steps[{n}]") for n, each in enumerate(steps)),
        needs=tuple(_address(each, f"{place}.needs") for each in _texts(tree.get("needs"), f"{place}.needs")),
        notes=(Note(NoteKind.STATE, note),) if (note := _member(tree, "note", str, place)) else (),
        digest=_member(tree, "digest", (str, type(None)), place),
        details=_details_from(tree, place),
    )


def _details_from(tree: Json, place: str) -> Details | None:
    """What is shown of the details; neither inputs nor the member of a sweep are in a saved plan."""
    try:
        return next((found for kind in DETAILS.values() if (found := kind.from_json(tree)) is not None), None)
    except ValueError as error:
        _wrong(f"{place}: {error}")


def _reason_from(tree: Json, place: str) -> Reason:
    _typed(tree, dict, place)
    return Reason(
        _member(tree, "field", str, place),
        _member(tree, "before", object, place),
        _member(tree, "after", object, place),
    )


def _step_from(tree: Json, place: str) -> Step:
    name = _member(_typed(tree, dict, place), "step", str, place)
    if (kind := STEPS.get(name)) is None:
        _wrong(f"{place}: unknown step {name!r}")
    types = typing.get_type_hints(kind)
    names = {_camel(field): field for field in types}
    if unknown := tree.keys() - names.keys() - {"step"}:
        _wrong(f"{place}: unknown key {min(unknown)!r}")
    values: dict[str, Json] = {}
    for key, field in names.items():
        value, kind_of_field = _member(tree, key, object, place), types[field]
        if kind_of_field is Address:
            values[field] = _address(_typed(value, str, f"{place}.{key}"), f"{place}.{key}")
        elif typing.get_origin(kind_of_field) is tuple:
            values[field] = _texts(value, f"{place}.{key}")
        else:
            values[field] = _typed(value, kind_of_field, f"{place}.{key}")
    return kind(**values)


def _seal_from(tree: Json) -> Seal:
    return Seal(
        commit=_member(tree, "commit", (str, type(None)), "seal"),
        engine=_member(tree, "engine", str, "seal"),
        specs=_digests(tree, "specs"),
        data=_digests(tree, "data"),
        configs=_digests(tree, "configs"),
        records=_digests(tree, "records"),
    )


def _digests(tree: Json, key: str) -> dict[str, str]:
    digests: dict[str, str] = _member(tree, key, dict, "seal")
    for name, value in digests.items():
        _typed(value, str, f"seal.{key}.{name}")
    return digests


def _texts(value: Json, place: str) -> tuple[str, ...]:
    return tuple(_typed(each, str, place) for each in _typed(value, list, place))


def _address(text: str, place: str) -> Address:
    address = Address.parse(text)
    return address if address is not None else _wrong(f"{place}: {text!r} is no address such as TrainingRun/name")


def _choice(enumeration: type[Enumeration], text: str, place: str) -> Enumeration:
    try:
        return enumeration(text)
    except ValueError:
        _wrong(f"{place}: expected {', '.join(enumeration)}, found {text!r}")


def _member(tree: Json, key: str, kind: typing.Any, place: str) -> Json:
    path = f"{place}.{key}" if place else key
    return _typed(tree[key], kind, path) if key in tree else _wrong(f"{path} is missing")


def _typed(value: Json, kind: typing.Any, place: str) -> Json:
    return (
        value if isinstance(value, kind) else _wrong(f"{place}: found {str(value)[:60]!r} where something else belongs")
    )


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _wrong(why: str) -> NoReturn:
    raise PlanError(Diagnostic("this is not a plan that ftops has saved", why, "make it again: ftops plan --out FILE"))
