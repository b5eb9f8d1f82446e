"""Preparing a data set: from real files into a real store, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import loky
import pytest
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers

from ftops.datasets.prepare.manifest import read_manifest, verify
from ftops.datasets.prepare.prepare import Origin, check, prepare
from ftops.datasets.read import stored_rows
from ftops.datasets.spec import DatasetSpec
from ftops.errors import ChecksFailed, ExternalError, FtopsError
from ftops.plan.observed import Source
from ftops.store import process_pool
from ftops.store.store import open_store

DIGEST = "d" * 64
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture
def preparing(tmp_path):
    """Prepares `files` (text by name) with a spec's fields, gives the result and its folder."""

    def run(files, /, source=None, root=tmp_path, sources=(), origin=None, digest=DIGEST, keep=(), **spec):
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = source or {"paths" if len(files) > 1 else "path": list(files) if len(files) > 1 else next(iter(files))}
        store = open_store(tmp_path / "store")
        model = DatasetSpec.model_validate_json(json.dumps({"source": source, **spec}))
        told = []
        origin = Origin(root, dict(sources), **origin or {})
        prepared = prepare(model, digest, origin, store, lambda *each: told.append(each), keep)
        return prepared, store.data(digest), told

    return run


@pytest.fixture
def refusal(preparing, tmp_path):
    """What a refused preparation says; the store must be as empty as before."""

    def run(*args, error=ChecksFailed, **spec):
        with pytest.raises(error) as caught:
            preparing(*args, **spec)
        assert list((tmp_path / "store" / "data").iterdir()) == []
        return [(each.summary, str(each.where), each.detail) for each in caught.value.diagnostics]

    return run


def rows(folder, *names):
    return [
        json.loads(line)
        for name in names or ("train",)
        for line in (folder / f"{name}.jsonl").read_bytes().splitlines()
    ]


ALL = ("train", "validation", "test")
WHOLE = {"train": 1, "validation": 0, "test": 0}


def csv(count, start=0):
    return "instruction,output\n" + "".join(f"question {n},answer {n}\n" for n in range(start, start + count))


# ------------------------------------------------------------------------------------------------- whole


def test_a_prepared_data_set_is_splits_and_a_manifest(preparing):
    prepared, folder, told = preparing({"rows.csv": csv(1000) + "question 5,answer 5\n"})
    assert sorted(path.name for path in folder.iterdir()) == [
        "audit.jsonl", "findings.jsonl", "manifest.json", "rows.idx", "sides.idx", "test.jsonl", "train.jsonl", "validation.jsonl",
    ]  # fmt: skip
    assert prepared == read_manifest(folder)
    assert verify(folder) == ()
    counts = {name: split.rows for name, split in prepared.splits.items()}
    assert sum(counts.values()) == len(rows(folder, *ALL)) == 1000
    assert 850 < counts["train"] < 950
    assert 20 < counts["validation"] < 90
    assert prepared.report.rows.model_dump() == {"read": 1001, "invalid": 0, "dropped": 1, "masked": 0, "kept": 1000}
    assert prepared.report.found == {"duplicates": 1}
    assert prepared.report.warnings == ()
    assert told[0][0] == "read"
    assert [stage for stage, _ in groupby(stage for stage, _, _ in told)] == [
        "read", "pii", "duplicates", "quality", "split", "write", "measure",
    ]  # fmt: skip
    assert ("write", 1000, 1000) in told


def test_a_manifest_holds_no_row(preparing):
    _, folder, _ = preparing(
        {"rows.csv": "instruction,output\nsecret-a,secret-b\nsecret-a,secret-b\nsecret-a,\n"},
        split=WHOLE,
        onInvalid="skip",
    )
    assert "secret" not in (folder / "manifest.json").read_text()


def test_texts_that_the_trainer_would_read_as_times_are_refused(refusal):
    """Its loader makes a time of a column of dates, so it would learn other texts than were checked."""
    dates = "instruction,output\n" + "".join(f"When was release {n}?,2026-01-{n:02}\n" for n in range(1, 20))
    ((summary, where, detail),) = refusal({"rows.csv": dates}, split=WHOLE)
    assert summary == "every text of output in the train split is a date, which Axolotl would read as a time"
    assert (where, detail) == ("rows.csv", "2026-01-02 would become 2026-01-02 00:00:00")


