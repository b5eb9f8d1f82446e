"""Resources and what exists → a plan: what would change, in which order, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from ftops.errors import Diagnostic, PlanError, did_you_mean
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind, Plan, Seal
from ftops.plan.details import TrainingDetails
from ftops.plan.observed import Observed
from ftops.resources.resource import Context, noop
from ftops.specs.kinds import declared
from ftops.training.spec.training_run import TrainingRun

if TYPE_CHECKING:
    from ftops.resources.resource import Resource
    from ftops.resources.specs import Specs


def make_plan(
    specs: Specs,
    observed: Observed,
    *,
    targets: Collection[str] = (),
    excludes: Collection[str] = (),
    resumed: Collection[Address] = (),
    reruns: Collection[str] = (),
) -> Plan:
    """The changes that bring what exists to what `specs` say, each after what it needs.

    With `targets`, only those addresses and what they need; without `excludes` and what needs them. Of the trainings that were
    stopped those in `resumed` go on; what needs another one waits. The trainings `reruns`, by address or name, are done again.
    Raises PlanError with everything that stands in the way, so also for an address that no spec has.
    """
    resources = specs.resources
    needs = needs_of(resources)
    chosen = _chosen(needs, _addresses(targets, resources), _addresses(excludes, resources))
    planned: dict[Address, Change] = {}
    faults = _refusals(resumed, resources)
    again = _reruns(reruns, resources, chosen)
    context = Context(specs.project, resources, observed, planned, specs.where, resumed, again)
    for address in ordered(needs):
        if all(need in planned for need in needs[address]):
            try:
                planned[address] = _undecided(resources[address], needs[address], planned) or _waiting(
                    resources[address].plan(context), planned
                )
            except PlanError as error:
                if address in chosen:
                    faults += error.diagnostics
    if faults:
        raise PlanError(*faults)
    changes = tuple(change for address, change in planned.items() if address in chosen)
    advice = (f"{each.address}: {text}" for each in changes for text in each.advice)
    held = (f"{each.address}: {each.note}" for each in changes if each.blocked_by)
    return Plan(changes, warnings=(*_changed(changes, resources, observed), *held, *advice))


def _waiting(change: Change, planned: Mapping[Address, Change]) -> Change:
    """`change`, or nothing where it needs a training that was stopped."""
    stopped = next((need for need in change.needs if planned[need].blocked_by), None)
    if change.is_noop or change.selected_member or stopped is None:
        return change
    note = _waits_for(planned[stopped], f"{stopped}, which was stopped")
    advice = tuple(each for each in change.notes if each.kind is NoteKind.ADVICE)
    details = change.details
    if isinstance(details, TrainingDetails):
        details = replace(details, estimate=None)
    return replace(
        change,
        action=Action.NOOP,
        change_class=ChangeClass.NOOP,
        steps=(),
        notes=(note, *advice),
        details=details,
    )


def _waits_for(need: Change, what: str) -> Note:
    """That a change waits: for `what`, or for the same as what it needs, where that waits itself."""
    blocked = need.blocked_by
    same = blocked is not None and blocked.kind is NoteKind.WAITS
    return blocked if blocked is not None and same else Note(NoteKind.WAITS, f"waits for {what}")


def _undecided(resource: Resource, needs: tuple[Address, ...], planned: Mapping[Address, Change]) -> Change | None:
    """Nothing for now, where a training is made from what a sweep has still to choose: only then its digest is known."""
    open_ = next((planned[need] for need in needs if planned[need].digest is None), None)
    if open_ is None or not resource.needs_digests:
        return None
    return noop(resource.address, _waits_for(open_, f"what {open_.address} chooses, and is planned then"), needs=needs)


def undecided(plan: Plan) -> frozenset[Address]:
    """The trainings of which it is not known yet what they begin from."""
    return frozenset(change.address for change in plan.changes if change.blocked_by and change.digest is None)


def _changed(changes: Collection[Change], resources: Mapping[Address, Resource], observed: Observed) -> Iterator[str]:
    """A sentence for each source that is not what its pointer says: the plan is made from what the pointer says."""
    for change in changes:
        for path in resources[change.address].source_paths():
            if (found := observed.changed.get(path)) is not None:
                yield f"{change.address}: {found.summary}, and the pointer counts ({found.hint})"


def needs_of(resources: Mapping[Address, Resource]) -> dict[Address, tuple[Address, ...]]:
    """Each address, and those that it refers to."""
    return {address: tuple(each.target for each in resource.references()) for address, resource in resources.items()}


def ordered(needs: Mapping[Address, Collection[Address]]) -> Iterator[Address]:
    """Every address after those that it needs; else by kind and name, so that the order never surprises."""
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    ranks = {name: rank for rank, name in enumerate(declared())}
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda address: (ranks[address.kind], address.name))
        yield from ready
        sorter.done(*ready)


def _addresses(texts: Collection[str], resources: Mapping[Address, Resource]) -> frozenset[Address]:
    unknown = [text for text in texts if Address.parse(text) not in resources]
    if unknown:
        known = [str(address) for address in resources]
        raise PlanError(
            *(
                Diagnostic(f"no spec has the address {text!r}", hint=did_you_mean(text, known), address=text)
                for text in unknown
            )
        )
    return frozenset(address for text in texts if (address := Address.parse(text)) is not None)


def _reruns(
    texts: Collection[str], resources: Mapping[Address, Resource], chosen: Collection[Address]
) -> frozenset[Address]:
    """The trainings that are asked for again. Raises PlanError for what is none, and for one that is not planned."""
    kind = TrainingRun.kind_name
    named = _addresses([text if "/" in text else f"{kind}/{text}" for text in texts], resources)
    faults = _refusals(named, resources)
    faults += [
        Diagnostic(
            "it can't be run again: it is not among what is planned", hint="see --target, --exclude", address=str(each)
        )
        for each in sorted(named - frozenset(chosen))
    ]
    if faults:
        raise PlanError(*faults)
    return named


def _refusals(named: Collection[Address], resources: Mapping[Address, Resource]) -> list[Diagnostic]:
    """Why those that a person named are not trained as they are named: a sweep's members train, and a data set does not."""
    found = (resources[address].refuse_rerun() for address in sorted(named) if address in resources)
    return [each for each in found if each is not None]


