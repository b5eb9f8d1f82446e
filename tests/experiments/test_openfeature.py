"""Experiments as flags, asked for through the SDK's client."""

from __future__ import annotations

import asyncio

import pytest
import yaml
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from ftops.errors import SpecError, UsageError
from ftops.experiments.assignment import Allocation, assign, bucket
from ftops.openfeature import ExperimentProvider
from tests.support import projects

UNITS = [*(f"user-{number}" for number in range(300)), "사용자-1", "😀"]


def experiment(name="chat-v2", **spec):
    fields = {
        "arms": {
            "a": {"model": "chat@1.0.0", "weight": 0.5, "baseline": True},
            "b": {"model": "chat@production", "weight": 0.5},
        },
        "metric": {"name": "rating", "type": "rating"},
        "design": {"targetSamples": 100},
        "logs": {"path": f"logs/{name}/*.jsonl"},
    }
    return projects.document("Experiment", name, fields | spec)


def write(path, *documents):
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True))
    return path


@pytest.fixture
def ask(tmp_path):
    """A client that asks a provider of these experiments."""

    def make(*documents):
        return client(ExperimentProvider(write(tmp_path / "experiment.yaml", *documents)))

    yield make
    api.clear_providers()


def client(provider):
    api.set_provider_and_wait(provider)
    return api.get_client()


def of(unit):
    return EvaluationContext(targeting_key=unit)


def test_a_string_is_the_arm(ask):
    document = experiment()
    flags = ask(document)
    allocation = Allocation.of(document)
    for unit in UNITS:
        details = flags.get_string_details("chat-v2", "none", of(unit))
        assert details.value == details.variant == assign(allocation, unit)
        assert details.reason == Reason.SPLIT
        assert details.error_code is None
        assert details.flag_metadata == {"bucket": bucket("chat-v2", unit) / 10_000}
    assert {flags.get_string_value("chat-v2", "none", of(unit)) for unit in UNITS} == {"a", "b"}


def test_an_object_says_the_model(ask):
    flags = ask(experiment())
    models = {"a": "chat@1.0.0", "b": "chat@production"}
    for unit in UNITS[:20]:
        details = flags.get_object_details("chat-v2", {}, of(unit))
        arm = flags.get_string_value("chat-v2", "none", of(unit))
        assert details.value == {"arm": arm, "model": models[arm], "experiment": "chat-v2"}
        assert (details.variant, details.reason) == (arm, Reason.SPLIT)


def test_it_answers_where_asyncio_is_used(ask):
    flags = ask(experiment())
    details = asyncio.run(flags.get_string_details_async("chat-v2", "none", of("user-1")))
    assert details.value == flags.get_string_value("chat-v2", "none", of("user-1"))


def test_who_takes_no_part_gets_the_default(ask):
    document = experiment(coverage=0.3, exclusion={"group": "chat", "range": [0, 0.5]})
    flags, allocation = ask(document), Allocation.of(document)
    for unit in UNITS:
        arm = assign(allocation, unit)
        details = flags.get_string_details("chat-v2", "none", of(unit))
        assert details.value == (arm or "none")
        assert details.variant == arm
        assert details.reason == (Reason.SPLIT if arm else Reason.DEFAULT)
        assert flags.get_object_value("chat-v2", {"no": 1}, of(unit)).get("arm") == arm
    assert 0 < sum(assign(allocation, unit) is not None for unit in UNITS) < len(UNITS) / 2


@pytest.mark.parametrize("state", ["stopped", "concluded"])
def test_an_experiment_that_ended_is_disabled(ask, state):
    flags = ask(experiment(state=state, reason="b is better"))
    details = flags.get_string_details("chat-v2", "none", of("user-1"))
    assert (details.value, details.variant, details.reason) == ("none", None, Reason.DISABLED)
    assert details.flag_metadata == {"state": state}
    assert flags.get_object_value("chat-v2", {"arm": "none"}, of("user-1")) == {"arm": "none"}