def test_rows_keep_their_order(preparing):
    _, folder, _ = preparing({"rows.csv": csv(50)}, split=WHOLE)
    assert [row["output"] for row in rows(folder)] == [f"answer {n}" for n in range(50)]


def test_alpaca(preparing):
    _, folder, _ = preparing(
        {"a.json": '[{"Q": "안녕?", "A": "b", "input": "c"}, {"Q": "d", "A": "e", "system": "f"}]'},
        source={"path": "a.json", "columns": {"instruction": "Q", "output": "A"}}, split=WHOLE,
    )  # fmt: skip
    assert (folder / "train.jsonl").read_text() == (
        '{"instruction":"안녕?","input":"c","output":"b"}\n{"instruction":"d","input":"","output":"e"}\n'
    )


def test_messages_from_instructions(preparing):
    content = '[{"instruction": "a", "output": "b", "input": "c", "system": "d"}, {"instruction": "e", "output": "f"}]'
    _, folder, _ = preparing({"a.json": content}, split=WHOLE, output={"format": "messages"})
    assert (folder / "train.jsonl").read_text() == (
        '{"messages":[{"role":"system","content":"d"},{"role":"user","content":"a\\nc"},{"role":"assistant","content":"b"}]}\n'
        '{"messages":[{"role":"user","content":"e"},{"role":"assistant","content":"f"}]}\n'
    )


def test_messages_from_a_chat(preparing):
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcd"}]
    content = json.dumps({"messages": turns, "id": 1}) + "\n"
    prepared, folder, _ = preparing({"a.jsonl": content * 2}, shape="chat", split=WHOLE, output={"format": "messages"})
    assert rows(folder) == [{"messages": turns}]
    assert prepared.report.statistics.characters["messages"].max == 4


def test_several_files_are_one_data_set(preparing):
    files = {
        "a/x.csv": csv(3),
        "b.jsonl": '{"instruction":"question 1","output":"answer 1"}\n{"instruction":"i","output":"o"}',
    }
    prepared, folder, _ = preparing(files, split=WHOLE)
    assert [row["output"] for row in rows(folder)] == ["answer 0", "answer 1", "answer 2", "o"]
    assert prepared.report.found["duplicates"] == 1


def test_the_output_form_moves_no_row_between_splits(preparing, tmp_path):
    sides = []
    for number, form in enumerate(("alpaca", "messages")):
        (tmp_path / str(number)).mkdir()
        _, folder, _ = preparing({"rows.csv": csv(300)}, output={"format": form})
        sides.append([len(rows(folder, name)) for name in ALL])
        folder.rename(tmp_path / f"gone-{number}")
    assert sides[0] == sides[1]


# ----------------------------------------------------------------------------------------------- refused


def test_rows_that_break_the_shape_stop_everything_and_are_named(refusal):
    content = '{"instruction":"a","output":"b"}\n{"instruction":" ","output":5}\n\n{"output":"c"}\n'
    assert refusal({"a.jsonl": content}) == [
        ("row 2: 'instruction' is empty", "a.jsonl:2", "at byte 33"),
        ("row 2: 'output' must be text, found a number", "a.jsonl:2", "at byte 33"),
        ("row 3: 'instruction' is missing", "a.jsonl:4", "at byte 65"),
    ]


def test_the_first_faults_are_shown_and_all_counted(refusal):
    told = refusal({"a.csv": csv(1) + ",b\n" * 1234})
    assert len(told) == 21
    assert told[0][:2] == ("row 2: 'instruction' is empty", "a.csv:3")
    assert told[-1][0] == "and 1,214 more like these"


def test_a_fault_in_a_second_file_names_that_file(refusal):
    told = refusal({"a.csv": csv(3), "b.csv": csv(1) + ",b\n"})
    assert told == [("row 5: 'instruction' is empty", "b.csv:3", "row 2 of b.csv, at byte 39")]