def _chosen(
    needs: Mapping[Address, Collection[Address]], targets: frozenset[Address], excludes: frozenset[Address]
) -> frozenset[Address]:
    users: dict[Address, set[Address]] = {address: set() for address in needs}
    for address, targets_of in needs.items():
        for target in targets_of:
            users[target].add(address)
    wanted = _closure(targets, needs) if targets else frozenset(needs)
    dropped = _closure(excludes, users)
    if wanted <= dropped and needs:
        raise PlanError(Diagnostic("nothing is left to plan: everything is excluded"))
    return wanted - dropped


def _closure(start: frozenset[Address], edges: Mapping[Address, Collection[Address]]) -> frozenset[Address]:
    seen: set[Address] = set()
    waiting = list(start)
    while waiting:
        address = waiting.pop()
        if address not in seen:
            seen.add(address)
            waiting.extend(edges[address])
    return frozenset(seen)


def make_seal(plan: Plan, specs: Specs, observed: Observed, configs: Mapping[str, str]) -> Seal:
    """What `plan` was made from. `configs` holds the digest of the rendered config of every run that would train."""
    resources = [specs.resources[change.address] for change in plan.changes]
    paths = sorted({path for resource in resources for path in resource.source_paths()})
    sources = {path: observed.sources[path] for path in paths if path in observed.sources}
    return Seal(
        commit=observed.commit,
        specs={str(each.address): specs.spec_digests[str(each.address)] for each in resources},
        data={path: source.pointer or source.digest or "absent" for path, source in sources.items()},
        configs=dict(configs),
        engine=", ".join(sorted({each for resource in resources if (each := resource.software(specs.project))})),
        records=observed.records,
    )


def moved(saved: Seal, now: Seal) -> tuple[str, ...]:
    """What a saved plan was made from and is not so any more, in words; empty where the plan still holds."""
    found: list[str] = []
    if saved.commit != now.commit:
        found.append(f"commit: {_short(saved.commit)} → {_short(now.commit)}")
    if saved.engine != now.engine:
        found.append(f"engine: {saved.engine} → {now.engine}")
    pairs = (
        ("spec of", saved.specs, now.specs),
        ("data", saved.data, now.data),
        ("rendered config of", saved.configs, now.configs),
        ("record", saved.records, now.records),
    )
    for label, before, after in pairs:
        found += (
            f"{label} {name}: {_short(before.get(name))} → {_short(after.get(name))}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        )
    return tuple(found)


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:16]
