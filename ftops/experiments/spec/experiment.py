"""`kind: Experiment`: an A/B test between registered models, declared before any data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json, digest
from ftops.display.numbers import percent
from ftops.errors import Diagnostic, PlanError
from ftops.experiments.assignment import WHOLE, Allocation, moved, ranges_moved_least
from ftops.experiments.metric_types.values import Values
from ftops.experiments.spec.arms import Arm, Exclusion, Share, check_arms, ranges_of
from ftops.experiments.spec.design import Design, days_left, outlook
from ftops.experiments.spec.metric import FieldName, Guardrail, Metric
from ftops.models.spec import Model
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind, Reason
from ftops.plan.details import Details
from ftops.plan.observed import ExperimentState, Source
from ftops.plan.steps import Analyze, CommitRecords, FetchData
from ftops.resources.fields import Name, RelativePath, Strict, exactly_one, fixed_part
from ftops.resources.project import FromEnvironment, database_url
from ftops.resources.resource import Context, Reference, Resource, advice, differences, noop

State = Literal["running", "stopped", "concluded"]
RUNNING: Final = "running"

FROZEN: Final = ("hypothesis", "unit", "metric", "secondary", "guardrails", "covariate", "design")
"""What nobody may change once the data has been looked at: who may would find what they look for."""
PHASE: Final = ("arms", "seed")
"""What gives other units, or other models, to the arms: rows from before and after are not of one experiment."""


def _time(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in value:
        raise PydanticCustomError("time", "expected a time with its zone, such as 2026-01-31T09:00:00Z")
    return value


Moment = Annotated[str, AfterValidator(_time)]


class SqlLogs(Strict):
    url: Annotated[str | FromEnvironment, AfterValidator(database_url)] = Field(
        description="`sqlite:///PATH` or `postgresql://…`; `{env: NAME}` where it holds a secret."
    )
    table: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$",
        max_length=127,
        description="Its name, or `schema.name`.",
    )


class Logs(Strict):
    path: RelativePath | None = Field(default=None, description="A file, or a glob: JSONL, Parquet or CSV.")
    sql: SqlLogs | None = Field(default=None, description="A table with the columns of a log row.")

    @model_validator(mode="after")
    def _one_way(self) -> Logs:
        exactly_one(self, "path", "sql")
        return self


class Period(Strict):
    start: Moment | None = Field(default=None, description="Rows before it do not count.")
    end: Moment | None = Field(default=None, description="Rows from it on do not count.")

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.start and self.end and datetime.fromisoformat(self.end) <= datetime.fromisoformat(self.start):
            raise PydanticCustomError("period", "the end must come after the start")
        return self


class ExperimentSpec(Strict):
    hypothesis: str = Field(default="", description="What is expected, and why: said before there is data.")
    unit: Literal["user_id", "session_id"] = Field(
        default="user_id", description="What is given to an arm, and what is counted."
    )
    arms: Annotated[dict[Name, Arm], AfterValidator(check_arms)] = Field(
        max_length=100, description="What is compared, by name: two or more."
    )
    seed: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        pattern=r"^[ -~]+$",
        description="Another seed, another assignment; the experiment's name when absent.",
    )
    coverage: Share = Field(default=1.0, description="Which share of all units takes part; a ramp moves nobody.")
    exclusion: Exclusion | None = Field(default=None, description="Keeps units out of two experiments at once.")
    metric: Metric = Field(description="The one metric that decides.")
    secondary: tuple[Metric, ...] = Field(default=(), description="Metrics that inform, corrected for their number.")
    guardrails: tuple[Guardrail, ...] = Field(
        default=(), description="Metrics that must not get worse by more than a margin."
    )
    covariate: FieldName | None = Field(
        default=None, description="A figure of each unit from before the experiment, for CUPED."
    )
    design: Design
    logs: Logs = Field(description="Where the rows of what happened are.")
    period: Period = Field(default_factory=Period)
    state: State = Field(default="running", description="`stopped` and `concluded` end it, and need a reason.")
    reason: str = Field(default="", description="Why it was stopped or concluded.")

    @model_validator(mode="after")
    def _sound(self) -> ExperimentSpec:
        for metrics in ((self.metric, *self.secondary), self.guardrails):
            for name, times in Counter(metric.name for metric in metrics).items():
                if times > 1:
                    raise PydanticCustomError("metrics", "metric {name} is named twice", {"name": name})
        _check_fields(self.metrics)
        if self.exclusion is not None and self.exclusion.group == self.seed:
            raise PydanticCustomError(
                "exclusion", "the group {group} is the seed too: the arms would not be split", {"group": self.seed}
            )
        if self.state != RUNNING and not self.reason.strip():
            raise PydanticCustomError("reason", "say why it is {state}: reason is missing", {"state": self.state})
        return self

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Every metric, the primary one first; one may stand among the secondary ones and the guardrails both."""
        return (self.metric, *self.secondary, *self.guardrails)

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return next((name for name, arm in sorted(self.arms.items()) if arm.baseline), min(self.arms))

    @property
    def least_weight(self) -> float:
        """The weight of the arm that takes longest to fill."""
        return min(arm.weight for arm in self.arms.values() if arm.weight > 0)

    @property
    def active(self) -> tuple[str, ...]:
        """The arms that get units, by name."""
        return tuple(sorted(name for name, arm in self.arms.items() if arm.weight > 0))