def test_rows_that_break_the_shape_can_be_left_out(preparing):
    prepared, folder, _ = preparing({"a.csv": csv(3) + ",b\n,\n" + csv(2, 3)[19:]}, onInvalid="skip", split=WHOLE)
    assert len(rows(folder)) == 5
    assert (prepared.report.rows.invalid, prepared.report.rows.dropped) == (2, 0)
    assert prepared.report.format == {"instruction is empty": 2, "output is empty": 1}
    assert prepared.report.warnings == ("left out, because they break the shape: rows 4, 5",)


def test_duplicates_can_stop_everything(refusal):
    told = refusal({"a.csv": csv(3) + csv(2)[19:]}, checks=[{"duplicates": {"exact": "fail"}}])
    assert told == [
        ("row 4: says the same as row 1", "a.csv:5", "at byte 79"),
        ("row 5: says the same as row 2", "a.csv:6", "at byte 99"),
    ]


def test_duplicates_can_be_kept_and_told(preparing):
    prepared, folder, _ = preparing(
        {"a.csv": csv(3) + csv(1)[19:]}, checks=[{"duplicates": {"exact": "report"}}], split=WHOLE
    )
    assert len(rows(folder)) == 4
    assert prepared.report.warnings == ("duplicates found and kept: row 4",)


def test_without_checks_duplicates_stay_on_one_side(preparing):
    _, folder, _ = preparing(
        {"a.csv": csv(60) + csv(60)[19:]}, checks=[], split={"train": 0.5, "validation": 0.5, "test": 0}
    )
    train, validation = ([row["output"] for row in rows(folder, name)] for name in ALL[:2])
    assert len(train) + len(validation) == 120
    assert not set(train) & set(validation)


def test_no_rows_to_train_on_is_an_error(refusal):
    assert refusal({"a.csv": csv(0)})[0][:2] == ("no rows are left to train on", "a.csv")
    assert refusal({"a.csv": csv(0) + ",\n"}, onInvalid="skip")[0][0] == "no rows are left to train on"
    tiny = {"train": 0.000001, "validation": 0.999999, "test": 0}
    assert refusal({"a.csv": csv(3)}, split=tiny)[0][0] == "the train split has no rows"


def test_another_empty_split_is_a_warning(preparing):
    prepared, folder, _ = preparing(
        {"a.csv": csv(1)}, split={"train": 0.999998, "validation": 0.000001, "test": 0.000001}
    )
    assert [text.partition(":")[0] for text in prepared.report.warnings] == [
        "the validation split has no rows", "the test split has no rows",
    ]  # fmt: skip
    assert (folder / "test.jsonl").read_bytes() == b""


def test_a_split_that_the_spec_leaves_out_is_no_warning(preparing):
    assert preparing({"a.csv": csv(3)}, split=WHOLE)[0].report.warnings == ()


def test_a_column_that_is_not_there(refusal):
    told = refusal({"a.csv": "Q,A\nb,c\n"}, source={"path": "a.csv", "columns": {"instruction": "q", "output": "A"}})
    assert told == [("no column 'q' for the field 'instruction'", "a.csv", "the file has Q, A")]


@pytest.mark.parametrize("field", ["instrution", "messages", "system"])
def test_a_field_that_rows_cannot_have(refusal, field):
    columns = {"instruction": "Q", "output": "A", field: "X"}
    with pytest.raises(ValidationError, match=f"{field} is no field of shape instruction written as alpaca"):
        refusal({"a.csv": "Q,A,X\nb,c,d\n"}, source={"path": "a.csv", "columns": columns})


def test_a_mapped_column_is_not_read_for_another_field(preparing):
    columns = {"instruction": "input", "output": "output"}
    _, folder, _ = preparing(
        {"a.csv": "input,output\nb,c\n"}, source={"path": "a.csv", "columns": columns}, split=WHOLE
    )
    assert rows(folder) == [{"instruction": "b", "input": "", "output": "c"}]


def test_a_file_that_changed_since_the_plan(refusal):
    planned = {"a.csv": Source("a.csv", "sha256:" + "0" * 64)}
    assert (
        "a.csv: changed since it was planned" in refusal({"a.csv": csv(3)}, sources=planned, error=ExternalError)[0][0]
    )


# ------------------------------------------------------------------------------------------- what is found


PII = [{"pii": {"entities": {"email": "mask", "kr_rrn": "drop"}}}]
PERSONAL = """instruction,output
who,write to ann@example.com
born,번호는 850101-1234567입니다
call,call 010-1234-5678
what,nothing
"""


