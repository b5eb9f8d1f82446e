"""What an experiment measures: a field of its log rows, how it becomes one figure a unit, and which way is better."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from ftops.resources.fields import Strict

MetricType = Literal["rating", "binary", "continuous", "duration", "count", "ratio"]
Direction = Literal["increase", "decrease"]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]


class Metric(Strict):
    name: FieldName = Field(description="The field of a log row that it is read from; for a ratio a free name.")
    type: MetricType = Field(description="What a value is, and so how it is tested.")
    direction: Direction = Field(default="increase", description="Which way is better.")
    aggregate: Literal["mean", "sum", "any"] | None = Field(
        default=None,
        description="How the rows of a unit become one figure: mean, for a count sum, for binary any, when absent.",
    )
    numerator: FieldName | None = Field(default=None, description="Of a ratio: the field that is summed above.")
    denominator: FieldName | None = Field(default=None, description="Of a ratio: the field that is summed below.")

    @model_validator(mode="after")
    def _fits(self) -> Metric:
        parts = (self.numerator, self.denominator)
        if self.type == "ratio" and None in parts:
            raise PydanticCustomError("ratio", "a ratio needs numerator and denominator, each a field of a log row")
        if self.type != "ratio" and parts != (None, None):
            raise PydanticCustomError("ratio", "only a metric of type ratio has numerator and denominator")
        allowed = _AGGREGATES[self.type]
        if self.aggregate is not None and self.aggregate not in allowed:
            raise PydanticCustomError(
                "aggregate",
                "aggregate {given} does not go with a metric of type {type}: expected {allowed}",
                {"given": self.aggregate, "type": self.type, "allowed": " or ".join(allowed) or "none"},
            )
        return self

    @property
    def by_unit(self) -> str:
        """How the rows of a unit become one figure; empty for a ratio, whose parts are summed."""
        return self.aggregate or next(iter(_AGGREGATES[self.type]), "")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a log row that it is made from."""
        return (self.name,) if self.numerator is None else (self.numerator, self.denominator or "")


_AGGREGATES: Final[dict[str, tuple[str, ...]]] = {
    "rating": ("mean",),
    "binary": ("any", "mean"),
    "continuous": ("mean", "sum"),
    "duration": ("mean",),
    "count": ("sum", "mean"),
    "ratio": (),
}
"""The ways to make one figure of a unit's rows; the first one where the spec names none."""


class Guardrail(Metric):
    margin: float = Field(gt=0, lt=1, description="How much worse is still borne, as a share of the baseline's mean.")
