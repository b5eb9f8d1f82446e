"""`sweep` of a TrainingRun: which hyperparameters its members try, and what makes one of them the best."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ftops.digests import Json, canonical, digest
from ftops.display.numbers import trimmed
from ftops.plan.sweep_choice import Choice
from ftops.resources.fields import NAME_PATTERN, Strict
from ftops.training.axolotl.metrics import better
from ftops.training.spec.checkpoints import Best, Checkpoints

MOST_POINTS: Final = 100_000
"""A grid of more points is refused also where only some of them are drawn: each is looked at."""
LONGEST_NAME: Final = 63

SHORT: Final = {
    "learning_rate": "lr",
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "num_epochs": "epochs",
    "max_steps": "steps",
    "micro_batch_size": "batch",
    "gradient_accumulation_steps": "accumulation",
    "weight_decay": "decay",
    "warmup_ratio": "warmup",
    "lr_scheduler": "scheduler",
}
"""What a hyperparameter is called in the names of members; any other by its own name."""

Point = dict[str, Json]
"""A value for each parameter."""


class SweepSpec(Strict):
    """Members that differ in some hyperparameters; the best of them stands for the sweep."""

    parameters: dict[str, list[Json]] = Field(
        min_length=1, description="Axolotl's keys, each with the values that it is tried with."
    )
    strategy: Literal["grid", "random"] = Field(
        default="grid",
        description="Every combination of the values (grid), or `runs` of them, drawn by chance (random).",
    )
    runs: int = Field(
        default=32,
        ge=1,
        le=1000,
        description="How many members there may be: a grid of more is refused, and so many are drawn at random.",
    )
    seed: int = Field(
        default=42, ge=0, description="What is drawn at random depends on it, and on nothing else by chance."
    )
    best: Best = Field(
        default_factory=lambda: Best(metric="eval_loss"),
        description="Which member is the best, by what its record measured.",
    )
    may_fail: int = Field(
        default=0, ge=0, description="So many members may fail, and the best of the others is still chosen."
    )

    @field_validator("parameters")
    @classmethod
    def _differ(cls, value: dict[str, list[Json]]) -> dict[str, list[Json]]:
        for name, values in value.items():
            if not values:
                raise PydanticCustomError("values", "{name} has no value: name one, or leave it out", {"name": name})
            known = [_exact(each) for each in values]
            if twice := [each for each, same in zip(values, known, strict=True) if known.count(same) > 1]:
                words = "{name} has the value {value} twice"
                raise PydanticCustomError("values", words, {"name": name, "value": canonical(twice[0]).decode()})
        return value

    @model_validator(mode="after")
    def _fits(self) -> SweepSpec:
        count = math.prod(map(len, self.parameters.values()))
        if count > (self.runs if self.strategy == "grid" else MOST_POINTS):
            raise PydanticCustomError(
                "runs",
                "its grid has {count} points, and {most} are allowed: raise runs, leave out values, or say strategy: random",
                {"count": f"{count:,}", "most": f"{self.runs if self.strategy == 'grid' else MOST_POINTS:,}"},
            )
        return self

    def unfit(self, given: Mapping[str, Json] | None, checkpoints: Checkpoints | None) -> str:
        """Why a training with these hyperparameters and checkpoints can't be swept so; empty where it can."""
        if both := sorted(self.parameters.keys() & (given or {}).keys()):
            return f"it tries values of {both[0]}: leave that out of hyperparameters"
        metric = self.best.metric
        own = None if checkpoints is None or checkpoints.best is None else checkpoints.best.metric
        if checkpoints is not None and better(metric) is None and metric != own:
            return f"records have {metric} only where checkpoints.best names it too"
        return ""

    def points(self) -> tuple[Point, ...]:
        """The values of each member, in the order of the grid.

        A random draw takes the points whose digests with the seed come first: so it depends on no order, one more run only adds
        a point, and a value more or less changes as little as it can.
        """
        names = sorted(self.parameters)
        grid = [
            dict(zip(names, values, strict=True)) for values in itertools.product(*(self.parameters[n] for n in names))
        ]
        if self.strategy == "grid":
            return tuple(grid)
        drawn = sorted(range(len(grid)), key=lambda place: digest([self.seed, grid[place]]))[: self.runs]
        return tuple(grid[place] for place in sorted(drawn))


def member_name(sweep: str, point: Point) -> str:
    """The name of the member of `sweep` with the values of `point`: made from them alone, so that it stays as others come and go."""
    parts = [f"{SHORT.get(key, key.replace('_', '-'))}-{_spelled(value)}" for key, value in sorted(point.items())]
    name = "-".join((sweep, *parts))
    if len(name) <= LONGEST_NAME and re.fullmatch(NAME_PATTERN, name):
        return name
    tail = digest(_exact(point))[:8]
    return f"{sweep[: LONGEST_NAME - len(tail) - 1].rstrip('-')}-{tail}"


def point_text(point: Mapping[str, Json]) -> str:
    """`learning_rate 0.0002, lora_r 8`."""
    return ", ".join(
        f"{key} {value if isinstance(value, str) else canonical(value).decode()}" for key, value in point.items()
    )


def choice_text(found: Choice) -> str:
    """`search-lr-2e-4, eval_loss 1.234: lowest eval_loss of 4`; only the reason where nothing is chosen."""
    if found.best is None:
        return found.why
    return f"{found.chosen}, {found.metric} {trimmed(found.best.value)}: {found.why}"


def _spelled(value: Json) -> str:
    """A value in a name, different for each: 2e-4, 16, cosine. What can't be spelled so has a `?`, which no name can have."""
    match value:
        case bool() | None:
            return "none" if value is None else str(value).lower()
        case int() | float():
            number = Decimal(repr(value)).normalize()
            sign, digits, exponent = number.as_tuple()
            power = int(exponent)
            text = "".join(map(str, digits))
            text = text + "0" * power if 0 <= power <= 6 else f"{text}e{power}"
            return f"{'-' if sign else ''}{text}"
        case str() if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", value) and value not in ("true", "false", "none"):
            return value.replace("_", "-")
        case _:
            return "?"


def _exact(value: Json) -> Json:
    """`value` so that 1 and 1.0 are one, and true and 1 are not."""
    match value:
        case float() if value.is_integer():
            return canonical(int(value)).decode()
        case dict():
            return canonical({key: _exact(each) for key, each in value.items()}).decode()
        case list():
            return canonical([_exact(each) for each in value]).decode()
        case _:
            return canonical(value).decode()
