"""Values → text, Markdown, annotations, JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from ftops.display.numbers import clock
from ftops.display.text import clean
from ftops.errors import Diagnostic, PlanError, Severity, Where
from ftops.plan.address import Address
from ftops.plan.changes import Action, Change, ChangeClass, Note, NoteKind, Plan, Reason, Seal
from ftops.plan.details import TrainingDetails
from ftops.plan.estimates import Estimate
from ftops.plan.json import diagnostics_json, plan_from_json, plan_json, saved_seal
from ftops.plan.markdown import diagnostics_github, plan_markdown
from ftops.plan.steps import CommitRecords, FetchData, LabelVersion, MakeBaseModel, PrepareData, RegisterVersion, Train
from ftops.plan.text import diagnostics_text, plan_text
from ftops.status.text import status_json, status_text, training_text

GOLDEN = Path(__file__).parent / "golden"
SHA = "0123456789abcdef" * 4
DATA, RUN, LORA = Address("Dataset", "chat"), Address("TrainingRun", "base"), Address("TrainingRun", "lora")
MODEL = Address("Model", "chat")


def state(text):
    return (Note(NoteKind.STATE, text),)


PLAN = Plan(
    changes=(
        Change(
            DATA, Action.CREATE, ChangeClass.PREPARE,
            reasons=(Reason("source", None, [f"md5:{SHA[:32]}"]), Reason("split.seed", None, 42)),
            steps=(FetchData(("datasets/chat.csv",)), PrepareData("chat", SHA), CommitRecords(DATA)), digest=SHA,
        ),
        Change(
            RUN, Action.REPLACE, ChangeClass.RETRAIN,
            reasons=(Reason("hyperparameters.learning_rate", 2e-4, 1e-4), Reason("hyperparameters.warmup_steps", 5, None)),
            steps=(MakeBaseModel("base", SHA), Train("base", "base-0123456789ab", SHA), CommitRecords(RUN)),
            needs=(DATA,), digest=SHA, details=TrainingDetails(estimate=Estimate(125.4, "base-00112233aabb")),
        ),
        Change(
            LORA, Action.UPDATE, ChangeClass.RESUME, reasons=(Reason("hyperparameters.num_epochs", 1, 2),),
            steps=(Train("lora", "lora-0123456789ab", SHA, "lora-ba9876543210"), CommitRecords(LORA)), needs=(RUN,),
            notes=state("goes on from the last whole checkpoint"), digest=SHA,
        ),
        Change(
            MODEL, Action.UPDATE, ChangeClass.REGISTER, reasons=(Reason("versions.1.1.0.aliases", [], ["production"]),),
            steps=(
                RegisterVersion("chat", "1.1.0", "lora-0123456789ab"),
                LabelVersion("chat", "1.1.0", ("production",), ()), CommitRecords(MODEL),
            ),
            needs=(LORA,), digest=SHA,
        ),
        Change(Address("Model", "old"), Action.NOOP, ChangeClass.NOOP, needs=(RUN,), notes=state("1.0.0 stays what base made"), digest=SHA),
        Change(Address("Dataset", "logs"), Action.NOOP, ChangeClass.NOOP, notes=state("the data is as recorded"), digest=SHA),
    ),
    seal=Seal("c0ffee", {"Dataset/chat": SHA}, {"datasets/chat.csv": f"md5:{SHA[:32]}"}, {"TrainingRun/base": SHA}, "axolotl==0.19.0", {}),
    warnings=("the working tree has changes that are not committed",),
)  # fmt: skip

DIAGNOSTICS = (
    Diagnostic("spec.method: expected full or lora, found 'lorra'", hint="did you mean 'lora'?", address="TrainingRun/a",
               where=Where("specs/run.yaml", 14, 9)),
    Diagnostic("ftops.yaml is missing", "neither here\nnor above", "begin with\n\nkind: Project\n"),
    Diagnostic("an empty document", where=Where("specs/a.yaml", 3), severity=Severity.WARNING),
    Diagnostic("cannot reach https://me:secret@host/x\x1b[2J", severity=Severity.NOTE, where=Where("a,b:c%.yaml", 1, 1)),
)  # fmt: skip

NOTHING = Plan(tuple(each for each in PLAN.changes if each.is_noop))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("diagnostics.txt", diagnostics_text(DIAGNOSTICS)),
        ("diagnostics.color.txt", diagnostics_text(DIAGNOSTICS, color=True)),
        ("diagnostics.github.txt", diagnostics_github(DIAGNOSTICS, prefix="project/")),
        ("diagnostics.json", diagnostics_json(DIAGNOSTICS)),
        ("plan.txt", plan_text(PLAN)),
        ("plan.all.txt", plan_text(PLAN, unchanged=True)),
        ("plan.color.txt", plan_text(PLAN, color=True)),
        ("plan.nothing.txt", plan_text(NOTHING)),
        ("plan.md", plan_markdown(PLAN)),
        ("plan.nothing.md", plan_markdown(NOTHING)),
        ("plan.json", plan_json(PLAN)),
    ],
)
def test_golden_output(name, text):
    # The golden files show escape sequences as ␛, so that looking at them is harmless.
    assert text.replace("\x1b", "␛") + "\n" == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_saved_plan_is_read_back_whole():
    assert plan_from_json(plan_json(PLAN)) == PLAN
    assert plan_from_json(plan_json(NOTHING).encode()) == NOTHING
    seal, addresses, reruns = saved_seal(plan_json(PLAN))
    assert reruns == ()
    assert seal == PLAN.seal
    assert addresses == tuple(str(each.address) for each in PLAN.changes)
    with pytest.raises(PlanError):
        saved_seal(plan_json(NOTHING))


def edits(tree, path=()):
    """Every place of a JSON tree."""
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield from edits(value, (*path, key))


SAVED = json.loads(plan_json(PLAN))
FREE = {"before", "after", "summary"}
"""For people only: what stands there decides nothing."""


@given(
    st.sampled_from([each for each in edits(SAVED) if each and not FREE & set(each)]),
    st.sampled_from([5, None, [], {"a": 1}, "x"]),
)
def test_a_malformed_plan_is_refused_or_read_as_a_plan(path, value):
    tree = json.loads(plan_json(PLAN))
    node = tree
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    try:
        plan = plan_from_json(json.dumps(tree))
    except PlanError as error:
        (found,) = error.diagnostics
        event(found.detail.split(":")[0])
        return
    assert json.loads(plan_json(plan)) == {**tree, "summary": json.loads(plan_json(plan))["summary"]}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{", "[" * 100_000, '{"formatVersion": "2.0"}', '{"formatVersion": "1.0"}', "\x00", b"\xff\xfe\x00",
        '{"formatVersion": "1.0", "changes": [], "seal": NaN}',
        '{"formatVersion": "1.0", "changes": [{"address": "../x", "action": "create"}], "seal": null}',
        plan_json(PLAN).replace('"FetchData"', '"RunShell"'),
        plan_json(PLAN).replace('"paths"', '"command"'),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(PlanError, match="not a plan that ftops has saved"):
        plan_from_json(text)


EVIL = st.text(
    st.sampled_from("\x00\n\r\x1b\x9b\u202e\ud800|`*_[]()<>&@#:%,!~\\ 가aZ9/") | st.characters(),
    min_size=1,
    max_size=40,
) | st.sampled_from(
    [
        "</code><script>alert(1)</script>",
        "| x |\n|---|",
        "```\n# title",
        "@team #1 http://x.example",
        "\n::error::x",
        "%0A::set-env",
    ]
)


def evil_plan(text):
    reason = Reason(text, text, {text: [text]})
    step = FetchData((text,))
    change = Change(
        Address("Dataset", text), Action.UPDATE, ChangeClass.PREPARE, (reason,), (step,), notes=state(text), digest=text
    )
    return Plan((change,), warnings=(text,))


@given(EVIL)
def test_text_of_users_cannot_act_on_a_terminal(text):
    where = Where(text, 1, 1)
    for shown in (
        plan_text(evil_plan(text)),
        diagnostics_text([Diagnostic(text, text, text, text, where)]),
        plan_json(evil_plan(text)),
        diagnostics_json([Diagnostic(text, text, text, text, where)]),
        plan_markdown(evil_plan(text)),
    ):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
        shown.encode()
    assert len(plan_text(evil_plan(text)).split("\n")) == len(plan_text(evil_plan("a")).split("\n"))


@given(EVIL)
def test_text_of_users_cannot_leave_its_place_in_markdown(text):
    markdown, plain = plan_markdown(evil_plan(text)), plan_markdown(evil_plan("a"))
    assert len(markdown.split("\n")) == len(plain.split("\n"))
    outside = re.sub(r"<code>(?:&#\d+;|[^!-,./:-@\[-`{-~])*</code>", "<code></code>", markdown)
    assert outside == re.sub(r"<code>.*?</code>", "<code></code>", plain)


@given(EVIL, EVIL, EVIL)
def test_no_message_starts_another_command_of_github(summary, file, address):
    text = diagnostics_github([Diagnostic(summary, file, address, address, Where(file, 1, 2)), Diagnostic(summary)])
    lines = re.split(r"[\r\n]", text)
    assert len(lines) == 2
    properties, message = lines[0].removeprefix("::error ").split("::", 1)
    assert [each.partition("=")[0] for each in properties.split(",")] == ["file", "line", "col", "title"]
    assert message.startswith(clean(summary.strip(), lines=True).replace("%", "%25").replace("\n", "%0A"))


def test_passwords_in_uris_are_masked_everywhere():
    uri = "postgresql://me:p@ss@db.example/x"
    change = Change(
        DATA, Action.UPDATE, ChangeClass.PREPARE, (Reason("url", uri, [{"u": uri}]),), notes=state(uri), digest=SHA
    )
    plan = Plan((change,), warnings=(uri,))
    found = [Diagnostic(uri, uri, uri, uri, Where(uri))]
    for text in (
        plan_text(plan), plan_json(plan), plan_markdown(plan), diagnostics_text(found), diagnostics_json(found), diagnostics_github(found),
    ):  # fmt: skip
        assert "p@ss" not in text
        assert "ss@db" not in text
        assert "me:p" not in text
    assert clean("git@host:x, a@b.example") == "git@host:x, a@b.example"


def test_a_long_plan_fits_into_a_comment_and_says_what_is_left_out():
    changes = tuple(
        dataclasses.replace(PLAN.changes[1], address=Address("TrainingRun", f"run-{n}")) for n in range(2000)
    )
    text = plan_markdown(Plan(changes))
    assert len(text) <= 65_000
    assert re.search(r"\d+ of 2000 are not shown: the plan is too long for a comment\.", text)
    assert text.startswith("### Plan: 0 to create, 0 to update, 2000 to replace")
    huge = Change(
        DATA, Action.UPDATE, ChangeClass.PREPARE, tuple(Reason(f"f{n}", "x" * 10_000, "y" * 10_000) for n in range(500))
    )
    assert len(plan_markdown(Plan((huge,) * 5))) <= 65_000


@dataclasses.dataclass
class Standing:
    address: Address
    phase: str
    run: str | None = None
    step: int | None = None
    max_steps: int | None = None
    eta: float | None = None
    loss: float | None = None
    rate: float | None = None


def test_status_and_progress():
    rows = [Standing(DATA, "prepared"), Standing(RUN, "running", "base-0123456789ab", 20, 100, 65.0)]
    assert status_text(rows) == (
        "Dataset/chat      prepared\nTrainingRun/base  running     base-0123456789ab, step 20/100, 1:05 left"
    )
    assert status_text([]) == "There are no resources."
    assert json.loads(status_json(rows)) == [
        {"address": "Dataset/chat", "phase": "prepared"},
        {"address": "TrainingRun/base", "phase": "running", "run": "base-0123456789ab", "step": 20, "maxSteps": 100, "etaSeconds": 65.0},
    ]  # fmt: skip
    training = Standing(RUN, "", None, 20, 100, 3725.0, 3.21449, 1520.4)
    assert training_text(training) == "step 20/100, loss 3.214, 1,520 tokens/s, 1:02:05 left"
    assert training_text(Standing(RUN, "", None, 100, 100, 0.0)) == "step 100/100"
    assert [clock(each) for each in (-1, 0.44, 9.96, 12.4, 59.6, 60, 3600)] == [
        "0.0 s", "0.4 s", "10.0 s", "12 s", "1:00", "1:00", "1:00:00",
    ]  # fmt: skip