def test_what_is_found_is_masked_dropped_or_kept_and_every_step_is_written_down(preparing):
    prepared, folder, _ = preparing({"a.csv": PERSONAL}, checks=PII, split=WHOLE)
    assert [row["output"] for row in rows(folder)] == ["write to <EMAIL>", "call 010-1234-5678", "nothing"]
    assert prepared.report.rows.model_dump() == {"read": 4, "invalid": 0, "dropped": 1, "masked": 1, "kept": 3}
    assert prepared.report.warnings == ("pii found and kept: row 3",)
    audit = [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert [(each["row"], each["line"], each["action"], each["entity"], each["field"]) for each in audit] == [
        (1, 2, "masked", "email", "output"), (2, 3, "dropped", "kr_rrn", "output"),
    ]  # fmt: skip
    found = [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]
    assert [(each["entity"], each["action"]) for each in found] == [
        ("email", "masked"), ("kr_rrn", "dropped"), ("phone", "reported"),
    ]  # fmt: skip
    told = "".join((folder / name).read_text() for name in ("audit.jsonl", "findings.jsonl", "manifest.json"))
    assert not any(text in told for text in ("ann@example", "850101", "1234-5678"))


def test_findings_can_stop_everything(refusal):
    told = refusal({"a.csv": PERSONAL}, checks=[{"pii": {"entities": {"email": "fail"}}}])
    assert [each[:2] for each in told] == [("row 1: 'output' e-mail address, not allowed", "a.csv:2")]


def test_a_low_score_can_stop_everything_and_says_what_is_worst(refusal):
    told = refusal(
        {"a.csv": csv(3) + ",\n" * 9}, checks=[{"quality": {"minScore": 1, "action": "fail"}}], onInvalid="skip"
    )
    assert "the quality score is 0." in told[0][0]
    assert "format 0.250 (9 rows)" in told[0][2]


def test_a_row_that_is_left_out_stands_in_the_audit(preparing):
    _, folder, _ = preparing({"a.csv": csv(2) + ",b\n"}, onInvalid="skip", split=WHOLE)
    (line,) = (folder / "audit.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "row": 3, "file": "a.csv", "line": 4, "check": "format", "action": "left out", "reason": "is empty",
        "entity": "empty", "field": "instruction",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ stages


def stages(told):
    return [stage for stage, _ in groupby(stage for stage, _, _ in told)]


def test_only_what_changed_is_done_again(preparing, tmp_path):
    files = {"rows.csv": csv(100)}
    cached = tmp_path / "store" / "cache" / "data"
    checks = [{"pii": {}}, {"duplicates": {"near": {}}}]
    chat = {"format": "messages"}
    assert stages(preparing(files, checks=checks, output=chat)[2]) == [
        "read",
        "pii",
        "duplicates",
        "split",
        "write",
        "measure",
    ]
    path = tmp_path / "rows.csv"
    known = {"rows.csv": Source("rows.csv", f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")}
    path.unlink()  # what lies in the cache is not even looked for
    for digest, expected, spec in (
        ("1", ["split", "write", "measure"], {"split": {"seed": 7}}),
        ("2", ["write"], {"output": {"format": "sharegpt"}}),
        ("3", [], {"statistics": {"tokens": "all"}}),  # of no tokenizer
        ("4", ["duplicates", "split", "write", "measure"], {"checks": [{"pii": {}}, {"duplicates": {}}]}),
    ):
        options = {"checks": checks, "output": chat, **spec}
        _, _, told = preparing(
            {}, source={"path": "rows.csv"}, sources=known, digest=digest * 64, keep=[DIGEST], **options
        )
        assert stages(told) == expected, spec
    assert not list(cached.glob(".*"))


def test_the_cache_holds_what_is_needed_and_nothing_else(preparing, tmp_path):
    files = {"rows.csv": csv(100)}
    cached = tmp_path / "store" / "cache" / "data"
    first, _, _ = preparing(files)
    assert sorted(first.stages) == sorted(path.name for path in cached.iterdir())
    second, _, _ = preparing(files, digest="1" * 64, keep=[DIGEST], split={"seed": 7})
    assert {path.name for path in cached.iterdir()} == {*first.stages, *second.stages}
    third, _, _ = preparing({"rows.csv": csv(101)}, digest="2" * 64)
    assert {path.name for path in cached.iterdir()} == {*third.stages}


@pytest.mark.parametrize("damage", ["cut", "gone", "changed", "half made"])
def test_a_damaged_stage_is_made_anew(preparing, tmp_path, damage):
    files = {"rows.csv": csv(100)}
    first, folder, _ = preparing(files)
    content = {name: (folder / f"{name}.jsonl").read_bytes() for name in ALL}
    for stage in (tmp_path / "store" / "cache" / "data").iterdir():
        for path in stage.iterdir():
            if damage == "half made" and path.name == "contents.json":
                path.unlink()
            elif path.name != "contents.json":
                whole = path.read_bytes()
                path.unlink()  # not written into: prepared data may be the same file
                if damage != "gone":
                    path.write_bytes(whole[:-1] if damage == "cut" else b"?" + whole[1:])
    assert verify(folder) == ()
    second, folder, told = preparing(files, digest="1" * 64)
    assert {name: (folder / f"{name}.jsonl").read_bytes() for name in ALL} == content
    assert second.report == first.report
    assert "read" in stages(told)


# ------------------------------------------------------------------------------------------------- split


def test_rows_that_are_nearly_the_same_stay_on_one_side(preparing):
    words = [" ".join(f"w{n}x{k}" for k in range(40)) for n in range(40)]
    near = "instruction,output\n" + "".join(f"{text},answer\n{text} more,answer\n" for text in words)
    half = {"train": 0.5, "validation": 0.5, "test": 0}
    for number, checks in enumerate(([], [{"duplicates": {"near": {"threshold": 0.8}}}], [{"duplicates": {}}])):
        _, folder, _ = preparing({"a.csv": near}, checks=checks, split=half, digest=str(number) * 64)
        sides = [{row["instruction"].removesuffix(" more") for row in rows(folder, name)} for name in ALL[:2]]
        assert not sides[0] & sides[1]
        assert all(sides)
    _, folder, _ = preparing({"a.csv": near}, checks=[], split={**half, "near": None}, digest="3" * 64)
    sides = [{row["instruction"].removesuffix(" more") for row in rows(folder, name)} for name in ALL[:2]]
    assert sides[0] & sides[1], "by the hash of their texts alone some would be divided"


def test_rows_that_masking_makes_alike_stay_on_one_side(preparing):
    texts = [" ".join(f"w{n}x{k}" for k in range(3)) for n in range(40)]
    content = "instruction,output\n" + "".join(
        f"{text},write to {name}@example.com\n" for text in texts for name in ("ann", "bob")
    )
    checks = [{"duplicates": {"exact": "report", "near": {"threshold": 0.7}}}, {"pii": {"entities": {"email": "mask"}}}]
    _, folder, _ = preparing({"a.csv": content}, checks=checks, split={"train": 0.5, "validation": 0.5, "test": 0})
    sides = [{row["instruction"] for row in rows(folder, name)} for name in ALL[:2]]
    assert not sides[0] & sides[1]


def test_a_stratified_split_meets_its_ratios_in_every_stratum(preparing):
    content = "instruction,output,language\n" + "".join(
        f"question {n},answer {n},{'ko' if n % 10 else 'en'}\n" for n in range(400)
    )
    split = {"train": 0.8, "validation": 0.1, "test": 0.1, "stratify": "language"}
    prepared, folder, _ = preparing({"a.csv": content}, split=split)
    assert [prepared.splits[name].rows for name in ALL] == [320, 40, 40]
    for name, few in zip(ALL, (32, 4, 4), strict=True):
        numbers = [int(row["output"].split()[1]) for row in rows(folder, name)]
        assert sum(number % 10 == 0 for number in numbers) == few


def test_rows_that_moved_since_the_version_before_are_told(preparing):
    """A row that is like two others, which were on two sides, brings them together."""
    half = {"train": 0.5, "validation": 0.5, "test": 0, "near": 0.7}
    words = [[f"w{n}x{k}" for k in range(8)] for n in range(20)]
    pairs = [[*text[:6], "a", "b"] for text in words], [[*text[2:], "a", "b"] for text in words]
    joining = [[*text[:8], "a", "b"] for text in words]
    one, two, three = ("".join(f"{' '.join(text)},answer\n" for text in part) for part in (*pairs, joining))
    head = "instruction,output\n"
    _, folder, _ = preparing({"a.csv": head + one + two}, checks=[], split=half)
    origin = {"previous": folder}
    later, _, _ = preparing({"a.csv": head + one + two + three}, checks=[], split=half, origin=origin, digest="1" * 64)
    (warning,) = later.report.warnings
    assert re.match(r"on another side of the split than in the version before: rows? (\d+)", warning)
    assert "new and like rows of two sides: row" in warning
    same, _, _ = preparing({"a.csv": head + one + two + "c,d\n"}, checks=[], split=half, origin=origin, digest="2" * 64)
    assert same.report.warnings == ()


# ------------------------------------------------------------------------------------- elsewhere, and others


def test_rows_of_another_data_set_are_left_out(preparing):
    _, test_set, _ = preparing({"b.csv": csv(20)}, output={"format": "messages"}, digest="1" * 64)
    checks = [{"contamination": {"against": ["held-out"]}}]
    prepared, folder, _ = preparing(
        {"a.csv": csv(30, 10)}, checks=checks, split=WHOLE, origin={"others": {"held-out": test_set}}
    )
    assert [row["output"] for row in rows(folder)] == [f"answer {n}" for n in range(20, 40)]
    assert {each.entity for each in prepared.report.findings} == {"held-out"}


def test_a_data_set_of_a_bucket_is_prepared_like_one_of_a_file(preparing, bucket):
    bucket.put_object(Bucket="bucket", Key="rows.csv", Body=csv(30).encode())
    far, there, _ = preparing({}, source={"url": "s3://bucket/rows.csv"})
    near, here, _ = preparing({"rows.csv": csv(30)}, digest="1" * 64)
    assert [(there / f"{name}.jsonl").read_bytes() for name in ALL] == [
        (here / f"{name}.jsonl").read_bytes() for name in ALL
    ]
    assert (far.report.files[0].path, far.report.files[0].sha256) == (
        "s3://bucket/rows.csv",
        near.report.files[0].sha256,
    )
    assert "do-not-tell" not in (there / "manifest.json").read_text()


def test_tokens_are_counted_of_all_rows_and_of_each_split(preparing):
    encoder = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    encoder.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    files = {"rows.csv": csv(100), "base/tokenizer.json": encoder.to_str()}
    options = {"source": {"path": "rows.csv"}, "statistics": {"tokenizer": "base", "tokens": "all"}}
    prepared, _, _ = preparing(files, **options)
    tokens = prepared.report.statistics.tokens
    assert (tokens.tokenizer, tokens.sampled, tokens.total) == ("base", 100, 400)
    splits = [(split.tokens.total, split.rows) for split in prepared.splits.values()]
    assert [total for total, _ in splits] == [4 * count for _, count in splits]
    files["base/tokenizer.json"] = encoder.to_str(pretty=True)
    again, _, told = preparing(files, digest="1" * 64, **options)
    assert {stage for stage, _, _ in told} == {"tokens"}
    assert again.report.statistics == prepared.report.statistics


def test_several_processes_prepare_the_same(preparing, monkeypatch):
    texts = "".join(f"question {n % 900} of many,mail a{n}@b.com: answer {n % 300}\n" for n in range(9000))
    options = {
        "checks": [
            {"pii": {"entities": {"email": "mask"}}},
            {"duplicates": {"near": {"action": "drop"}}},
            {"quality": {}},
        ],
        "split": {"near": None},
    }
    alone, first, _ = preparing({"rows.csv": "instruction,output\n" + texts}, **options)
    shutil.rmtree(first.parents[1] / "cache")
    monkeypatch.setattr(stored_rows, "FEW", 0)
    monkeypatch.setattr(process_pool, "helpers", lambda: 2)
    together, second, _ = preparing({"rows.csv": "instruction,output\n" + texts}, digest="1" * 64, **options)
    loky.get_reusable_executor(2).shutdown(wait=True, kill_workers=True)
    assert together.report == alone.report
    for path in first.iterdir():
        if path.name != "manifest.json":
            assert (second / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_url_is_read_anew_and_said_to_have_changed(preparing, tmp_path):
    path = tmp_path / "far" / "rows.csv"
    url = path.as_uri()
    path.parent.mkdir()
    path.write_text(csv(30))
    first, _, _ = preparing({}, source={"url": url})
    before = f"sha256:{first.report.files[0].sha256}"
    assert (first.report.files[0].path, first.report.rows.read) == (url, 30)
    path.write_text(csv(31))
    origin = {"read_before": {url: before}}
    later, _, told = preparing({}, source={"url": url}, origin=origin, digest="1" * 64)
    assert "read" in stages(told)
    assert later.report.warnings[0].startswith(f"{url} holds something else than before: sha256 ")
    with pytest.raises(ExternalError):
        preparing({}, source={"url": url, "sha256": before.removeprefix("sha256:")}, digest="2" * 64)


# ---------------------------------------------------------------------------------------------- only looked at


def looked_at(folder, content, **spec):
    (folder / "rows.csv").write_text(content)
    model = DatasetSpec.model_validate_json(json.dumps({"source": {"path": "rows.csv"}, **spec}))
    (folder / "scratch").mkdir()
    return check(model, folder, folder / "scratch")


def test_a_look_stops_at_nothing_and_shows_no_personal_data(tmp_path):
    checks = [{"pii": {"entities": {"email": "fail", "phone": "report"}}}, {"duplicates": {"exact": "fail"}}]
    looked = looked_at(tmp_path, PERSONAL + ",\n", checks=checks)
    report = looked.report
    assert not report.valid
    assert report.format == {"instruction is empty": 1, "output is empty": 1}
    assert [(each.check, each.entity, each.action) for each in looked.findings] == [
        ("format", "empty", "failed"), ("format", "empty", "failed"),
        ("pii", "email", "failed"), ("pii", "kr_rrn", "reported"), ("pii", "phone", "reported"),
    ]  # fmt: skip
    assert [row["output"] for row in looked.samples] == [
        "write to <EMAIL>", "번호는 ******-*******입니다", "call 010-****-****", "nothing",
    ]  # fmt: skip
    assert report.splits == {}


def test_a_look_compares_with_a_plain_file(tmp_path):
    (tmp_path / "other.csv").write_text(csv(1) + ",\n")
    (tmp_path / "rows.csv").write_text(csv(3))
    spec = {"source": {"path": "rows.csv"}, "checks": [{"contamination": {"against": ["other"], "action": "report"}}]}
    (tmp_path / "scratch").mkdir()
    model = DatasetSpec.model_validate_json(json.dumps(spec))
    looked = check(model, tmp_path, tmp_path / "scratch", others={"other": tmp_path / "other.csv"})
    assert [each.row for each in looked.findings] == [1]
    assert "other.csv: compared without what breaks the shape there: row 2" in looked.report.warnings


def test_a_long_report_holds_the_first_findings_of_each_check(tmp_path):
    looked = looked_at(tmp_path, csv(60) + csv(60)[19:] + ",b\n" * 70, checks=[{"duplicates": {}}])
    counts = Counter(each.check for each in looked.report.findings)
    assert counts == {"format": 25, "duplicates": 25}
    assert looked.report.found == {"format": 70, "duplicates": 60}
    assert len(looked.findings) == 130


# ------------------------------------------------------------------------------------------ interrupted


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A file size limit makes the kernel refuse a write in the middle of a split, as a full disk does."""
    (tmp_path / "rows.csv").write_text(csv(20_000))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    done = _child(tmp_path, "", f"if stage == 'write': {limit}")
    assert done.stdout.strip() == "OSError", done.stderr
    assert list((tmp_path / "store" / "data").iterdir()) == []
    assert not list((tmp_path / "store" / "cache" / "data").glob(".*"))


def test_a_kill_in_the_middle_leaves_no_data_set(tmp_path):
    (tmp_path / "rows.csv").write_text(csv(20_000))
    done = _child(tmp_path, "", "os.kill(os.getpid(), signal.SIGKILL) if stage == 'write' and done else None")
    assert done.returncode == -signal.SIGKILL
    store = open_store(tmp_path / "store")
    assert not store.data(DIGEST).exists()
    with store.exclusive():
        assert list((tmp_path / "store" / "data").iterdir()) == []
        assert not list((store.cache / "data").glob(".*"))


@pytest.mark.parametrize("stage", ["read", "pii", "split", "write", "measure"])
def test_ctrl_c_leaves_nothing_half_made(tmp_path, stage):
    (tmp_path / "rows.csv").write_text(csv(100))
    spec = DatasetSpec.model_validate({"source": {"path": "rows.csv"}})
    store = open_store(tmp_path / "store")

    def progress(now, _done, _total):
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(spec, DIGEST, Origin(tmp_path), store, progress)
    assert list((store.root / "data").iterdir()) == []
    assert all((folder / "contents.json").exists() for folder in (store.cache / "data").glob("*"))
    assert prepare(spec, DIGEST, Origin(tmp_path), store).report.rows.kept == 100


def _child(folder, before, progress="None"):
    program = f"""
import os, signal
from pathlib import Path
from ftops.errors import FtopsError
from ftops.datasets.spec import DatasetSpec
from ftops.datasets.prepare.prepare import Origin, prepare
from ftops.store.store import open_store
root = Path({str(folder)!r})
store = open_store(root / "store")
{before}
def progress(stage, done, total):
    {progress}
try:
    prepare(DatasetSpec.model_validate({{"source": {{"path": "rows.csv"}}, "checks": ()}}), {DIGEST!r}, Origin(root), store, progress)
except (FtopsError, OSError) as error:
    print(["FtopsError", "OSError"][isinstance(error, OSError)])
"""
    root = Path(__file__).resolve().parents[3]
    return subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("damage", ["changed", "gone", "no manifest"])
def test_damage_is_found(preparing, damage):
    _, folder, _ = preparing({"a.csv": csv(30)})
    if damage == "changed":
        (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes()[:-2] + b"]\n")
    elif damage == "gone":
        (folder / "test.jsonl").unlink()
    else:
        (folder / "manifest.json").unlink()
    assert len(verify(folder)) == 1


def test_no_manifest_is_none(tmp_path):
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("[]")
    assert read_manifest(tmp_path) is None


# ---------------------------------------------------------------------------------------------- real data


def shared(path):
    found = SHARED / path
    return pytest.param(found, marks=pytest.mark.skipif(not found.exists(), reason=f"{found} is not at hand"))


@pytest.mark.parametrize("file", [shared("korean-chatbot/ChatbotData.csv")])
def test_korean_chatbot(preparing, file):
    source = {"path": file.name, "columns": {"instruction": "Q", "output": "A"}}
    prepared, folder, _ = preparing({}, source=source, root=file.parent)
    assert prepared.report.rows.read == 11_823
    assert prepared.report.checks[1].summary["exactRows"] == 73
    assert len(rows(folder, *ALL)) == 11_750
    assert prepared.splits["train"].rows == pytest.approx(0.9 * 11_750, rel=0.02)


@pytest.mark.parametrize("file", [shared("llama-factory/alpaca_en_demo.json")])
def test_alpaca_demo(preparing, file):
    prepared, folder, _ = preparing({}, source={"path": file.name}, root=file.parent, checks=[], split=WHOLE)
    assert prepared.report.rows.read == 999
    expected = [
        {name: row[name] for name in ("instruction", "input", "output")} for row in json.loads(file.read_text())
    ]
    assert rows(folder) == expected


def test_memory_stays_near_the_size_of_the_data(tmp_path):
    """60 MB of rows in less than 500 MB: the interpreter and Arrow, what is known of rows, and a batch of objects."""
    (tmp_path / "rows.csv").write_text("instruction,output\n" + "".join(f"{n},{'x' * 1000}\n" for n in range(60_000)))
    done = _child(tmp_path, "import atexit; atexit.register(lambda: print(Path('/proc/self/status').read_text()))")
    assert (done.returncode, done.stderr) == (0, "")
    assert int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1]) < 500 * 1024


def test_every_error_is_an_ftops_error(preparing):
    with pytest.raises(FtopsError):
        preparing({}, source={"path": "gone.csv"})
