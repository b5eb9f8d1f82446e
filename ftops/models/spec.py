"""`kind: Model`: versions made from runs, and the aliases that say which one is used for what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import digest
from ftops.plan.changes import Action, Change, ChangeClass, Reason
from ftops.plan.details import Details
from ftops.plan.observed import VersionState
from ftops.plan.run import run_id
from ftops.plan.steps import AddMerged, CommitRecords, LabelVersion, MergeWeights, RegisterVersion, Step
from ftops.resources.fields import Name, Semver, Strict, Tag
from ftops.resources.resource import Context, Reference, Resource, advice, noop
from ftops.training.spec.training_run import MERGED, run_address

PRODUCTION: Final = "production"
ARCHIVED: Final = "archived"
Alias = Literal["staging", "production"]


class Version(Strict):
    run: Name = Field(description="The TrainingRun whose result this version is.")
    tags: tuple[Tag, ...] = Field(default=(), description="For finding it again.")
    export: tuple[Literal["adapter", "merged"], ...] | None = Field(
        default=None,
        description="Of a run that trains an adapter: the adapter, and with `merged` its base model with the adapter merged "
        "into it too. The adapter alone when absent.",
        strict=False,
    )

    @field_validator("export")
    @classmethod
    def _has_the_adapter(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and ("adapter" not in value or len({*value}) < len(value)):
            raise PydanticCustomError(
                "export", "expected [adapter] or [adapter, merged]: a version always has its adapter"
            )
        return value

    @property
    def merged(self) -> bool:
        """Whether it has merged weights."""
        return MERGED in (self.export or ())


class ModelSpec(Strict):
    versions: dict[Semver, Version] = Field(min_length=1, description="Versions by semantic version.")
    aliases: dict[Alias, Semver] = Field(default_factory=dict, description="Which version each alias points to.")

    @model_validator(mode="after")
    def _aliases_exist(self) -> ModelSpec:
        for alias, version in self.aliases.items():
            if version not in self.versions:
                raise PydanticCustomError(
                    "alias",
                    "alias {alias} points to {version}, which is not among the versions ({known})",
                    {"alias": alias, "version": version, "known": ", ".join(self.versions)},
                )
        return self


class Model(Resource):
    """A named model. A registered version never changes; only its aliases and tags do."""

    kind_name: ClassVar[str] = "Model"
    kind: Literal["Model"]
    spec: ModelSpec

    def references(self) -> Iterator[Reference]:
        for version, each in self.spec.versions.items():
            yield Reference(("spec", "versions", version, "run"), run_address(each.run))

    def plan(self, context: Context) -> Change:
        recorded = context.observed.versions.get(self.metadata.name, {})
        aliases = aliases_after(self.spec.aliases, recorded, tuple(self.spec.versions))
        new = [version for version in self.spec.versions if version not in recorded]
        reasons: list[Reason] = []
        steps: list[Step] = []
        for version in new:
            run = self.spec.versions[version].run
            reasons.append(Reason(f"versions.{version}.run", None, run))
            made = context.planned[run_address(run)].run_id
            merge = [MergeWeights(run, made)] if self.spec.versions[version].merged else []
            add = [AddMerged(self.metadata.name, version)] if merge else []
            steps += [*merge, RegisterVersion(self.metadata.name, version, made), *add]
        for version in self._unmerged(recorded, context):
            state = recorded[version]
            reasons.append(Reason(f"versions.{version}.export", ["adapter"], ["adapter", MERGED]))
            steps.append(MergeWeights(state.run, run_id(state.run, state.run_digest), state.output))
            steps.append(AddMerged(self.metadata.name, version))
        for version in (*new, *recorded):
            tags = self._tags(version, recorded)
            before = recorded.get(version)
            changed = _labels_changed(version, before, aliases[version], tags)
            if changed or before is None:
                reasons += changed
                steps.append(LabelVersion(self.metadata.name, version, aliases[version], tags))
        notes = advice(self._advice(recorded, context))
        inputs = self.spec.model_dump(mode="json", by_alias=True)
        identity = digest(inputs)
        needs = tuple(dict.fromkeys(reference.target for reference in self.references()))
        if not steps:
            return noop(
                self.address,
                "every version and alias is as specified",
                notes=notes,
                digest=identity,
                details=Details(inputs),
                needs=needs,
            )
        return Change(
            self.address,
            Action.UPDATE if recorded else Action.CREATE,
            ChangeClass.REGISTER,
            reasons=tuple(reasons),
            steps=(*steps, CommitRecords(self.address)),
            needs=needs,
            notes=notes,
            digest=identity,
            details=Details(inputs),
        )

    def _registers(self, run: str, recorded: Mapping[str, VersionState]) -> bool:
        """Whether the spec has a version of `run` that is not registered yet: the new training will be that one."""
        return any(each.run == run for version, each in self.spec.versions.items() if version not in recorded)

    def _unmerged(self, recorded: Mapping[str, VersionState], context: Context) -> Iterator[str]:
        """The registered versions that shall have merged weights by now: these are added, and all that is there stays."""
        for version, spec in self.spec.versions.items():
            state, chosen = recorded.get(version), context.planned[run_address(spec.run)].selected_member
            if state is not None and spec.merged and not state.merged and state.run in (spec.run, chosen):
                yield version

    def _tags(self, version: str, recorded: Mapping[str, VersionState]) -> tuple[str, ...]:
        if version in self.spec.versions:
            return tuple(sorted(self.spec.versions[version].tags))
        return recorded[version].tags

    def _advice(self, recorded: Mapping[str, VersionState], context: Context) -> Iterator[str]:
        """What a person should know about versions that stay as they are although something moved."""
        registered = {state.run_digest for state in recorded.values()}
        for version, state in recorded.items():
            spec = self.spec.versions.get(version)
            run = None if spec is None else context.planned[run_address(spec.run)]
            if spec is None or run is None:
                yield f"{version} is registered but not in the spec; its record stays."
            elif run.digest is None or (
                run.selected_member and (run.digest in registered or self._registers(spec.run, recorded))
            ):
                continue  # what a sweep chose, or will
            elif state.run not in (spec.run, run.selected_member):
                yield (
                    f"{version} stays the result of {state.run}: a registered version never changes; "
                    f"register {spec.run} as {next_version((*recorded, *self.spec.versions))}."
                )
            elif run.digest not in registered and not self._registers(spec.run, recorded):
                yield (
                    f"{version} stays what {run_id(state.run, state.run_digest)} made; "
                    f"register the new training as {next_version((*recorded, *self.spec.versions))}."
                )
            if spec is not None and state.merged and not spec.merged:
                yield f"{version} keeps its merged weights: a registered version never changes."


def aliases_after(
    wanted: Mapping[Alias, str], recorded: Mapping[str, VersionState], versions: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """The aliases of each version once `wanted` holds: only what the spec says, and `archived` for every version
    that was in production and is not any more."""
    after: dict[str, tuple[str, ...]] = {}
    for version in dict.fromkeys((*versions, *recorded)):
        aliases: list[str] = [alias for alias, target in wanted.items() if target == version]
        before = recorded[version].aliases if version in recorded else ()
        if PRODUCTION not in aliases and (PRODUCTION in before or ARCHIVED in before):
            aliases.append(ARCHIVED)
        after[version] = tuple(sorted(aliases))
    return after


def next_version(versions: tuple[str, ...]) -> str:
    """The minor version after the highest of `versions`, by the precedence of https://semver.org."""
    from semver import Version  # few plans propose a version

    return str(max(map(Version.parse, versions)).bump_minor())


def _labels_changed(
    version: str, before: VersionState | None, aliases: tuple[str, ...], tags: tuple[str, ...]
) -> tuple[Reason, ...]:
    old_aliases, old_tags = ((), ()) if before is None else (before.aliases, before.tags)
    pairs = (("aliases", old_aliases, aliases), ("tags", old_tags, tags))
    return tuple(
        Reason(f"versions.{version}.{field}", sorted(old), sorted(new))
        for field, old, new in pairs
        if sorted(old) != sorted(new)
    )
