"""What an experiment measures: a field of its log rows, how it becomes one figure a unit, and which way is better."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, StringConstraints, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

from ftops.experiments.metric_types import METRIC_TYPES, MetricType
from ftops.experiments.metric_types.metric_type import Aggregate
from ftops.resources.fields import Strict

Direction = Literal["increase", "decrease"]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]


def _named(value: object) -> object:
    """A name of `METRIC_TYPES`; raises what pydantic raises where a Literal of them is expected."""
    if isinstance(value, str) and value in METRIC_TYPES:
        return value
    *most, last = map(repr, METRIC_TYPES)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(most)} or {last}"})


class _Choices:
    """Says in the JSON Schema which names there are."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(METRIC_TYPES), **handler(core)}


TypeName = Annotated[str, BeforeValidator(_named), _Choices()]


class Metric(Strict):
    name: FieldName = Field(description="The field of a log row that it is read from; for a ratio a free name.")
    type: TypeName = Field(description="What a value is, and so how it is tested.")
    direction: Direction = Field(default="increase", description="Which way is better.")
    aggregate: Aggregate | None = Field(
        default=None,
        description="How the rows of a unit become one figure: mean, for a count sum, for binary any, when absent.",
    )
    numerator: FieldName | None = Field(default=None, description="Of a ratio: the field that is summed above.")
    denominator: FieldName | None = Field(default=None, description="Of a ratio: the field that is summed below.")

    @model_validator(mode="after")
    def _fits(self) -> Metric:
        parts, of_parts = (self.numerator, self.denominator), self.metric_type.of_parts
        if of_parts and None in parts:
            raise PydanticCustomError(
                "parts", "a {type} needs numerator and denominator, each a field of a log row", {"type": self.type}
            )
        if not of_parts and parts != (None, None):
            types = " or ".join(name for name, each in METRIC_TYPES.items() if each.of_parts)
            raise PydanticCustomError(
                "parts", "only a metric of type {types} has numerator and denominator", {"types": types}
            )
        allowed = self.metric_type.aggregates
        if self.aggregate is not None and self.aggregate not in allowed:
            raise PydanticCustomError(
                "aggregate",
                "aggregate {given} does not go with a metric of type {type}: expected {allowed}",
                {"given": self.aggregate, "type": self.type, "allowed": " or ".join(allowed) or "none"},
            )
        return self

    @property
    def metric_type(self) -> MetricType:
        """All that follows from its type."""
        return METRIC_TYPES[self.type]

    @property
    def by_unit(self) -> str:
        """How the rows of a unit become one figure; empty for a ratio, whose parts are summed."""
        return self.aggregate or next(iter(self.metric_type.aggregates), "")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a log row that it is made from."""
        return (self.name,) if self.numerator is None else (self.numerator, self.denominator or "")


class Guardrail(Metric):
    margin: float = Field(gt=0, lt=1, description="How much worse is still borne, as a share of the baseline's mean.")