@pytest.mark.parametrize("context", [None, EvaluationContext(), of(""), EvaluationContext(attributes={"user_id": "1"})])
def test_the_unit_must_be_said(ask, context):
    details = ask(experiment()).get_string_details("chat-v2", "none", context)
    assert (details.value, details.reason) == ("none", Reason.ERROR)
    assert details.error_code == ErrorCode.TARGETING_KEY_MISSING
    assert "its user_id" in details.error_message


@pytest.mark.parametrize("unit", ["\ud83d", 7])
def test_what_is_no_unit_is_an_invalid_context(ask, unit):
    details = ask(experiment()).get_string_details("chat-v2", "none", of(unit))
    assert (details.value, details.error_code) == ("none", ErrorCode.INVALID_CONTEXT)


def test_an_unknown_flag_is_not_found(ask):
    details = ask(experiment()).get_string_details("chat-v3", "none", of("user-1"))
    assert (details.value, details.error_code) == ("none", ErrorCode.FLAG_NOT_FOUND)
    assert "did you mean 'chat-v2'?" in details.error_message
    assert api.get_client().get_boolean_details("no", True, of("u")).error_code == ErrorCode.FLAG_NOT_FOUND


@pytest.mark.parametrize(("kind", "default"), [("boolean", True), ("integer", 7), ("float", 0.5)])
def test_an_arm_is_no_number(ask, kind, default):
    details = getattr(ask(experiment()), f"get_{kind}_details")("chat-v2", default, of("user-1"))
    assert (details.value, details.error_code) == (default, ErrorCode.TYPE_MISMATCH)
    assert "ask for a string" in details.error_message


def test_several_experiments(ask):
    flags = ask(experiment(), experiment("chat-v3"))
    found = {
        (flags.get_string_value("chat-v2", "-", of(unit)), flags.get_string_value("chat-v3", "-", of(unit)))
        for unit in UNITS
    }
    assert found == {("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")}


def test_of_a_project(tmp_path):
    root = projects.write(tmp_path / "project", experiment(), projects.dataset())
    provider = ExperimentProvider(root)
    assert provider.get_metadata().name == "ftops"
    assert client(provider).get_string_details("chat-v2", "-", of("user-1")).reason == Reason.SPLIT
    api.clear_providers()


def test_defaults_of_the_project_count(tmp_path):
    root = projects.write(tmp_path / "project", experiment(coverage=0.3))
    text = projects.PROJECT + "  defaults:\n    Experiment: {state: stopped, reason: not now}\n"
    (root / "ftops.yaml").write_text(text)
    for path in (root, root / "specs/all.yaml"):
        details = client(ExperimentProvider(path)).get_string_details("chat-v2", "-", of("user-1"))
        assert (details.reason, details.flag_metadata) == (Reason.DISABLED, {"state": "stopped"})
    api.clear_providers()


def test_a_broken_spec_is_an_error_at_start(tmp_path):
    wrong = experiment()
    wrong["spec"]["arms"]["b"]["weight"] = 1.5
    path = write(tmp_path / "experiment.yaml", experiment("sound"), wrong)
    with pytest.raises(SpecError, match=r"1\.5") as error:
        ExperimentProvider(path)
    where = error.value.diagnostics[0].where
    assert (where.file, path.read_text().splitlines()[where.line - 1].strip()) == (str(path), "weight: 1.5")
    assert f"{path}:{where.line}:" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "expected"),
        ("", "the file holds no document"),
        (yaml.safe_dump(projects.model()), "no document of kind Experiment here"),
    ],
)
def test_a_file_without_an_experiment_is_an_error(tmp_path, text, reason):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=reason) as error:
        ExperimentProvider(path)
    assert error.value.diagnostics[0].where.file == str(path)


def test_paths_that_cannot_be_meant(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        ExperimentProvider(tmp_path / "none.yaml")
    paths = [write(tmp_path / name, experiment()) for name in ("one.yaml", "two.yaml")]
    with pytest.raises(UsageError, match="Experiment/chat-v2 is in more than one of"):
        ExperimentProvider(*paths)
