"""Which executors there are, and what a runner of ftops.yaml may tell each: the runners of specs are validated by this."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ftops.resources.project import Project, project_model
from ftops.resources.runner import Runner, runner_model

if TYPE_CHECKING:
    from ftops.executors.protocol import Executor
    from ftops.store.store import Store


class Place(NamedTuple):
    """Where in this package an executor's class is, and that of its options, where it has some."""

    executor: str
    options: str | None = None


EXECUTORS: Final[Mapping[str, Place]] = {
    "local": Place("local.LocalExecutor"),
    "docker": Place("docker.DockerExecutor", "docker_options.Docker"),
}
"""Each executor by the name that specs call it. The options are loaded with every spec, the executor only where one is used:
options of an executor that imports much stand in a file of their own."""


def _load(place: str) -> Any:
    module, _, name = place.partition(".")
    return getattr(import_module(f"{__package__}.{module}"), name)


def executor_for(runner: Runner, store: Store) -> Executor:
    """The executor of `runner`, working in `store`."""
    return cast("Executor", _load(EXECUTORS[runner.executor].executor)(runner, store))


RUNNER: Final[type[Runner]] = runner_model(
    {name: None if place.options is None else _load(place.options) for name, place in EXECUTORS.items()}
)
"""A runner as ftops.yaml may describe it."""
PROJECT: Final[type[Project]] = project_model(RUNNER)
"""The document in ftops.yaml."""