def _check_fields(metrics: tuple[Metric, ...]) -> None:
    """Raises where one field of a row would have to be two things."""
    held: dict[str, Values] = {}
    for metric in metrics:
        values = metric.metric_type.values
        for field in metric.fields:
            if (other := held.setdefault(field, values)) is not values:
                raise PydanticCustomError(
                    "metrics",
                    "the field {field} is read as {one} and as {other}: it can be only one of them",
                    {"field": field, "one": other.name, "other": values.name},
                )


class Experiment(Resource):
    """An A/B test: which unit sees which model, what is measured, and when a result may be called one."""

    kind_name: ClassVar[str] = "Experiment"
    kind: Literal["Experiment"]
    spec: ExperimentSpec

    @property
    def allocation(self) -> Allocation:
        """Which unit gets which arm."""
        return Allocation.of(self.model_dump(mode="json", by_alias=True))

    def references(self) -> Iterator[Reference]:
        for name, arm in self.spec.arms.items():
            yield Reference(("spec", "arms", name, "model"), Address(Model.kind_name, arm.named[0]))

    def source_paths(self) -> Iterator[str]:
        if self.spec.logs.path is not None:
            yield self.spec.logs.path

    def growing_paths(self) -> Iterator[str]:
        return self.source_paths()

    def plan(self, context: Context) -> Change:
        before = context.observed.experiments.get(self.metadata.name)
        source = context.observed.sources.get(self.spec.logs.path or "")
        inputs = self.inputs(context.resources, source, before)
        reasons = differences({} if before is None else before.inputs, inputs)
        if before is not None:
            self._refuse(before, inputs, reasons, context)
        rows_unknown = self.spec.logs.sql is not None and self.spec.state == RUNNING
        needs = tuple(dict.fromkeys(reference.target for reference in self.references()))
        advised = () if before is None else advice(self._advice(before, inputs))
        if not reasons and not rows_unknown:
            note = "no new rows" if self.spec.state == RUNNING else f"it is {self.spec.state}"
            return noop(self.address, note, needs=needs, notes=advised, digest=digest(inputs), details=Details(inputs))
        opens = before is None or self._opens(before, inputs)
        phase = "1" if before is None else str(int(before.phase) + opens)
        fetch = (
            ()
            if source is None or source.present or source.digest is None
            else (FetchData((fixed_part(source.path),)),)
        )
        expected = self._outlook(before, context, opens=opens, rows_unknown=rows_unknown)
        return Change(
            self.address,
            Action.CREATE if before is None else Action.UPDATE,
            ChangeClass.ANALYZE,
            reasons=reasons,
            steps=(*fetch, Analyze(self.metadata.name, phase, opens), CommitRecords(self.address)),
            needs=needs,
            notes=(Note(NoteKind.STATE, expected), *advised),
            digest=digest(inputs),
            details=Details(inputs),
        )

    def inputs(
        self, resources: Mapping[Address, Resource], source: Source | None, before: ExperimentState | None
    ) -> Json:
        """What was declared and what is looked at: each model by its version, the arms by their buckets, the logs by their
        content. Of an experiment that has ended the logs stay those of its last look."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        ranges = ranges_of(self.spec.arms)
        arms = {
            name: {
                "model": "@".join((arm.named[0], version_of(arm, resources) or arm.named[1])),
                "weight": arm.weight,
                "ranges": [list(each) for each in ranges[name]],
            }
            for name, arm in self.spec.arms.items()
        }
        logs: Json = {"table": self.spec.logs.sql.table} if self.spec.logs.sql else None
        if source is not None:
            logs = source.digest or source.pointer
        if before is not None and before.state == self.spec.state != RUNNING:
            logs = before.inputs.get("logs")
        told = (*FROZEN, "coverage", "exclusion", "period", "state", "reason")
        known = {key: spec[key] for key in told if spec.get(key)} | ({} if logs is None else {"logs": logs})
        return {
            **known,
            "arms": arms,
            "baseline": self.spec.baseline,
            "seed": self.spec.seed or self.metadata.name,
        }

    def _opens(self, before: ExperimentState, inputs: Json) -> bool:
        """Whether a new phase begins: other arms, or going on after a stop."""
        went_on = before.state != RUNNING and self.spec.state == RUNNING
        return went_on or any(before.inputs.get(key) != inputs[key] for key in PHASE)

    def _refuse(self, before: ExperimentState, inputs: Json, reasons: tuple[Reason, ...], context: Context) -> None:
        """Raises PlanError for what may not change any more."""
        faults = []
        if before.state == "concluded" and self.spec.state != "concluded":
            faults.append(("state", "a concluded experiment stays concluded"))
        elif RUNNING not in (before.state, self.spec.state) and self._opens(before, inputs):
            faults.append(("arms", f"the arms of an experiment that is {before.state} stay as they are"))
        if before.looks or int(before.phase) > 1:
            changed = [each.field for each in reasons if each.field.partition(".")[0] in FROZEN]
            if before.inputs.get("baseline") != inputs["baseline"]:
                changed.append("arms")
            faults += [(each, f"{each} is frozen: the data has been looked at") for each in changed]
        hint = "declare another experiment under another name; this one can be stopped (state: stopped, with a reason)"
        if faults:
            raise PlanError(
                *(
                    Diagnostic(
                        summary,
                        hint=hint,
                        address=str(self.address),
                        where=context.where(self.address, ("spec", *field.split("."))),
                    )
                    for field, summary in faults
                )
            )

    def _advice(self, before: ExperimentState, inputs: Json) -> Iterator[str]:
        """What a person should decide."""
        if self.spec.state == RUNNING and before.state == RUNNING:
            if self._opens(before, inputs):
                yield from self._fewest_moves(before, inputs)
            else:
                yield from before.proposals

    def _fewest_moves(self, before: ExperimentState, inputs: Json) -> Iterator[str]:
        """The ranges to write where those by weight move more units from arm to arm than need be."""
        old, new = _flat(before.inputs["arms"]), _flat(inputs["arms"])
        weights = {name: round(arm.weight * WHOLE) for name, arm in self.spec.arms.items()}
        best = ranges_moved_least(old, weights)
        if moved(old, new) > moved(old, best) and before.inputs.get("seed") == inputs["seed"]:
            pieces: dict[str, list[list[float]]] = {}
            for name, start, end in best:
                pieces.setdefault(name, []).append([start / WHOLE, end / WHOLE])
            written = "; ".join(f"{name}: ranges: {each}" for name, each in sorted(pieces.items()))
            share, least = moved(old, new) / WHOLE, moved(old, best) / WHOLE
            yield f"{percent(share)} of the units change their arm, and {percent(least)} would do: write {written}."

    def _outlook(self, before: ExperimentState | None, context: Context, *, opens: bool, rows_unknown: bool) -> str:
        """What the design can find, and how long it takes: for a person who is asked to agree."""
        spec = self.spec
        if spec.state != RUNNING:
            return f"ends: {spec.state}, because {spec.reason.strip()}"
        sentences = [outlook(spec.metric, spec.design, len(spec.active), before.mean if before else None)]
        traffic, like = self._traffic(context)
        fraction = 0.0 if before is None or opens else before.fraction
        days = days_left(spec.design.target_samples, spec.least_weight, fraction, traffic)
        if days is not None and traffic is not None:
            sentences.append(f"about {days:.0f} days to go at {traffic:,.0f} new units a day, as {like} had")
        else:
            sentences.append("how long it takes shows once there is traffic")
        if rows_unknown:
            sentences.append("the rows of a table are known only when it is read")
        return "; ".join(sentences)

    def _traffic(self, context: Context) -> tuple[float | None, str]:
        """New units a day of this experiment, else what another one with the same unit lets expect; and which one."""
        known = context.observed.experiments
        order = sorted(known, key=lambda name: (name != self.metadata.name, name))
        for name in order:
            state = known[name]
            if state.traffic and state.inputs.get("unit") == self.spec.unit and state.inputs.get("coverage"):
                return state.traffic / state.inputs["coverage"] * self.spec.coverage, f"Experiment/{name}"
        return None, ""


def _flat(arms: Json) -> tuple[tuple[str, int, int], ...]:
    return tuple((name, start, end) for name, arm in sorted(arms.items()) for start, end in arm["ranges"])


def version_of(arm: Arm, resources: Mapping[Address, Resource]) -> str | None:
    """The version that an arm shows: that of its alias where it names one; None where there is no such model or alias."""
    name, which = arm.named
    model = resources.get(Address(Model.kind_name, name))
    if not isinstance(model, Model):
        return None
    if which in model.spec.versions:
        return which
    return next((version for alias, version in model.spec.aliases.items() if alias == which), None)
